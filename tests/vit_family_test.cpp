// Vision transformers under every library's names, against forward hooks of those libraries
// (fixtures/make_vit_fixtures.py).
#include <gtest/gtest.h>

#include <fstream>

#include "tests/test_models.hpp"
#include "toolkit/base/files.hpp"
#include "toolkit/base/npy.hpp"
#include "toolkit/checkpoint/checkpoint_writer.hpp"
#include "toolkit/checkpoint/weights.hpp"

namespace linex {
namespace {

using test::fixtures;
using test::input_error_of;
using test::TestModel;
namespace fs = std::filesystem;

struct Case {
  const char* name;         ///< in fixtures/vits
  bool folder = false;      ///< Hugging Face's
  bool configured = false;  ///< heads are told by a configuration
  std::int64_t side = 0;    ///< option image_size
};

void PrintTo(const Case& value, std::ostream* out) { *out << value.name; }

std::vector<Case> cases() {
  return {{"timm"},
          {"timm_averaged"},
          {"timm_distilled"},
          {"timm_registers"},
          {"timm_swiglu"},
          {"timm_qk_norm"},
          {"timm_clip"},
          {"timm_siglip"},
          {"dinov2", false, false, 16},
          {"dinov2_registers", false, false, 16},
          {"dinov2_probe", false, false, 16},
          {"hf_vit", true, true},
          {"hf_deit", true, true},
          {"hf_dinov2", true, true},
          {"hf_dinov2_registers", true, true},
          {"hf_clip", true, true},
          {"hf_siglip", true, true},
          {"open_clip"}};
}

fs::path weights_of(const Case& network) {
  const fs::path path = fixtures("vits/" + std::string(network.name));
  return network.folder ? path : fs::path(path.string() + ".safetensors");
}

OptionValues given_for(const Case& network, const fs::path& weights) {
  OptionValues values = test::options({{"weights", weights.string()}});
  if (!network.configured) values.set("heads", std::int64_t{2});
  if (network.side > 0) values.set("image_size", network.side);
  if (std::string(network.name) == "open_clip")  // nothing in the weights tells
    values.set("activation", std::string("quick_gelu"));
  return values;
}

/// What hooks gave: tensors whose names begin with `start`, by the rest of the name.
std::map<std::string, torch::Tensor> recorded(const std::string& name, const std::string& start) {
  std::map<std::string, torch::Tensor> found;
  const StateDict all = load_weights(fixtures("vits/" + name + ".out.safetensors"));
  for (const auto& [key, value] : all.tensors)
    if (key.compare(0, start.size(), start) == 0) found[key.substr(start.size())] = value;
  return found;
}

torch::Tensor images() { return map_npy(fixtures("models/images.npy")).clone(); }

class VitFamily : public testing::TestWithParam<Case> {
 protected:
  std::string name() const { return GetParam().name; }
  OptionValues given() const { return given_for(GetParam(), weights_of(GetParam())); }
  std::vector<std::string> layers() const {
    std::vector<std::string> names;
    for (const auto& [layer, value] : recorded(name(), "out.")) names.push_back(layer);
    return names;
  }
};

TEST_P(VitFamily, TapsEqualForwardHooks) {
  TestModel model("vit", given());
  const auto expected = recorded(name(), "out.");
  ASSERT_GE(expected.size(), 5u);
  const auto all = model->forward(images(), layers(), true);
  std::size_t i = 0;
  for (const auto& [layer, value] : expected) {
    EXPECT_LT(test::relative_difference(all.layers[i], value), 1e-5) << layer;
    const auto alone = model->forward(images(), {layer}, false);
    EXPECT_TRUE(torch::equal(alone.layers[0], all.layers[i])) << layer;
    ++i;
  }
  const auto logits = recorded(name(), "logits");
  ASSERT_EQ(all.logits.defined(), !logits.empty());
  for (const auto& [none, value] : logits)
    EXPECT_LT(test::relative_difference(all.logits, value), 1e-5) << none;
}

TEST_P(VitFamily, ReplacingALayerByItselfChangesNoBit) {
  TestModel model("vit", given());
  const torch::Tensor batch = images().repeat({3, 1, 1, 1});  // several pieces, the last one short
  const torch::Tensor plain = model->forward(batch, {}, true).logits;
  for (const std::string& layer : layers()) {
    const auto tail = model->split(batch, layer);
    const torch::Tensor kept = tail->activation();
    if (!plain.defined()) {
      EXPECT_NE(input_error_of([&] { tail->logits(kept); }).find("no logits"), std::string::npos);
      continue;
    }
    EXPECT_TRUE(torch::equal(tail->logits(kept), plain)) << layer;
    torch::Tensor other = kept.clone();
    other.select(1, 0).zero_();
    const torch::Tensor both = tail->logits(torch::cat({kept, other}));
    EXPECT_TRUE(torch::equal(both.narrow(0, 0, batch.size(0)), plain)) << layer;
    EXPECT_TRUE(torch::equal(tail->activation(), kept)) << layer;
  }
}

TEST_P(VitFamily, ReplacingAUnitEqualsAHook) {
  TestModel model("vit", given());
  for (const auto& [layer, expected] : recorded(name(), "unit1.")) {
    const auto tail = model->split(images(), layer);
    torch::Tensor replaced = tail->activation().clone();
    replaced.select(replaced.dim() == 4 ? 1 : -1, 1).fill_(0.5);
    EXPECT_LT(test::relative_difference(tail->logits(replaced), expected), 1e-5) << layer;
  }
}

class VitFiles : public VitFamily {
 protected:
  void SetUp() override {
    folder_ = fs::path(LINEX_TEST_DIR) / ("vit_family_" + name());
    fs::remove_all(folder_);
    fs::create_directories(folder_);
  }
  void TearDown() override { fs::remove_all(folder_); }
  StateDict tensors() const { return load_weights(weights_of(GetParam())); }
  /// A checkpoint of those tensors; loading it is an error of one line that names the file.
  std::string refusal(const StateDict& weights) const {
    CheckpointNode::Dict root;
    for (const auto& [key, value] : weights.tensors)
      root.emplace_back(key, value.to(torch::kFloat).contiguous());
    save_checkpoint(folder_ / "broken.pth", root);
    OptionValues values = given_for(GetParam(), folder_ / "broken.pth");
    if (GetParam().configured) values.set("heads", std::int64_t{2});
    const std::string message = input_error_of([&] { TestModel("vit", values); });
    EXPECT_NE(message.find("broken.pth"), std::string::npos) << message;
    return message;
  }
  fs::path folder_;
};

TEST_P(VitFiles, EveryMissingOrOtherTensorIsNamed) {
  const StateDict whole = tensors();
  for (const auto& [key, value] : whole.tensors) {
    const bool block = key.find(".0.") != std::string::npos || key.find("blocks.0") == 0;
    if (!block || key.find("text") != std::string::npos || key.find("transformer.resblocks") == 0)
      continue;
    const std::string last = key.substr(key.rfind('.', key.rfind('.') - 1) + 1);
    StateDict other = whole;
    other.tensors[key] = torch::zeros({3, 2, 2, 2, 2});
    EXPECT_NE(refusal(other).find(last), std::string::npos) << key;
    if (key.find("bias") != std::string::npos || key.find("_norm.weight") != std::string::npos ||
        key.find(".ls") != std::string::npos || key.find("layer_scale") != std::string::npos)
      continue;  // a network without is another network
    other.tensors.erase(key);
    EXPECT_NE(refusal(other).find(last), std::string::npos) << key;
  }
}

TEST_P(VitFiles, ATokenGridThatIsNoSquareAndHugeSizesAreRefused) {
  const StateDict whole = tensors();
  for (const auto& [key, value] : whole.tensors) {
    const bool text = key.find("visual") == std::string::npos && name() == "open_clip";
    const bool positions =
        key.find("pos_embed") != std::string::npos || key.find("position") != std::string::npos;
    if (text || !positions || key.find("_ids") != std::string::npos) continue;
    StateDict other = whole;
    std::vector<std::int64_t> sizes = value.sizes().vec();
    sizes[sizes.size() - 2] += 2;
    other.tensors[key] = torch::zeros(sizes);
    EXPECT_NE(refusal(other).find("positions"), std::string::npos) << key;
  }
  for (const auto& [key, value] : whole.tensors) {
    const bool patches = value.dim() == 4;
    if (!patches) continue;
    StateDict other = whole;
    other.tensors[key] = torch::zeros({700'000, 3, 1, 1});  // would be 6 TB of attention
    refusal(other);
    other.tensors[key] = torch::zeros({8, 1, 4, 4});
    EXPECT_NE(refusal(other).find("three colours"), std::string::npos);
  }
}

TEST_P(VitFiles, TruncatedFilesAreRefused) {
  fs::path file = weights_of(GetParam());
  if (GetParam().folder) file /= "model.safetensors";
  const std::string bytes = read_file(file, 1 << 20);
  for (const std::size_t size :
       {std::size_t{0}, std::size_t{7}, bytes.size() / 2, bytes.size() - 1}) {
    std::ofstream(folder_ / "cut.safetensors", std::ios::binary) << bytes.substr(0, size);
    const std::string message = input_error_of(
        [&] { TestModel("vit", given_for(GetParam(), folder_ / "cut.safetensors")); });
    EXPECT_NE(message.find("cut.safetensors"), std::string::npos) << message;
  }
}

const auto kName = [](const auto& info) { return std::string(info.param.name); };
INSTANTIATE_TEST_SUITE_P(Names, VitFamily, testing::ValuesIn(cases()), kName);
INSTANTIATE_TEST_SUITE_P(Names, VitFiles, testing::ValuesIn(cases()), kName);

Preprocess preprocess(const char* name, std::int64_t side = 0, bool folder = false) {
  const Case network{name, folder, folder, side};
  return TestModel("vit", given_for(network, weights_of(network)))->preprocess();
}

TEST(VitPixels, AreTakenAsThePublishedNetworksOfThatFormTakeThem) {
  using Resize = Preprocess::Resize;
  const Preprocess timm = preprocess("timm");
  EXPECT_EQ(timm.size, 17);  // 16 / 0.9
  EXPECT_EQ(timm.crop, 16);
  EXPECT_EQ(timm.interpolation, Preprocess::Interpolation::bicubic);
  EXPECT_FLOAT_EQ(timm.mean[0], 0.5f);
  EXPECT_FLOAT_EQ(preprocess("timm_distilled").mean[0], 0.485f);
  EXPECT_EQ(preprocess("timm_siglip").resize, Resize::squash);
  EXPECT_FLOAT_EQ(preprocess("timm_clip").mean[0], 0.48145466f);
  EXPECT_FLOAT_EQ(preprocess("open_clip").mean[0], 0.48145466f);
  EXPECT_FLOAT_EQ(preprocess("dinov2", 16).mean[0], 0.485f);
  const Preprocess hf = preprocess("hf_vit", 0, true);
  EXPECT_EQ(hf.resize, Resize::squash);
  EXPECT_EQ(hf.size, 16);
  EXPECT_EQ(hf.interpolation, Preprocess::Interpolation::bilinear);
  // Another image size is that of the pixels, too, and interpolates the positions.
  EXPECT_EQ(preprocess("hf_vit", 24, true).size, 24);
  EXPECT_EQ(preprocess("timm", 24).crop, 24);
  for (const bool folder : {false, true}) {
    const Case network{folder ? "hf_vit" : "timm", folder, folder, 24};
    TestModel model("vit", given_for(network, weights_of(network)));
    const char* layer = folder ? "layernorm" : "norm";
    const auto out = model->forward(torch::zeros({1, 3, 24, 24}), {layer}, true);
    EXPECT_EQ(out.layers[0].sizes(), at::IntArrayRef({1, 37, 8}));
  }
}

TEST(VitPixels, AreToldByTheConfigurationBesideTheWeights) {
  const fs::path folder = fs::path(LINEX_TEST_DIR) / "vit_pixels";
  fs::remove_all(folder);
  fs::create_directories(folder);
  fs::copy_file(fixtures("vits/timm.safetensors"), folder / "model.safetensors");
  const auto open = [&](const std::string& config, const std::string& option = "") {
    std::ofstream(folder / "config.json") << config;
    OptionValues values = test::options({{"weights", folder.string()}});
    if (!option.empty()) values.set("config", option);
    return TestModel("vit", values)->preprocess();
  };
  const Preprocess timm = open(
      R"({"architecture": "vit_tiny", "pretrained_cfg": {"mean": [0.1, 0.2, 0.3], "std": [1, 1, 1],
          "crop_pct": 0.5, "interpolation": "bilinear", "input_size": [3, 16, 16]}})");
  EXPECT_EQ(timm.size, 32);
  EXPECT_EQ(timm.crop, 16);
  EXPECT_FLOAT_EQ(timm.mean[2], 0.3f);
  EXPECT_EQ(timm.interpolation, Preprocess::Interpolation::bilinear);
  // A configuration of another form tells nothing; one that contradicts the weights is named.
  EXPECT_EQ(open(R"({"pretrained_cfg": 3, "num_attention_heads": "2"})").size, 17);
  EXPECT_NE(input_error_of([&] { open(R"({"num_attention_heads": 3})"); }).find("config.json"),
            std::string::npos);
  for (const char* bad : {"", "[]", "{", "nonsense"})
    EXPECT_NE(input_error_of([&] { open(bad); }).find("config.json"), std::string::npos);
  EXPECT_NE(input_error_of([&] { open(std::string(1 << 20, '[')); }).find("config.json"),
            std::string::npos);
  fs::remove_all(folder);
}

TEST(VitChoicesGiven, ThatDoNotFitAreRefused) {
  const auto refused = [](const char* name, const char* option, const auto& value) {
    OptionValues values = test::options({{"weights", fixtures(name).string()}});
    values.set(option, value);
    try {
      TestModel("vit", values);
    } catch (const Error& error) {
      return std::string(error.what());
    }
    ADD_FAILURE() << option;
    return std::string();
  };
  EXPECT_NE(refused("vits/timm.safetensors", "heads", std::int64_t{3}).find("model.heads=3"),
            std::string::npos);
  EXPECT_NE(refused("vits/timm.safetensors", "image_size", std::int64_t{18}).find("tile"),
            std::string::npos);
  EXPECT_NE(refused("vits/timm.safetensors", "arch", std::string("vit_b_16")).find("vit_b_16"),
            std::string::npos);
  EXPECT_NE(refused("vits/timm_siglip.safetensors", "global_pool", std::string("token")), "");
  EXPECT_NE(refused("models/resnet_basic.pth", "arch", std::string("auto")).find("model.plugin"),
            std::string::npos);
}

}  // namespace
}  // namespace linex
