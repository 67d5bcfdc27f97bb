#include "toolkit/checkpoint/config_file.hpp"

#include <cmath>
#include <nlohmann/json.hpp>

#include "linex/error.hpp"
#include "toolkit/base/budget.hpp"
#include "toolkit/base/files.hpp"

namespace linex {
namespace {

using Json = nlohmann::json;
namespace fs = std::filesystem;

const Json* find(const std::shared_ptr<const void>& object, const std::string& key) {
  if (!object) return nullptr;
  const Json& json = *static_cast<const Json*>(object.get());
  const auto found = json.find(key);
  return found == json.end() ? nullptr : &*found;
}

/// A whole number in [1, 100000], or 0.
std::int64_t count_of(const Json& value) {
  if (!value.is_number_unsigned()) return 0;
  const auto number = value.get<std::uint64_t>();
  return number <= 100'000 ? static_cast<std::int64_t>(number) : 0;
}

}  // namespace

ConfigFile ConfigFile::open(const fs::path& file) {
  constexpr std::uint64_t kMaxBytes = 16ULL << 20;
  const std::string text = read_file(file, kMaxBytes);
  auto json = std::make_shared<Json>();
  if (json_nests_at_most(text)) *json = Json::parse(text, nullptr, false);
  if (!json->is_object())
    throw input_error(file.string() + ": not a JSON object; give the model's configuration");
  ConfigFile config;
  config.object_ = std::move(json);
  config.source_ = file.string();
  return config;
}

ConfigFile ConfigFile::beside(const fs::path& weights, const std::vector<std::string>& names) {
  std::error_code ignored;
  const fs::path folder = fs::is_directory(weights, ignored) ? weights : weights.parent_path();
  for (const std::string& name : names)
    if (fs::exists(folder / name, ignored)) return open(folder / name);
  return {};
}

ConfigFile ConfigFile::section(const std::string& key) const {
  const Json* value = find(object_, key);
  if (!value || !value->is_object()) return {};
  ConfigFile inner;
  inner.object_ = std::shared_ptr<const void>(object_, value);
  inner.source_ = source_;
  return inner;
}

std::int64_t ConfigFile::count(const std::string& key, std::int64_t fallback) const {
  const Json* value = find(object_, key);
  const std::int64_t number = value ? count_of(*value) : 0;
  return number > 0 ? number : fallback;
}

std::vector<std::int64_t> ConfigFile::counts(const std::string& key) const {
  constexpr std::size_t kMost = 8;
  const Json* list = find(object_, key);
  if (!list || !list->is_array() || list->size() > kMost) return {};
  std::vector<std::int64_t> numbers;
  for (const Json& value : *list) {
    numbers.push_back(count_of(value));
    if (numbers.back() == 0) return {};
  }
  return numbers;
}

std::optional<double> ConfigFile::number(const std::string& key) const {
  const Json* value = find(object_, key);
  if (!value || !value->is_number() || !std::isfinite(value->get<double>())) return std::nullopt;
  return value->get<double>();
}

std::optional<bool> ConfigFile::flag(const std::string& key) const {
  const Json* value = find(object_, key);
  if (!value || !value->is_boolean()) return std::nullopt;
  return value->get<bool>();
}

std::optional<std::array<float, 3>> ConfigFile::triple(const std::string& key) const {
  const Json* list = find(object_, key);
  if (!list || !list->is_array() || list->size() != 3) return std::nullopt;
  std::array<float, 3> values{};
  for (std::size_t c = 0; c < 3; ++c) {
    if (!(*list)[c].is_number() || !std::isfinite((*list)[c].get<float>())) return std::nullopt;
    values[c] = (*list)[c].get<float>();
  }
  return values;
}

std::string ConfigFile::text(const std::string& key) const {
  const Json* value = find(object_, key);
  return value && value->is_string() ? value->get<std::string>() : "";
}

}  // namespace linex
