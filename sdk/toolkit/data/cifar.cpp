// CIFAR-10 and CIFAR-100 (cs.toronto.edu/~kriz/cifar.html).
#include "linex/error.hpp"
#include "toolkit/base/files.hpp"
#include "toolkit/base/text.hpp"
#include "toolkit/data/cifar_records.hpp"
#include "toolkit/data/formats.hpp"

namespace linex {
namespace fs = std::filesystem;

namespace {

/// Where the files of one of the two data sets lie, in one of its published forms.
struct Layout {
  std::string folder;  ///< as the archive unpacks
  std::vector<std::string> train, test;
};

const std::vector<Layout>& layouts_of(int classes) {
  static const std::vector<Layout> cifar10{
      {"cifar-10-batches-bin",
       {"data_batch_1.bin", "data_batch_2.bin", "data_batch_3.bin", "data_batch_4.bin",
        "data_batch_5.bin"},
       {"test_batch.bin"}},
      {"cifar-10-batches-py",
       {"data_batch_1", "data_batch_2", "data_batch_3", "data_batch_4", "data_batch_5"},
       {"test_batch"}}};
  static const std::vector<Layout> cifar100{{"cifar-100-binary", {"train.bin"}, {"test.bin"}},
                                            {"cifar-100-python", {"train"}, {"test"}}};
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
const char* const kNamesCoarse =
    "aquatic_mammals fish flowers food_containers fruit_and_vegetables "
    "household_electrical_devices household_furniture insects large_carnivores "
    "large_man-made_outdoor_things large_natural_outdoor_scenes large_omnivores_and_herbivores "
    "medium_mammals non-insect_invertebrates people reptiles small_mammals trees vehicles_1 "
    "vehicles_2";

const char* names_of(CifarLabels labels) {
  return labels == CifarLabels::ten    ? kNames10
         : labels == CifarLabels::fine ? kNames100
                                       : kNamesCoarse;
}

class CifarDataSet final : public ListedDataSet {
 public:
  /// `records` are those of `listing`.
  CifarDataSet(std::vector<CifarFile> files, const std::vector<CifarRecord>& records,
               Listing listing, std::vector<std::string> class_names, std::string part)
      : ListedDataSet(std::move(listing)),
        files_(std::move(files)),
        class_names_(std::move(class_names)),
        part_(std::move(part)) {
    Sha256 digest;
    for (const auto& record : records) {
      planes_.push_back(record.planes);
      labels_.push_back(record.label);
      digest.add(&record.label, sizeof record.label).add(record.planes, kCifarPixels);
    }
    fingerprint_ = digest.hex();
  }

  std::int64_t size() const override { return static_cast<std::int64_t>(planes_.size()); }
  const std::vector<std::string>& class_names() const override { return class_names_; }
  const std::vector<std::int64_t>& labels() const override { return labels_; }
  std::string name(std::int64_t row) const override {
    return part_ + "/" + std::to_string(listing().rows.at(static_cast<std::size_t>(row)));
  }
  std::string fingerprint() const override { return fingerprint_; }

  torch::Tensor pixels(std::int64_t row) const override {
    const unsigned char* planes = planes_.at(static_cast<std::size_t>(row));
    torch::Tensor image = torch::empty({kCifarSide, kCifarSide, 3}, torch::kUInt8);
    auto* out = image.data_ptr<std::uint8_t>();
    for (std::int64_t i = 0; i < kCifarPlane; ++i)
      for (std::int64_t c = 0; c < 3; ++c) *out++ = planes[c * kCifarPlane + i];
    return image;
  }

 private:
  std::vector<CifarFile> files_;
  std::vector<std::string> class_names_;
  std::vector<const unsigned char*> planes_;  // into files_
  std::vector<std::int64_t> labels_;
  std::string part_, fingerprint_;
};

/// The files of `part` below `root`: its usual sub-folder or `root` itself.
std::vector<fs::path> find_files(const fs::path& root, const std::string& part, int classes) {
  std::vector<std::string> tried;
  for (const auto& layout : layouts_of(classes)) {
    const auto& names = part == "train" ? layout.train : layout.test;
    for (const auto& folder : {root, root / layout.folder}) {
      if (std::error_code ignored; !fs::is_regular_file(folder / names.front(), ignored)) continue;
      std::vector<fs::path> paths;
      for (const auto& name : names) paths.push_back(folder / name);
      return paths;
    }
    tried.push_back(layout.folder + "/" + names.front());
  }
  throw input_error("no CIFAR-" + std::to_string(classes) + " files in " + root.string() +
                    "; expected " + join(tried, " or ") + " (unpack the archive first)");
}

}  // namespace

std::shared_ptr<DataSet> open_cifar(const DataOptions& options, int classes) {
  if (options.part != "train" && options.part != "test")
    throw usage_error("data.part is '" + options.part + "'; use train or test");
  if (options.labels != "fine" && options.labels != "coarse")
    throw usage_error("data.labels is '" + options.labels + "'; use fine or coarse");
  const CifarLabels labels = classes == 10              ? CifarLabels::ten
                             : options.labels == "fine" ? CifarLabels::fine
                                                        : CifarLabels::coarse;
  std::error_code ignored;
  std::vector<fs::path> paths{options.root};
  if (!fs::is_regular_file(options.root, ignored))
    paths = find_files(options.root, options.part, classes);
  std::vector<CifarFile> files;
  for (const auto& path : paths) files.push_back(read_cifar_file(path, labels));
  std::vector<CifarRecord> all, chosen;
  std::vector<std::int64_t> classes_of;
  for (const auto& file : files)
    for (const auto& record : file.records) {
      all.push_back(record);
      classes_of.push_back(record.label);
    }
  Listing listing{{}, static_cast<std::int64_t>(all.size())};
  listing.rows = sample_rows(classes_of, listing.size, options.limit, options.seed);
  for (const std::int64_t row : listing.rows) chosen.push_back(all[static_cast<std::size_t>(row)]);
  return std::make_shared<CifarDataSet>(std::move(files), chosen, std::move(listing),
                                        split(names_of(labels), ' '), options.part);
}

}  // namespace linex
