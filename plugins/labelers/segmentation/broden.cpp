// Broden's format (docs/methods.md §2.2).
#include <algorithm>
#include <charconv>
#include <unordered_map>

#include "linex/error.hpp"
#include "segmentation.hpp"
#include "toolkit/base/csv.hpp"
#include "toolkit/base/files.hpp"
#include "toolkit/base/text.hpp"
#include "toolkit/data/image.hpp"

namespace linex {

namespace fs = std::filesystem;

namespace {

constexpr std::int64_t kMostLabels = 65535;  // a pixel stores red + 256·green
constexpr std::int64_t kMostPixels = 1LL << 28;

std::size_t need_column(const CsvTable& table, const fs::path& file, const char* name) {
  const int column = table.column(name);
  if (column < 0) throw input_error("cannot read " + file.string() + ": no column '" + name + "'");
  return static_cast<std::size_t>(column);
}

double need_number(const std::string& text, const fs::path& file, std::size_t row) {
  double value = 0;
  const auto result = std::from_chars(text.data(), text.data() + text.size(), value);
  if (result.ec != std::errc() || result.ptr != text.data() + text.size() || !(value >= 0))
    throw input_error("cannot read " + file.string() + ": record " + std::to_string(row + 2) +
                      ": '" + text + "' is not a number");
  return value;
}

std::int64_t need_integer(const std::string& text, const fs::path& file, std::size_t row,
                          std::int64_t most) {
  const double value = need_number(text, file, row);
  if (value > static_cast<double>(most) ||
      value != static_cast<double>(static_cast<std::int64_t>(value)))
    throw input_error("cannot read " + file.string() + ": record " + std::to_string(row + 2) +
                      ": '" + text + "' is not a whole number up to " + std::to_string(most));
  return static_cast<std::int64_t>(value);
}

class Broden final : public Segmentation {
 public:
  Broden(fs::path root, const std::vector<std::string>& categories)
      : root_(std::move(root)), categories_(categories) {
    read_categories();
    read_labels();
    read_index();
  }

  const std::vector<PixelLabel>& labels() const override { return labels_; }

  LabelMaps label_maps(const std::string& image) const override {
    const Record& record = find(image);
    LabelMaps result;
    result.image_height = record.image_height;
    result.image_width = record.image_width;
    result.height = record.height;
    result.width = record.width;
    for (const auto& item : record.items) {
      if (!item.empty() && item.find_first_not_of("0123456789") == std::string::npos) {
        const std::int64_t label = label_of(std::stoll(item.substr(0, 9)), image);
        if (label >= 0) result.whole.push_back(label);
      } else {
        result.maps.push_back(read_map(root_ / "images" / item, record));
      }
    }
    return result;
  }

 private:
  struct Record {
    std::int64_t image_height, image_width, height, width;
    std::vector<std::string> items;  // label numbers and files, all categories
  };

  void read_categories() {
    const fs::path file = root_ / "category.csv";
    const CsvTable table = read_csv(file);
    const std::size_t name = need_column(table, file, "name");
    std::vector<std::string> known;
    for (const auto& row : table.rows) known.push_back(row[name]);
    if (categories_.empty()) categories_ = known;
    for (const auto& category : categories_)
      if (std::find(known.begin(), known.end(), category) == known.end())
        throw usage_error("labeler.categories: " + file.string() + " has no category '" + category +
                          "'" + did_you_mean(category, known));
  }

  /// Labels that have pixels in one of the categories, in order of their numbers.
  void read_labels() {
    struct Primary {
      std::string category;
      double coverage = -1;
    };
    std::unordered_map<std::int64_t, Primary> primary;
    for (const auto& category : categories_) {
      const fs::path file = root_ / ("c_" + category + ".csv");
      const CsvTable table = read_csv(file);
      const std::size_t number = need_column(table, file, "number"),
                        coverage = need_column(table, file, "coverage");
      for (std::size_t row = 0; row < table.rows.size(); ++row) {
        const auto label = need_integer(table.rows[row][number], file, row, kMostLabels);
        const double share = need_number(table.rows[row][coverage], file, row);
        Primary& found = primary[label];
        if (share >= found.coverage) found = {category, share};
      }
    }
    const fs::path file = root_ / "label.csv";
    const CsvTable table = read_csv(file);
    const std::size_t number = need_column(table, file, "number"),
                      name = need_column(table, file, "name");
    for (std::size_t row = 0; row < table.rows.size(); ++row) {
      const auto label = need_integer(table.rows[row][number], file, row, kMostLabels);
      if (static_cast<std::size_t>(label) >= label_of_.size())
        label_of_.resize(static_cast<std::size_t>(label) + 1, kUnknown);
      const auto found = primary.find(label);
      const bool used = label > 0 && found != primary.end();  // 0 is "no label"
      label_of_[static_cast<std::size_t>(label)] =
          used ? static_cast<std::int32_t>(labels_.size()) : -1;
      if (used) labels_.push_back({table.rows[row][name], found->second.category});
    }
    if (labels_.empty()) throw input_error(file.string() + " has no label of these categories");
  }

  void read_index() {
    const fs::path file = root_ / "index.csv";
    const CsvTable table = read_csv(file);
    const std::size_t image = need_column(table, file, "image"),
                      ih = need_column(table, file, "ih"), iw = need_column(table, file, "iw"),
                      sh = need_column(table, file, "sh"), sw = need_column(table, file, "sw");
    std::vector<std::size_t> columns;
    for (const auto& category : categories_)
      columns.push_back(need_column(table, file, category.c_str()));
    for (std::size_t row = 0; row < table.rows.size(); ++row) {
      const auto& cells = table.rows[row];
      const auto side = [&](std::size_t column) {
        const auto value = need_integer(cells[column], file, row, 1 << 20);
        if (value < 1)
          throw input_error("cannot read " + file.string() + ": record " + std::to_string(row + 2) +
                            ": a size of 0");
        return value;
      };
      Record record{side(ih), side(iw), side(sh), side(sw), {}};
      if (record.height * record.width > kMostPixels)
        throw input_error("cannot read " + file.string() + ": record " + std::to_string(row + 2) +
                          ": a label map that large");
      for (const std::size_t column : columns)
        for (const auto& item : split(cells[column], ';'))
          if (!trim(item).empty()) record.items.push_back(trim(item));
      records_.emplace(cells[image], std::move(record));
    }
  }

  const Record& find(const std::string& image) const {
    auto found = records_.find(image);
    if (found == records_.end() && image.compare(0, 7, "images/") == 0)
      found = records_.find(image.substr(7));
    if (found == records_.end())
      throw input_error((root_ / "index.csv").string() + " has no image " + image +
                        "; set data.root to " + (root_ / "images").string());
    return found->second;
  }

  std::int32_t label_of(std::int64_t number, const std::string& where) const {
    const std::int32_t label = number < static_cast<std::int64_t>(label_of_.size())
                                   ? label_of_[static_cast<std::size_t>(number)]
                                   : kUnknown;
    if (label == kUnknown && number != 0)
      throw input_error("label " + std::to_string(number) + " of " + where + " is not in " +
                        (root_ / "label.csv").string());
    return std::max(label, -1);
  }

  torch::Tensor read_map(const fs::path& file, const Record& record) const {
    const std::string bytes = read_file(file);
    const torch::Tensor pixels = decode_image(reinterpret_cast<const unsigned char*>(bytes.data()),
                                              bytes.size(), file.string());
    if (pixels.size(0) != record.height || pixels.size(1) != record.width)
      throw input_error(file.string() + " has " + std::to_string(pixels.size(0)) + "x" +
                        std::to_string(pixels.size(1)) + " pixels, index.csv says " +
                        std::to_string(record.height) + "x" + std::to_string(record.width));
    torch::Tensor map = torch::empty({record.height, record.width}, torch::kInt32);
    const std::uint8_t* rgb = pixels.data_ptr<std::uint8_t>();
    std::int32_t* const to = map.data_ptr<std::int32_t>();
    for (std::int64_t i = 0; i < map.numel(); ++i, rgb += 3)
      to[i] = label_of(rgb[0] + 256 * rgb[1], file.string());
    return map;
  }

  static constexpr std::int32_t kUnknown = -2;
  fs::path root_;
  std::vector<std::string> categories_;
  std::vector<PixelLabel> labels_;
  std::vector<std::int32_t> label_of_;  // by Broden number
  std::unordered_map<std::string, Record> records_;
};

}  // namespace

std::shared_ptr<Segmentation> open_broden(const fs::path& root,
                                          const std::vector<std::string>& categories) {
  return std::make_shared<Broden>(root, categories);
}

}  // namespace linex
