// torchvision.datasets.ImageFolder's order (torchvision/datasets/folder.py).
#include <algorithm>
#include <set>

#include "linex/error.hpp"
#include "toolkit/base/text.hpp"
#include "toolkit/data/formats.hpp"

namespace linex {
namespace fs = std::filesystem;

namespace {

bool is_image_name(const fs::path& path) {
  static const std::set<std::string> kExtensions{".jpg", ".jpeg", ".png",  ".ppm", ".bmp",
                                                 ".pgm", ".tif",  ".tiff", ".webp"};
  std::string extension = path.extension().string();
  // ".png" alone has no extension for the standard library but ends in it for Python.
  if (extension.empty()) extension = path.filename().string();
  std::transform(extension.begin(), extension.end(), extension.begin(),
                 [](unsigned char c) { return static_cast<char>(std::tolower(c)); });
  return kExtensions.count(extension) > 0;
}

struct Entries {
  std::vector<std::string> folders, images;
};

/// Sub-folders and image files of a folder, links followed, each sorted by bytes (Python sorts by
/// code points: the same order in UTF-8).
Entries list_folder(const fs::path& folder) {
  Entries entries;
  std::error_code failure;
  for (fs::directory_iterator it(folder, failure), end; !failure && it != end;
       it.increment(failure)) {
    std::error_code ignored;
    const std::string name = it->path().filename().string();
    if (it->is_directory(ignored))
      entries.folders.push_back(name);
    else if (is_image_name(it->path()))
      entries.images.push_back(name);
  }
  if (failure)
    throw input_error("cannot read folder " + folder.string() + ": " + failure.message());
  std::sort(entries.folders.begin(), entries.folders.end());
  std::sort(entries.images.begin(), entries.images.end());
  return entries;
}

/// All folders below `folder`, itself included, as os.walk(followlinks=True) finds them; a link
/// back to a parent is not followed.
void walk(const fs::path& folder, std::vector<fs::path>& parents, std::vector<std::string>& found) {
  std::error_code failure;
  const fs::path real = fs::canonical(folder, failure);
  if (failure || std::find(parents.begin(), parents.end(), real) != parents.end()) return;
  parents.push_back(real);
  found.push_back(folder.string());
  for (const auto& name : list_folder(folder).folders) walk(folder / name, parents, found);
  parents.pop_back();
}

void add_class(const fs::path& root, const std::string& name, std::int64_t label,
               std::vector<ImageFile>& files) {
  std::vector<std::string> folders;
  std::vector<fs::path> parents;
  walk(root / name, parents, folders);
  // torchvision sorts by the whole path: "a-b" comes before "a/c".
  std::sort(folders.begin(), folders.end());
  for (const fs::path folder : folders)
    for (const auto& image : list_folder(folder).images) {
      const fs::path path = folder / image;
      files.push_back({path, path.lexically_relative(root).string(), label});
    }
}

}  // namespace

std::shared_ptr<DataSet> open_image_folder(const DataOptions& options) {
  const fs::path& root = options.root;
  std::error_code failure;
  if (!fs::is_directory(root, failure))
    throw input_error("data.root " + root.string() +
                      (fs::exists(root, failure) ? " is not a folder" : " does not exist"));
  const Entries entries = list_folder(root);
  std::vector<ImageFile> files;
  if (entries.folders.empty()) {
    for (const auto& image : entries.images) files.push_back({root / image, image, 0});
    if (files.empty())
      throw input_error("no images in " + root.string() +
                        "; expected one sub-folder a class (JPEG, PNG, BMP, PNM, WebP, TIFF)");
    return make_file_data_set(std::move(files), {}, options);
  }
  std::vector<std::string> empty_classes;
  for (std::size_t label = 0; label < entries.folders.size(); ++label) {
    const std::size_t before = files.size();
    add_class(root, entries.folders[label], static_cast<std::int64_t>(label), files);
    if (files.size() == before) empty_classes.push_back(entries.folders[label]);
  }
  // torchvision refuses these, too: an empty folder would shift the meaning of every later label.
  if (!empty_classes.empty())
    throw input_error("no images in class folder" +
                      std::string(empty_classes.size() > 1 ? "s " : " ") +
                      join(empty_classes, ", ") + " of " + root.string() + "; remove or fill " +
                      (empty_classes.size() > 1 ? "them" : "it"));
  return make_file_data_set(std::move(files), entries.folders, options);
}

}  // namespace linex
