// A CSV of image paths and labels.
#include <algorithm>

#include "linex/error.hpp"
#include "toolkit/base/csv.hpp"
#include "toolkit/base/text.hpp"
#include "toolkit/data/formats.hpp"

namespace linex {
namespace fs = std::filesystem;

namespace {

/// Position of the first cell that is called as one of `names`, in their order; -1 where none is.
int find_cell(const std::vector<std::string>& cells, const std::vector<const char*>& names) {
  for (const char* name : names)
    for (std::size_t j = 0; j < cells.size(); ++j)
      if (lower_case(trim(cells[j])) == name) return static_cast<int>(j);
  return -1;
}

struct Columns {
  int path = -1, label = -1;
  std::size_t first_row = 0;
};

/// Where paths and labels stand: told by the header, or by two columns without one.
Columns find_columns(const std::vector<std::vector<std::string>>& records,
                     const DataOptions& options) {
  const auto& first = records.front();
  Columns columns;
  columns.path = find_cell(first, {"path", "filename", "file_name", "filepath", "file_path", "file",
                                   "image_path", "image", "img_path", "img"});
  if (columns.path >= 0) {
    columns.label = find_cell(first, {"label", "class", "class_name", "label_name", "category",
                                      "target", "class_id", "label_id"});
    columns.first_row = 1;
    if (columns.label < 0 && first.size() > 1 && options.log)
      options.log->warning(options.root.string() + " has no column 'label' among " +
                           join(first, ", ") + ": its images have no classes");
    return columns;
  }
  const auto looks_like_a_path = [](const std::string& cell) {
    const std::string extension = lower_case(fs::path(trim(cell)).extension().string());
    return extension.size() >= 4 && extension.size() <= 5 && !as_class_number(extension.substr(1));
  };
  if (first.size() > 2 || !looks_like_a_path(first.front()))
    throw input_error(options.root.string() +
                      " has no column 'path' or 'filename' (it begins with " +
                      printable(join(first, ", ")) + ")");
  columns.path = 0;
  if (first.size() == 2) columns.label = 1;
  return columns;
}

/// Tables of other systems have backslashes for slashes, which a file's name here may hold, too.
std::string with_slashes(std::string path, const fs::path& folder) {
  std::error_code ignored;
  if (path.find('\\') != std::string::npos && !fs::exists(folder / path, ignored))
    std::replace(path.begin(), path.end(), '\\', '/');
  return path;
}

}  // namespace

std::shared_ptr<DataSet> open_path_csv(const DataOptions& options) {
  const auto records = read_table(options.root);
  const std::string source = options.root.string();
  if (records.empty()) throw input_error(source + " lists no images");
  const Columns columns = find_columns(records, options);
  const fs::path folder = options.root.parent_path();
  std::vector<ImageFile> files;
  std::vector<std::string> labels;
  for (std::size_t i = columns.first_row; i < records.size(); ++i) {
    const auto& row = records[i];
    const std::string where = source + " record " + std::to_string(i + 1);
    if (row.size() != records.front().size())
      throw input_error(where + " has " + std::to_string(row.size()) +
                        " cells, the first one has " + std::to_string(records.front().size()));
    std::string path = trim(row[static_cast<std::size_t>(columns.path)]);
    if (path.empty()) throw input_error(where + ": the path is empty");
    files.push_back({with_slashes(std::move(path), folder)});
    if (columns.label < 0) continue;
    labels.push_back(trim(row[static_cast<std::size_t>(columns.label)]));
    if (labels.back().empty()) throw input_error(where + ": the label is empty");
  }
  if (files.empty()) throw input_error(source + " lists no images");
  std::vector<std::string> class_names;
  if (columns.label >= 0) class_names = number_labels(labels, files);
  return make_file_data_set(std::move(files), {folder, {}}, std::move(class_names), options);
}

}  // namespace linex
