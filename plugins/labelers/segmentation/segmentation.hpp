// Data sets with labelled pixels, on disk.
#pragma once

#include <cstdint>
#include <filesystem>
#include <memory>
#include <string>
#include <vector>

#include "linex/pixel_labels.hpp"

namespace linex {

/// Labels of the pixels of images that are known by name. [any thread]
class Segmentation {
 public:
  virtual ~Segmentation();
  virtual const std::vector<PixelLabel>& labels() const = 0;
  /// `image` as DataSet::name() gives it. Throws Error(input) naming the file where there are no
  /// labels for it, or labels nobody named.
  virtual LabelMaps label_maps(const std::string& image) const = 0;
  /// What looks wrong about all the maps read so far, "" where nothing does.
  virtual std::string complaint() const { return ""; }
};

/// A folder in Broden's format (docs/methods.md §2.2): index.csv, label.csv, category.csv and a
/// c_<category>.csv each. `categories` picks some of them, in that order; empty means all. A label
/// competes in the category where its coverage is largest, the later one of equals. Image names are
/// those of index.csv, with or without the leading "images/".
std::shared_ptr<Segmentation> open_broden(const std::filesystem::path& root,
                                          const std::vector<std::string>& categories);

/// Folders of label maps, each with <image name>.png for every image (the image's extension is
/// replaced) and all of one size an image: values as decode_label_map() reads them, v being line v
/// of `names` ("name" or "name<tab>category", the default category is "object"). A pixel carries
/// the labels of all folders. Lines that are empty or in `ignore`, and value 255 where no line
/// names it, are pixels without a label.
std::shared_ptr<Segmentation> open_label_maps(const std::vector<std::filesystem::path>& roots,
                                              const std::filesystem::path& names,
                                              const std::vector<std::string>& ignore);

}  // namespace linex
