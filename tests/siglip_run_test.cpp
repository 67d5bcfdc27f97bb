// LE(SigLIP) from the command line, on pictures of the embedded world and the SigLIP that knows it.
#include <gtest/gtest.h>
#include <sys/wait.h>

#include <cmath>
#include <cstdlib>
#include <fstream>
#include <nlohmann/json.hpp>

#include "host/demo/world_siglip.hpp"
#include "run_linex.hpp"
#include "tests/sentencepiece_loaded.hpp"
#include "toolkit/base/files.hpp"
#include "toolkit/base/npy.hpp"
#include "toolkit/base/random.hpp"
#include "toolkit/explanations/explanation_csv.hpp"

namespace linex {
namespace {

namespace fs = std::filesystem;
using Json = nlohmann::json;
using torch::Tensor;

struct Outcome {
  int code;
  std::string out, error;
};

/// A world of pictures and the checkpoint, made once.
class SiglipRun : public ::testing::Test {
 protected:
  static constexpr std::int64_t kPictures = 500;

  static void SetUpTestSuite() {
    folder_ = fs::path(LINEX_TEST_DIR) / "siglip_run_test.files";
    fs::remove_all(folder_);
    const World world({kPictures, 32, 7});
    write_world(world, folder_ / "world", {false, 2});
    made_ = world_siglip(folder_ / "siglip");
  }
  void SetUp() override {
    if (!test::kSentencePiece) GTEST_SKIP() << "SentencePiece is not loaded under sanitizers";
  }

  static fs::path write(const std::string& name, const std::string& content) {
    std::ofstream(folder_ / name, std::ios::binary) << content;
    return folder_ / name;
  }

  /// The binary's outcome; it works in the folder, and keeps embeddings there.
  static Outcome run(const std::string& arguments) {
    const int code = run_linex(folder_, arguments + " --run.cache=cache");
    return {code, read_file(folder_ / "stdout.txt"), read_file(folder_ / "stderr.txt")};
  }
  static Json json(const std::string& file) { return Json::parse(read_file(folder_ / file)); }

  /// Options of labeler siglip in a section.
  static std::string siglip(const std::string& section) {
    const std::string option = " --" + section + ".";
    return option + "plugin=siglip" + option + "weights=siglip/weights.safetensors" + option +
           "a=" + std::to_string(made_.sigmoid.a) + option +
           "b=" + std::to_string(made_.sigmoid.b) + " ";
  }

  static fs::path folder_;
  static WorldSiglip made_;
};
fs::path SiglipRun::folder_;
WorldSiglip SiglipRun::made_;

/// Column of an attribute.
std::int64_t column(const std::string& name) {
  const auto names = World::attribute_names();
  return std::find(names.begin(), names.end(), name) - names.begin();
}

TEST_F(SiglipRun, FindsWhatUnitsWerePlantedToSee) {
  const Tensor attributes = map_npy(folder_ / "world/attributes.npy");
  const auto has = [&](const char* name) { return attributes.select(1, column(name)); };
  const Tensor units =
      at::stack({2 * has("striped") + has("red"), has("triangle"), has("sky") * has("dotted")}, 1);
  write_npy(folder_ / "A.npy", units.contiguous());
  std::string list;
  for (const auto& name : World::attribute_names()) list += name + "\r\n";
  write("concepts.txt", list + "dotted on sky");
  const Outcome outcome =
      run("explain --model.plugin=recorded --model.activations=A.npy --data.root=world/images "
          "--labeler.concepts=concepts.txt --evaluator.plugin=simulation_correlation "
          "--run.out=explained" +
          siglip("labeler"));
  ASSERT_EQ(outcome.code, 0) << outcome.error;
  EXPECT_GT(json("explained/summary.json").at("mean_test_correlation").get<double>(), 0.85);
  const auto found = read_explanations(folder_ / "explained/explanations.csv").explanations;
  ASSERT_EQ(found.size(), 3U);
  EXPECT_EQ(found[0].terms.at(0).concept_name, "striped");
  EXPECT_EQ(found[0].terms.at(1).concept_name, "red");
  EXPECT_EQ(found[1].terms.at(0).concept_name, "triangle");
  EXPECT_EQ(found[2].terms.at(0).concept_name, "dotted on sky");

  // As a simulator it scores texts that no list holds; the embeddings come from the cache.
  write("sentences.csv",
        "layer,unit,weight0,concept0,bias\nA,0,2,a striped,0\nA,1,1,a triangle,0\n");
  const Outcome scored =
      run("evaluate --explanations sentences.csv --model.plugin=recorded --model.activations=A.npy "
          "--data.root=world/images --evaluator.plugin=simulation_correlation --run.out=scored "
          "--simulator.template='{} on grass'" +
          siglip("simulator"));
  ASSERT_EQ(scored.code, 0) << scored.error;
  const Outcome plain =
      run("evaluate --explanations sentences.csv --model.plugin=recorded --model.activations=A.npy "
          "--data.root=world/images --evaluator.plugin=simulation_correlation --run.out=plain" +
          siglip("simulator"));
  ASSERT_EQ(plain.code, 0) << plain.error;
  const double raw = json("plain/summary.json").at("mean_test_correlation").get<double>();
  EXPECT_GT(raw, 0.8);
  // The prompt asks for something else.
  EXPECT_LT(json("scored/summary.json").at("mean_test_correlation").get<double>(), raw - 0.2);
}

TEST_F(SiglipRun, CalibrateRecoversAPlantedSigmoidFromTrainRowsOnly) {
  std::string list;
  for (const auto& name : World::attribute_names()) list += name + "\n";
  write("attributes.txt", list);
  const Outcome cosines =
      run("concepts --data.root=world/images --labeler.concepts=attributes.txt "
          "--labeler.presence=cosine --run.out=cosines" +
          siglip("labeler"));
  ASSERT_EQ(cosines.code, 0) << cosines.error;
  const Tensor cosine = map_npy(folder_ / "cosines/concepts.npy");
  ASSERT_EQ(cosine.size(0), kPictures);
  ASSERT_LE(cosine.abs().max().item<double>(), 1 + 1e-5);

  const Sigmoid planted{9, -0.15};
  const Tensor chance = at::sigmoid(planted.a * (cosine + planted.b));
  Random random(11);
  Tensor truth = torch::ones({kPictures, cosine.size(1)});
  std::vector<std::int64_t> train, rest;
  for (std::int64_t row = 0; row < kPictures; ++row) {
    (row % 5 == 4 ? rest : train).push_back(row);
    // Outside the train rows everything is there, which would pull a and b far away.
    for (std::int64_t j = 0; j < cosine.size(1) && row % 5 != 4; ++j)
      truth[row][j] = random.uniform() < chance[row][j].item<double>() ? 1.0F : 0.0F;
  }
  write_npy(folder_ / "truth.npy", truth);
  fs::create_directories(folder_ / "split");
  write_npy(folder_ / "split/train_ids.npy", torch::tensor(train));
  const auto middle = rest.begin() + static_cast<std::ptrdiff_t>(rest.size() / 2);
  write_npy(folder_ / "split/val_ids.npy", torch::tensor(Rows(rest.begin(), middle)));
  write_npy(folder_ / "split/test_ids.npy", torch::tensor(Rows(middle, rest.end())));

  const std::string calibrate =
      "calibrate --data.root=world/images --data.split=split --labeler.plugin=recorded "
      "--labeler.concepts=truth.npy --labeler.names=attributes.txt --max-share=1 ";
  const Outcome outcome = run(calibrate + "--run.out=calibrated" + siglip("simulator"));
  ASSERT_EQ(outcome.code, 0) << outcome.error;
  const Json fit = json("calibrated/calibration.json");
  EXPECT_TRUE(fit.at("converged").get<bool>());
  EXPECT_EQ(fit.at("images"), train.size());
  EXPECT_EQ(fit.at("concepts"), cosine.size(1));
  EXPECT_NEAR(fit.at("a").get<double>(), planted.a, 0.6);
  EXPECT_NEAR(fit.at("b").get<double>(), planted.b, 0.02);
  EXPECT_LE(fit.at("loss").get<double>(), fit.at("grid").at("loss").get<double>() + 1e-6);
  EXPECT_NE(outcome.out.find("--labeler.a="), std::string::npos) << outcome.out;

  // What nobody can fit or do is one line.
  for (const auto& [arguments, part] : std::vector<std::pair<std::string, std::string>>{
           {calibrate + "--run.out=x", "simulator.plugin"},
           {calibrate + "--run.out=x --max-share=2" + siglip("simulator"), "--max-share"},
           {"calibrate --labeler.plugin=recorded --labeler.concepts=truth.npy --run.out=x" +
                siglip("simulator"),
            "data.root"}}) {
    const Outcome wrong = run(arguments);
    EXPECT_EQ(wrong.code, 2) << arguments << "\n" << wrong.error;
    EXPECT_NE(wrong.error.find(part), std::string::npos) << wrong.error;
  }
}

TEST_F(SiglipRun, RecordedEmbeddingsGiveTheSigmoidOfTheirCosines) {
  torch::manual_seed(2);
  const Tensor images = torch::randn({300, 24}), texts = torch::randn({11, 24});
  write_npy(folder_ / "images.npy", images);
  write_npy(folder_ / "texts.npy", texts.to(torch::kHalf));
  std::string list;
  for (int j = 0; j < 11; ++j) list += "text " + std::to_string(j) + "\n";
  write("names.txt", list);
  const std::string embeddings =
      "concepts --labeler.plugin=embeddings --labeler.images=images.npy --labeler.texts=texts.npy "
      "--labeler.names=names.txt --labeler.a=7 --labeler.b=0.1 --run.log-level=off --run.out=";
  const Outcome outcome = run(embeddings + "embedded");
  ASSERT_EQ(outcome.code, 0) << outcome.error;
  const auto unit = [](const Tensor& rows) { return rows / rows.norm(2, {1}, true); };
  const Tensor wanted = at::sigmoid(
      7 * (unit(images).matmul(unit(texts.to(torch::kHalf).to(torch::kFloat)).t()) + 0.1));
  EXPECT_LT((map_npy(folder_ / "embedded/concepts.npy") - wanted).abs().max().item<double>(), 1e-5);

  write_npy(folder_ / "narrow.npy", torch::randn({11, 23}));
  Tensor none = texts.clone();
  none[3].zero_();
  write_npy(folder_ / "none.npy", none);
  write("few.txt", "one\ntwo\n");
  for (const auto& [option, part] :
       std::vector<std::pair<std::string, std::string>>{{"texts=narrow.npy", "narrow.npy of 23"},
                                                        {"texts=none.npy", "row 3 of none.npy"},
                                                        {"texts=missing.npy", "missing.npy"},
                                                        {"names=few.txt", "few.txt has 2 names"}}) {
    const std::string key = option.substr(0, option.find('='));
    std::string changed = embeddings + "wrong";
    const auto at = changed.find("--labeler." + key + "=");
    changed.replace(at, changed.find(' ', at) - at, "--labeler." + option);
    const Outcome wrong = run(changed);
    EXPECT_EQ(wrong.code, 3) << changed << "\n" << wrong.error;
    EXPECT_EQ(std::count(wrong.error.begin(), wrong.error.end(), '\n'), 1) << wrong.error;
    EXPECT_NE(wrong.error.find(part), std::string::npos) << wrong.error;
  }
}

/// Each wrong input ends in exit code 3 and one line that names the file or the text.
TEST_F(SiglipRun, WrongInputIsOneLine) {
  const std::string whole = read_file(folder_ / "siglip/weights.safetensors");
  const auto checkpoint = [&](const std::string& name, const std::string& content) {
    fs::create_directories(folder_ / name);
    for (const char* beside : {"spiece.model", "open_clip_config.json"})
      fs::copy_file(folder_ / "siglip" / beside, folder_ / name / beside);
    write(name + "/weights.safetensors", content);
    return " --labeler.weights=" + name + "/weights.safetensors";
  };
  const std::string list = " --labeler.concepts=" + write("two.txt", "red\nblue\n").string();
  const std::string good = " --labeler.weights=siglip/weights.safetensors";
  const auto expect = [&](const std::string& options, const std::string& part) {
    const Outcome outcome =
        run("concepts --data.root=world/images --labeler.plugin=siglip --run.out=wrong "
            "--run.log-level=off" +
            options);
    EXPECT_EQ(outcome.code, 3) << options << "\n" << outcome.error;
    EXPECT_EQ(std::count(outcome.error.begin(), outcome.error.end(), '\n'), 1) << outcome.error;
    EXPECT_NE(outcome.error.find(part), std::string::npos) << options << "\n" << outcome.error;
  };
  expect(checkpoint("truncated", whole.substr(0, whole.size() / 2)) + list, "truncated/weights");
  expect(checkpoint("empty", "") + list, "empty/weights");
  expect(checkpoint("text", "not a checkpoint") + list, "text/weights");
  // Renaming a tensor leaves one missing, and one too many.
  std::string renamed = whole;
  renamed.replace(renamed.find("text.ln_final.bias"), 4, "tixt");
  expect(checkpoint("renamed", renamed) + list, "text.ln_final.bias");
  expect(good + list + " --labeler.vocabulary=two.txt", "two.txt: not a SentencePiece model");
  expect(good + list + " --labeler.vocabulary=nowhere.model", "nowhere.model");
  expect(
      good + list + " --labeler.vocabulary='" LINEX_SOURCE_DIR "/tests/fixtures/clip/spiece.model'",
      "give the vocabulary of this checkpoint");
  expect(good + " --labeler.concepts=" + write("none.txt", " \r\n\n").string(), "no concept in it");
  expect(good + " --labeler.concepts=" + write("latin1.txt", "red\nbl\xe9u\n").string(), "line 2");
  expect(good + " --labeler.concepts=missing.txt", "missing.txt");

  // Longer than the context: still a run, and a line that says which is cut off.
  std::string text = "red";
  for (int i = 0; i < 30; ++i) text += " circle";
  const Outcome cut = run("concepts --data.root=world/images --run.out=long --labeler.concepts=" +
                          write("long.txt", text + "\nblue\n").string() + siglip("labeler"));
  EXPECT_EQ(cut.code, 0) << cut.error;
  EXPECT_NE(cut.error.find("1 concept(s) are longer than the 12 tokens"), std::string::npos)
      << cut.error;
}

}  // namespace
}  // namespace linex
