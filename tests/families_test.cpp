// model.plugin=auto: which plugin reads a checkpoint.
#include <gtest/gtest.h>
#include <sys/wait.h>

#include <algorithm>
#include <cstdio>
#include <map>

#include "core/run/found_models.hpp"
#include "tests/folder_test.hpp"
#include "tests/test_models.hpp"
#include "tests/test_plugins.hpp"
#include "toolkit/base/files.hpp"
#include "toolkit/checkpoint/safetensors.hpp"
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
    if (name.find(".out.") != std::string::npos) continue;
    EXPECT_EQ(found("vits/" + name), "vit") << name;
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
  const std::pair<const char*, std::vector<const char*>> others[] = {
      {"efficientnet", {"efficientnet", "efficientnet_tf_timm", "efficientnet_v2_timm"}},
      {"mobilenet", {"mobilenet_v2", "mobilenet_v3", "mobilenet_v3_timm"}},
      {"densenet", {"densenet", "densenet_blur_timm"}},
      {"regnet", {"regnet", "regnet_x", "regnet_timm", "regnet_z_timm"}},
      {"inception", {"inception", "inception_timm"}}};
  for (const auto& [plugin, files] : others)
    for (const char* file : files)
      EXPECT_EQ(found(std::string("models/") + file + ".safetensors"), plugin) << file;
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

/// One small checkpoint of each family.
std::string fixture_of(const std::string& plugin) {
  static const std::map<std::string, std::string> kFiles{
      {"vit", "vit.pth"},
      {"swin", "swin_timm.safetensors"},
      {"convnext", "convnext.safetensors"},
      {"efficientnet", "efficientnet.safetensors"},
      {"mobilenet", "mobilenet_v2.safetensors"},
      {"densenet", "densenet.safetensors"},
      {"regnet", "regnet.safetensors"},
      {"inception", "inception.safetensors"},
      {"resnet", "resnet_basic.pth"},
      {"vgg", "vgg.pth"}};
  const auto found = kFiles.find(plugin);
  return found == kFiles.end() ? "" : "models/" + found->second;
}

using Tensors = std::map<std::string, torch::Tensor>;

TEST(EveryFamily, RefusesWhatIsNoWholeCheckpointOfIt) {
  const TemporaryFolder temporary;
  const fs::path file = temporary.path() / "weights.safetensors";
  for (const NetworkFamily& family : network_families()) {
    SCOPED_TRACE(family.plugin);
    ASSERT_NE(fixture_of(family.plugin), "") << "give it a small checkpoint";
    Tensors whole;
    for (const auto& [name, tensor] : load_weights(fixtures(fixture_of(family.plugin))).tensors)
      if (tensor.is_floating_point()) whole[name] = tensor;
    const auto open = [&] {
      test::TestModel(family.plugin, test::given({{"weights", file.string()}}));
    };
    const auto refused = [&](const Tensors& tensors, const std::string& part) {
      write_safetensors(file, tensors);
      const std::string message = input_error_of(open);
      EXPECT_NE(message.find(file.string()), std::string::npos) << message;
      EXPECT_NE(message.find(part), std::string::npos) << message;
    };
    write_safetensors(file, whole);
    EXPECT_NO_THROW(open());

    const std::string bytes = read_file(file);
    for (const std::size_t size :
         {std::size_t{0}, std::size_t{7}, std::size_t{100}, bytes.size() / 2, bytes.size() - 1}) {
      write_file_atomic(file, bytes.substr(0, size));
      EXPECT_NE(input_error_of(open).find(file.string()), std::string::npos) << size;
    }
    // Each matrix and kernel once as if of another network, and each kernel once without values.
    for (const auto& [name, tensor] : whole) {
      const bool computed = name.find("attn_mask") != std::string::npos;  // not read
      if (tensor.dim() < 2 || computed) continue;
      Tensors wrong = whole;
      wrong[name] = torch::zeros({tensor.size(0) + 1, tensor.size(1) + 1});
      write_safetensors(file, wrong);
      EXPECT_NE(input_error_of(open).find(file.string()), std::string::npos) << name;
      if (tensor.dim() < 4) continue;
      wrong[name] = torch::zeros({0, 3, 0, 0});
      write_safetensors(file, wrong);
      EXPECT_NE(input_error_of(open).find(file.string()), std::string::npos) << name;
    }
    // A tensor that the network needs is missing; another network; a state of an optimizer.
    for (const auto& [name, tensor] : whole) {
      if (tensor.dim() != 4) continue;
      Tensors wrong = whole;
      wrong.erase(name);
      refused(wrong, "");
      break;
    }
    refused({{"encoder.embedding.weight", torch::zeros({4, 4})}}, "encoder.embedding.weight");
    for (const NetworkFamily& other : network_families()) {
      if (other.plugin == family.plugin) continue;
      Tensors foreign;
      for (const auto& [name, tensor] : load_weights(fixtures(fixture_of(other.plugin))).tensors)
        if (tensor.is_floating_point()) foreign[name] = tensor;
      SCOPED_TRACE("given " + other.plugin);
      refused(foreign, "");
    }
  }
}

TEST(EveryFamily, ComputesInBfloat16WhatItDoesInFloat) {
  for (const NetworkFamily& family : network_families()) {
    SCOPED_TRACE(family.plugin);
    const auto options = test::given({{"weights", fixtures(fixture_of(family.plugin)).string()}});
    const test::TestModel plain(family.plugin, options), half(family.plugin, options, 2, true);
    const Preprocess preprocess = plain->preprocess();
    const std::int64_t side = preprocess.crop ? preprocess.crop : preprocess.size;
    torch::manual_seed(0);
    const torch::Tensor images = torch::rand({2, 3, side, side}) - 0.5;
    const auto layers = plain->layers();
    const ForwardResult expected = plain->forward(images, layers, true),
                        found = half->forward(images, layers, true);
    ASSERT_EQ(found.layers.size(), layers.size());
    for (std::size_t l = 0; l < layers.size(); ++l) {
      ASSERT_EQ(found.layers[l].scalar_type(), torch::kFloat) << layers[l];
      ASSERT_EQ(found.layers[l].sizes(), expected.layers[l].sizes()) << layers[l];
      // Roundings to 8 bits, over up to 90 layers of random weights.
      const double error = (found.layers[l] - expected.layers[l]).norm().item<double>() /
                           std::max(expected.layers[l].norm().item<double>(), 1e-6);
      EXPECT_LT(error, 0.15) << layers[l];
    }
    EXPECT_GT((found.logits - expected.logits).abs().max().item<double>(), 0)
        << "it ran in float32";
    EXPECT_NE(half->fingerprint(), plain->fingerprint());
    // Neither do layers depend on which of them are asked for, to the last bit.
    for (std::size_t l = 0; l < layers.size(); l += 7) {
      const ForwardResult one = half->forward(images, {layers[l]}, true);
      EXPECT_TRUE(torch::equal(one.layers[0], found.layers[l])) << layers[l];
      EXPECT_TRUE(torch::equal(one.logits, found.logits)) << layers[l];
    }
    // A layer put back as it was leaves the logits as they were.
    const auto tail = half->split(images, layers[layers.size() / 2]);
    EXPECT_EQ(tail->activation().scalar_type(), torch::kFloat);
    EXPECT_TRUE(torch::allclose(tail->logits(tail->activation()), found.logits, 1e-5, 1e-5));
    const LinearHead head = half->linear_head(layers.back());
    if (head.weight.defined()) {
      EXPECT_EQ(head.weight.scalar_type(), torch::kFloat);
    }
  }
}

TEST(EveryFamily, HasTheModulesOfNewerTimm) {
  // timm 1.0 names what does nothing in all weights that it has.
  const auto has = [](const char* plugin, const char* file, const std::string& layer) {
    const auto options = test::given({{"weights", fixtures(file).string()}});
    const auto layers = test::TestModel(plugin, options)->layers();
    return std::find(layers.begin(), layers.end(), layer) != layers.end();
  };
  for (const char* file : {"efficientnet_tf_timm", "efficientnet_v2_timm"})
    EXPECT_TRUE(has("efficientnet", ("models/" + std::string(file) + ".safetensors").c_str(),
                    "blocks.0.0.aa"))
        << file;
  const char* const mobilenet = "models/mobilenet_v3_timm.safetensors";
  EXPECT_TRUE(has("mobilenet", mobilenet, "blocks.0.0.aa"));
  EXPECT_TRUE(has("mobilenet", mobilenet, "norm_head"));
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
  const TemporaryFolder folder;
  const std::string out = " --run.out='" + (folder.path() / "out").string() + "'";
  const std::string weights = " --model.weights=" + fixtures("vits/hf_vit").string();
  const Outcome layers = linex("activations --model.plugin=auto --model.layer=?" + weights + out);
  EXPECT_EQ(layers.code, 0) << layers.output;
  EXPECT_NE(layers.output.find("encoder.layer.0.attention"), std::string::npos) << layers.output;
  // Its options are those of the plugin found.
  const Outcome heads =
      linex("activations --model.plugin=auto --model.layer=?" + weights + " --model.heads=3" + out);
  EXPECT_EQ(heads.code, 2) << heads.output;
  EXPECT_NE(heads.output.find("model.heads=3"), std::string::npos) << heads.output;
  EXPECT_EQ(linex("activations --model.plugin=auto" + out).code, 2);
  const std::string foreign = fixtures("weights/zip.pth");
  EXPECT_EQ(linex("activations --model.plugin=auto --model.weights=" + foreign + out).code, 3);
  EXPECT_EQ(linex("activations --help --model.plugin=auto").code, 0);
}

}  // namespace
}  // namespace linex
