#include <algorithm>
#include <charconv>
#include <map>
#include <optional>

#include "toolkit/data/formats.hpp"

namespace linex {
namespace {

constexpr std::int64_t kMaxLabel = 1000000;

}  // namespace

std::optional<std::int64_t> as_class_number(const std::string& text) {
  std::int64_t value = 0;
  const char* end = text.data() + text.size();
  const auto [stop, failure] = std::from_chars(text.data(), end, value);
  if (failure != std::errc() || stop != end || value < 0 || value > kMaxLabel) return std::nullopt;
  return value;
}

std::vector<std::string> number_labels(const std::vector<std::string>& written,
                                       std::vector<ImageFile>& files) {
  const bool numbers = std::all_of(written.begin(), written.end(),
                                   [](const auto& text) { return bool(as_class_number(text)); });
  std::vector<std::string> names;
  if (numbers) {
    std::int64_t classes = 0;
    for (std::size_t i = 0; i < written.size(); ++i) {
      files[i].label = *as_class_number(written[i]);
      classes = std::max(classes, files[i].label + 1);
    }
    for (std::int64_t label = 0; label < classes; ++label) names.push_back(std::to_string(label));
    return names;
  }
  std::map<std::string, std::int64_t> index;
  for (const auto& text : written) index[text] = 0;
  for (auto& [name, label] : index) {
    label = static_cast<std::int64_t>(names.size());
    names.push_back(name);
  }
  for (std::size_t i = 0; i < written.size(); ++i) files[i].label = index[written[i]];
  return names;
}

}  // namespace linex
