// MILAN's parts against obvious loops on random weights, its file format, and what it learns.
#include <gtest/gtest.h>
#include <torch/optim/adamw.h>

#include <cmath>
#include <fstream>
#include <map>

#include "folder_test.hpp"
#include "linex/conformance.hpp"
#include "linex/error.hpp"
#include "plugins/solvers/milan/beam_search.hpp"
#include "plugins/solvers/milan/featurizer.hpp"
#include "plugins/solvers/milan/milan.hpp"
#include "probe_fixture.hpp"
#include "toolkit/base/files.hpp"
#include "toolkit/checkpoint/checkpoint.hpp"
#include "toolkit/checkpoint/checkpoint_writer.hpp"
#include "toolkit/net/adamw.hpp"

namespace linex {
namespace {

namespace fs = std::filesystem;
using probe_test::random_tensor;

using Vector = std::vector<double>;

/// A parameter as rows of doubles.
std::vector<Vector> rows_of(const torch::Tensor& tensor) {
  const auto matrix = tensor.dim() == 1 ? tensor.unsqueeze(0) : tensor;
  std::vector<Vector> rows;
  for (std::int64_t i = 0; i < matrix.size(0); ++i) {
    Vector row;
    for (std::int64_t j = 0; j < matrix.size(1); ++j) row.push_back(matrix[i][j].item<double>());
    rows.push_back(row);
  }
  return rows;
}

Vector linear(const Parameters& p, const std::string& weight, const std::string& bias,
              const Vector& x) {
  const auto w = rows_of(p.at(weight));
  Vector y = rows_of(p.at(bias))[0];
  for (std::size_t i = 0; i < y.size(); ++i)
    for (std::size_t j = 0; j < x.size(); ++j) y[i] += w[i][j] * x[j];
  return y;
}

double sigmoid(double x) { return 1 / (1 + std::exp(-x)); }

void lstm(const Vector& gates, Vector& h, Vector& c) {
  const std::size_t n = h.size();
  for (std::size_t i = 0; i < n; ++i) {
    c[i] = sigmoid(gates[n + i]) * c[i] + sigmoid(gates[i]) * std::tanh(gates[2 * n + i]);
    h[i] = sigmoid(gates[3 * n + i]) * std::tanh(c[i]);
  }
}

Vector log_softmax(Vector x) {
  double sum = 0;
  for (const double v : x) sum += std::exp(v);
  for (double& v : x) v -= std::log(sum);
  return x;
}

/// §2.3's decoder, one unit, in double.
struct SlowDecoder {
  const Parameters& p;
  std::vector<Vector> features;  // m × D
  Vector h, c, attention;

  SlowDecoder(const Parameters& parameters, const torch::Tensor& f)
      : p(parameters), features(rows_of(f)) {
    Vector mean(features[0].size(), 0);
    for (const auto& v : features)
      for (std::size_t d = 0; d < v.size(); ++d)
        mean[d] += v[d] / static_cast<double>(features.size());
    h = linear(p, "init_h.0.weight", "init_h.0.bias", mean);
    c = linear(p, "init_c.0.weight", "init_c.0.bias", mean);
    for (double& v : h) v = std::tanh(v);
    for (double& v : c) v = std::tanh(v);
  }
  Vector step(std::int64_t word) {
    const Vector q = linear(p, "attend.query_to_hidden.weight", "attend.query_to_hidden.bias", h);
    Vector energy;
    for (const auto& v : features) {
      Vector k = linear(p, "attend.key_to_hidden.weight", "attend.key_to_hidden.bias", v);
      for (std::size_t i = 0; i < k.size(); ++i) k[i] = std::tanh(k[i] + q[i]);
      energy.push_back(linear(p, "attend.output.0.weight", "attend.output.0.bias", k)[0]);
    }
    attention = log_softmax(energy);
    for (double& a : attention) a = std::exp(a);
    Vector input = rows_of(p.at("embedding.weight"))[static_cast<std::size_t>(word)];
    const Vector gate = linear(p, "feature_gate.0.weight", "feature_gate.0.bias", h);
    for (std::size_t d = 0; d < gate.size(); ++d) {
      double seen = 0;
      for (std::size_t m = 0; m < features.size(); ++m) seen += attention[m] * features[m][d];
      input.push_back(sigmoid(gate[d]) * seen);
    }
    Vector gates = linear(p, "lstm.weight_ih", "lstm.bias_ih", input);
    const Vector recurrent = linear(p, "lstm.weight_hh", "lstm.bias_hh", h);
    for (std::size_t i = 0; i < gates.size(); ++i) gates[i] += recurrent[i];
    lstm(gates, h, c);
    return log_softmax(linear(p, "output.1.weight", "output.1.bias", h));
  }
};

DecoderSizes small_sizes() {
  DecoderSizes sizes;
  sizes.vocabulary = 9;
  sizes.features = 6;
  sizes.embedding = 4;
  sizes.hidden = 5;
  sizes.attention = 3;
  return sizes;
}

TEST(Decoder, StepAndAttentionAreTheDefinition) {
  const CaptionDecoder decoder(CaptionDecoder::initial(small_sizes(), 1), 9, "test");
  const auto features = random_tensor({2, 7, 6}, 2);
  const auto context = decoder.attend_to(features);
  auto state = decoder.start(features);
  std::vector<SlowDecoder> slow;
  for (int u = 0; u < 2; ++u) slow.emplace_back(decoder.parameters(), features[u]);
  for (const std::int64_t word : {5, 0, 8, 3}) {
    const auto step = decoder.step(context, torch::full({2}, word, torch::kInt64), state);
    const auto predicted = decoder.log_probabilities(step.output);
    for (std::int64_t u = 0; u < 2; ++u) {
      auto& reference = slow[static_cast<std::size_t>(u)];
      const Vector want = reference.step(word);
      for (std::int64_t w = 0; w < 9; ++w)
        EXPECT_NEAR(predicted[u][w].item<double>(), want[static_cast<std::size_t>(w)], 2e-6);
      for (std::int64_t m = 0; m < 7; ++m)
        EXPECT_NEAR(step.attention[u][m].item<double>(),
                    reference.attention[static_cast<std::size_t>(m)], 1e-6);
    }
    state = step.state;
  }
}

/// log p of a caption, one word at a time.
double slow_log_probability(const Parameters& p, const torch::Tensor& features, std::int64_t start,
                            const std::vector<std::int64_t>& words, std::int64_t stop) {
  SlowDecoder decoder(p, features);
  double sum = 0;
  std::int64_t previous = start;
  for (const auto word : words) {
    sum += decoder.step(previous)[static_cast<std::size_t>(word)];
    if (word == stop) break;
    previous = word;
  }
  return sum;
}

TEST(BeamSearch, FindsWhatEnumerationFinds) {
  // Nine words, three steps: a beam as wide as everything finds the best captions there are.
  auto parameters = CaptionDecoder::initial(small_sizes(), 3);
  parameters["output.1.weight"] *= 6;  // peaked, so that order is no matter of rounding
  const CaptionDecoder decoder(parameters, 9, "test");
  const auto features = random_tensor({7, 6}, 4);
  BeamOptions options{2000, 3, 5, 6};
  const auto found = beam_search(decoder, features, options);
  std::map<std::vector<std::int64_t>, double> all;  // captions padded with stop
  for (std::int64_t a = 0; a < 9; ++a)
    for (std::int64_t b = 0; b < 9; ++b)
      for (std::int64_t c = 0; c < 9; ++c) {
        std::vector<std::int64_t> words{a, b, c};
        for (std::size_t i = 1; i < 3; ++i)
          if (words[i - 1] == options.stop) words[i] = options.stop;
        if (!all.count(words)) all[words] = slow_log_probability(parameters, features, 5, words, 6);
      }
  ASSERT_EQ(found.size(), all.size());
  std::vector<std::pair<double, std::vector<std::int64_t>>> sorted;
  for (const auto& [words, score] : all) sorted.emplace_back(-score, words);
  std::sort(sorted.begin(), sorted.end());
  for (std::size_t i = 0; i < 40; ++i) {
    EXPECT_NEAR(found[i].log_probability, -sorted[i].first, 1e-5);
    EXPECT_NEAR(all.at(found[i].words), found[i].log_probability, 1e-5);
  }
  EXPECT_EQ(found[0].words, sorted[0].second);
  // One beam is the greedy choice.
  const auto greedy = greedy_search(decoder, features, options);
  SlowDecoder slow(parameters, features);
  std::int64_t previous = 5;
  for (const auto word : greedy.words) {
    if (previous == options.stop) break;
    const Vector p = slow.step(previous);
    EXPECT_EQ(word, std::max_element(p.begin(), p.end()) - p.begin());
    previous = word;
  }
}

TEST(BeamSearch, NarrowBeamIsTheObviousLoop) {
  auto parameters = CaptionDecoder::initial(small_sizes(), 5);
  parameters["output.1.weight"] *= 4;
  const CaptionDecoder decoder(parameters, 9, "test");
  const auto features = random_tensor({4, 6}, 6);
  const BeamOptions options{3, 5, 5, 6};
  struct Beam {
    std::vector<std::int64_t> words;
    double score;
  };
  std::vector<Beam> beams{{{}, 0}};
  for (int t = 0; t < 5; ++t) {
    std::vector<Beam> next;
    for (const auto& beam : beams)
      for (std::int64_t w = 0; w < 9; ++w) {
        const bool ended = !beam.words.empty() && beam.words.back() == 6;
        if (ended && w != 6) continue;
        Beam longer = beam;
        longer.words.push_back(w);
        if (!ended) longer.score = slow_log_probability(parameters, features, 5, longer.words, 6);
        next.push_back(longer);
      }
    std::sort(next.begin(), next.end(),
              [](const Beam& a, const Beam& b) { return a.score > b.score; });
    next.resize(3);
    beams = next;
  }
  const auto found = beam_search(decoder, features, options);
  ASSERT_EQ(found.size(), 3U);
  for (std::size_t i = 0; i < 3; ++i) EXPECT_NEAR(found[i].log_probability, beams[i].score, 1e-5);
}

LanguageModelSizes small_language() { return {9, 4, 5, 2}; }

TEST(LanguageModel, ScoreIsTheDefinitionWithItsQuirk) {
  const LanguageModel model(LanguageModel::initial(small_language(), 7), 9, "test");
  const auto& p = model.parameters();
  const std::vector<std::vector<std::int64_t>> captions{
      {1, 2, 6, 6, 6}, {6, 6, 6, 6, 6}, {0, 1, 2, 3, 4}, {3, 3, 3, 3, 6}};
  auto words = torch::empty({4, 5}, torch::kInt64);
  for (std::int64_t i = 0; i < 4; ++i)
    for (std::int64_t t = 0; t < 5; ++t)
      words[i][t] = captions[static_cast<std::size_t>(i)][static_cast<std::size_t>(t)];
  const auto scores = model.score(words, 5, 6);
  for (std::size_t i = 0; i < 4; ++i) {
    std::vector<Vector> h(2, Vector(5, 0)), c(2, Vector(5, 0));
    double sum = 0;
    std::int64_t previous = 5;
    std::size_t counted = captions[i].size();
    for (std::size_t t = 0; t < captions[i].size(); ++t)
      if (captions[i][t] == 6) {
        counted = std::min(captions[i].size(), t + 2);  // one past the first stop
        break;
      }
    for (std::size_t t = 0; t < counted; ++t) {
      Vector x = rows_of(p.at("embedding.weight"))[static_cast<std::size_t>(previous)];
      for (std::size_t l = 0; l < 2; ++l) {
        const std::string layer = "_l" + std::to_string(l);
        Vector gates = linear(p, "lstm.weight_ih" + layer, "lstm.bias_ih" + layer, x);
        const Vector recurrent = linear(p, "lstm.weight_hh" + layer, "lstm.bias_hh" + layer, h[l]);
        for (std::size_t g = 0; g < gates.size(); ++g) gates[g] += recurrent[g];
        lstm(gates, h[l], c[l]);
        x = h[l];
      }
      sum += log_softmax(linear(p, "output.0.weight", "output.0.bias",
                                x))[static_cast<std::size_t>(captions[i][t])];
      previous = captions[i][t];
    }
    EXPECT_NEAR(scores[static_cast<std::int64_t>(i)].item<double>(), sum, 1e-5) << i;
  }
}

TEST(Rerank, SubtractsTheLanguageModel) {
  const CaptionDecoder decoder(CaptionDecoder::initial(small_sizes(), 8), 9, "test");
  const LanguageModel model(LanguageModel::initial(small_language(), 9), 9, "test");
  const BeamOptions options{12, 4, 5, 6};
  auto candidates = beam_search(decoder, random_tensor({5, 6}, 10), options);
  const auto before = candidates;
  rerank(candidates, model, 0.7, options);
  ASSERT_EQ(candidates.size(), before.size());
  double last = INFINITY;
  for (const auto& candidate : candidates) {
    auto words =
        torch::empty({1, static_cast<std::int64_t>(candidate.words.size())}, torch::kInt64);
    std::copy(candidate.words.begin(), candidate.words.end(), words.data_ptr<std::int64_t>());
    EXPECT_NEAR(candidate.score,
                candidate.log_probability - 0.7 * model.score(words, 5, 6).item<double>(), 1e-5);
    EXPECT_LE(candidate.score, last);
    last = candidate.score;
  }
  bool moved = false;
  for (std::size_t i = 0; i < candidates.size(); ++i)
    moved = moved || candidates[i].words != before[i].words;
  EXPECT_TRUE(moved);
}

TEST(Featurizer, IsTheMaskedMeanOfEveryLayer) {
  probe_test::SmallNetwork network(5);
  const PyramidFeaturizer featurizer(network, {"conv"});
  const auto maps = featurizer.maps(random_tensor({2, 3, 16, 16}, 11));
  auto mask = torch::zeros({16, 16});
  mask.narrow(0, 0, 8).narrow(1, 4, 8).fill_(1);  // 4×4 maps: rows 0, 1, columns 1, 2
  const auto found = PyramidFeaturizer::inside(maps, 1, mask.unsqueeze(0))[0];
  for (std::int64_t c = 0; c < 5; ++c) {
    const double want =
        (maps[0][1][c][0][1] + maps[0][1][c][0][2] + maps[0][1][c][1][1] + maps[0][1][c][1][2])
            .item<double>() /
        4;
    EXPECT_NEAR(found[c].item<double>(), want, 1e-6);
  }
  EXPECT_EQ(PyramidFeaturizer::inside(maps, 0, torch::zeros({1, 16, 16})).abs().max().item<float>(),
            0);
}

TEST(Words, AreSplitAndJoined) {
  EXPECT_EQ(tokenize("The dog's red-ish Ball, (top)."),
            (std::vector<std::string>{"the", "dog", "'s", "red", "-", "ish", "ball", ",", "(",
                                      "top", ")", "."}));
  const auto words = Vocabulary::of({"a dog, a cat", "a dog (left)."});
  EXPECT_EQ(words.words()[0], "a");
  EXPECT_EQ(words.words()[1], "dog");
  const auto ids = words.encode("A dog, a cat (left).", 12);
  EXPECT_EQ(ids.size(), 13U);
  EXPECT_EQ(words.decode(ids), "A dog, a cat (left).");
  EXPECT_EQ(words.encode("zebra", 2)[0], words.unknown());
  EXPECT_EQ(words.encode("a a a a", 2), (std::vector<std::int64_t>{0, 0, words.stop()}));
}

class MilanFiles : public FolderTest {
 protected:
  static Milan small_milan() {
    Milan milan;
    milan.vocabulary = Vocabulary({"a", "b", "c", "d", "e"});
    milan.decoder = CaptionDecoder::initial(small_sizes(), 12);
    milan.language = LanguageModel::initial(small_language(), 13);
    milan.beam = 7;
    milan.feature_layers = {"conv1", "layer4"};
    return milan;
  }
  const fs::path file_ = folder_ / "milan.pth";
};

TEST_F(MilanFiles, RoundTrip) {
  const Milan milan = small_milan();
  save_milan(file_, milan);
  const Milan back = load_milan(file_);
  EXPECT_EQ(back.vocabulary.words(), milan.vocabulary.words());
  EXPECT_EQ(back.beam, 7);
  EXPECT_EQ(back.length, 15);
  EXPECT_EQ(back.feature_layers, milan.feature_layers);
  ASSERT_EQ(back.decoder.size(), milan.decoder.size());
  ASSERT_EQ(back.language.size(), milan.language.size());
  for (const auto& [name, tensor] : milan.decoder)
    EXPECT_TRUE(torch::equal(back.decoder.at(name), tensor)) << name;
  for (const auto& [name, tensor] : milan.language)
    EXPECT_TRUE(torch::equal(back.language.at(name), tensor)) << name;
}

TEST_F(MilanFiles, LanguageModelMayKnowTheWordsInAnotherOrder) {
  const Milan milan = small_milan();
  using Dict = CheckpointNode::Dict;
  const auto indexer = [](std::vector<std::string> words) {
    CheckpointNode::List tokens;
    for (auto& word : words) tokens.emplace_back(word);
    const Dict vocab{{"properties", Dict{{"tokens", tokens}}}, {"children", Dict{}}};
    return Dict{{"properties", Dict{{"vocab", vocab}}}, {"children", Dict{}}};
  };
  Dict state;
  for (const auto& [name, tensor] : milan.decoder) state.emplace_back(name, tensor);
  for (const auto& [name, tensor] : milan.language) state.emplace_back("lm." + name, tensor);
  state.emplace_back("encoder.featurizer.conv1.weight", torch::zeros({2}));
  const auto save = [&](std::vector<std::string> words) {
    const Dict lm{{"properties", Dict{{"indexer", indexer(std::move(words))}}}};
    const Dict config{{"properties", Dict{{"config", "resnet101"}}}};
    save_checkpoint(
        file_,
        Dict{{"properties", Dict{{"indexer", indexer({"a", "b", "c", "d", "e"})},
                                 {"encoder", Dict{{"properties", Dict{{"featurizer", config}}}}},
                                 {"lm", lm}}},
             {"children", Dict{}},
             {"state_dict", state}});
  };
  save({"c", "a", "b", "e", "d"});
  const Milan back = load_milan(file_);
  EXPECT_EQ(back.encoder, "resnet101");
  EXPECT_EQ(back.decoder.size(), milan.decoder.size());
  const auto& table = milan.language.at("embedding.weight");
  EXPECT_TRUE(torch::equal(back.language.at("embedding.weight")[0], table[1]));  // "a"
  EXPECT_TRUE(torch::equal(back.language.at("output.0.bias")[3],
                           milan.language.at("output.0.bias")[4]));              // "d"
  EXPECT_TRUE(torch::equal(back.language.at("embedding.weight")[6], table[6]));  // stop
  save({"c", "a", "b", "e", "z"});
  EXPECT_THROW(load_milan(file_), Error);
}

TEST_F(MilanFiles, DefectsAreErrorsNotCrashes) {
  const auto message = [&] {
    try {
      load_milan(file_);
    } catch (const Error& error) {
      return std::string(error.what());
    }
    return std::string("no error");
  };
  Milan milan = small_milan();
  milan.decoder["lstm.weight_hh"] = torch::zeros({3, 3});
  save_milan(file_, milan);
  EXPECT_NE(message().find("'lstm.weight_hh' has shape (3, 3)"), std::string::npos) << message();
  milan = small_milan();
  milan.vocabulary = Vocabulary({"a", "b"});
  save_milan(file_, milan);
  EXPECT_NE(message().find("'embedding.weight'"), std::string::npos) << message();
  save_checkpoint(file_, CheckpointNode::Dict{{"state_dict", CheckpointNode::Dict{}}});
  EXPECT_NE(message().find("no checkpoint of MILAN"), std::string::npos) << message();
  save_milan(file_, small_milan());
  const std::string whole = read_file(file_);
  Random random(14);
  for (int i = 0; i < 150; ++i) {
    std::string damaged = whole;
    if (i % 3 == 0) damaged.resize(random.below(whole.size()));
    for (int k = 0; k < 4 && !damaged.empty(); ++k)
      damaged[random.below(std::min<std::uint64_t>(damaged.size(), 3000))] =
          static_cast<char>(random.below(256));
    std::ofstream(file_, std::ios::binary) << damaged;
    try {
      load_milan(file_);
    } catch (const Error&) {
    }
  }
}

TEST(Training, StepsAreThoseOfTorch) {
  const torch::Tensor matrix = random_tensor({5, 4}, 30), vector = random_tensor({4}, 31);
  const torch::Tensor ours[] = {matrix.clone(), vector.clone()};
  const torch::Tensor theirs[] = {matrix.clone(), vector.clone()};
  AdamWOptions options;
  options.beta2 = 0.98;
  options.decay = 0.1;
  options.decay_vectors = false;
  AdamW optimizer({ours[0], ours[1]}, options);
  const auto group = [&](const torch::Tensor& tensor, double decay) {
    return torch::optim::OptimizerParamGroup(
        {tensor}, std::make_unique<torch::optim::AdamWOptions>(
                      torch::optim::AdamWOptions(0.03).betas({0.9, 0.98}).weight_decay(decay)));
  };
  torch::optim::AdamW reference({group(theirs[0], 0.1), group(theirs[1], 0)},
                                torch::optim::AdamWOptions());
  for (std::uint64_t step = 0; step < 20; ++step) {
    const auto gradients =
        std::vector{random_tensor({5, 4}, 40 + step), random_tensor({4}, 80 + step)};
    optimizer.step(gradients, 0.03);
    for (std::size_t i = 0; i < 2; ++i) theirs[i].mutable_grad() = gradients[i];
    reference.step();
  }
  EXPECT_FALSE(torch::allclose(ours[0], matrix, 0, 0.1));
  for (std::size_t i = 0; i < 2; ++i) EXPECT_TRUE(torch::allclose(ours[i], theirs[i], 1e-5, 1e-6));
}

TEST(Training, LearnsWhatItIsTold) {
  // Exemplars of unit kind k have feature k high; half of the captions say it in other words.
  const std::vector<std::string> things{"red circles", "blue squares", "striped things",
                                        "green grass", "small dots",   "large triangles"};
  const auto units = [&](std::int64_t n, std::uint64_t seed) {
    CaptionedUnits data;
    data.features = random_tensor({n, 6, 8}, seed, 0, 0.5);
    for (std::int64_t u = 0; u < n; ++u) {
      const auto kind = static_cast<std::size_t>(u) % things.size();
      data.features[u].select(1, static_cast<std::int64_t>(kind)).add_(1.5);
      data.captions.push_back(
          {things[kind], (u % 2 ? "images of " : "pictures with ") + things[kind]});
    }
    return data;
  };
  MilanTrainOptions options;
  options.embedding = 16;
  options.hidden = 32;
  options.learning_rate = 1e-2;
  options.epochs = 40;
  options.dropout = 0.2;
  options.length = 6;
  const conformance::TestContext context({}, {});
  const Milan milan = train_milan(units(90, 20), options, context);
  const auto held_out = units(24, 21);
  const Captioner captioner(milan, {}, "test");
  const auto captions = captioner.describe(held_out.features, 2);
  int named = 0;
  for (std::size_t u = 0; u < captions.size(); ++u)
    named += tokenize(captions[u].text).back() == tokenize(things[u % things.size()]).back();
  EXPECT_GE(named, 22) << captions[0].text;
  // Seeded: the same again.
  MilanTrainOptions brief = options;
  brief.epochs = 2;
  const auto a = train_milan(units(30, 20), brief, context),
             b = train_milan(units(30, 20), brief, context);
  for (const auto& [name, tensor] : a.decoder)
    EXPECT_TRUE(torch::equal(tensor, b.decoder.at(name)));
  EXPECT_THROW(captioner.describe(random_tensor({2, 6, 9}, 1), 1), Error);
}

}  // namespace
}  // namespace linex
