// Opens a data set of images, whatever its form on disk.
#pragma once

#include <cstdint>
#include <filesystem>
#include <memory>
#include <string>
#include <vector>

#include "linex/context.hpp"
#include "linex/data.hpp"

namespace linex {

/// Section [data] of a configuration, without the split.
struct DataOptions {
  std::string kind = "image_folder";  ///< one of data_kinds()
  std::filesystem::path root;
  std::string part = "test";     ///< cifar10, cifar100: test or train
  std::string labels = "fine";   ///< cifar100: fine (100 classes) or coarse (20)
  std::int64_t limit = 0;        ///< only the first rows, 0 = all
  bool skip_unreadable = false;  ///< data.on_error=skip
  int threads = 1;
  Logger* log = nullptr;  ///< where warnings go; may be null
};

/// image_folder, cifar10, cifar100, places365, csv.
const std::vector<std::string>& data_kinds();

/// Opens and checks a data set before any work is spent on it. Files are read once (they enter the
/// fingerprint) and their structure is verified; with `skip_unreadable` they are decoded as well,
/// and rows that fail are dropped with a warning, so that row numbers hold from then on. Throws
/// Error(usage) for an unknown kind, Error(input) for a missing folder, no images, or the first
/// unreadable image.
///
/// * image_folder: torchvision's ImageFolder. Classes are the sorted sub-folder names, files are
///   sorted within each; a folder that holds only images is a data set without classes.
/// * cifar10, cifar100: the published files, binary or python (root: their folder or the one above,
///   or one file); `part` chooses train or test, `labels`
///   which of CIFAR-100's two.
/// * places365: `val_256/`, `places365_val.txt` and, for names, `categories_places365.txt`.
/// * csv: a file (root) with columns `path` (relative to it) and, if it likes, `label` (a class
///   number or a name).
std::shared_ptr<DataSet> open_data_set(const DataOptions& options);

}  // namespace linex
