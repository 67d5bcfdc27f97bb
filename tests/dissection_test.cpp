// Network Dissection against its definition, one pixel at a time: on random maps and labels, on the
// embedded world's masks and on CamVid.
#include <gtest/gtest.h>

#include <array>
#include <cstdlib>
#include <fstream>
#include <map>
#include <set>

#include "folder_test.hpp"
#include "host/demo/trained_world.hpp"
#include "host/demo/world.hpp"
#include "linex/error.hpp"
#include "plugins/labelers/segmentation/segmentation.hpp"
#include "plugins/solvers/net_dissect/dissection.hpp"
#include "probe_fixture.hpp"
#include "shared_file.hpp"
#include "toolkit/base/files.hpp"
#include "toolkit/data/dataset.hpp"
#include "toolkit/data/loader.hpp"
#include "toolkit/data/resize.hpp"
#include "toolkit/explanations/explanation_csv.hpp"
#include "toolkit/net/image_model.hpp"
#include "toolkit/net/resnet_network.hpp"

namespace linex {
namespace {

namespace fs = std::filesystem;
using probe_test::context;
using probe_test::first_numbers;
using probe_test::RandomImages;
using probe_test::RandomLabels;
using probe_test::slow_quantile;
using probe_test::SmallNetwork;

/// What the network sees of the label maps, in their pixels.
struct Seen {
  std::int64_t top, left, height, width;
};

struct SlowMatch {
  std::string category, label;
  double score = 0;
};

struct Counts {
  std::int64_t truth = 0, activation = 0, intersect = 0;
};

/// docs/methods.md §2.2 as it is written. `counts` gets those of every label, by name.
SlowMatch slow_dissection(const torch::Tensor& maps, std::int64_t unit, const PixelLabels& labels,
                          float threshold, const Seen& seen,
                          std::map<std::string, Counts>& counts) {
  const auto names = labels.pixel_labels();
  std::map<std::string, std::int64_t> activation;
  std::vector<Counts> of(names.size());
  for (std::int64_t i = 0; i < maps.size(0); ++i) {
    const LabelMaps image = labels.label_maps(i);
    const auto up = resize_plane(maps[i][unit].contiguous(), seen.height, seen.width,
                                 Preprocess::Interpolation::bilinear);
    std::int64_t mask = 0;
    std::set<std::string> touched;
    for (std::int64_t y = 0; y < seen.height; ++y)
      for (std::int64_t x = 0; x < seen.width; ++x) {
        const std::int64_t row = seen.top + y, column = seen.left + x;
        if (row < 0 || column < 0 || row >= image.height || column >= image.width) continue;
        const bool inside = up.data_ptr<float>()[y * seen.width + x] > threshold;
        mask += inside;
        std::vector<std::int64_t> here = image.whole;
        for (const auto& map : image.maps)
          if (const int label = map.data_ptr<int>()[row * image.width + column]; label >= 0)
            here.push_back(label);
        for (const auto label : here) {
          ++of[static_cast<std::size_t>(label)].truth;
          if (!inside) continue;
          ++of[static_cast<std::size_t>(label)].intersect;
          touched.insert(names[static_cast<std::size_t>(label)].category);
        }
      }
    for (const auto& category : touched) activation[category] += mask;
  }
  SlowMatch best;
  for (std::size_t j = 0; j < names.size(); ++j) {
    of[j].activation = activation[names[j].category];
    const auto joined = of[j].activation + of[j].truth - of[j].intersect;
    const double iou = static_cast<double>(of[j].intersect) / (static_cast<double>(joined) + 1e-10);
    if (iou > best.score) best = {names[j].category, names[j].name, iou};
    counts[names[j].name] = of[j];
  }
  return best;
}

/// Thresholds, all counts and the best label of units 0…units, with exact quantiles.
void expect_slow_equal(TargetModel& network, const std::string& layer,
                       const std::shared_ptr<const DataSet>& images, const PixelLabels& labels,
                       std::int64_t units, const Seen& seen, double quantile) {
  const auto where = context();
  UnitMaps maps(network, images, layer, first_numbers(units), where);
  const auto tallies = tally_pixels(maps, labels, {quantile, QuantileMethod::exact});
  const auto names = labels.pixel_labels();
  const auto matches = match_units(tallies, names);
  std::vector<torch::Tensor> batches;
  maps.stream("all", [&](auto, auto, const torch::Tensor& batch) { batches.push_back(batch); });
  const auto all = torch::cat(batches);
  ASSERT_EQ(all.size(0), images->size());
  std::int64_t alive = 0;
  for (std::int64_t k = 0; k < units; ++k) {
    const UnitMatch& match = matches[static_cast<std::size_t>(k)];
    const float threshold = tallies.threshold[k].item<float>();
    ASSERT_EQ(threshold, slow_quantile(all.select(1, k), quantile)) << "unit " << k;
    if (match.best < 0) {  // dead: one value everywhere
      EXPECT_EQ(all.select(1, k).max().item<float>(), all.select(1, k).min().item<float>());
      continue;
    }
    std::map<std::string, Counts> counts;
    const auto slow = slow_dissection(all, k, labels, threshold, seen, counts);
    EXPECT_EQ(match.score(), slow.score) << "unit " << k;
    for (const auto& category : match.categories) {
      const Counts& want = counts[names[static_cast<std::size_t>(category.label)].name];
      EXPECT_EQ(category.truth, want.truth);
      EXPECT_EQ(category.activation, want.activation);
      EXPECT_EQ(category.intersect, want.intersect);
    }
    if (!(slow.score > 0)) continue;
    const auto& best = match.categories[static_cast<std::size_t>(match.best)];
    EXPECT_EQ(names[static_cast<std::size_t>(best.label)].name, slow.label);
    EXPECT_EQ(names[static_cast<std::size_t>(best.label)].category, slow.category);
    ++alive;
  }
  EXPECT_GT(alive, units / 2);
}

/// Largest difference of IoU between the sketch in the least memory and exact quantiles, as a share
/// of it.
double sketch_error(TargetModel& network, const std::string& layer,
                    const std::shared_ptr<const DataSet>& images, const PixelLabels& labels,
                    std::int64_t units, double quantile) {
  const auto plenty = context(), little = context(1);
  UnitMaps kept(network, images, layer, first_numbers(units), plenty);
  UnitMaps streamed(network, images, layer, first_numbers(units), little);
  const auto names = labels.pixel_labels();
  const auto exact =
                 match_units(tally_pixels(kept, labels, {quantile, QuantileMethod::exact}), names),
             sketch = match_units(
                 tally_pixels(streamed, labels, {quantile, QuantileMethod::sketch}), names);
  double worst = 0;
  for (std::size_t k = 0; k < exact.size(); ++k)
    if (exact[k].score() > 0)
      worst = std::max(worst, std::fabs(exact[k].score() - sketch[k].score()) / exact[k].score());
  return worst;
}

TEST(NetDissect, EqualsTheDefinition) {
  SmallNetwork network(6);
  const auto images = std::make_shared<RandomImages>(12, 32, 32);
  expect_slow_equal(network, "conv", images, RandomLabels(12, 32, 32, 24, 24), 6, {0, 0, 24, 24},
                    0.97);
}

TEST(NetDissect, CountsWhatTheNetworkSees) {
  Preprocess crop;
  crop.resize = Preprocess::Resize::short_side;
  crop.size = 16;
  crop.crop = 12;
  SmallNetwork network(5, crop);
  // 32 -> 16, the middle 12: of a label map of 40 the middle 30.
  const auto images = std::make_shared<RandomImages>(10, 32, 32);
  expect_slow_equal(network, "conv", images, RandomLabels(10, 32, 32, 40, 40), 5, {5, 5, 30, 30},
                    0.95);
  Preprocess pad;
  pad.crop = 40;  // the crop is larger than the image: 4 pixels of padding on each side
  SmallNetwork padded(5, pad);
  expect_slow_equal(padded, "conv", images, RandomLabels(10, 32, 32, 32, 32), 5, {-4, -4, 40, 40},
                    0.95);
}

TEST(NetDissect, ThreadsAndBatchesChangeNothing) {
  SmallNetwork network(6);
  const auto images = std::make_shared<RandomImages>(15, 32, 32);
  const RandomLabels labels(15, 32, 32, 24, 24);
  const auto run = [&](int threads, std::int64_t batch) {
    RunSettings settings;
    settings.threads = threads;
    settings.batch = batch;
    const conformance::TestContext where({}, settings);
    UnitMaps maps(network, images, "conv", first_numbers(6), where);
    return tally_pixels(maps, labels, {0.97, QuantileMethod::sketch});
  };
  const auto a = run(1, 7), b = run(3, 7);
  EXPECT_TRUE(torch::equal(a.intersect, b.intersect) && torch::equal(a.activation, b.activation));
}

TEST(NetDissect, TallyHasThePublishedColumnsAndIsReadBack) {
  SmallNetwork network(6);
  const auto images = std::make_shared<RandomImages>(12, 32, 32);
  const RandomLabels labels(12, 32, 32, 24, 24);
  const auto where = context();
  UnitMaps maps(network, images, "conv", first_numbers(6), where);
  const auto names = labels.pixel_labels();
  const auto matches =
      match_units(tally_pixels(maps, labels, {0.97, QuantileMethod::exact}), names);
  const TemporaryFolder folder;
  const fs::path file = folder.path() / "tally.csv";
  write_tally(file, first_numbers(6), matches, names);
  const auto back = read_explanation_table(file);
  EXPECT_EQ(back.layout, ExplanationLayout::tally);
  EXPECT_EQ(back.table.header[0] + "," + back.table.header[3] + "," + back.table.header[4] + "," +
                back.table.header[8],
            "unit,score,object-label,object-iou");
  double last = 1;
  for (std::size_t i = 0; i < back.content.explanations.size(); ++i) {
    const auto unit = static_cast<std::size_t>(back.content.explanations[i].unit);
    const double score = back.content.scores[0].value[i];
    EXPECT_EQ(score, matches[unit].score());
    EXPECT_LE(score, last);
    last = score;
  }
}

// ---------------------------------------------------------------------------------------------

/// Labels of a folder for the images of a data set, as the segmentation labeler gives them.
class FolderLabels final : public PixelLabels {
 public:
  FolderLabels(std::shared_ptr<Segmentation> source, std::shared_ptr<const DataSet> data)
      : source_(std::move(source)), data_(std::move(data)) {}
  std::vector<PixelLabel> pixel_labels() const override { return source_->labels(); }
  LabelMaps label_maps(std::int64_t row) const override {
    return source_->label_maps(data_->name(row));
  }

 private:
  std::shared_ptr<Segmentation> source_;
  std::shared_ptr<const DataSet> data_;
};

/// Real files, and the network that linex demo trains, after less training.
class Embedded : public FolderTest {
 protected:
  void SetUp() override {
    WorldNetworkOptions options;
    options.world.images = 300;
    options.train.epochs = 1;
    auto state = load_weights(world_network(options, folder_, context()));
    network_ =
        std::make_unique<ImageModel>(build_resnet(infer_resnet(state), state), context().run());
  }
  static std::shared_ptr<const DataSet> open(const fs::path& root, std::int64_t limit = 0) {
    DataOptions options;
    options.limit = limit;
    options.root = root;
    return open_data_set(options);
  }
  std::unique_ptr<ImageModel> network_;
};

TEST_F(Embedded, WorldsMasksEqualTheDefinition) {
  const World world({80, 32, 1});
  write_world(world, folder_, {true, 2});
  std::vector<fs::path> masks;
  for (int aspect = 0; aspect < kAspects; ++aspect)
    masks.push_back(folder_ / "masks" / to_string(static_cast<Aspect>(aspect)));
  const auto source = open_label_maps(masks, folder_ / "masks/names.txt", {"none"});
  EXPECT_EQ(source->labels().size(), World::attribute_names().size());
  EXPECT_EQ(source->labels().back().category, "background");
  const auto images = open(folder_ / "images");
  const FolderLabels labels(source, images);
  expect_slow_equal(*network_, "layer3", images, labels, 64, {0, 0, 32, 32}, 0.98);
  expect_slow_equal(*network_, "layer1.0.conv1", images, labels, 16, {0, 0, 32, 32}, 0.995);
  const double error = sketch_error(*network_, "layer1", images, labels, 16, 0.9);
  RecordProperty("sketch_iou_error", std::to_string(error));
  EXPECT_LE(error, 0.005);
}

TEST_F(Embedded, CamVidEqualsTheDefinition) {
  const fs::path root = shared_file("data/camvid");
  if (root.empty()) GTEST_SKIP() << "no CamVid";
  std::ofstream(folder_ / "names.txt")
      << "Sky\nBuilding\nPole\nRoad\nPavement\nTree\nSignSymbol\nFence\nCar\nPedestrian\n"
         "Bicyclist\nUnlabelled\n";
  const auto source = open_label_maps({root / "masks"}, folder_ / "names.txt", {"Unlabelled"});
  EXPECT_EQ(source->labels().size(), 11U);
  const auto images = open(root / "images", 10);
  const FolderLabels labels(source, images);
  expect_slow_equal(*network_, "layer3", images, labels, 12, {0, 0, 360, 480}, 0.995);
  const double error = sketch_error(*network_, "layer1", images, labels, 16, 0.995);
  RecordProperty("sketch_iou_error", std::to_string(error));
  EXPECT_LE(error, 0.005);
}

}  // namespace
}  // namespace linex
