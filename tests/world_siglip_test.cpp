// The embedded world's SigLIP: judged on pictures it has not seen, and trained anew.
#include <gtest/gtest.h>

#include <numeric>

#include "host/demo/word_pieces.hpp"
#include "host/demo/world_siglip.hpp"
#include "tests/sentencepiece_loaded.hpp"
#include "tests/test_plugins.hpp"
#include "toolkit/base/files.hpp"
#include "toolkit/data/loader.hpp"
#include "toolkit/text/tokenizer.hpp"

namespace linex {
namespace {

namespace fs = std::filesystem;
using test::kSentencePiece;
using torch::Tensor;

fs::path fresh_folder(const std::string& name) {
  const fs::path folder = fs::path(LINEX_TEST_DIR) / "world_siglip_test.files" / name;
  fs::remove_all(folder);
  fs::create_directories(folder);
  return folder;
}

/// Share of pictures whose value of an aspect has the text of the highest cosine, by aspect.
std::vector<double> zero_shot(const fs::path& weights, const World& world) {
  const VisionText model = VisionText::load(weights, {});
  const auto tokens = open_sentencepiece_model(weights.parent_path() / "spiece.model");
  Rows rows(static_cast<std::size_t>(world.size()));
  std::iota(rows.begin(), rows.end(), 0);
  const Tensor images = model.embed_images(load_batch(world, rows, model.preprocess(), 2));
  std::vector<double> accuracy;
  for (int a = 0; a < kAspects; ++a) {
    const auto aspect = static_cast<Aspect>(a);
    Tensor texts =
        model.embed_texts(tokens->encode_batch(values_of(aspect), model.config().context));
    texts = texts / texts.norm(2, {1}, true);
    const Tensor best = images.matmul(texts.t()).argmax(1);
    double right = 0;
    for (const auto row : rows)
      right += best[row].item<std::int64_t>() == world.scene(row)[aspect] ? 1 : 0;
    accuracy.push_back(right / static_cast<double>(rows.size()));
  }
  return accuracy;
}

TEST(WordPieces, SentencePieceReadsThem) {
  if (!kSentencePiece) GTEST_SKIP() << "SentencePiece is not loaded under sanitizers";
  const fs::path folder = fresh_folder("word_pieces");
  const fs::path file = folder / "spiece.model";
  write_file_atomic(file, word_piece_model({"red", "circle", "on"}));
  const auto tokens = open_sentencepiece_model(file);
  EXPECT_EQ(tokens->encode("Red circle, on"), (std::vector<std::int64_t>{3, 4, 5}));
  EXPECT_EQ(tokens->encode("red ab"), (std::vector<std::int64_t>{3, 6, 7, 8}));
  EXPECT_TRUE(tokens->encode_batch({"red"}, 3).equal(torch::tensor({{3, 1, 1}}, torch::kInt64)));
}

TEST(WorldSiglip, TheShippedOneKnowsTheWorldsAttributes) {
  if (!kSentencePiece) GTEST_SKIP() << "SentencePiece is not loaded under sanitizers";
  const WorldSiglip made = world_siglip(fresh_folder("shipped"));
  // Pictures of a seed that nothing was trained on.
  const std::vector<double> accuracy = zero_shot(made.weights, World({600, 32, 1}));
  double mean = 0;
  for (int a = 0; a < kAspects; ++a) {
    std::printf("%-10s %.3f\n", to_string(static_cast<Aspect>(a)),
                accuracy[static_cast<std::size_t>(a)]);
    mean += accuracy[static_cast<std::size_t>(a)] / kAspects;
  }
  EXPECT_GE(mean, 0.9);
}

WorldSiglipOptions small_options() {
  WorldSiglipOptions small;
  small.world.images = 640;
  small.train.image_layers = 1;
  small.train.patch = 8;
  small.train.batch = 64;
  small.train.epochs = 6;
  return small;
}

TEST(WorldSiglip, TrainingLearnsAndGivesTheSameBytesForAnyThreadCount) {
  if (!kSentencePiece) GTEST_SKIP() << "SentencePiece is not loaded under sanitizers";
  std::string first;
  for (const int threads : {1, 2}) {
    test::Plugins plugins(threads);
    const HostContext context({}, plugins.run, plugins.log, true);
    const fs::path cache = fresh_folder("threads" + std::to_string(threads));
    const WorldSiglip made = train_world_siglip(small_options(), cache, context);
    const std::string digest = sha256_of_file(made.weights);
    if (first.empty()) first = digest;
    EXPECT_EQ(digest, first);
    EXPECT_GT(made.sigmoid.a, 1);
    if (threads == 1) continue;
    const std::vector<double> accuracy = zero_shot(made.weights, World({300, 32, 1}));
    EXPECT_GT(accuracy[static_cast<std::size_t>(Aspect::background)], 0.5);  // chance is 0.2
    const auto written = fs::last_write_time(made.weights);
    const WorldSiglip again = train_world_siglip(small_options(), cache, context);
    EXPECT_EQ(again.weights, made.weights);
    EXPECT_EQ(again.sigmoid.a, made.sigmoid.a);
    EXPECT_EQ(fs::last_write_time(made.weights), written);
  }
}

}  // namespace
}  // namespace linex
