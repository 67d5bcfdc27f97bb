// Formulas of concepts for units: sets of places, the published searches against what their papers
// and programs say, place by place, and the optimal search against every formula there is.
#include <gtest/gtest.h>

#include <cstdlib>
#include <fstream>
#include <map>
#include <nlohmann/json.hpp>
#include <random>
#include <set>

#include "host/demo/trained_world.hpp"
#include "host/demo/world.hpp"
#include "linex/error.hpp"
#include "plugins/labelers/segmentation/segmentation.hpp"
#include "plugins/solvers/compositional/masks.hpp"
#include "plugins/solvers/invert/recognition.hpp"
#include "shared_file.hpp"
#include "tests/folder_test.hpp"
#include "tests/probe_fixture.hpp"
#include "tests/small_run.hpp"
#include "toolkit/base/csv.hpp"
#include "toolkit/concepts/matrix_presence.hpp"
#include "toolkit/data/dataset.hpp"
#include "toolkit/data/resize.hpp"
#include "toolkit/explanations/explanation_csv.hpp"
#include "toolkit/math/formula_search.hpp"
#include "toolkit/net/image_model.hpp"
#include "toolkit/net/resnet_network.hpp"

namespace linex {
namespace {

namespace fs = std::filesystem;
using Bits = std::vector<char>;
using Joint = FormulaStep::Joint;

PlaceSet set_of(const Bits& bits) {
  PlaceSet set;
  for (std::size_t i = 0; i < bits.size(); ++i)
    if (bits[i]) set.add(static_cast<std::int64_t>(i));
  return set;
}

std::vector<PlaceSet> sets_of(const std::vector<Bits>& all) {
  std::vector<PlaceSet> sets;
  for (const Bits& bits : all) sets.push_back(set_of(bits));
  return sets;
}

Bits bits_of(const PlaceSet& set, std::int64_t places) {
  Bits bits;
  for (std::int64_t i = 0; i < places; ++i) bits.push_back(set.contains(i));
  return bits;
}

template <class Join>
Bits joined(const Bits& a, const Bits& b, const Join& join) {
  Bits bits(a.size());
  for (std::size_t i = 0; i < a.size(); ++i) bits[i] = join(a[i] != 0, b[i] != 0);
  return bits;
}

/// Blobs of places, so that blocks are empty here and there.
std::vector<Bits> random_bits(std::size_t count, std::size_t places, std::mt19937_64& random) {
  std::vector<Bits> all(count, Bits(places, 0));
  for (Bits& bits : all)
    for (int blob = 0; blob < 4; ++blob) {
      const std::size_t from = random() % places, length = 1 + random() % (places / 6 + 1);
      for (std::size_t i = from; i < std::min(places, from + length); ++i)
        bits[i] = random() % 5 != 0;
    }
  return all;
}

TEST(PlaceSet, IsASet) {
  std::mt19937_64 random(1);
  for (const std::size_t places : {1UL, 63UL, 64UL, 1024UL, 1025UL, 9000UL}) {
    const auto all = random_bits(3, places, random);
    const auto sets = sets_of(all);
    const auto n = static_cast<std::int64_t>(places);
    std::vector<double> values;
    for (std::size_t i = 0; i < places; ++i) values.push_back(static_cast<double>(random() % 100));
    const auto count = [](const Bits& bits) { return std::count(bits.begin(), bits.end(), 1); };
    const auto check = [&](const PlaceSet& set, const Bits& bits) {
      EXPECT_EQ(bits_of(set, n), bits);
      EXPECT_EQ(set.count(), count(bits));
    };
    const auto either = [](bool a, bool b) { return a || b; };
    const auto both = [](bool a, bool b) { return a && b; };
    const auto first = [](bool a, bool b) { return a && !b; };
    check(sets[0].united(sets[1]), joined(all[0], all[1], either));
    check(sets[0].common(sets[1]), joined(all[0], all[1], both));
    check(sets[0].without(sets[1]), joined(all[0], all[1], first));
    check(sets[0].complement(n), joined(Bits(places, 1), all[0], first));
    const Bits two = joined(all[0], all[1], both);
    EXPECT_EQ(PlaceSet::common_count(sets[0], sets[1]), count(two));
    EXPECT_EQ(PlaceSet::common_count(sets[0], sets[1], sets[2]), count(joined(two, all[2], both)));
    double sum = 0;
    for (std::size_t i = 0; i < places; ++i) sum += two[i] ? values[i] : 0;
    EXPECT_EQ(PlaceSet::common_sum(sets[0], sets[1], values), sum);
  }
}

// ---- compositional explanations -----------------------------------------------------------------

struct SlowFormula {
  std::string text;
  Bits bits;
  double score;
};

double slow_overlap(const Bits& a, const Bits& b) {
  double both = 0, either = 0;
  for (std::size_t i = 0; i < a.size(); ++i) {
    both += a[i] && b[i];
    either += a[i] || b[i];
  }
  return both / (either + 1e-10);
}

std::string part(const std::string& formula) {
  return formula.find(' ') == std::string::npos ? formula : "(" + formula + ")";
}

/// The published program, step by step: a beam of formulas in the order they were met.
SlowFormula slow_beam(const std::vector<Bits>& concepts, const Bits& unit, std::size_t beam,
                      int length) {
  std::vector<SlowFormula> formulas;
  const auto trim = [&] {
    std::stable_sort(formulas.begin(), formulas.end(), [](const auto& a, const auto& b) {
      // Overlaps are quotients of the same whole numbers on both sides.
      return a.score > b.score;
    });
    if (formulas.size() > beam) formulas.resize(beam);
  };
  for (std::size_t c = 0; c < concepts.size(); ++c) {
    const double score = slow_overlap(concepts[c], unit);
    if (score > 0) formulas.push_back({"c" + std::to_string(c), concepts[c], score});
  }
  trim();
  for (int i = 1; i < length; ++i) {
    std::vector<SlowFormula> grown;
    for (const SlowFormula& formula : formulas)
      for (std::size_t c = 0; c < concepts.size(); ++c) {
        const std::string name = "c" + std::to_string(c);
        const Bits any = joined(formula.bits, concepts[c], [](bool a, bool b) { return a || b; });
        const Bits both = joined(formula.bits, concepts[c], [](bool a, bool b) { return a && b; });
        const Bits rest = joined(formula.bits, concepts[c], [](bool a, bool b) { return a && !b; });
        grown.push_back({part(formula.text) + " OR " + name, any, slow_overlap(any, unit)});
        grown.push_back({part(formula.text) + " AND " + name, both, slow_overlap(both, unit)});
        grown.push_back({part(formula.text) + " AND NOT " + name, rest, slow_overlap(rest, unit)});
      }
    formulas.insert(formulas.end(), grown.begin(), grown.end());
    trim();
  }
  return formulas.empty() ? SlowFormula{} : formulas.front();
}

FormulaBeam published_beam(std::size_t concepts) {
  FormulaBeam beam;
  for (std::size_t c = 0; c < concepts; ++c) {
    const auto concept_ = static_cast<std::int64_t>(c);
    beam.starts.push_back({Joint::start, concept_, false});
    beam.joins.push_back({Joint::disjunction, concept_, false});
    beam.joins.push_back({Joint::conjunction, concept_, false});
    beam.joins.push_back({Joint::conjunction, concept_, true});
  }
  return beam;
}

std::vector<std::string> names_of(std::size_t concepts) {
  std::vector<std::string> names;
  for (std::size_t c = 0; c < concepts; ++c) names.push_back("c" + std::to_string(c));
  return names;
}

/// The published search on sets.
FoundFormula fast_beam(const std::vector<PlaceSet>& concepts, std::int64_t places,
                       const PlaceSet& unit) {
  const FormulaProblem problem{concepts, places, &unit, nullptr};
  const auto score = [&](const SetTally& tally, std::int64_t length) {
    const double value = overlap(tally, static_cast<double>(unit.count()));
    return length == 1 && !(value > 0) ? kNone : value;
  };
  const auto found = beam_formulas(problem, score, published_beam(concepts.size()));
  return found.empty() ? FoundFormula() : found.front();
}

/// Some formula of concepts, with places wrong here and there.
Bits planted_unit(const std::vector<Bits>& concepts, std::mt19937_64& random, unsigned noise) {
  const std::size_t a = random() % concepts.size(), b = random() % concepts.size(),
                    c = random() % concepts.size();
  Bits unit(concepts[0].size());
  for (std::size_t i = 0; i < unit.size(); ++i) {
    unit[i] = (concepts[a][i] || concepts[b][i]) && !concepts[c][i];
    if (noise > 0 && random() % noise == 0) unit[i] = !unit[i];
  }
  return unit;
}

TEST(Compositional, BeamIsThePublishedOne) {
  std::mt19937_64 random(2);
  int longer = 0;
  for (int problem = 0; problem < 60; ++problem) {
    const auto concepts = random_bits(4 + random() % 12, 200 + random() % 2500, random);
    const Bits unit = planted_unit(concepts, random, 12);
    const SlowFormula slow = slow_beam(concepts, unit, 5, 3);
    const auto sets = sets_of(concepts);
    const FoundFormula fast = fast_beam(sets, static_cast<std::int64_t>(unit.size()), set_of(unit));
    ASSERT_EQ(fast.chain.empty(), slow.text.empty());
    if (fast.chain.empty()) continue;
    EXPECT_NEAR(fast.score, slow.score, 1e-9);
    EXPECT_EQ(to_text(formula_of(fast.chain, names_of(concepts.size()))), slow.text);
    longer += fast.chain.size() == 3;
  }
  EXPECT_GT(longer, 30);
}

/// The best of every chain of up to `length` concepts.
double best_of_all(const std::vector<Bits>& concepts, const Bits& unit, const Bits* so_far,
                   int length) {
  double best = 0;
  for (const Bits& next : concepts)
    for (int join = 0; join < (so_far ? 3 : 1); ++join) {
      const Bits bits = !so_far ? next : joined(*so_far, next, [&](bool a, bool b) {
        return join == 0 ? a || b : join == 1 ? a && b : a && !b;
      });
      best = std::max(best, slow_overlap(bits, unit));
      if (length > 1) best = std::max(best, best_of_all(concepts, unit, &bits, length - 1));
    }
  return best;
}

TEST(Compositional, OptimalEqualsTheBestOfAllFormulas) {
  std::mt19937_64 random(3);
  int beam_fell_short = 0, unproven = 0;
  for (int trial = 0; trial < 120; ++trial) {
    const int length = 1 + trial % 3;
    auto concepts = random_bits(1 + random() % 7, 150, random);
    Bits unit = planted_unit(concepts, random, 6);
    if (trial % 10 == 9) std::fill(unit.begin(), unit.end(), 0);
    const double expected = best_of_all(concepts, unit, nullptr, length);
    const auto sets = sets_of(concepts);
    const PlaceSet on = set_of(unit);
    const FormulaProblem problem{sets, 150, &on, nullptr};
    const auto found = optimal_overlap(problem, {}, {length, 1LL << 40});
    EXPECT_TRUE(found.proven);
    EXPECT_NEAR(found.best.score, expected, 1e-9) << trial;
    if (!found.best.chain.empty()) {
      EXPECT_LE(static_cast<int>(found.best.chain.size()), length);
      EXPECT_NEAR(slow_overlap(bits_of(problem.set_of(found.best.chain), 150), unit), expected,
                  1e-9);
    }
    const auto hurried = optimal_overlap(problem, {}, {length, 2});
    EXPECT_GE(hurried.bound, expected - 1e-9);
    unproven += !hurried.proven;
    const auto from_beam = fast_beam(sets, 150, on);
    if (length == 3) {
      beam_fell_short += from_beam.score < expected - 1e-9;
      EXPECT_NEAR(optimal_overlap(problem, from_beam, {length, 1LL << 40}).best.score, expected,
                  1e-9);
    }
  }
  EXPECT_GT(unproven, 20);
  EXPECT_GT(beam_fell_short, 0);  // otherwise there is nothing to prove
}

/// Concepts and units on the pixels that the network sees, from label maps and enlarged maps.
struct SlowPixels {
  std::vector<Bits> concepts, units;
};

SlowPixels slow_pixels(const torch::Tensor& maps, const PixelLabels& labels, std::int64_t units,
                       double quantile, const std::array<std::int64_t, 4>& seen) {
  const auto [top, left, height, width] = seen;
  SlowPixels pixels;
  pixels.concepts.resize(labels.pixel_labels().size());
  pixels.units.resize(static_cast<std::size_t>(units));
  std::vector<float> level;
  for (std::int64_t k = 0; k < units; ++k)
    level.push_back(probe_test::slow_quantile(maps.select(1, k), quantile));
  for (std::int64_t i = 0; i < maps.size(0); ++i) {
    const LabelMaps image = labels.label_maps(i);
    std::vector<torch::Tensor> up;
    for (std::int64_t k = 0; k < units; ++k)
      up.push_back(resize_plane(maps[i][k].contiguous(), height, width,
                                Preprocess::Interpolation::bilinear));
    for (std::int64_t y = 0; y < height; ++y)
      for (std::int64_t x = 0; x < width; ++x) {
        const std::int64_t row = top + y, column = left + x;
        if (row < 0 || column < 0 || row >= image.height || column >= image.width) continue;
        std::set<std::int64_t> here(image.whole.begin(), image.whole.end());
        for (const auto& map : image.maps)
          here.insert(map.data_ptr<int>()[row * image.width + column]);
        for (std::size_t c = 0; c < pixels.concepts.size(); ++c)
          pixels.concepts[c].push_back(here.count(static_cast<std::int64_t>(c)) > 0);
        for (std::int64_t k = 0; k < units; ++k) {
          const auto unit = static_cast<std::size_t>(k);
          pixels.units[unit].push_back(up[unit].data_ptr<float>()[y * width + x] > level[unit]);
        }
      }
  }
  return pixels;
}

/// The published search on the pixels of a data set, place by place and by sets.
void expect_slow_equal(TargetModel& network, const std::string& layer,
                       const std::shared_ptr<const DataSet>& images, const PixelLabels& labels,
                       std::int64_t units, double quantile,
                       const std::array<std::int64_t, 4>& seen) {
  const auto where = probe_test::context();
  UnitMaps maps(network, images, layer, probe_test::first_numbers(units), where);
  const PlaceMasks masks = pixel_masks(maps, labels, quantile);
  std::vector<torch::Tensor> batches;
  maps.stream("all",
              [&](auto, auto, const torch::Tensor& batch) { batches.push_back(batch.clone()); });
  const SlowPixels slow = slow_pixels(torch::cat(batches), labels, units, quantile, seen);
  ASSERT_EQ(masks.concepts.size(), slow.concepts.size());
  for (std::size_t c = 0; c < masks.concepts.size(); ++c)
    EXPECT_EQ(masks.concepts[c].count(),
              std::count(slow.concepts[c].begin(), slow.concepts[c].end(), 1));
  int compared = 0;
  for (std::size_t k = 0; k < masks.units.size(); ++k) {
    if (!masks.varies[k]) continue;
    const SlowFormula expected = slow_beam(slow.concepts, slow.units[k], 5, 3);
    const FoundFormula found = fast_beam(masks.concepts, masks.places, masks.units[k]);
    ASSERT_EQ(found.chain.empty(), expected.text.empty());
    if (found.chain.empty()) continue;
    EXPECT_EQ(to_text(formula_of(found.chain, names_of(masks.concepts.size()))), expected.text);
    EXPECT_NEAR(found.score, expected.score, 1e-9);
    ++compared;
  }
  EXPECT_GT(compared, units / 2);
}

TEST(Compositional, PixelsAreThoseThatTheNetworkSees) {
  const auto images = std::make_shared<probe_test::RandomImages>(10, 32, 32);
  probe_test::SmallNetwork network(5);
  expect_slow_equal(network, "conv", images, probe_test::RandomLabels(10, 32, 32, 24, 24), 5, 0.95,
                    {0, 0, 24, 24});
  Preprocess pad;
  pad.crop = 40;
  probe_test::SmallNetwork padded(5, pad);
  expect_slow_equal(padded, "conv", images, probe_test::RandomLabels(10, 32, 32, 32, 32), 5, 0.95,
                    {-4, -4, 40, 40});
  const auto little = probe_test::context(1);
  UnitMaps maps(network, images, "conv", probe_test::first_numbers(5), little);
  EXPECT_THROW(pixel_masks(maps, probe_test::RandomLabels(10, 32, 32, 24, 24), 0.95), Error);
}

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

TEST(Compositional, WorldsAndCamVidsMasksAsPublished) {
  const TemporaryFolder own;
  const fs::path& folder = own.path();
  const auto open = [](const fs::path& root, std::int64_t limit) {
    DataOptions options;
    options.limit = limit;
    options.root = root;
    return open_data_set(options);
  };
  WorldNetworkOptions options;
  options.world.images = 300;
  options.train.epochs = 1;
  auto state = load_weights(world_network(options, folder, probe_test::context()));
  ImageModel network(build_resnet(infer_resnet(state), state), probe_test::context().run());

  const World world({60, 32, 1});
  write_world(world, folder, {true, 2});
  std::vector<fs::path> masks;
  for (int aspect = 0; aspect < kAspects; ++aspect)
    masks.push_back(folder / "masks" / to_string(static_cast<Aspect>(aspect)));
  auto images = open(folder / "images", 0);
  expect_slow_equal(
      network, "layer3", images,
      FolderLabels(open_label_maps(masks, folder / "masks/names.txt", {"none"}), images), 10, 0.98,
      {0, 0, 32, 32});

  if (const fs::path root = shared_file("data/camvid"); !root.empty()) {
    std::ofstream(folder / "names.txt")
        << "Sky\nBuilding\nPole\nRoad\nPavement\nTree\nSignSymbol\nFence\nCar\nPedestrian\n"
           "Bicyclist\nUnlabelled\n";
    images = open(root / "images", 4);
    expect_slow_equal(
        network, "layer3", images,
        FolderLabels(open_label_maps({root / "masks"}, folder / "names.txt", {"Unlabelled"}),
                     images),
        4, 0.99, {0, 0, 360, 480});
  }
}

// ---- inverse recognition ------------------------------------------------------------------------

/// Share of pairs, one by one.
double slow_auroc(const std::vector<float>& activation, const Bits& bits) {
  double won = 0, pairs = 0;
  for (std::size_t i = 0; i < bits.size(); ++i)
    for (std::size_t j = 0; j < bits.size(); ++j) {
      if (!bits[i] || bits[j]) continue;
      ++pairs;
      won += activation[i] > activation[j] ? 1 : activation[i] == activation[j] ? 0.5 : 0;
    }
  return pairs > 0 ? won / pairs : kNone;
}

TEST(Invert, AurocIsTheShareOfPairs) {
  std::mt19937_64 random(4);
  for (int trial = 0; trial < 50; ++trial) {
    const std::size_t n = 2 + random() % 90;
    std::vector<float> activation;
    Bits bits;
    for (std::size_t i = 0; i < n; ++i) {
      activation.push_back(static_cast<float>(random() % (trial % 2 ? 7 : 100000)));
      bits.push_back(random() % 3 == 0);
    }
    const auto ranks = activation_ranks(activation);
    const std::vector<PlaceSet> sets{set_of(bits)};
    const FormulaProblem problem{sets, static_cast<std::int64_t>(n), nullptr, &ranks.rank};
    const double expected = slow_auroc(activation, bits),
                 area = auroc(problem.tally(sets[0]), static_cast<double>(n));
    if (std::isnan(expected))
      EXPECT_TRUE(std::isnan(area));
    else
      EXPECT_NEAR(area, expected, 1e-12);
  }
}

TEST(Invert, PValueIsThatOfMannAndWhitney) {
  const std::vector<float> activation{0, 0, 1, 2, 2, 2, 3, 5, 5, 8};
  const Bits bits{0, 0, 0, 1, 0, 1, 1, 0, 1, 1};
  const auto ranks = activation_ranks(activation);
  const std::vector<PlaceSet> sets{set_of(bits)};
  const FormulaProblem problem{sets, 10, nullptr, &ranks.rank};
  // scipy.stats.mannwhitneyu(..., method="asymptotic") of SciPy 1.x
  EXPECT_NEAR(mann_whitney_p(problem.tally(sets[0]), 10, ranks.ties), 0.11049202405566802, 1e-9);

  // Where there is nothing, p is uniform.
  std::mt19937_64 random(5);
  int below = 0, tenth = 0;
  for (int trial = 0; trial < 2000; ++trial) {
    std::vector<float> noise;
    Bits any;
    for (int i = 0; i < 120; ++i) {
      noise.push_back(static_cast<float>(random() % 1000));
      any.push_back(random() % 3 == 0);
    }
    const auto of = activation_ranks(noise);
    const std::vector<PlaceSet> one{set_of(any)};
    const FormulaProblem with{one, 120, nullptr, &of.rank};
    const double p = mann_whitney_p(with.tally(one[0]), 120, of.ties);
    below += p < 0.05;
    tenth += p < 0.5;
  }
  EXPECT_NEAR(below, 100, 40);
  EXPECT_NEAR(tenth, 1000, 110);
}

/// The published search: a beam of formulas, joined with every concept and every negation.
SlowFormula slow_invert(const std::vector<Bits>& concepts, const std::vector<float>& activation,
                        std::size_t beam, int length, double least, double most) {
  const std::size_t n = activation.size();
  const auto share = [&](const Bits& bits) {
    return static_cast<double>(std::count(bits.begin(), bits.end(), 1)) / static_cast<double>(n);
  };
  std::vector<SlowFormula> atoms, formulas;
  for (const bool negated : {false, true})
    for (std::size_t c = 0; c < concepts.size(); ++c) {
      const Bits bits =
          joined(concepts[c], concepts[c], [&](bool a, bool) { return a != negated; });
      const double score = slow_auroc(activation, bits);
      if (!std::isnan(score))
        atoms.push_back({(negated ? "NOT c" : "c") + std::to_string(c), bits, score});
    }
  const auto sort = [](std::vector<SlowFormula>& some) {
    std::stable_sort(some.begin(), some.end(), [](const auto& a, const auto& b) {
      return std::llround(a.score * 1e9) > std::llround(b.score * 1e9);
    });
  };
  sort(atoms);
  for (const SlowFormula& atom : atoms)
    if (share(atom.bits) >= least && share(atom.bits) <= most && formulas.size() < beam)
      formulas.push_back(atom);
  for (int i = 1; i < length; ++i) {
    auto grown = formulas;
    for (const SlowFormula& formula : formulas)
      for (const SlowFormula& atom : atoms)
        for (const bool both : {true, false}) {
          const Bits bits = joined(formula.bits, atom.bits,
                                   [&](bool a, bool b) { return both ? a && b : a || b; });
          if (share(bits) == 0 || share(bits) == 1 || bits == formula.bits) continue;
          if (share(bits) < least || share(bits) > most) continue;
          const std::string text = formula.text.compare(0, 4, "NOT ") == 0 &&
                                           formula.text.find(' ', 4) == std::string::npos
                                       ? formula.text
                                       : part(formula.text);
          grown.push_back(
              {text + (both ? " AND " : " OR ") + atom.text, bits, slow_auroc(activation, bits)});
        }
    sort(grown);
    if (grown.size() > beam) grown.resize(beam);
    formulas = std::move(grown);
  }
  return formulas.empty() ? SlowFormula{} : formulas.front();
}

class FormulaSolversRun : public SmallRun {
 protected:
  static constexpr std::int64_t kImages = 1200, kNames = 6;
  /// Activations that are high where formulas of the concepts are true.
  void plant(double noise) {
    torch::manual_seed(8);
    presence_ = (torch::rand({kImages, kNames}) < 0.4).to(torch::kFloat32);
    const auto c = [&](int j) { return presence_.select(1, j).to(torch::kBool); };
    const auto truth = torch::stack({c(0) & ~c(1), (c(2) | c(3)) & ~c(4), c(5) & c(0) & c(2),
                                     torch::zeros({kImages}, torch::kBool)},
                                    1);
    activations_ = truth.to(torch::kFloat32) * 2 + noise * torch::rand({kImages, 4});
    activations_.select(1, 3).fill_(0.5);
    write_npy(folder_ / "A.npy", activations_);
    write_npy(folder_ / "P.npy", presence_);
    write("names.txt", "red\ngreen\nblue\nround\nsquare\nrock AND roll\n");
  }
  torch::Tensor presence_, activations_;
};

TEST_F(FormulaSolversRun, CompositionalFindsWhatIsPlanted) {
  plant(0.5);
  for (const std::string search : {"beam", "optimal"}) {
    const Ended ended =
        run("explain " + recorded_ +
            "--solver.plugin=compositional --evaluator.plugin=simulation_correlation "
            "--solver.quantile=0.76 --run.out=o --solver.search=" +
            search);
    ASSERT_EQ(ended.code, 0) << ended.error;
    const auto found = read_explanations(folder_ / "o/explanations.csv").explanations;
    ASSERT_EQ(found.size(), 4U);
    EXPECT_NE(found[0].terms[0].concept_name.find("red AND NOT green"), std::string::npos)
        << search << ": " << found[0].terms[0].concept_name;
    EXPECT_EQ(found[3].status, Status::dead);
    const auto json = nlohmann::json::parse(read_file(folder_ / "o/summary.json"));
    if (search == "optimal") {
      EXPECT_EQ(json["figures"]["exact"]["share certified"], 1);
      EXPECT_NE(ended.out.find("certified best"), std::string::npos) << ended.out;
    }
  }
  expect_error(
      "explain " + recorded_ + "--solver.plugin=compositional --solver.of=maps --run.out=m", 3,
      "need a network and its images");
  expect_error("explain " + recorded_ +
                   "--solver.plugin=compositional --solver.search=optimal --solver.penalty=0.9 "
                   "--run.out=m",
               2, "optimal knows no solver.penalty");
}

TEST_F(FormulaSolversRun, InvertFindsWhatIsPlantedAndEqualsTheSlowSearch) {
  plant(0.5);
  const std::string options = recorded_ +
                              "--solver.plugin=invert --evaluator.plugin=simulation_correlation "
                              "--solver.max_fraction=0.9 --solver.beam=20 --run.out=o ";
  const Ended ended = run("explain " + options);
  ASSERT_EQ(ended.code, 0) << ended.error;
  const auto found = read_explanations(folder_ / "o/explanations.csv").explanations;
  ASSERT_EQ(found.size(), 4U);
  EXPECT_EQ(found[3].status, Status::dead);
  // A formula in quotes: a concept's own name reads like one.
  EXPECT_NE(found[2].terms[0].concept_name.find("\"rock AND roll\""), std::string::npos)
      << found[2].terms[0].concept_name;
  for (const auto& one : {found[0], found[1], found[2]}) EXPECT_EQ(one.status, Status::ok);
  const CsvTable table = read_csv(folder_ / "o/invert.csv");
  ASSERT_EQ(table.rows.size(), 4U);
  for (std::size_t k = 0; k < 3; ++k) {
    EXPECT_GT(std::stod(table.rows[k][3]), 0.999) << table.rows[k][1];
    EXPECT_GT(std::stod(table.rows[k][6]), 0.99);
    EXPECT_LT(std::stod(table.rows[k][7]), 1e-4);
  }
  EXPECT_EQ(table.rows[3][1], "");
}

TEST(Invert, BeamIsThePublishedOne) {
  std::mt19937_64 random(7);
  int longer = 0;
  for (int trial = 0; trial < 12; ++trial) {
    const auto concepts = random_bits(4 + random() % 4, 120, random);
    const Bits truth = planted_unit(concepts, random, 20);
    std::vector<float> activation;
    for (const char on : truth)
      activation.push_back(
          static_cast<float>((on ? 2.0 : 0.0) + 1e-4 * static_cast<double>(random() % 30000)));
    const SlowFormula slow = slow_invert(concepts, activation, 3, 3, 0.05, 0.5);
    const auto ranks = activation_ranks(activation);
    const FoundFormula fast = invert_formula(sets_of(concepts), 120, ranks, {3, 3, 0.05, 0.5, 0});
    ASSERT_EQ(fast.chain.empty(), slow.text.empty());
    if (fast.chain.empty()) continue;
    EXPECT_NEAR(fast.score, slow.score, 1e-9);
    EXPECT_EQ(to_text(formula_of(fast.chain, names_of(concepts.size()))), slow.text) << trial;
    longer += fast.chain.size() > 1;
  }
  EXPECT_GT(longer, 6);
}

}  // namespace
}  // namespace linex
