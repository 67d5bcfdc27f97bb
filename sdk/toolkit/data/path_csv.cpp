// A CSV of image paths and labels.
#include <algorithm>
#include <charconv>
#include <map>
#include <optional>

#include "linex/error.hpp"
#include "toolkit/base/csv.hpp"
#include "toolkit/data/formats.hpp"

namespace linex {
namespace fs = std::filesystem;

namespace {

constexpr std::int64_t kMaxLabel = 1000000;

std::optional<std::int64_t> as_class_number(const std::string& text) {
  std::int64_t value = 0;
  const char* end = text.data() + text.size();
  const auto [stop, failure] = std::from_chars(text.data(), end, value);
  if (failure != std::errc() || stop != end || value < 0 || value > kMaxLabel) return std::nullopt;
  return value;
}

/// Class names and one label a row: numbers are taken as they are, names are numbered in sorted
/// order.
std::vector<std::string> number_labels(const std::vector<std::string>& cells,
                                       std::vector<ImageFile>& files) {
  const bool numbers = std::all_of(cells.begin(), cells.end(),
                                   [](const auto& cell) { return bool(as_class_number(cell)); });
  std::vector<std::string> names;
  if (numbers) {
    std::int64_t classes = 0;
    for (std::size_t i = 0; i < cells.size(); ++i) {
      files[i].label = *as_class_number(cells[i]);
      classes = std::max(classes, files[i].label + 1);
    }
    for (std::int64_t label = 0; label < classes; ++label) names.push_back(std::to_string(label));
    return names;
  }
  std::map<std::string, std::int64_t> index;
  for (const auto& cell : cells) index[cell] = 0;
  for (auto& [name, label] : index) {
    label = static_cast<std::int64_t>(names.size());
    names.push_back(name);
  }
  for (std::size_t i = 0; i < cells.size(); ++i) files[i].label = index[cells[i]];
  return names;
}

}  // namespace

std::shared_ptr<DataSet> open_path_csv(const DataOptions& options) {
  const CsvTable table = read_csv(options.root);
  const int path_column = table.column("path");
  const int label_column = table.column("label");
  if (path_column < 0)
    throw input_error(options.root.string() + " has no column 'path' (columns: path,label)");
  if (table.rows.empty()) throw input_error(options.root.string() + " lists no images");
  std::vector<ImageFile> files;
  std::vector<std::string> labels;
  for (const auto& row : table.rows) {
    const std::string& path = row[static_cast<std::size_t>(path_column)];
    files.push_back({options.root.parent_path() / path, path, 0});
    if (label_column < 0) continue;
    labels.push_back(row[static_cast<std::size_t>(label_column)]);
    if (labels.back().empty())
      throw input_error(options.root.string() + " record " + std::to_string(files.size() + 1) +
                        ": the label is empty");
  }
  std::vector<std::string> class_names;
  if (label_column >= 0) class_names = number_labels(labels, files);
  return make_file_data_set(std::move(files), std::move(class_names), options);
}

}  // namespace linex
