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
  /// image_folder: what class each image of a flat folder is of, and what classes are called.
  std::filesystem::path ground_truth, classes;
  std::string part = "test";    ///< cifar10, cifar100: test or train
  std::string labels = "fine";  ///< cifar100: fine (100 classes) or coarse (20)
  /// webdataset: the entry that tells the class, cls, json, json:KEY, txt or none; "" = the first.
  std::string label;
  std::int64_t limit = 0;        ///< at most this many rows, chosen by sample_rows(); 0 = all
  std::uint64_t seed = 0;        ///< of that choice
  bool skip_unreadable = false;  ///< data.on_error=skip
  /// data.verify=content: every file is read before any work is spent.
  bool verify_content = false;
  std::filesystem::path cache;  ///< run.cache, for what is found out once; empty = nothing is kept
  int threads = 1;
  Logger* log = nullptr;  ///< where warnings go; may be null
};

/// Where the rows of a data set stand in the listing of everything its files hold: another place
/// once rows were left out. Lists of row ids made elsewhere, as published splits are, mean the
/// listing.
struct Listing {
  Rows rows;              ///< ascending; row i of the data set is row rows[i] of the listing
  std::int64_t size = 0;  ///< of the listing
};

/// A data set that knows its listing; open_data_set() gives such.
class ListedDataSet : public DataSet {
 public:
  explicit ListedDataSet(Listing listing) : listing_(std::move(listing)) {}
  ~ListedDataSet() override;
  const Listing& listing() const { return listing_; }

 private:
  Listing listing_;
};
/// The listing behind `data`, null where it knows none.
const Listing* listing_of(const DataSet* data);

/// `limit` of the n rows (all where it is 0 or more than n), ascending: seeded, and as many of each
/// class as the classes have. `labels` is one a row, or empty.
Rows sample_rows(const std::vector<std::int64_t>& labels, std::int64_t n, std::int64_t limit,
                 std::uint64_t seed);

/// image_folder, cifar10, cifar100, places365, csv, webdataset.
const std::vector<std::string>& data_kinds();

/// Opens a data set. The fingerprint is made of names, sizes and times of last change, so that no
/// file is opened; with `verify_content` every file is read, its structure is verified, and its
/// content makes the fingerprint. With `skip_unreadable` files are decoded, and rows that fail are
/// dropped with a warning, so that row numbers hold from then on; `cache` remembers which. Throws
/// Error(usage) for an unknown kind, Error(input) for a missing folder, no images, or the first
/// image found unreadable.
///
/// * image_folder: torchvision's ImageFolder. Classes are the sorted sub-folder names, files are
///   sorted within each; hidden and system files and folders are passed over. A folder that holds
///   only images is a data set without classes, unless `ground_truth` names a file
///   (ground_truth.hpp).
/// * cifar10, cifar100: the published files, binary or python (root: their folder or the one above,
///   or one file); `part` chooses train or test, `labels`
///   which of CIFAR-100's two.
/// * places365: `val_256/`, `places365_val.txt` and, for names, `categories_places365.txt`.
/// * csv: a table (root) of image paths (relative to it) and, if it likes, labels (class numbers or
///   names); docs/data.md says what headers and separators are understood.
/// * webdataset: tar archives (root: their folder, one of them, or a pattern a-{000..099}.tar) of
///   samples KEY.jpg, KEY.cls; docs/data.md says which entries tell a class. An archive is read
///   through once, what is found is kept in `cache`.
std::shared_ptr<DataSet> open_data_set(const DataOptions& options);

}  // namespace linex
