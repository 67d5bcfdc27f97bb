// Key functions of the contract: one vtable and one typeinfo for each interface, whoever loads it.
#include <algorithm>
#include <stdexcept>
#include <unordered_map>

#include "linex/context.hpp"
#include "linex/data.hpp"
#include "linex/error.hpp"
#include "linex/evaluator.hpp"
#include "linex/labeler.hpp"
#include "linex/model.hpp"
#include "linex/pixel_labels.hpp"
#include "linex/pool.hpp"
#include "linex/solver.hpp"

namespace linex {

Error::~Error() = default;
Logger::~Logger() = default;
Progress::~Progress() = default;
PluginContext::~PluginContext() = default;
DataSet::~DataSet() = default;
ModelTail::~ModelTail() = default;
TargetModel::~TargetModel() = default;
ConceptLabeler::~ConceptLabeler() = default;
PixelLabels::~PixelLabels() = default;
SparseSolver::~SparseSolver() = default;
Evaluator::~Evaluator() = default;

namespace {

constexpr struct {
  Status status;
  const char* word;
} kStatusWords[] = {{Status::ok, "ok"},
                    {Status::dead, "dead"},
                    {Status::constant, "constant"},
                    {Status::no_concept, "no_concept"},
                    {Status::not_converged, "not_converged"},
                    {Status::unknown_concept, "unknown_concept"},
                    {Status::unknown_unit, "unknown_unit"},
                    {Status::empty, "empty"}};

template <class T>
const T& get_option(const std::map<std::string, OptionValues::Value>& values,
                    const std::string& name, const char* type) {
  const auto found = values.find(name);
  if (found == values.end()) throw std::logic_error("option '" + name + "' is not declared");
  if (const T* value = std::get_if<T>(&found->second)) return *value;
  throw std::logic_error("option '" + name + "' is not declared as " + type);
}

}  // namespace

const char* to_string(Status status) noexcept {
  for (const auto& entry : kStatusWords)
    if (entry.status == status) return entry.word;
  return "?";
}

Status status_from_string(const std::string& word) {
  for (const auto& entry : kStatusWords)
    if (word == entry.word) return entry.status;
  throw input_error("unknown status '" + word + "'");
}

bool OptionValues::flag(const std::string& name) const {
  return get_option<bool>(values_, name, "a flag");
}
std::int64_t OptionValues::integer(const std::string& name) const {
  return get_option<std::int64_t>(values_, name, "an integer");
}
double OptionValues::real(const std::string& name) const {
  return get_option<double>(values_, name, "a real");
}
const std::string& OptionValues::text(const std::string& name) const {
  return get_option<std::string>(values_, name, "text");
}
const std::filesystem::path& OptionValues::path(const std::string& name) const {
  return get_option<std::filesystem::path>(values_, name, "a path");
}
const OptionValues::Paths& OptionValues::paths(const std::string& name) const {
  return get_option<Paths>(values_, name, "a list of paths");
}
void OptionValues::set(const std::string& name, Value value) { values_[name] = std::move(value); }

void check_cancelled(const PluginContext& context) {
  if (context.cancelled())
    throw Error(ErrorKind::interrupted, "interrupted; run it again to resume");
}

std::string Preprocess::describe() const {
  static const char* const kResize[] = {"none", "short_side", "squash"};
  static const char* const kInterpolation[] = {"bilinear", "bicubic"};
  std::string text = std::string("resize=") + kResize[static_cast<int>(resize)] + ":" +
                     std::to_string(size) + ":" + kInterpolation[static_cast<int>(interpolation)] +
                     " crop=" + std::to_string(crop) + " mean=";
  for (float value : mean) text += std::to_string(value) + ",";
  text += " std=";
  for (float value : std) text += std::to_string(value) + ",";
  return text;
}

const char* to_string(Pool pool) noexcept {
  return pool == Pool::avg ? "avg" : pool == Pool::max ? "max" : "first";
}

Pool pool_from_string(const std::string& word) {
  for (const Pool pool : {Pool::avg, Pool::max, Pool::first})
    if (word == to_string(pool)) return pool;
  throw usage_error("model.pool is '" + word + "'; use avg, max or first");
}

const void* PluginContext::ability(const char*) const { return nullptr; }
const void* DataSet::ability(const char*) const { return nullptr; }
const void* ModelTail::ability(const char*) const { return nullptr; }
const void* TargetModel::ability(const char*) const { return nullptr; }
const void* ConceptLabeler::ability(const char*) const { return nullptr; }
const void* SparseSolver::ability(const char*) const { return nullptr; }
const void* Evaluator::ability(const char*) const { return nullptr; }

LinearHead TargetModel::linear_head(const std::string&) const { return {}; }
torch::Tensor TargetModel::recorded() const { return {}; }

bool ConceptLabeler::knows(const std::string& text) const {
  const auto names = concepts();
  return std::find(names.begin(), names.end(), text) != names.end();
}

std::string ConceptLabeler::fingerprint() const { return ""; }

std::shared_ptr<const Presence> ConceptLabeler::presence_of(const std::vector<std::string>& texts) {
  std::unordered_map<std::string, std::int64_t> column;
  const auto names = concepts();
  for (std::size_t j = 0; j < names.size(); ++j) column.emplace(names[j], j);
  std::vector<std::int64_t> columns;
  for (const auto& text : texts) {
    const auto found = column.find(text);
    if (found == column.end())
      throw input_error("the simulator does not know the concept '" + text + "'");
    columns.push_back(found->second);
  }
  return select_columns(presence(), std::move(columns));
}

}  // namespace linex
