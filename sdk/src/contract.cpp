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
#include "linex/solver.hpp"

namespace linex {

Error::~Error() = default;
Logger::~Logger() = default;
Progress::~Progress() = default;
PluginContext::~PluginContext() = default;
DataSet::~DataSet() = default;
Presence::~Presence() = default;
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

LinearHead TargetModel::linear_head(const std::string&) const { return {}; }
torch::Tensor TargetModel::recorded() const { return {}; }

bool Presence::ones(std::int64_t, std::vector<std::int64_t>&) const { return false; }

bool ConceptLabeler::knows(const std::string& text) const {
  const auto names = concepts();
  return std::find(names.begin(), names.end(), text) != names.end();
}

namespace {

/// Some columns of another source.
class ColumnSubset final : public Presence {
 public:
  ColumnSubset(std::shared_ptr<const Presence> all, std::vector<std::int64_t> columns)
      : all_(std::move(all)), columns_(std::move(columns)) {}
  std::int64_t rows() const override { return all_->rows(); }
  std::int64_t cols() const override { return static_cast<std::int64_t>(columns_.size()); }
  void read(const std::int64_t* rows, std::int64_t n_rows, const std::int64_t* cols,
            std::int64_t n_cols, float* out) const override {
    if (!cols) return all_->read(rows, n_rows, columns_.data(), this->cols(), out);
    std::vector<std::int64_t> mapped(static_cast<std::size_t>(n_cols));
    for (std::int64_t j = 0; j < n_cols; ++j) mapped[j] = columns_[cols[j]];
    all_->read(rows, n_rows, mapped.data(), n_cols, out);
  }

 private:
  std::shared_ptr<const Presence> all_;
  std::vector<std::int64_t> columns_;
};

}  // namespace

const PixelLabels* ConceptLabeler::pixels() const { return nullptr; }

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
  return std::make_shared<ColumnSubset>(presence(), std::move(columns));
}

}  // namespace linex
