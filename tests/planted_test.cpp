// Planted units in the embedded world: a unit that is one concept, a unit that is a sum of two.
// Every method names what it can express.
#include <ATen/ops/adaptive_avg_pool2d.h>
#include <gtest/gtest.h>
#include <torch/types.h>

#include <algorithm>
#include <cmath>
#include <map>
#include <numeric>
#include <set>

#include "folder_test.hpp"
#include "host/demo/trained_world.hpp"
#include "host/demo/world.hpp"
#include "host/demo/world_milan.hpp"
#include "linex/conformance.hpp"
#include "plugins/solvers/clip_dissect/similarity.hpp"
#include "plugins/solvers/milan/featurizer.hpp"
#include "plugins/solvers/milan/milan.hpp"
#include "plugins/solvers/net_dissect/dissection.hpp"
#include "probe_fixture.hpp"
#include "toolkit/data/preprocess.hpp"
#include "toolkit/math/linear_explanations.hpp"
#include "toolkit/net/image_model.hpp"
#include "toolkit/net/resnet_network.hpp"

namespace linex {
namespace {

namespace fs = std::filesystem;

constexpr std::int64_t kImages = 600, kSide = 8;

/// Which aspect an attribute, by index into World::attribute_names(), belongs to.
Aspect aspect_of(std::int64_t attribute) {
  for (int aspect = 0; aspect < kAspects; ++aspect) {
    const auto count = static_cast<std::int64_t>(values_of(static_cast<Aspect>(aspect)).size());
    if (attribute < count) return static_cast<Aspect>(aspect);
    attribute -= count;
  }
  throw std::logic_error("no such attribute");
}

/// Where an attribute is: the object, or what is around it.
torch::Tensor region(const World& world, std::int64_t row, std::int64_t attribute) {
  const auto object = world.object_mask(row).to(torch::kFloat32);
  return aspect_of(attribute) == Aspect::background ? 1 - object : object;
}

using PlantedUnit = std::vector<std::pair<std::int64_t, float>>;  // (attribute, weight)

/// A network that knows its pictures: unit j of layer "planted" is Σ weight·(where the attribute
/// is), stronger at some places than at others. Its other layers are those of `features`.
class PlantedNetwork final : public TargetModel {
 public:
  PlantedNetwork(std::shared_ptr<const World> world, std::vector<PlantedUnit> units,
                 std::unique_ptr<TargetModel> features)
      : world_(std::move(world)),
        units_(std::move(units)),
        features_(std::move(features)),
        present_(world_->attributes()) {
    for (std::int64_t row = 0; row < world_->size(); ++row) row_of_[digest(input(row))] = row;
  }
  std::vector<std::string> layers() const override {
    auto names = features_->layers();
    names.emplace_back("planted");
    return names;
  }
  Preprocess preprocess() const override { return features_->preprocess(); }
  ForwardResult forward(const torch::Tensor& images, const std::vector<std::string>& layers,
                        bool logits) override {
    if (layers == std::vector<std::string>{"planted"}) return {{planted(images)}, {}};
    return features_->forward(images, layers, logits);
  }
  std::unique_ptr<ModelTail> split(const torch::Tensor&, const std::string&) override {
    return nullptr;
  }
  std::string fingerprint() const override { return "planted"; }

 private:
  torch::Tensor input(std::int64_t row) const {
    const auto pixels = world_->pixels(row);
    auto image = torch::empty({3, pixels.size(0), pixels.size(1)});
    preprocess_image(pixels, preprocess(), image.data_ptr<float>());
    return image;
  }
  static std::string digest(const torch::Tensor& image) {
    const auto dense = image.contiguous();
    return {static_cast<const char*>(dense.data_ptr()), dense.nbytes()};
  }
  torch::Tensor planted(const torch::Tensor& images) const {
    auto maps =
        torch::zeros({images.size(0), static_cast<std::int64_t>(units_.size()), kSide, kSide});
    for (std::int64_t i = 0; i < images.size(0); ++i) {
      const std::int64_t row = row_of_.at(digest(images[i]));
      for (std::size_t k = 0; k < units_.size(); ++k) {
        Random random = Random::stream(33 + k, static_cast<std::uint64_t>(row));
        auto strength = torch::empty({kSide, kSide});
        for (std::int64_t p = 0; p < kSide * kSide; ++p)
          strength.data_ptr<float>()[p] = static_cast<float>(random.uniform(0.7, 1.3));
        for (const auto& [attribute, weight] : units_[k]) {
          if (present_[row][attribute].item<float>() == 0) continue;
          const auto where = at::adaptive_avg_pool2d(
              region(*world_, row, attribute).unsqueeze(0).unsqueeze(0), {kSide, kSide});
          maps[i][static_cast<std::int64_t>(k)] += weight * strength * where[0][0];
        }
      }
    }
    return maps;
  }

  std::shared_ptr<const World> world_;
  std::vector<PlantedUnit> units_;
  std::unique_ptr<TargetModel> features_;
  torch::Tensor present_;
  std::map<std::string, std::int64_t> row_of_;
};

/// The world's attributes as pixel labels and as presence: whether, or on which share of the
/// picture.
class WorldLabels final : public PixelLabels, public Presence {
 public:
  explicit WorldLabels(std::shared_ptr<const World> world, bool share = false)
      : world_(std::move(world)), present_(world_->attributes()) {
    for (std::int64_t row = 0; share && row < present_.size(0); ++row)
      for (std::int64_t j = 0; j < present_.size(1); ++j)
        if (present_[row][j].item<float>() != 0) present_[row][j] = region(*world_, row, j).mean();
  }
  std::vector<PixelLabel> pixel_labels() const override {
    std::vector<PixelLabel> labels;
    for (const auto& name : World::attribute_names())
      labels.push_back({name, to_string(aspect_of(static_cast<std::int64_t>(labels.size())))});
    return labels;
  }
  LabelMaps label_maps(std::int64_t row) const override {
    LabelMaps labels;
    for (std::int64_t j = 0; j < present_.size(1); ++j) {
      if (present_[row][j].item<float>() == 0) continue;
      const auto where = region(*world_, row, j).gt(0.5).to(torch::kInt32);
      labels.maps.push_back((where * (j + 1) - 1).contiguous());
    }
    labels.height = labels.image_height = labels.maps[0].size(0);
    labels.width = labels.image_width = labels.maps[0].size(1);
    return labels;
  }
  std::int64_t rows() const override { return present_.size(0); }
  std::int64_t cols() const override { return present_.size(1); }

 private:
  void do_read(Ids rows, const Columns& cols, float* out) const override {
    for (const std::int64_t row : rows)
      for (std::int64_t j = 0; j < cols.count(this->cols()); ++j)
        *out++ = present_.data_ptr<float>()[row * this->cols() + cols[j]];
  }

  std::shared_ptr<const World> world_;
  torch::Tensor present_;
};

class Planted : public ::testing::Test {
 protected:
  static void SetUpTestSuite() {
    const TemporaryFolder cache;
    context_ = new conformance::TestContext(probe_test::context());
    // Less training, and its features do not tell the shapes apart, which MILAN then cannot name.
    WorldNetworkOptions trained;
    trained.world.images = 3200;
    trained.train.epochs = 8;
    auto state = load_weights(world_network(trained, cache.path(), *context_));
    auto features =
        std::make_unique<ImageModel>(build_resnet(infer_resnet(state), state), context_->run());

    world_ = new std::shared_ptr<const World>(std::make_shared<World>(WorldOptions{kImages}));
    const auto attributes = static_cast<std::int64_t>(names().size());
    // One unit an attribute, then sums of two of different aspects.
    units_ = new std::vector<PlantedUnit>;
    for (std::int64_t j = 0; j < attributes; ++j) units_->push_back({{j, 1.0F}});
    for (std::int64_t j = 0; j + 7 < attributes; j += 2)
      if (aspect_of(j) != aspect_of(j + 7)) units_->push_back({{j, 1.0F}, {j + 7, 0.8F}});
    network_ = new PlantedNetwork(*world_, *units_, std::move(features));
    maps_ = new UnitMaps(*network_, *world_, "planted",
                         probe_test::first_numbers(static_cast<std::int64_t>(units_->size())),
                         *context_);
    std::vector<torch::Tensor> peaks, means;
    maps_->stream("maps", [&](auto, auto, const torch::Tensor& batch) {
      peaks.push_back(batch.amax({2, 3}));
      means.push_back(batch.mean({2, 3}));
    });
    peaks_ = new torch::Tensor(torch::cat(peaks));
    means_ = new torch::Tensor(torch::cat(means));
  }
  static const std::vector<std::string>& names() {
    static const std::vector<std::string> all = World::attribute_names();
    return all;
  }
  static bool names_a_planted_one(std::size_t unit, const std::string& name) {
    for (const auto& [attribute, weight] : (*units_)[unit])
      if (names()[static_cast<std::size_t>(attribute)] == name) return true;
    return false;
  }
  static std::size_t singles() { return names().size(); }

  static conformance::TestContext* context_;
  static std::shared_ptr<const World>* world_;
  static std::vector<PlantedUnit>* units_;
  static PlantedNetwork* network_;
  static UnitMaps* maps_;
  static torch::Tensor *peaks_, *means_;  // pooled activations
};
conformance::TestContext* Planted::context_;
std::shared_ptr<const World>* Planted::world_;
std::vector<PlantedUnit>* Planted::units_;
PlantedNetwork* Planted::network_;
UnitMaps* Planted::maps_;
torch::Tensor* Planted::peaks_;
torch::Tensor* Planted::means_;

TEST_F(Planted, NetworkDissectionNamesThem) {
  // The published mask is a unit's top 0.5 % of places, but "large" is on 15 % of all pixels: a
  // mask so much smaller fits parts of it as well. 5 % is enough for every attribute.
  const WorldLabels labels(*world_);
  const auto matches = match_units(tally_pixels(*maps_, labels, {0.95, QuantileMethod::exact}),
                                   labels.pixel_labels());
  for (std::size_t k = 0; k < matches.size(); ++k) {
    ASSERT_GE(matches[k].best, 0);
    const auto& best = matches[k].categories[static_cast<std::size_t>(matches[k].best)];
    EXPECT_TRUE(names_a_planted_one(k, names()[static_cast<std::size_t>(best.label)]))
        << "unit " << k << ": " << names()[static_cast<std::size_t>(best.label)];
  }
}

TEST_F(Planted, ClipDissectNamesThem) {
  const WorldLabels present(*world_, false), share(*world_, true);
  const std::map<std::string, std::pair<const Presence*, const torch::Tensor*>> cases{
      {"soft_wpmi", {&present, peaks_}},
      {"wpmi", {&present, peaks_}},
      {"cos_similarity", {&present, peaks_}},
      {"cos_similarity_cubed", {&present, peaks_}},
      // It looks at the order within the top images, which 0 and 1 do not have.
      {"rank_reorder", {&share, means_}}};
  for (const auto& [function, matrices] : cases) {
    SimilarityOptions options;
    options.function = similarity_from_string(function);
    torch::Tensor scores;
    concept_similarity({*matrices.first, *matrices.second, probe_test::first_numbers(kImages)},
                       options, [&](std::int64_t, const torch::Tensor& block) { scores = block; });
    scores.masked_fill_(scores.isnan(), -INFINITY);  // a concept that no top image shows
    for (std::size_t k = 0; k < units_->size(); ++k) {
      const auto best = scores[static_cast<std::int64_t>(k)].argmax().item<std::int64_t>();
      EXPECT_TRUE(names_a_planted_one(k, names()[static_cast<std::size_t>(best)]))
          << function << ", unit " << k << ": " << names()[static_cast<std::size_t>(best)];
    }
  }
}

/// "not large" is "small": the only other value of its aspect.
std::string positive_form(const Term& term) {
  if (term.weight > 0) return term.concept_name;
  for (int aspect = 0; aspect < kAspects; ++aspect) {
    const auto& values = values_of(static_cast<Aspect>(aspect));
    if (values.size() != 2) continue;
    for (std::size_t v = 0; v < 2; ++v)
      if (values[v] == term.concept_name) return values[1 - v];
  }
  return "not " + term.concept_name;
}

TEST_F(Planted, LinearExplanationsFindBothTermsOfASum) {
  const WorldLabels labels(*world_);
  Split split;
  for (std::int64_t row = 0; row < kImages; ++row)
    (row % 10 < 7 ? split.train : row % 10 == 7 ? split.val : split.test).push_back(row);
  const auto units = probe_test::first_numbers(static_cast<std::int64_t>(units_->size()));
  const RegressionInput input{labels, *peaks_, units, split};
  Regression regression(input, {});
  const HeldOut validation = regression.validation();
  const auto found =
      explain(regression, validation, names(), 0, static_cast<std::int64_t>(units.size()), {}, 2);
  for (std::size_t k = 0; k < units.size(); ++k) {
    std::set<std::string> wanted, strongest;
    for (const auto& [attribute, weight] : (*units_)[k])
      wanted.insert(names()[static_cast<std::size_t>(attribute)]);
    auto terms = found[k].terms;
    ASSERT_GE(terms.size(), wanted.size()) << "unit " << k;
    std::stable_sort(terms.begin(), terms.end(), [](const Term& a, const Term& b) {
      return std::fabs(a.weight) > std::fabs(b.weight);
    });
    for (std::size_t t = 0; t < wanted.size(); ++t) strongest.insert(positive_form(terms[t]));
    EXPECT_EQ(strongest, wanted) << "unit " << k;
  }
}

TEST_F(Planted, MilanNamesFourInFive) {
  // Trained on other pictures than the units are described from.
  const Milan milan = train_world_milan(std::make_shared<World>(WorldOptions{1600, 32, 5}),
                                        *network_, {}, *context_);
  const PyramidFeaturizer featurizer(*network_, milan.feature_layers);
  const auto exemplars = find_exemplars(*maps_, {15, 0.99, QuantileMethod::exact});
  const auto features = featurize(
      featurizer, network_->preprocess(), **world_, network_->preprocess(),
      masked_exemplars(exemplars, 0, static_cast<std::int64_t>(singles()), {32, 32}), *context_);
  const auto captions = Captioner(milan, {}, "test").describe(features, 2);
  std::size_t named = 0;
  std::string wrong;
  for (std::size_t k = 0; k < singles(); ++k) {
    const auto words = tokenize(captions[k].text);
    const bool found = std::find(words.begin(), words.end(), names()[k]) != words.end();
    named += found;
    if (!found) wrong += names()[k] + ": " + captions[k].text + "; ";
  }
  RecordProperty("named", static_cast<int>(named));
  EXPECT_GE(static_cast<double>(named), 0.8 * static_cast<double>(singles())) << wrong;
}

}  // namespace
}  // namespace linex
