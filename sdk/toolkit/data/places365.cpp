// Places365 validation images as torchvision.datasets.Places365(split="val", small=True) lays them.
#include <charconv>

#include "linex/error.hpp"
#include "toolkit/base/text.hpp"
#include "toolkit/data/formats.hpp"

namespace linex {
namespace fs = std::filesystem;

namespace {

constexpr std::int64_t kClasses = 365;

struct ListLine {
  std::string name;
  std::int64_t label = 0;
};

/// "NAME LABEL"; throws naming file and line.
ListLine parse_line(const std::string& line, const fs::path& file, std::size_t number) {
  const auto space = line.find_last_of(' ');
  ListLine parsed;
  bool ok = space != std::string::npos && space > 0;
  if (ok) {
    parsed.name = trim(line.substr(0, space));
    const char* end = line.data() + line.size();
    const auto [stop, failure] = std::from_chars(line.data() + space + 1, end, parsed.label);
    ok = failure == std::errc() && stop == end && parsed.label >= 0 && parsed.label < kClasses;
  }
  if (!ok)
    throw input_error(file.string() + " line " + std::to_string(number) +
                      ": expected 'NAME LABEL' with a label from 0 to 364");
  return parsed;
}

std::vector<std::string> read_names(const fs::path& root) {
  std::vector<std::string> names(kClasses);
  for (std::size_t i = 0; i < names.size(); ++i) names[i] = "class " + std::to_string(i);
  const fs::path file = root / "categories_places365.txt";
  std::error_code ignored;
  if (!fs::exists(file, ignored)) return names;
  std::size_t number = 0;
  for (const auto& line : read_list(file)) {
    ++number;
    if (trim(line).empty()) continue;
    const ListLine parsed = parse_line(trim(line), file, number);
    names[static_cast<std::size_t>(parsed.label)] = parsed.name;
  }
  return names;
}

}  // namespace

std::shared_ptr<DataSet> open_places365(const DataOptions& options) {
  const fs::path list = options.root / "places365_val.txt";
  const fs::path images = options.root / "val_256";
  std::vector<ImageFile> files;
  std::size_t number = 0;
  for (const auto& line : read_list(list)) {
    ++number;
    if (trim(line).empty()) continue;
    const ListLine parsed = parse_line(trim(line), list, number);
    const fs::path name = fs::path(parsed.name).relative_path();
    files.push_back({name.string(), parsed.label});
  }
  if (files.empty()) throw input_error(list.string() + " lists no images");
  return make_file_data_set(std::move(files), {images, {}}, read_names(options.root), options);
}

}  // namespace linex
