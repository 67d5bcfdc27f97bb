// The readers behind open_data_set(), one a file.
#pragma once

#include <filesystem>
#include <memory>
#include <string>
#include <vector>

#include "toolkit/data/dataset.hpp"

namespace linex {

std::shared_ptr<DataSet> open_image_folder(const DataOptions& options);
/// `classes` is 10 or 100.
std::shared_ptr<DataSet> open_cifar(const DataOptions& options, int classes);
std::shared_ptr<DataSet> open_places365(const DataOptions& options);
std::shared_ptr<DataSet> open_path_csv(const DataOptions& options);

/// One image on disk.
struct ImageFile {
  std::filesystem::path path;
  std::string name;        ///< for people: relative to the root
  std::int64_t label = 0;  ///< unused where the data set has no classes
};

/// A data set of image files, checked as open_data_set() says. `class_names` is empty where there
/// are no classes.
std::shared_ptr<DataSet> make_file_data_set(std::vector<ImageFile> files,
                                            std::vector<std::string> class_names,
                                            const DataOptions& options);

}  // namespace linex
