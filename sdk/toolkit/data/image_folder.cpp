// torchvision.datasets.ImageFolder's order (torchvision/datasets/folder.py).
#include <algorithm>
#include <set>
#include <unordered_map>

#include "linex/error.hpp"
#include "toolkit/base/text.hpp"
#include "toolkit/data/formats.hpp"
#include "toolkit/data/ground_truth.hpp"

namespace linex {
namespace fs = std::filesystem;

namespace {

/// What systems and tools leave beside people's files.
bool is_left_behind(const std::string& name) {
  static const std::set<std::string> kNames{
      "__macosx",  "thumbs.db",    "ehthumbs.db", "desktop.ini",
      "@eadir",    "$recycle.bin", "#recycle",    "system volume information",
      "lost+found"};
  return name.front() == '.' || kNames.count(lower_case(name)) > 0;
}

/// Files of a tree of folders.
class Walk {
 public:
  explicit Walk(fs::path root) : root_(std::move(root)) {}

  struct Entries {
    std::vector<std::string> folders, images;
  };
  /// Sub-folders and image files of a folder, links followed, each sorted by bytes (Python sorts by
  /// code points: the same order in UTF-8).
  Entries list(const fs::path& folder) {
    Entries entries;
    std::error_code failure;
    for (fs::directory_iterator it(folder, failure), end; !failure && it != end;
         it.increment(failure)) {
      std::error_code ignored;
      std::string name = it->path().filename().string();
      if (is_left_behind(name)) {
        const std::string place = it->path().lexically_relative(root_).string();
        if (passed_over_++ == 0 || place < first_) first_ = place;
      } else if (it->is_directory(ignored)) {
        entries.folders.push_back(std::move(name));
      } else if (is_image_name(name)) {
        entries.images.push_back(std::move(name));
      }
    }
    if (failure)
      throw input_error("cannot read folder " + folder.string() + ": " + failure.message());
    std::sort(entries.folders.begin(), entries.folders.end());
    std::sort(entries.images.begin(), entries.images.end());
    return entries;
  }

  /// All images of a class, in the order of torchvision, which sorts folders by their whole path:
  /// "a-b" comes before "a/c".
  void add_class(const std::string& name, std::int64_t label, std::vector<ImageFile>& files) {
    std::vector<Found> folders;
    find(root_ / name, folders);
    std::sort(folders.begin(), folders.end(),
              [](const Found& a, const Found& b) { return a.folder < b.folder; });
    for (const Found& found : folders) {
      const fs::path place = fs::path(found.folder).lexically_relative(root_);
      for (const auto& image : found.images) files.push_back({(place / image).string(), label});
    }
  }

  void tell(Logger* log) const {
    if (passed_over_ == 0 || !log) return;
    log->info(root_.string() + ": " + std::to_string(passed_over_) + " hidden or system file" +
              (passed_over_ > 1 ? "s and folders" : " or folder") + " passed over, the first is " +
              first_);
  }

 private:
  struct Found {
    std::string folder;
    std::vector<std::string> images;
  };
  /// `folder` and all below it, as os.walk(followlinks=True) finds them; a link back to a parent is
  /// not followed.
  void find(const fs::path& folder, std::vector<Found>& found) {
    std::error_code failure;
    const fs::path real = fs::canonical(folder, failure);
    if (failure || std::find(parents_.begin(), parents_.end(), real) != parents_.end()) return;
    parents_.push_back(real);
    Entries entries = list(folder);
    found.push_back({folder.string(), std::move(entries.images)});
    for (const auto& name : entries.folders) find(folder / name, found);
    parents_.pop_back();
  }

  fs::path root_;
  std::vector<fs::path> parents_;
  std::int64_t passed_over_ = 0;
  std::string first_;
};

void warn(const DataOptions& options, const std::string& message) {
  if (options.log) options.log->warning(message);
}

std::shared_ptr<DataSet> open_flat(const std::vector<std::string>& images,
                                   const DataOptions& options) {
  std::vector<ImageFile> files;
  for (const auto& image : images) files.push_back({image});
  if (options.ground_truth.empty())
    return make_file_data_set(std::move(files), {options.root, {}}, {}, options);
  GroundTruth truth = read_ground_truth(options.ground_truth, options.classes, images);
  for (std::size_t i = 0; i < files.size(); ++i) files[i].label = truth.labels[i];
  return make_file_data_set(std::move(files), {options.root, {}}, std::move(truth.class_names),
                            options);
}

/// Whether data.kind is to blame.
bool holds_shards(const fs::path& root) {
  std::error_code failure;
  if (!fs::is_directory(root, failure)) return root.extension() == ".tar";
  for (fs::directory_iterator it(root, failure), end; !failure && it != end; it.increment(failure))
    if (it->path().extension() == ".tar") return true;
  return false;
}

}  // namespace

std::string lower_case(std::string text) {
  std::transform(text.begin(), text.end(), text.begin(),
                 [](unsigned char c) { return static_cast<char>(std::tolower(c)); });
  return text;
}

bool is_image_name(const std::string& name) {
  static const std::set<std::string> kExtensions{".jpg",  ".jpeg", ".png",  ".ppm",  ".bmp",
                                                 ".pgm",  ".tif",  ".tiff", ".webp", ".gif",
                                                 ".avif", ".heic", ".heif"};
  return kExtensions.count(lower_case(fs::path(name).extension().string())) > 0;
}

std::shared_ptr<DataSet> open_image_folder(const DataOptions& options) {
  const fs::path& root = options.root;
  std::error_code failure;
  if (!fs::is_directory(root, failure))
    throw input_error("data.root " + root.string() +
                      (fs::exists(root, failure) ? " is not a folder" : " does not exist") +
                      (holds_shards(root) ? "; for shards set data.kind=webdataset" : ""));
  Walk walk(root);
  Walk::Entries entries = walk.list(root);
  std::vector<ImageFile> files;
  std::vector<std::string> empty_classes;
  for (std::size_t label = 0; label < entries.folders.size(); ++label) {
    const std::size_t before = files.size();
    walk.add_class(entries.folders[label], static_cast<std::int64_t>(label), files);
    if (files.size() == before) empty_classes.push_back(entries.folders[label]);
  }
  walk.tell(options.log);
  if (files.empty() && entries.images.empty())
    throw input_error("no images in " + root.string() +
                      (holds_shards(root) ? "; it holds shards, for which set data.kind=webdataset"
                                          : "; expected one sub-folder a class (JPEG, PNG, GIF, "
                                            "BMP, PNM, WebP, TIFF)"));
  if (files.empty()) return open_flat(entries.images, options);

  if (!options.ground_truth.empty())
    throw usage_error("data.ground_truth is for a folder of images; those of " + root.string() +
                      " are in class folders already");
  if (!entries.images.empty())
    warn(options, std::to_string(entries.images.size()) + " image" +
                      (entries.images.size() > 1 ? "s" : "") + " of " + root.string() +
                      " beside its class folders (" + entries.folders.front() +
                      (entries.folders.size() > 1 ? ", ..." : "") +
                      ") are not used; a data set is class folders, or a folder of images");
  if (!empty_classes.empty()) {
    constexpr std::size_t kNamed = 5;
    const std::size_t count = empty_classes.size();
    if (count > kNamed) empty_classes.resize(kNamed);
    warn(options, "no images in " + std::to_string(count) + " class folder" +
                      (count > 1 ? "s" : "") + " of " + root.string() + " (" +
                      join(empty_classes, ", ") + (count > kNamed ? ", ..." : "") +
                      "); classes without images keep their numbers");
  }
  return make_file_data_set(std::move(files), {root, {}}, called(entries.folders, options.classes),
                            options);
}

}  // namespace linex
