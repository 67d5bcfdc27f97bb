// model.plugin=auto: which plugin reads a checkpoint.
#include <gtest/gtest.h>
#include <sys/wait.h>

#include <cstdio>

#include "core/run/found_models.hpp"
#include "tests/test_models.hpp"
#include "toolkit/net/families.hpp"

namespace linex {
namespace {

using test::fixtures;
using test::input_error_of;
namespace fs = std::filesystem;

TEST(FindModelPlugin, NamesTellIt) {
  const auto found = [](const std::string& file) { return find_model_plugin(fixtures(file)); };
  for (const auto& entry : fs::directory_iterator(fixtures("vits"))) {
    const std::string name = entry.path().filename().string();
    if (name.find(".out.") == std::string::npos) EXPECT_EQ(found("vits/" + name), "vit") << name;
  }
  for (const char* file : {"vit.pth", "vit_old_names.pth"})
    EXPECT_EQ(found(std::string("models/") + file), "vit");
  for (const char* file : {"resnet_basic.pth", "resnet_bottleneck.pth.tar",
                           "resnet_cifar.safetensors", "resnet_option_a.pth"})
    EXPECT_EQ(found(std::string("models/") + file), "resnet");
  for (const char* file : {"vgg.pth", "vgg_bn.pth"})
    EXPECT_EQ(found(std::string("models/") + file), "vgg");
  for (const char* file : {"swin", "swin_timm", "swin_v2", "swin_v2_timm"})
    EXPECT_EQ(found(std::string("models/") + file + ".safetensors"), "swin");
  for (const char* file : {"convnext", "convnext_v2_timm"})
    EXPECT_EQ(found(std::string("models/") + file + ".safetensors"), "convnext");
  // An archive of torch.jit.save holds its own graph, whatever its tensors are called.
  for (const char* file : {"resnet_basic.scripted.pt", "vit.traced.pt"})
    EXPECT_EQ(found(std::string("models/") + file), "torchscript");
}

TEST(FindModelPlugin, EveryFamilyHasAPlugin) {
  for (const NetworkFamily& family : network_families()) {
    EXPECT_TRUE(
        fs::exists(std::string(LINEX_PLUGIN_DIR) + "/models/linex_model_" + family.plugin + ".so"))
        << family.plugin;
    EXPECT_FALSE(family_anchors(family.plugin).empty());
  }
}

TEST(FindModelPlugin, OtherFilesAreNamed) {
  const std::string foreign =
      input_error_of([] { find_model_plugin(fixtures("weights/zip.pth")); });
  EXPECT_NE(foreign.find("model.plugin"), std::string::npos) << foreign;
  EXPECT_NE(foreign.find("bn.num_batches_tracked"), std::string::npos) << foreign;
  input_error_of([] { find_model_plugin(fixtures("models/images.npy")); });
  input_error_of([] { find_model_plugin(fixtures("models/none.pth")); });
  input_error_of([] { find_model_plugin(fixtures("models")); });
}

TEST(WithFoundModels, ReplaceAuto) {
  const std::string vit = fixtures("models/vit.pth"), resnet = fixtures("models/resnet_basic.pth");
  const Sections one =
      with_found_models({{"model", {{"plugin", " auto "}, {"weights", vit}}}}, true);
  EXPECT_EQ(one.at("model").at("plugin"), "vit");
  const Sections named = {{"model", {{"plugin", "vgg"}, {"weights", vit}}}, {"data", {}}};
  EXPECT_EQ(with_found_models(named, true), named);
  EXPECT_THROW(with_found_models({{"model", {{"plugin", "auto"}}}}, true), Error);
  EXPECT_EQ(with_found_models({{"model", {{"plugin", "auto"}}}}, false).at("model").count("plugin"),
            0u);

  // Networks of a benchmark have weights of their own over what they share.
  const Sections many = with_found_models({{"model", {{"plugin", "auto"}, {"pool", "avg"}}},
                                           {"network a", {{"weights", vit}}},
                                           {"network b", {{"weights", resnet}}},
                                           {"network c", {{"plugin", "recorded"}}}},
                                          true);
  EXPECT_EQ(many.at("network a").at("plugin"), "vit");
  EXPECT_EQ(many.at("network b").at("plugin"), "resnet");
  EXPECT_EQ(many.at("network c").at("plugin"), "recorded");
  EXPECT_EQ(many.at("model").count("plugin"), 0u);
  EXPECT_EQ(many.at("model").at("pool"), "avg");
}

struct Outcome {
  int code;
  std::string output;
};

Outcome linex(const std::string& arguments) {
  const std::string command = std::string(LINEX_BINARY) + " " + arguments + " 2>&1";
  FILE* pipe = ::popen(command.c_str(), "r");
  std::string output;
  char buffer[4096];
  while (const std::size_t size = std::fread(buffer, 1, sizeof buffer, pipe))
    output.append(buffer, size);
  return {WEXITSTATUS(::pclose(pipe)), output};
}

TEST(ModelPluginAuto, OnTheCommandLine) {
  const std::string weights = " --model.weights=" + fixtures("vits/hf_vit").string();
  const Outcome layers =
      linex("activations --model.plugin=auto --model.layer=?" + weights + " --run.out=/tmp/unused");
  EXPECT_EQ(layers.code, 0) << layers.output;
  EXPECT_NE(layers.output.find("encoder.layer.0.attention"), std::string::npos) << layers.output;
  // Its options are those of the plugin found.
  const Outcome heads = linex("activations --model.plugin=auto --model.layer=?" + weights +
                              " --model.heads=3 --run.out=/tmp/unused");
  EXPECT_EQ(heads.code, 2) << heads.output;
  EXPECT_NE(heads.output.find("model.heads=3"), std::string::npos) << heads.output;
  EXPECT_EQ(linex("activations --model.plugin=auto --run.out=/tmp/unused").code, 2);
  const std::string foreign = fixtures("weights/zip.pth");
  EXPECT_EQ(
      linex("activations --model.plugin=auto --run.out=/tmp/unused --model.weights=" + foreign)
          .code,
      3);
  EXPECT_EQ(linex("activations --help --model.plugin=auto").code, 0);
}

}  // namespace
}  // namespace linex
