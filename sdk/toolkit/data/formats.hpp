// The readers behind open_data_set(), one a file.
#pragma once

#include <cstdint>
#include <filesystem>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "toolkit/data/dataset.hpp"

namespace linex {

std::shared_ptr<DataSet> open_image_folder(const DataOptions& options);
/// `classes` is 10 or 100.
std::shared_ptr<DataSet> open_cifar(const DataOptions& options, int classes);
std::shared_ptr<DataSet> open_places365(const DataOptions& options);
std::shared_ptr<DataSet> open_path_csv(const DataOptions& options);
std::shared_ptr<DataSet> open_shards(const DataOptions& options);

/// One image on disk.
struct ImageFile {
  std::string name;           ///< for people; a file of its own lies there in ImagePlaces::folder
  std::int64_t label = 0;     ///< unused where the data set has no classes
  std::int32_t archive = -1;  ///< which of ImagePlaces::archives holds it; -1: a file of its own
  std::int64_t offset = 0, size = 0;  ///< of its bytes in the archive
};

struct ImagePlaces {
  std::filesystem::path folder;
  std::vector<std::filesystem::path> archives;
};

/// A data set of image files, checked as open_data_set() says. `class_names` is empty where there
/// are no classes.
std::shared_ptr<DataSet> make_file_data_set(std::vector<ImageFile> files, ImagePlaces places,
                                            std::vector<std::string> class_names,
                                            const DataOptions& options);

/// A class as a number; nothing for other texts and numbers that no list of classes has.
std::optional<std::int64_t> as_class_number(const std::string& text);
/// Gives `files` the labels that are `written`, one each, and returns the names of the classes:
/// numbers are taken as they are, names are numbered in sorted order.
std::vector<std::string> number_labels(const std::vector<std::string>& written,
                                       std::vector<ImageFile>& files);

/// Whether a file of that name is taken for an image: torchvision's extensions, GIF, and what is
/// refused by name rather than passed over in silence.
bool is_image_name(const std::string& name);
/// Of ASCII letters.
std::string lower_case(std::string text);

}  // namespace linex
