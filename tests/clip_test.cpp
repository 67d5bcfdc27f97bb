// CLIP and SigLIP: tokenizers and towers against what open_clip, timm and transformers made of the
// tiny checkpoints in fixtures/clip (make_clip_fixtures.py); presence, calibration, labelers.
#include <gtest/gtest.h>

#include <fstream>
#include <nlohmann/json.hpp>
#include <numeric>

#include "linex/conformance.hpp"
#include "linex/error.hpp"
#include "tests/sentencepiece_loaded.hpp"
#include "tests/test_models.hpp"
#include "tests/test_plugins.hpp"
#include "toolkit/base/files.hpp"
#include "toolkit/base/random.hpp"
#include "toolkit/concepts/calibration.hpp"
#include "toolkit/concepts/concept_list.hpp"
#include "toolkit/concepts/embedding_labeler.hpp"
#include "toolkit/concepts/embedding_presence.hpp"
#include "toolkit/concepts/matrix_presence.hpp"
#include "toolkit/data/dataset.hpp"
#include "toolkit/data/loader.hpp"
#include "toolkit/net/vision_text.hpp"
#include "toolkit/text/clean_text.hpp"
#include "toolkit/text/tokenizer.hpp"
#include "toolkit/text/unicode.hpp"

namespace linex {
namespace {

namespace fs = std::filesystem;
using nlohmann::json;
using test::fixtures;
using test::given;
using test::input_error_of;
using test::kSentencePiece;
using torch::Tensor;

const json& expected() {
  static const json parsed = json::parse(read_file(fixtures("clip/expected.json")));
  return parsed;
}

std::vector<std::string> texts() { return expected().at("texts").get<std::vector<std::string>>(); }

Tensor matrix(const json& rows) {
  const auto values = rows.get<std::vector<std::vector<double>>>();
  Tensor result = torch::empty(
      {static_cast<std::int64_t>(values.size()), static_cast<std::int64_t>(values.at(0).size())});
  for (std::size_t i = 0; i < values.size(); ++i)
    for (std::size_t j = 0; j < values[i].size(); ++j)
      result[static_cast<std::int64_t>(i)][static_cast<std::int64_t>(j)] = values[i][j];
  return result;
}

std::shared_ptr<DataSet> pictures() {
  DataOptions options;
  options.root = fixtures("clip/images");
  return open_data_set(options);
}

Tensor unit_rows(const Tensor& values) { return values / values.norm(2, {1}, true); }

/// A folder of this test run, empty.
fs::path fresh_folder(const std::string& name) {
  const fs::path folder = fs::path(LINEX_TEST_DIR) / "clip_test.files" / name;
  fs::remove_all(folder);
  fs::create_directories(folder);
  return folder;
}

fs::path write(const fs::path& file, const std::string& content) {
  std::ofstream(file, std::ios::binary) << content;
  return file;
}

TEST(Tokenizers, ClipIdsAreOpenClips) {
  const auto tokens = open_clip_vocabulary(fixtures("clip/vocabulary.txt.gz"));
  const Tensor found = tokens->encode_batch(texts(), 16);
  const auto wanted = expected().at("clip_ids").get<std::vector<std::vector<std::int64_t>>>();
  for (std::size_t i = 0; i < wanted.size(); ++i)
    EXPECT_TRUE(found[static_cast<std::int64_t>(i)].equal(torch::tensor(wanted[i])))
        << texts()[i] << "\n"
        << found[static_cast<std::int64_t>(i)];
  EXPECT_TRUE(tokens->is_cut("a dog, a cat, a house and a tree", 16));
  EXPECT_FALSE(tokens->is_cut("dog", 16));
}

TEST(Tokenizers, SiglipIdsAreTransformers) {
  if (!kSentencePiece) GTEST_SKIP() << "SentencePiece is not loaded under sanitizers";
  const auto tokens = open_sentencepiece_model(fixtures("clip/spiece.model"));
  const Tensor found = tokens->encode_batch(texts(), 16);
  const auto wanted = expected().at("siglip_ids").get<std::vector<std::vector<std::int64_t>>>();
  for (std::size_t i = 0; i < wanted.size(); ++i)
    EXPECT_TRUE(found[static_cast<std::int64_t>(i)].equal(torch::tensor(wanted[i]))) << texts()[i];
}

TEST(Tokenizers, JsonVocabularyEqualsTheMergeList) {
  // vocab.json and merges.txt of Hugging Face, made from the merge list as Hugging Face did.
  const auto reference = open_clip_vocabulary(fixtures("clip/vocabulary.txt.gz"));
  const fs::path folder = fresh_folder("json_vocabulary");
  json vocabulary = json::object();
  std::int64_t id = 0;
  std::vector<char32_t> visible, rest;
  char32_t next = 0x100;
  for (char32_t byte = 0; byte < 256; ++byte)
    if ((byte >= '!' && byte <= '~') || (byte >= 0xa1 && byte <= 0xac) || byte >= 0xae)
      visible.push_back(byte);
    else
      rest.push_back(next++);
  visible.insert(visible.end(), rest.begin(), rest.end());
  for (const char* suffix : {"", "</w>"})
    for (const char32_t symbol : visible) vocabulary[to_utf8({&symbol, 1}) + suffix] = id++;
  std::string merges = "#version: 0.2\n";
  // The first merges of the published list, which the fixture holds, too.
  for (const auto& [first, second] : std::vector<std::pair<std::string, std::string>>{
           {"i", "n"}, {"t", "h"}, {"a", "n"}, {"r", "e"}, {"a", "r"}, {"e", "r"}}) {
    vocabulary[first + second] = id++;
    merges += first + " " + second + "\n";
  }
  vocabulary["<|startoftext|>"] = id++;
  vocabulary["<|endoftext|>"] = id++;
  write(folder / "vocab.json", vocabulary.dump());
  write(folder / "merges.txt", merges);
  const auto tokens = open_clip_vocabulary(folder / "vocab.json");
  EXPECT_EQ(tokens->size(), id);
  const auto ids = tokens->encode("than");
  EXPECT_EQ(ids,
            (std::vector<std::int64_t>{vocabulary["th"], vocabulary["a"], vocabulary["n</w>"]}));
  EXPECT_EQ(tokens->encode("x"), reference->encode("x"));

  write(folder / "merges.txt", "#version: 0.2\nq z\n");
  EXPECT_NE(input_error_of([&] { open_clip_vocabulary(folder / "vocab.json"); }).find("q z"),
            std::string::npos);
}

TEST(Tokenizers, WrongFilesAreOneLine) {
  const fs::path folder = fresh_folder("wrong_vocabularies");
  const std::string packed = read_file(fixtures("clip/vocabulary.txt.gz"));
  for (const auto& [name, content] : std::vector<std::pair<std::string, std::string>>{
           {"empty.txt.gz", ""},
           {"truncated.txt.gz", packed.substr(0, packed.size() / 2)},
           {"words.txt", "one\ntwo three four\n"},
           {"list.json", "[1, 2]"},
           {"not.json", "{"}}) {
    const fs::path file = folder / name;
    write(file, content);
    write(folder / "merges.txt", "#version\na b\n");
    EXPECT_NE(input_error_of([&] { open_clip_vocabulary(file); }).find(name), std::string::npos);
  }
  input_error_of([&] { open_clip_vocabulary(folder / "missing.txt.gz"); });
  if (!kSentencePiece) return;
  for (const std::string& content : {std::string(), std::string("no model"), packed})
    input_error_of([&] { open_sentencepiece_model(write(folder / "spiece.model", content)); });
}

TEST(CleanText, KnownCases) {
  const auto lower = [](const char* text) { return to_utf8(clean_lower(text)); };
  EXPECT_EQ(lower("  P&EACUTE;rez &amp;amp; S\u00c3O "), "p\u00e9rez & s\u00e3o");
  EXPECT_EQ(lower("a\u2019b \u201cc\u201d \ufb01"), "a'b \"c\" fi");
  EXPECT_EQ(lower("\u03a3\u0391\u03a3"), "\u03c3\u03b1\u03c2");
  EXPECT_EQ(lower("&lt;b&gt; <b> &copy"), "<b> <b> \u00a9");
  EXPECT_EQ(lower("&#x110000;&#0;&#x80;"), "\ufffd\ufffd\u20ac");
  EXPECT_EQ(to_utf8(clean_canonical("Hot_Dog, (with) \"mustard\"!")), "hot dog with mustard");
}

struct TowerCase {
  const char *name, *weights;
  bool siglip;
};

TEST(Towers, EmbeddingsEqualTheReferences) {
  for (const TowerCase& tower :
       {TowerCase{"clip", "clip/weights.safetensors", false},
        TowerCase{"resnet", "resnet/weights.pt", false},
        TowerCase{"siglip", "siglip/weights.safetensors", true},
        TowerCase{"siglip_hf", "siglip_hf/model.safetensors.index.json", true}}) {
    SCOPED_TRACE(tower.name);
    const VisionText model = VisionText::load(fixtures(std::string("clip/") + tower.weights), {});
    const Tensor images = load_batch(*pictures(), {0, 1, 2}, model.preprocess(), 1);
    EXPECT_LT(test::relative_difference(model.embed_images(images),
                                        matrix(expected().at(tower.name).at("images"))),
              1e-5);
    const auto ids = expected()
                         .at(tower.siglip ? "siglip_ids" : "clip_ids")
                         .get<std::vector<std::vector<std::int64_t>>>();
    Tensor tokens = torch::empty({static_cast<std::int64_t>(ids.size()), 16}, torch::kInt64);
    for (std::size_t i = 0; i < ids.size(); ++i)
      tokens[static_cast<std::int64_t>(i)] = torch::tensor(ids[i]);
    EXPECT_LT(test::relative_difference(model.embed_texts(tokens),
                                        matrix(expected().at(tower.name).at("texts"))),
              1e-5);
  }
}

TEST(Towers, SameBytesForAnyThreadCountAndCloseInHalf) {
  VisionText one = VisionText::load(fixtures("clip/clip/weights.safetensors"), {});
  VisionText half = one, two = one;
  RunSettings run;
  run.threads = 2;
  two.prepare(run);
  const Tensor images = torch::randn({11, 3, 32, 32}, torch::kFloat);
  EXPECT_TRUE(one.embed_images(images).equal(two.embed_images(images)));
  half = VisionText::load(fixtures("clip/clip/weights.safetensors"), {});
  half.prepare(run, torch::kBFloat16);
  const Tensor rough = half.embed_images(images);
  EXPECT_LT(test::relative_difference(rough, one.embed_images(images)), 0.1);
  EXPECT_FALSE(rough.equal(one.embed_images(images)));
}

TEST(Towers, WrongCheckpointsAreOneLine) {
  const fs::path file = fixtures("clip/clip/weights.safetensors");
  const StateDict whole = load_weights(file);
  const auto error_of = [&](const StateDict& weights) {
    return input_error_of(
        [&] { VisionText(weights, infer_config(weights, file, VisionTextOverrides{})); });
  };
  const auto without = [&](const std::string& part) {
    StateDict weights = whole;
    for (auto it = weights.tensors.begin(); it != weights.tensors.end();)
      it = it->first.find(part) != std::string::npos ? weights.tensors.erase(it) : std::next(it);
    return weights;
  };
  EXPECT_NE(error_of(without("token_embedding")).find("no text tower"), std::string::npos);
  EXPECT_NE(error_of(without("visual")).find("neither CLIP nor SigLIP"), std::string::npos);
  EXPECT_NE(error_of(without("visual.proj")).find("1 missing (visual.proj)"), std::string::npos);
  EXPECT_NE(error_of(without("resblocks.1.mlp")).find("missing"), std::string::npos);

  StateDict wrong = whole;
  wrong.tensors["ln_final.weight"] = torch::ones({7});
  EXPECT_NE(error_of(wrong).find("ln_final.weight (7) instead of (32)"), std::string::npos);
  wrong = whole;
  wrong.tensors["visual.positional_embedding"] = torch::ones({16, 32});
  EXPECT_NE(error_of(wrong).find("no square grid"), std::string::npos);
  wrong = whole;
  wrong.tensors["visual.proj"] = torch::full({32, 16}, NAN);
  EXPECT_NE(error_of(wrong).find("NaN"), std::string::npos);
  wrong = whole;
  wrong.tensors["surprise"] = torch::ones({1});
  EXPECT_NE(error_of(wrong).find("1 unexpected (surprise)"), std::string::npos);

  VisionTextOverrides size;
  size.image_size = 100;
  EXPECT_NE(input_error_of([&] { VisionText::load(file, size); }).find("image_size"),
            std::string::npos);
}

TEST(Config, WhatShapesTell) {
  // Only shapes matter here: the published SigLIP SO400M/14-384, in names of open_clip.
  const auto weights = [] {
    StateDict dict;
    dict.source = "weights";
    const auto add = [&](const std::string& name, std::vector<std::int64_t> shape) {
      dict.tensors[name] = torch::empty({1}).expand(shape);
    };
    add("visual.trunk.patch_embed.proj.weight", {1152, 3, 14, 14});
    add("visual.trunk.pos_embed", {1, 729, 1152});
    add("text.token_embedding.weight", {32000, 1152});
    add("text.positional_embedding", {64, 1152});
    add("text.text_projection.weight", {1152, 1152});
    for (int i = 0; i < 27; ++i) {
      add("visual.trunk.blocks." + std::to_string(i) + ".mlp.fc1.weight", {4304, 1152});
      add("text.transformer.resblocks." + std::to_string(i) + ".mlp.c_fc.weight", {4304, 1152});
    }
    return dict;
  }();
  const auto config = infer_config(weights, "nowhere/weights", {});
  EXPECT_EQ(config.name(), "SigLIP ViT-SO400M/14-384");
  EXPECT_EQ(config.vision.heads, 16);
  EXPECT_EQ(config.vision.layers, 27);
  EXPECT_EQ(config.text.mlp, 4304);
  EXPECT_EQ(config.vision.activation, Activation::gelu);
  const KnownSigmoid known = published_sigmoid(config);
  EXPECT_TRUE(known.exact);
  EXPECT_EQ(known.sigmoid.a, 58);
  EXPECT_EQ(known.sigmoid.b, -0.13);
}

TEST(EmbeddingPresence, IsTheSigmoidOfCosines) {
  torch::manual_seed(1);
  const Tensor images = unit_rows(torch::randn({70, 24})),
               words = unit_rows(torch::randn({31, 24}));
  const EmbeddingPresence presence(images, words, Sigmoid{20, -0.1});
  const Tensor wanted = at::sigmoid(20 * (images.matmul(words.t()) - 0.1));
  const std::vector<std::int64_t> rows = {3, 4, 5, 69}, block = {10, 11, 12}, cols = {30, 0, 7};
  Tensor all = torch::empty({4, 31}), some = torch::empty({3, 3});
  presence.read(rows, Columns::all(), all.data_ptr<float>());
  EXPECT_LT((all - wanted.index({torch::tensor(rows)})).abs().max().item<float>(), 1e-6);
  for (int twice = 0; twice < 2; ++twice) {
    presence.read(block, cols, some.data_ptr<float>());
    EXPECT_LT((some - wanted.narrow(0, 10, 3).index_select(1, torch::tensor(cols)))
                  .abs()
                  .max()
                  .item<float>(),
              1e-6);
  }
  const EmbeddingPresence cosines(images, words, std::nullopt);
  cosines.read(rows, Columns::all(), all.data_ptr<float>());
  EXPECT_LT((all - images.matmul(words.t()).index({torch::tensor(rows)})).abs().max().item<float>(),
            1e-6);
  EXPECT_NE(
      input_error_of([&] {
        normalized_rows(torch::zeros({2, 3}), [](auto i) { return "row " + std::to_string(i); });
      }).find("row 0"),
      std::string::npos);
}

TEST(Calibration, RecoversPlantedParameters) {
  using concepts::calibrate;
  using concepts::Calibration;
  Random random(5);
  const std::int64_t n = 2000, c = 40, width = 16;
  const auto normal = [&](std::int64_t rows) {
    Tensor values = torch::empty({rows, width});
    for (std::int64_t i = 0; i < values.numel(); ++i)
      values.data_ptr<float>()[i] = static_cast<float>(random.normal());
    return unit_rows(values);
  };
  const Tensor images = normal(n), words = normal(c);
  const EmbeddingPresence cosines(images, words, std::nullopt);
  const Sigmoid planted{14.3, -0.237};
  const EmbeddingPresence chance(images, words, planted);
  Rows rows(static_cast<std::size_t>(n));
  std::iota(rows.begin(), rows.end(), 0);
  Tensor truth = torch::empty({n, c});
  chance.read(rows, Columns::all(), truth.data_ptr<float>());
  for (std::int64_t i = 0; i < truth.numel(); ++i) {
    float& value = truth.data_ptr<float>()[i];
    value = random.uniform() < static_cast<double>(value) ? 1.0F : 0.0F;
  }
  const MatrixPresence labels(truth);
  const Calibration fit = calibrate(cosines, labels, rows);
  EXPECT_TRUE(fit.converged);
  EXPECT_NEAR(fit.sigmoid.a, planted.a, 0.4);
  EXPECT_NEAR(fit.sigmoid.b, planted.b, 0.01);
  EXPECT_LE(fit.loss, fit.grid_loss + 1e-7);
  EXPECT_NEAR(fit.grid_sigmoid.a, fit.sigmoid.a, 2);
  EXPECT_NEAR(fit.grid_sigmoid.b, fit.sigmoid.b, 0.02);
  EXPECT_EQ(fit.pairs, n * c);

  // The optimum of a convex problem: no neighbour is better, by an independent sum.
  const auto loss_at = [&](double a, double b) {
    const Tensor z = a * (images.to(torch::kDouble).matmul(words.t().to(torch::kDouble)) + b);
    return (at::softplus(z) - z * truth.to(torch::kDouble)).mean().item<double>();
  };
  const double best = loss_at(fit.sigmoid.a, fit.sigmoid.b);
  EXPECT_NEAR(best, fit.loss, 1e-7);
  for (const auto& [da, db] : {std::pair{0.1, 0.0}, {-0.1, 0.0}, {0.0, 0.002}, {0.0, -0.002}})
    EXPECT_GT(loss_at(fit.sigmoid.a + da, fit.sigmoid.b + db), best);

  concepts::CalibrationOptions two;
  two.threads = 2;
  const Calibration again = calibrate(cosines, labels, rows, two);
  EXPECT_EQ(again.sigmoid.a, fit.sigmoid.a);
  EXPECT_EQ(again.sigmoid.b, fit.sigmoid.b);

  // Only the rows asked for count.
  const Rows few(rows.begin(), rows.begin() + 100);
  EXPECT_EQ(calibrate(cosines, labels, few).pairs, 100 * c);
  input_error_of([&] { calibrate(cosines, MatrixPresence(torch::zeros({n, c})), rows); });
  input_error_of([&] { calibrate(cosines, MatrixPresence(torch::zeros({n, 3})), rows); });
  const Calibration separable =
      calibrate(cosines, MatrixPresence(images.matmul(words.t()).gt(0.1).to(torch::kFloat)), rows);
  EXPECT_FALSE(separable.converged);
  EXPECT_LT(separable.loss, separable.grid_loss);
}

TEST(ConceptList, NamesAreDistinctAndEmptyOnesRefused) {
  const fs::path folder = fresh_folder("lists");
  const fs::path file = write(folder / "list.txt",
                              "\xef\xbb\xbf"
                              "cat\r\n dog \rcat\ncat (2)\ncat\n \n\n");
  test::RecordingLogger log;
  const ConceptList list = read_concept_list(file, log);
  // "cat (2)" was somebody's name already.
  EXPECT_EQ(list.names, (std::vector<std::string>{"cat", "dog", "cat (3)", "cat (2)", "cat (4)"}));
  EXPECT_EQ(list.text_of("cat (3)"), "cat");
  EXPECT_EQ(list.text_of("cat (2)"), "cat (2)");
  EXPECT_EQ(list.text_of("a cow"), "a cow");
  ASSERT_EQ(log.lines.size(), 1U);
  EXPECT_NE(log.lines[0].find("2 names there already, the first is 'cat'"), std::string::npos);
  const auto refused = [&](const std::string& content, const std::string& part) {
    const auto text =
        input_error_of([&] { read_concept_list(write(folder / "bad.txt", content), log); });
    EXPECT_NE(text.find(part), std::string::npos) << text;
  };
  refused("\n\n", "no concept");
  refused("ok\ncaf\xe9\n", "line 2");
  refused("ok\n\ncow\n", "line 2 is empty");
  refused("ok\ndog\n \t\ncow\n", "line 3 is empty");
}

OptionValues siglip_options(const fs::path& list) {
  return given({{"weights", fixtures("clip/siglip/weights.safetensors").string()},
                {"vocabulary", fixtures("clip/spiece.model").string()},
                {"concepts", list.string()},
                {"a", std::string("10")},
                {"b", std::string("-0.05")}});
}

Tensor read_all(const Presence& presence) {
  Rows rows(static_cast<std::size_t>(presence.rows()));
  std::iota(rows.begin(), rows.end(), 0);
  Tensor values = torch::empty({presence.rows(), presence.cols()});
  presence.read(rows, Columns::all(), values.data_ptr<float>());
  return values;
}

TEST(Labelers, PresenceFromTheCheckpoint) {
  if (!kSentencePiece) GTEST_SKIP() << "SentencePiece is not loaded under sanitizers";
  const fs::path folder = fresh_folder("labelers");
  std::vector<std::string> words = {"dog", "a photo of a cat", "snow_mobile"};
  const fs::path list = write(folder / "concepts.txt", "dog\na photo of a cat\nsnow_mobile\n");
  const json& reference = expected().at("siglip");
  const Tensor images = unit_rows(matrix(reference.at("images")));
  const auto all_texts = texts();
  std::vector<Tensor> rows;
  for (const std::string& word : words)
    rows.push_back(matrix(reference.at(
        "texts"))[std::find(all_texts.begin(), all_texts.end(), word) - all_texts.begin()]);
  // The fixture's texts are 16 tokens long, as the model reads them.
  const Tensor wanted = at::sigmoid(10 * (images.matmul(unit_rows(at::stack(rows)).t()) - 0.05));

  test::Plugins plugins;
  plugins.run.cache = folder / "cache";
  const auto labeler = plugins.make<ConceptLabeler>("siglip", siglip_options(list));
  labeler->attach(pictures());
  EXPECT_EQ(labeler->concepts(), words);
  const Tensor first = read_all(*labeler->presence());
  EXPECT_LT((first - wanted).abs().max().item<float>(), 1e-5);
  EXPECT_TRUE(labeler->knows("anything at all"));
  EXPECT_FALSE(labeler->knows("  "));
  const Tensor some =
      read_all(*labeler->presence_of({"snow_mobile", "The QUICK brown fox", "dog"}));
  EXPECT_LT((some.select(1, 0) - wanted.select(1, 2)).abs().max().item<float>(), 1e-5);
  EXPECT_LT((some.select(1, 2) - wanted.select(1, 0)).abs().max().item<float>(), 1e-5);

  // A second run finds everything in the cache and gives the same bytes.
  const auto again = plugins.make<ConceptLabeler>("siglip", siglip_options(list));
  again->attach(pictures());
  EXPECT_TRUE(read_all(*again->presence()).equal(first));

  OptionValues half = siglip_options(list);
  half.set("precision", std::string("half"));
  const auto rough = plugins.make<ConceptLabeler>("siglip", half);
  rough->attach(pictures());
  EXPECT_LT((read_all(*rough->presence()) - wanted).abs().max().item<float>(), 0.1);

  OptionValues prompted = siglip_options(write(folder / "cat.txt", "cat\n"));
  prompted.set("template", std::string("a photo of a {}"));
  const auto prompt = plugins.make<ConceptLabeler>("siglip", prompted);
  prompt->attach(pictures());
  EXPECT_LT(
      (read_all(*prompt->presence()).select(1, 0) - wanted.select(1, 1)).abs().max().item<float>(),
      1e-5);
}

/// Embeds images as their mean colour and texts as their length, `extra` numbers too many.
class TinyFamily final : public ImageTextModel {
 public:
  explicit TinyFamily(std::int64_t extra) : extra_(extra) {}
  std::string name() const override { return "tiny"; }
  std::int64_t width() const override { return 3; }
  Preprocess preprocess() const override {
    Preprocess preprocess;
    preprocess.resize = Preprocess::Resize::squash;
    preprocess.size = 8;
    return preprocess;
  }
  Tensor embed_images(const Tensor& images) const override { return images.mean({2, 3}); }
  Tensor embed_texts(const std::vector<std::string>& texts) const override {
    Tensor all = torch::ones({static_cast<std::int64_t>(texts.size()), 3 + extra_});
    for (std::size_t i = 0; i < texts.size(); ++i)
      all[static_cast<std::int64_t>(i)][0] = static_cast<std::int64_t>(texts[i].size());
    return all;
  }
  std::string fingerprint() const override { return "tiny"; }
  std::int64_t context() const override { return 4; }
  bool is_cut(const std::string& text) const override { return text.size() > 4; }
  KnownSigmoid sigmoid() const override { return {{1, 0}, "huge", false}; }

 private:
  std::int64_t extra_;
};

TEST(Labelers, AnotherFamilyIsOneClass) {
  const fs::path folder = fresh_folder("family");
  OptionValues options = option::defaults(kEmbeddingOptions);
  options.set("concepts", write(folder / "list.txt", "ab\nabcdefgh\n"));
  options.set("template", std::string("{}{}"));
  const conformance::TestContext context(options);
  EmbeddingLabeler labeler(context, "tiny", std::make_unique<TinyFamily>(0));
  labeler.attach(pictures());
  const Tensor found = read_all(*labeler.presence());
  Tensor images = torch::empty({pictures()->size(), 3});
  for (std::int64_t i = 0; i < images.size(0); ++i)
    images[i] = load_batch(*pictures(), Rows{i}, TinyFamily(0).preprocess(), 1).mean({2, 3})[0];
  const Tensor words =
      unit_rows(torch::tensor({4.0F, 1.0F, 1.0F, 16.0F, 1.0F, 1.0F}).reshape({2, 3}));
  EXPECT_LT((found - unit_rows(images).matmul(words.t()).sigmoid()).abs().max().item<float>(),
            1e-6);

  // What a model promises is checked before anything is stored.
  EmbeddingLabeler broken(context, "tiny", std::make_unique<TinyFamily>(1));
  broken.attach(pictures());
  try {
    broken.presence();
    ADD_FAILURE() << "no error";
  } catch (const std::logic_error& error) {
    EXPECT_NE(std::string(error.what()).find("tiny embeds 2 inputs as (2, 4), not float32 (2, 3)"),
              std::string::npos)
        << error.what();
  }
}

TEST(Labelers, WrongInputIsOneLine) {
  if (!kSentencePiece) GTEST_SKIP() << "SentencePiece is not loaded under sanitizers";
  const fs::path folder = fresh_folder("wrong_labelers");
  const fs::path list = write(folder / "concepts.txt", "dog\n");
  test::Plugins plugins;
  const auto error_of = [&](const std::string& plugin, const OptionValues& options) -> std::string {
    try {
      plugins.make<ConceptLabeler>(plugin, options);
    } catch (const Error& error) {
      EXPECT_EQ(std::string(error.what()).find('\n'), std::string::npos) << error.what();
      return error.what();
    }
    ADD_FAILURE() << "no error";
    return "";
  };
  const auto with = [&](const char* name, const std::string& value) {
    OptionValues options = siglip_options(list);
    options.set(name, value);
    return options;
  };
  EXPECT_NE(error_of("clip", siglip_options(list)).find("plugin=siglip"), std::string::npos);
  EXPECT_NE(error_of("siglip", with("a", "steep")).find("give a number or auto"),
            std::string::npos);
  EXPECT_NE(error_of("siglip", with("a", "-3")).find("positive"), std::string::npos);
  EXPECT_NE(error_of("siglip", with("template", "no place")).find("{}"), std::string::npos);
  EXPECT_NE(error_of("siglip", with("vocabulary", "")).find("vocabulary=FILE"), std::string::npos);
  EXPECT_NE(error_of("siglip", with("weights", "nowhere")).find("nowhere"), std::string::npos);
  write(folder / "empty.txt", "\n");
  EXPECT_NE(
      error_of("siglip", with("concepts", (folder / "empty.txt").string())).find("no concept"),
      std::string::npos);
  OptionValues clip = given({{"weights", fixtures("clip/clip/weights.safetensors").string()},
                             {"vocabulary", fixtures("clip/vocabulary.txt.gz").string()},
                             {"concepts", list.string()}});
  plugins.make<ConceptLabeler>("clip", clip);
  const std::string vocabulary = "#version: 0.2\ni n\nt h\n";
  clip.set("vocabulary", write(folder / "other.txt", vocabulary).string());
  EXPECT_NE(error_of("clip", clip).find("516 tokens"), std::string::npos);

  std::string long_text = "dog";
  for (int i = 0; i < 40; ++i) long_text += " dog";
  write(folder / "long.txt", long_text + "\n");
  plugins.log.lines.clear();
  plugins.make<ConceptLabeler>("siglip", with("concepts", (folder / "long.txt").string()));
  ASSERT_EQ(plugins.log.lines.size(), 1U);
  EXPECT_NE(plugins.log.lines[0].find("longer than the 16 tokens"), std::string::npos);

  const auto unlisted = plugins.make<ConceptLabeler>("siglip", with("concepts", ""));
  EXPECT_THROW(unlisted->concepts(), Error);
  EXPECT_THROW(unlisted->attach(nullptr), Error);
}

}  // namespace
}  // namespace linex
