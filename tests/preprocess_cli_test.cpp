// How a network takes its images is told, and written where the run can be read again.
#include <nlohmann/json.hpp>

#include "tests/small_run.hpp"
#include "tests/test_models.hpp"
#include "toolkit/net/resnet_network.hpp"

namespace linex {
namespace {

using nlohmann::json;
using test::fixtures;

class PreprocessCli : public SmallRun {
 protected:
  std::string activations(const std::string& weights, const std::string& more) const {
    return "activations --data.root=" + fixtures("clip/images").string() +
           " --model.weights=" + fixtures("models/" + weights).string() + " " + more;
  }
};

TEST_F(PreprocessCli, IsWrittenResolvedAndReadAgain) {
  const Ended first =
      run(activations("resnet_basic.pth", "--model.plugin=auto --model.layer=layer2 --run.out=o1"));
  ASSERT_EQ(first.code, 0) << first.error;
  const std::string ini = read_file(folder_ / "o1/run.ini");
  for (const char* line :
       {"plugin = resnet\n", "resize = 256\n", "crop = 224\n", "resize_mode = short_side\n",
        "interpolation = bilinear\n", "mean = 0.485,0.456,0.406\n", "std = 0.229,0.224,0.225\n"})
    EXPECT_NE(ini.find(line), std::string::npos) << line << ini;
  const json summary = json::parse(read_file(folder_ / "o1/summary.json"));
  EXPECT_EQ(summary.at("preprocess").dump(),
            R"({"crop":224,"interpolation":"bilinear","mean":[0.485,0.456,0.406],)"
            R"("resize":"short_side","size":256,"std":[0.229,0.224,0.225]})");
  const auto& options = summary.at("provenance").at("options").at("model");
  EXPECT_EQ(options.at("resize"), 256);
  EXPECT_EQ(options.at("mean"), "0.485,0.456,0.406");

  ASSERT_EQ(run("activations --config o1/run.ini --run.out=o2").code, 0);
  EXPECT_EQ(read_file(folder_ / "o1/activations.npy"), read_file(folder_ / "o2/activations.npy"));
  const std::string again = read_file(folder_ / "o2/run.ini");
  EXPECT_EQ(again.substr(again.find("[model]")), ini.substr(ini.find("[model]")));

  // What was given stands, and what it leaves open is written out.
  ASSERT_EQ(run(activations("resnet_basic.pth",
                            "--model.plugin=resnet --model.layer=layer2 --model.resize=0 "
                            "--model.mean=.5,.5,.5 --model.interpolation=bicubic --run.out=o3"))
                .code,
            0);
  const json third = json::parse(read_file(folder_ / "o3/summary.json"));
  EXPECT_EQ(third.at("preprocess").at("resize"), "none");
  EXPECT_EQ(third.at("preprocess").at("mean").dump(), "[0.5,0.5,0.5]");
  EXPECT_EQ(third.at("options").at("model").at("resize"), "0");
  EXPECT_EQ(third.at("options").at("model").at("crop"), "224");
  ASSERT_EQ(run("activations --config o3/run.ini --run.out=o4").code, 0);
  EXPECT_EQ(read_file(folder_ / "o3/activations.npy"), read_file(folder_ / "o4/activations.npy"));

  // Matrices have no pixels.
  ASSERT_EQ(run("activations --model.plugin=recorded --model.activations=A.npy --run.out=o5").code,
            0);
  EXPECT_FALSE(json::parse(read_file(folder_ / "o5/summary.json")).contains("preprocess"));
}

TEST_F(PreprocessCli, EveryKindOfNetworkRepeatsItself) {
  for (const char* more :
       {"--model.plugin=vit --model.layer=encoder.ln",
        "--model.plugin=torchscript --model.layer=conv_proj --model.resize=16 --model.crop=16"}) {
    const bool traced = std::string(more).find("torchscript") != std::string::npos;
    const Ended first =
        run(activations(traced ? "vit.traced.pt" : "vit.pth", std::string(more) + " --run.out=a"));
    ASSERT_EQ(first.code, 0) << first.error;
    ASSERT_EQ(run("activations --config a/run.ini --run.out=b").code, 0);
    EXPECT_EQ(read_file(folder_ / "a/activations.npy"), read_file(folder_ / "b/activations.npy"));
    EXPECT_EQ(json::parse(read_file(folder_ / "a/summary.json")).at("preprocess"),
              json::parse(read_file(folder_ / "b/summary.json")).at("preprocess"));
  }
}

TEST(SmallStem, AsksWhereTheWeightsDoNotTell) {
  StateDict weights = load_weights(fixtures("models/resnet_cifar.safetensors"));
  const std::int64_t width = weights.get("fc.weight").size(1);
  const auto built = [&](std::int64_t classes) {
    weights.tensors["fc.weight"] = torch::zeros({classes, width});
    weights.tensors["fc.bias"] = torch::zeros({classes});
    return build_resnet(infer_resnet(weights), weights);
  };
  // Tiny ImageNet: 64 pixels and 200 classes. Nothing is resized to CIFAR's 32, nor is its mean
  // taken; somebody has to know.
  const BuiltNetwork tiny = built(200);
  EXPECT_NE(tiny.guess.find("3x3 stem"), std::string::npos) << tiny.guess;
  EXPECT_EQ(tiny.preprocess.resize, Preprocess::Resize::none);
  EXPECT_EQ(tiny.preprocess.mean, kImageNetMean);
  // CIFAR's class count in another architecture than the published ones is a guess as well.
  for (const std::int64_t classes : {10, 100})
    EXPECT_NE(built(classes).guess.find("3x3 stem"), std::string::npos);
}

}  // namespace
}  // namespace linex
