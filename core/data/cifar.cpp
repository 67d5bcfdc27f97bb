// CIFAR-10 and CIFAR-100 in their binary form (cs.toronto.edu/~kriz/cifar.html).
#include <algorithm>

#include "core/base/files.hpp"
#include "core/base/text.hpp"
#include "core/data/formats.hpp"
#include "linex/error.hpp"

namespace linex {
namespace fs = std::filesystem;

namespace {

constexpr std::int64_t kSide = 32, kPlane = kSide * kSide, kPixels = 3 * kPlane;

/// Where the files of one of the two data sets lie and how a record looks.
struct Layout {
  int classes;
  std::int64_t label_bytes;  ///< before the pixels; the last one is the (fine) label
  std::vector<std::string> folders;
  std::vector<std::string> train, test;
  std::vector<std::string> name_files;
};

const Layout& layout_of(int classes) {
  static const Layout cifar10{10,
                              1,
                              {"", "cifar-10-batches-bin"},
                              {"data_batch_1.bin", "data_batch_2.bin", "data_batch_3.bin",
                               "data_batch_4.bin", "data_batch_5.bin"},
                              {"test_batch.bin"},
                              {"batches.meta.txt"}};
  static const Layout cifar100{
      100, 2, {"", "cifar-100-binary"}, {"train.bin"}, {"test.bin"}, {"fine_label_names.txt"}};
  return classes == 10 ? cifar10 : cifar100;
}

const char* const kNames10 = "airplane automobile bird cat deer dog frog horse ship truck";
const char* const kNames100 =
    "apple aquarium_fish baby bear beaver bed bee beetle bicycle bottle bowl boy bridge bus "
    "butterfly camel can castle caterpillar cattle chair chimpanzee clock cloud cockroach couch "
    "crab crocodile cup dinosaur dolphin elephant flatfish forest fox girl hamster house kangaroo "
    "keyboard lamp lawn_mower leopard lion lizard lobster man maple_tree motorcycle mountain mouse "
    "mushroom oak_tree orange orchid otter palm_tree pear pickup_truck pine_tree plain plate poppy "
    "porcupine possum rabbit raccoon ray road rocket rose sea seal shark shrew skunk skyscraper "
    "snail snake spider squirrel streetcar sunflower sweet_pepper table tank telephone television "
    "tiger tractor train trout tulip turtle wardrobe whale willow_tree wolf woman worm";

class CifarDataSet final : public DataSet {
 public:
  CifarDataSet(std::vector<std::unique_ptr<MappedFile>> files,
               std::vector<const unsigned char*> records, std::int64_t label_bytes,
               std::vector<std::string> class_names, std::string part)
      : files_(std::move(files)),
        records_(std::move(records)),
        label_bytes_(label_bytes),
        class_names_(std::move(class_names)),
        part_(std::move(part)) {
    Sha256 digest;
    for (const auto* record : records_) {
      labels_.push_back(record[label_bytes_ - 1]);
      digest.add(record + label_bytes_ - 1, static_cast<std::size_t>(kPixels + 1));
    }
    fingerprint_ = digest.hex();
  }

  std::int64_t size() const override { return static_cast<std::int64_t>(records_.size()); }
  const std::vector<std::string>& class_names() const override { return class_names_; }
  const std::vector<std::int64_t>& labels() const override { return labels_; }
  std::string name(std::int64_t row) const override { return part_ + "/" + std::to_string(row); }
  std::string fingerprint() const override { return fingerprint_; }

  torch::Tensor pixels(std::int64_t row) const override {
    const unsigned char* planes = records_.at(static_cast<std::size_t>(row)) + label_bytes_;
    torch::Tensor image = torch::empty({kSide, kSide, 3}, torch::kUInt8);
    auto* out = image.data_ptr<std::uint8_t>();
    for (std::int64_t i = 0; i < kPlane; ++i)
      for (std::int64_t c = 0; c < 3; ++c) *out++ = planes[c * kPlane + i];
    return image;
  }

 private:
  std::vector<std::unique_ptr<MappedFile>> files_;
  std::vector<const unsigned char*> records_;  // into files_
  std::int64_t label_bytes_;
  std::vector<std::string> class_names_;
  std::vector<std::int64_t> labels_;
  std::string part_, fingerprint_;
};

/// The first of the usual folders that holds `name`.
fs::path find_folder(const fs::path& root, const Layout& layout, const std::string& name) {
  for (const auto& folder : layout.folders)
    if (std::error_code ignored; fs::exists(root / folder / name, ignored)) return root / folder;
  throw input_error("no " + name + " in " + root.string() + " or " +
                    (root / layout.folders.back()).string());
}

std::vector<std::string> read_names(const fs::path& folder, const Layout& layout) {
  for (const auto& file : layout.name_files) {
    if (std::error_code ignored; !fs::exists(folder / file, ignored)) continue;
    auto names = read_list(folder / file);
    names.erase(std::remove(names.begin(), names.end(), ""), names.end());
    if (names.size() != static_cast<std::size_t>(layout.classes))
      throw input_error((folder / file).string() + " has " + std::to_string(names.size()) +
                        " names instead of " + std::to_string(layout.classes));
    return names;
  }
  return split(layout.classes == 10 ? kNames10 : kNames100, ' ');
}

}  // namespace

std::shared_ptr<DataSet> open_cifar(const DataOptions& options, int classes) {
  const Layout& layout = layout_of(classes);
  if (options.part != "train" && options.part != "test")
    throw usage_error("data.part is '" + options.part + "'; use train or test");
  const auto& parts = options.part == "train" ? layout.train : layout.test;
  std::error_code ignored;
  fs::path folder = options.root.parent_path();
  std::vector<fs::path> paths{options.root};
  if (!fs::is_regular_file(options.root, ignored)) {
    folder = find_folder(options.root, layout, parts.front());
    paths.clear();
    for (const auto& part : parts) paths.push_back(folder / part);
  }

  const auto record_size = static_cast<std::size_t>(layout.label_bytes + kPixels);
  const std::size_t limit =
      options.limit > 0 ? static_cast<std::size_t>(options.limit) : std::size_t(-1);
  std::vector<std::unique_ptr<MappedFile>> files;
  std::vector<const unsigned char*> records;
  for (const auto& path : paths) {
    files.push_back(std::make_unique<MappedFile>(path));
    const MappedFile& file = *files.back();
    if (file.size() % record_size != 0)
      throw input_error(path.string() + " is not a CIFAR-" + std::to_string(classes) +
                        " binary file: " + std::to_string(file.size()) +
                        " bytes is not a multiple of " + std::to_string(record_size));
    for (std::size_t at = 0; at < file.size() && records.size() < limit; at += record_size) {
      const unsigned char* record = file.data() + at;
      if (record[layout.label_bytes - 1] >= classes)
        throw input_error(path.string() + " record " + std::to_string(at / record_size) +
                          ": label " + std::to_string(record[layout.label_bytes - 1]) +
                          " is not below " + std::to_string(classes));
      records.push_back(record);
    }
  }
  return std::make_shared<CifarDataSet>(std::move(files), std::move(records), layout.label_bytes,
                                        read_names(folder, layout), options.part);
}

}  // namespace linex
