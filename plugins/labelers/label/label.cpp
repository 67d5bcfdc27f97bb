// Concepts from class labels: one column a class, then one a superclass (docs/methods.md §1.3).
#include <algorithm>
#include <cstring>
#include <nlohmann/json.hpp>

#include "linex/plugin.hpp"
#include "toolkit/base/budget.hpp"
#include "toolkit/base/files.hpp"
#include "toolkit/base/text.hpp"
#include "toolkit/checkpoint/arrays.hpp"
#include "toolkit/concepts/concept_list.hpp"

namespace {

using linex::input_error;

/// 0/1 presence: a label's own column and those of the superclasses that hold it.
class LabelPresence final : public linex::Presence {
 public:
  LabelPresence(std::vector<std::int64_t> labels,
                std::vector<std::vector<std::int64_t>> columns_of_label, std::int64_t cols)
      : labels_(std::move(labels)), columns_of_label_(std::move(columns_of_label)), cols_(cols) {}

  std::int64_t rows() const override { return static_cast<std::int64_t>(labels_.size()); }
  std::int64_t cols() const override { return cols_; }

  bool ones(std::int64_t row, std::vector<std::int64_t>& ones) const override {
    ones = columns_of_label_[static_cast<std::size_t>(labels_[static_cast<std::size_t>(row)])];
    return true;
  }

 private:
  void do_read(linex::Ids rows, const linex::Columns& cols, float* out) const override {
    std::vector<std::int64_t> present;
    std::vector<float> row(static_cast<std::size_t>(cols_));
    for (const std::int64_t id : rows) {
      ones(id, present);
      std::fill(row.begin(), row.end(), 0.0F);
      for (const auto column : present) row[static_cast<std::size_t>(column)] = 1.0F;
      if (cols.is_all()) {
        out = std::copy(row.begin(), row.end(), out);
        continue;
      }
      for (const std::int64_t column : cols.ids()) *out++ = row[static_cast<std::size_t>(column)];
    }
  }

  std::vector<std::int64_t> labels_;
  std::vector<std::vector<std::int64_t>> columns_of_label_;
  std::int64_t cols_;
};

class Label final : public linex::ConceptLabeler {
 public:
  static constexpr std::array kOptions{
      linex::option::path("names", "",
                          "list of class names, one a line; default: the data set's own"),
      linex::option::path("hierarchy", "",
                          "JSON file {\"superclass\": [class ids], ...}; none if empty"),
      linex::option::path(
          "labels", "",
          "array of class ids (N; .npy, .npz, .pt, .safetensors), for data without images"),
  };

  explicit Label(const linex::PluginContext& context)
      : log_(context.log()),
        names_file_(context.options().path("names").string()),
        hierarchy_file_(context.options().path("hierarchy").string()),
        labels_file_(context.options().path("labels").string()) {}

  void attach(std::shared_ptr<const linex::DataSet> data) override {
    std::vector<std::int64_t> labels;
    if (!labels_file_.empty())
      labels = read_labels(labels_file_);
    else if (data)
      labels = data->labels();
    if (labels.empty())
      throw input_error(
          data ? "labeler label: the data set has no class labels; use another labeler or an image "
                 "folder with one sub-folder a class"
               : "labeler label: there is no data set; give labeler.labels=FILE.npy");
    if (data && data->size() != static_cast<std::int64_t>(labels.size()))
      throw input_error("labeler label: " + labels_file_ + " has " + std::to_string(labels.size()) +
                        " labels, the data set " + std::to_string(data->size()) + " rows");
    const std::int64_t largest = *std::max_element(labels.begin(), labels.end());
    const std::int64_t smallest = *std::min_element(labels.begin(), labels.end());
    if (smallest < 0 || largest > 10'000'000)
      throw input_error("labeler label: class id " +
                        std::to_string(smallest < 0 ? smallest : largest) + " is out of range");

    if (!names_file_.empty()) {
      names_ = linex::read_concept_list(names_file_, log_).names;
    } else if (data && !data->class_names().empty()) {
      names_ = linex::distinct_names(data->class_names(), "data.root", log_, "class").names;
    } else {
      // A concept a class id: far more of them than rows means ids that are no class numbers.
      constexpr std::int64_t kFewClasses = 100'000;
      if (largest > kFewClasses + static_cast<std::int64_t>(labels.size()))
        throw input_error("labeler label: class id " + std::to_string(largest) + " among " +
                          std::to_string(labels.size()) +
                          " labels; number the classes from 0, or give their labeler.names");
      for (std::int64_t label = 0; label <= largest; ++label)
        names_.push_back("class " + std::to_string(label));
    }
    const auto classes = static_cast<std::int64_t>(names_.size());
    if (largest >= classes)
      throw input_error("labeler label: " + names_file_ + " has " + std::to_string(classes) +
                        " names, but the data has class id " + std::to_string(largest));
    if (data && !names_file_.empty() && !data->class_names().empty() &&
        classes != static_cast<std::int64_t>(data->class_names().size()))
      throw input_error("labeler label: " + names_file_ + " has " + std::to_string(classes) +
                        " names, the data set " + std::to_string(data->class_names().size()) +
                        " classes");

    std::vector<std::vector<std::int64_t>> columns_of_label(names_.size());
    for (std::int64_t label = 0; label < classes; ++label)
      columns_of_label[static_cast<std::size_t>(label)] = {label};
    if (!hierarchy_file_.empty()) {
      add_superclasses(columns_of_label);
      // ImageNet's gown, newt and duck are classes and superclasses.
      names_ = linex::distinct_names(std::move(names_), hierarchy_file_, log_, "concept").names;
    }
    presence_ = std::make_shared<LabelPresence>(std::move(labels), std::move(columns_of_label),
                                                static_cast<std::int64_t>(names_.size()));
  }

  std::vector<std::string> concepts() const override { return names_; }
  std::shared_ptr<const linex::Presence> presence() override { return presence_; }
  std::string fingerprint() const override {
    return linex::sha256_of_paths({names_file_, hierarchy_file_, labels_file_});
  }

 private:
  static std::vector<std::int64_t> read_labels(const std::string& file) {
    const auto tensor = linex::read_array(file);
    if (tensor.dim() != 1 || !at::isIntegralType(tensor.scalar_type(), false))
      throw input_error("labeler label: " + file + " is not a vector of integers");
    const auto ids = tensor.to(torch::kInt64).contiguous();
    return {ids.data_ptr<std::int64_t>(), ids.data_ptr<std::int64_t>() + ids.numel()};
  }

  /// Appends one column for each superclass in the file's order.
  void add_superclasses(std::vector<std::vector<std::int64_t>>& columns_of_label) {
    using Json = nlohmann::ordered_json;
    const auto complain = [&](const std::string& what) {
      return input_error("labeler label: " + hierarchy_file_ + ": " + what);
    };
    const std::string text = linex::read_file(hierarchy_file_);
    const Json json = linex::json_nests_at_most(text) ? Json::parse(text, nullptr, false) : Json();
    if (!json.is_object())
      throw complain("it is not a JSON object {\"superclass\": [class ids], ...}");
    const std::size_t classes = columns_of_label.size();
    for (const auto& [key, members] : json.items()) {
      if (!members.is_array()) throw complain("'" + key + "' is not a list of class ids");
      const auto column = static_cast<std::int64_t>(names_.size());
      if (linex::trim(key).empty()) throw complain("a superclass has no name");
      std::string name = key;
      std::replace(name.begin(), name.end(), '_', ' ');
      names_.push_back(name);
      for (const auto& member : members) {
        if (!member.is_number_integer() || member.get<std::int64_t>() < 0 ||
            member.get<std::size_t>() >= classes)
          throw complain("'" + key + "' holds " + member.dump() + ", which is no class id below " +
                         std::to_string(classes));
        auto& columns = columns_of_label[member.get<std::size_t>()];
        if (columns.back() != column) columns.push_back(column);
      }
    }
  }

  linex::Logger& log_;
  std::string names_file_, hierarchy_file_, labels_file_;
  std::vector<std::string> names_;
  std::shared_ptr<const LabelPresence> presence_;
};

}  // namespace

LINEX_LABELER_PLUGIN(Label, "label", "0.1.0", "class labels and their superclasses as 0/1 concepts")
