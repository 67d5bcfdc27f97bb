// Images with label maps, e.g. CamVid.
#include <algorithm>
#include <atomic>

#include "linex/error.hpp"
#include "segmentation.hpp"
#include "toolkit/base/files.hpp"
#include "toolkit/base/text.hpp"
#include "toolkit/data/image.hpp"

namespace linex {

namespace fs = std::filesystem;

namespace {

class LabelMapFolder final : public Segmentation {
 public:
  LabelMapFolder(std::vector<fs::path> roots, const fs::path& names,
                 const std::vector<std::string>& ignore)
      : roots_(std::move(roots)), names_file_(names.string()) {
    std::error_code failure;
    for (const auto& root : roots_)
      if (!fs::is_directory(root, failure))
        throw input_error("labeler.masks: " + root.string() + " is not a folder");
    const auto lines = read_list(names);
    if (lines.size() > 65536)
      throw input_error(names_file_ + ": a label map has at most 65536 labels, not " +
                        std::to_string(lines.size()));
    for (const auto& line : lines) {
      const auto tab = line.find('\t');
      const std::string name = trim(line.substr(0, tab));
      const bool skipped =
          name.empty() || std::find(ignore.begin(), ignore.end(), name) != ignore.end();
      label_of_.push_back(skipped ? -1 : static_cast<std::int32_t>(labels_.size()));
      if (skipped) continue;
      labels_.push_back({name, tab == std::string::npos ? "object" : trim(line.substr(tab + 1))});
    }
    if (labels_.empty()) throw input_error(names_file_ + " names no label");
  }

  const std::vector<PixelLabel>& labels() const override { return labels_; }

  LabelMaps label_maps(const std::string& image) const override {
    LabelMaps result;
    for (const auto& root : roots_) {
      const fs::path file = (root / image).replace_extension(".png");
      result.maps.push_back(read_map(file));
      const torch::Tensor& map = result.maps.back();
      if (map.sizes() != result.maps.front().sizes())
        throw input_error(file.string() + " has another size than the label map in " +
                          roots_.front().string());
    }
    result.image_height = result.height = result.maps.front().size(0);
    result.image_width = result.width = result.maps.front().size(1);
    return result;
  }
  std::string complaint() const override {
    if (varied_ || !white_) return "";
    return "labeler.masks: every value is 0 or 255, as in binary masks" +
           std::string(label_of_.size() <= kVoid ? ", and 255 means 'no label'" : "") +
           "; a label map's value is the number of a line of " + names_file_ +
           " from 0, so save 0 and 1";
  }

 private:
  static constexpr std::size_t kVoid = 255;

  torch::Tensor read_map(const fs::path& file) const {
    const std::string bytes = read_file(file);
    torch::Tensor map = decode_label_map(reinterpret_cast<const unsigned char*>(bytes.data()),
                                         bytes.size(), file.string());
    std::int32_t* const values = map.data_ptr<std::int32_t>();
    bool black_or_white = true, white = false;
    for (std::int64_t i = 0; i < map.numel(); ++i) {
      const auto value = static_cast<std::size_t>(values[i]);
      white = white || value == kVoid;
      black_or_white = black_or_white && (value == 0 || value == kVoid);
      if (value < label_of_.size())
        values[i] = label_of_[value];
      else if (value == kVoid)
        values[i] = -1;
      else
        throw input_error(file.string() + " holds label " + std::to_string(value) + "; " +
                          names_file_ + " names " + std::to_string(label_of_.size()));
    }
    if (!black_or_white) varied_ = true;
    if (white) white_ = true;
    return map;
  }

  std::vector<fs::path> roots_;
  std::string names_file_;
  std::vector<PixelLabel> labels_;
  std::vector<std::int32_t> label_of_;  // by pixel value
  mutable std::atomic<bool> varied_{false}, white_{false};
};

}  // namespace

Segmentation::~Segmentation() = default;

std::shared_ptr<Segmentation> open_label_maps(const std::vector<fs::path>& roots,
                                              const fs::path& names,
                                              const std::vector<std::string>& ignore) {
  return std::make_shared<LabelMapFolder>(roots, names, ignore);
}

}  // namespace linex
