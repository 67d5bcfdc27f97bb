// The convolutional and Swin plugins against forward hooks of torchvision and timm: tiny committed
// networks of their own classes (make_conv_fixtures.py). Networks of real size: compare_convs.py.
#include <gtest/gtest.h>
#include <unistd.h>

#include <algorithm>
#include <cctype>
#include <filesystem>
#include <set>

#include "linex/model.hpp"
#include "tests/test_models.hpp"
#include "tests/test_plugins.hpp"
#include "toolkit/base/files.hpp"
#include "toolkit/checkpoint/checkpoint_writer.hpp"
#include "toolkit/checkpoint/weights.hpp"
#include "toolkit/net/image_model.hpp"

namespace linex {
namespace {

namespace fs = std::filesystem;
using test::fixtures;
using test::input_error_of;
using Tensors = std::map<std::string, torch::Tensor>;

struct Case {
  const char* name;  ///< of the fixture
  const char* plugin;
  OptionValues options;
  std::string head;  ///< module of the head
};

void PrintTo(const Case& one, std::ostream* out) { *out << one.name; }

std::vector<Case> cases() {
  const OptionValues none;
  return {{"convnext", "convnext", none, "classifier.2"},
          {"convnext_v2_timm", "convnext", none, "head.fc"},
          {"swin", "swin", none, "head"},
          {"swin_v2", "swin", none, "head"},
          {"swin_timm", "swin", none, "head.fc"},
          {"swin_v2_timm", "swin",
           test::given({{"window", std::int64_t{4}},
                        {"image_size", std::int64_t{32}},
                        {"pretrained_window", std::int64_t{3}}}),
           "head.fc"},
          {"efficientnet", "efficientnet", none, "classifier.1"},
          {"efficientnet_tf_timm", "efficientnet",
           test::given({{"padding", std::string("same")}, {"norm_eps", 1e-3}}), "classifier"},
          {"efficientnet_v2_timm", "efficientnet", none, "classifier"},
          {"mobilenet_v2", "mobilenet", none, "classifier.1"},
          {"mobilenet_v3", "mobilenet", none, "classifier.3"},
          {"mobilenet_v3_timm", "mobilenet", none, "classifier"},
          {"densenet", "densenet", none, "classifier"},
          {"densenet_blur_timm", "densenet", none, "classifier"},
          {"regnet", "regnet", none, "fc"},
          {"regnet_x", "regnet", none, "fc"},
          {"regnet_timm", "regnet", none, "head.fc"},
          {"regnet_z_timm", "regnet", none, "head.fc"},
          {"inception", "inception", none, "fc"},
          {"inception_timm", "inception", test::given({{"names", std::string("timm")}}), "fc"}};
}

class ConvFamilies : public testing::TestWithParam<Case> {
 protected:
  void SetUp() override {
    folder_ = fs::temp_directory_path() / ("linex_conv_family_" + std::to_string(::getpid()));
    fs::create_directories(folder_);
    const std::string name = GetParam().name;
    weights_ = load_weights(weights_file()).tensors;
    expected_ = load_weights(fixtures("models/" + name + ".expected.safetensors")).tensors;
    images_ = expected_.at("images").clone();
    for (const auto& [key, value] : expected_)
      if (key.compare(0, 4, "tap:") == 0) layers_.push_back(key.substr(4));
  }
  void TearDown() override { fs::remove_all(folder_); }

  fs::path weights_file() const {
    return fixtures("models/" + std::string(GetParam().name) + ".safetensors");
  }
  std::shared_ptr<TargetModel> open(const fs::path& weights, int threads = 2) {
    OptionValues options = GetParam().options;
    options.set("weights", weights.string());
    plugins_.run.threads = threads;
    plugins_.log.lines.clear();
    return plugins_.make<TargetModel>(GetParam().plugin, options);
  }
  fs::path save(const Tensors& tensors, const std::string& prefix = "") {
    CheckpointNode::Dict entries;
    for (const auto& [name, tensor] : tensors) entries.emplace_back(prefix + name, tensor);
    save_checkpoint(folder_ / "c.pth", CheckpointNode(entries));
    return folder_ / "c.pth";
  }
  std::string refusal_of(const fs::path& weights) {
    const std::string message = input_error_of([&] { open(weights); });
    EXPECT_NE(message.find(weights.filename().string()), std::string::npos) << message;
    return message;
  }

  fs::path folder_;
  test::Plugins plugins_;
  Tensors weights_, expected_;
  torch::Tensor images_;
  std::vector<std::string> layers_;
};

TEST_P(ConvFamilies, TapsEqualForwardHooks) {
  const auto model = open(weights_file());
  const auto all = model->forward(images_, layers_, true);
  EXPECT_LT(test::relative_difference(all.logits, expected_.at("logits")), 1e-5);
  for (std::size_t i = 0; i < layers_.size(); ++i) {
    const torch::Tensor& wanted = expected_.at("tap:" + layers_[i]);
    torch::Tensor found = all.layers[i];
    // A pooled map is a vector to some.
    if (wanted.dim() == 2) found = found.flatten(1);
    EXPECT_LT(test::relative_difference(found, wanted), 1e-5) << layers_[i];
    const auto alone = model->forward(images_, {layers_[i]}, false);
    EXPECT_TRUE(torch::equal(alone.layers[0], all.layers[i])) << layers_[i];
  }
}

TEST_P(ConvFamilies, ReplacingALayerByItselfChangesNoBit) {
  const auto model = open(weights_file());
  const torch::Tensor batch = images_.repeat({5, 1, 1, 1});  // several pieces, the last one short
  const torch::Tensor plain = model->forward(batch, {}, true).logits;
  const auto all = model->layers();
  const std::size_t step = all.size() > 300 ? 3 : 1;  // some hundred take long
  for (std::size_t i = 0; i < all.size(); i += step) {
    const std::string& layer = all[i];
    const auto tail = model->split(batch, layer);
    const torch::Tensor kept = tail->activation();
    EXPECT_TRUE(torch::equal(tail->logits(kept.contiguous()), plain)) << layer;
    EXPECT_TRUE(torch::equal(tail->activation(), kept)) << layer;
  }
}

TEST_P(ConvFamilies, ReplacingAUnitEqualsAHook) {
  const auto model = open(weights_file());
  for (const std::string& layer : layers_) {
    const auto wanted = expected_.find("unit1:" + layer);
    if (wanted == expected_.end()) continue;
    const auto tail = model->split(images_, layer);
    torch::Tensor replaced = tail->activation().clone();
    replaced.select(1, 1).fill_(0.5);
    EXPECT_LT(test::relative_difference(tail->logits(replaced), wanted->second), 1e-5) << layer;
  }
}

TEST_P(ConvFamilies, ThreadsChangeNoBit) {
  const torch::Tensor batch = images_.repeat({5, 1, 1, 1});
  const auto one = open(weights_file(), 1), three = open(weights_file(), 3);
  const auto a = one->forward(batch, layers_, true), b = three->forward(batch, layers_, true);
  EXPECT_TRUE(torch::equal(a.logits, b.logits));
  for (std::size_t i = 0; i < layers_.size(); ++i)
    EXPECT_TRUE(torch::equal(a.layers[i], b.layers[i])) << layers_[i];
  EXPECT_EQ(one->fingerprint(), three->fingerprint());
}

TEST_P(ConvFamilies, APrefixAndAMissingHeadAreNoObstacle) {
  Tensors body = weights_;
  for (const char* end : {".weight", ".bias"}) ASSERT_EQ(body.erase(GetParam().head + end), 1u);
  body["projection.weight"] = torch::zeros({3, 3});
  const auto model = open(save(body, "net.backbone."));
  const auto left = model->layers();
  std::size_t compared = 0;
  for (const std::string& layer : layers_) {
    if (std::find(left.begin(), left.end(), layer) == left.end()) continue;
    const auto out = model->forward(images_, {layer}, true);
    EXPECT_FALSE(out.logits.defined());
    torch::Tensor found = out.layers[0];
    const torch::Tensor& wanted = expected_.at("tap:" + layer);
    EXPECT_LT(test::relative_difference(found.view_as(wanted), wanted), 1e-5) << layer;
    ++compared;
  }
  EXPECT_GE(compared + 1, layers_.size()) << "layers before the head are lost";
  const auto& lines = plugins_.log.lines;
  EXPECT_TRUE(std::any_of(lines.begin(), lines.end(), [](const std::string& line) {
    return line.find("no logits") != std::string::npos;
  }));
}

TEST_P(ConvFamilies, BadWeightsAreRefusedInOneLine) {
  // Cut off in the middle.
  const std::string whole = read_file(weights_file());
  const fs::path cut = folder_ / "cut.safetensors";
  write_file_atomic(cut, whole.substr(0, whole.size() / 2));
  refusal_of(cut);
  // Of another network, and none.
  refusal_of(fixtures("models/vit.pth"));
  refusal_of(fixtures("models/images.npy"));
  // One tensor gone, of another shape, or too much: each is named.
  const auto victim = std::find_if(weights_.begin(), weights_.end(), [&](const auto& entry) {
    return entry.second.dim() == 1 && entry.second.is_floating_point() &&
           entry.first.find(GetParam().head) == std::string::npos;
  });
  ASSERT_NE(victim, weights_.end());
  Tensors spoilt = weights_;
  spoilt.erase(victim->first);
  EXPECT_NE(refusal_of(save(spoilt)).find(victim->first), std::string::npos);
  spoilt[victim->first] = torch::zeros({victim->second.size(0) + 1});
  EXPECT_NE(refusal_of(save(spoilt)).find(victim->first), std::string::npos);
  spoilt = weights_;
  spoilt["intruder.weight"] = torch::zeros({2, 2});
  EXPECT_NE(refusal_of(save(spoilt)).find("intruder"), std::string::npos);
  spoilt = weights_;
  spoilt[victim->first] = torch::full_like(victim->second, NAN);
  EXPECT_NE(refusal_of(save(spoilt)).find("NaN"), std::string::npos);
}

TEST_P(ConvFamilies, TensorsOfOtherShapesAreRefusedInOneLine) {
  // Sizes are read off whatever a name holds: none may do more than end in a refusal. The first
  // tensor of every kind (digits left out), and one in five of the rest.
  std::size_t at = 0;
  int wide = 0;
  std::set<std::string> kinds;
  for (const auto& [name, tensor] : weights_) {
    if (!tensor.is_floating_point()) continue;
    std::string kind = name;
    kind.erase(std::remove_if(kind.begin(), kind.end(),
                              [](unsigned char c) { return std::isdigit(c) != 0; }),
               kind.end());
    if (!kinds.insert(kind).second && ++at % 5 != 0) continue;
    const std::vector<torch::Tensor> shapes{torch::zeros({}), torch::zeros({0}),
                                            torch::zeros({3, 0, 2, 2}), torch::zeros({1, 1}),
                                            torch::zeros({1, 1, 1, 1, 1})};
    std::vector<torch::Tensor> others;
    others.reserve(2);
    others.push_back(shapes[++at % shapes.size()]);
    if (tensor.dim() > 1 && ++wide == 2) {  // a network far larger than the others
      auto shape = tensor.sizes().vec();
      shape[0] = 1 << 17;
      others.push_back(torch::zeros(shape));
    }
    for (const torch::Tensor& other : others) {
      if (other.sizes() == tensor.sizes()) continue;
      Tensors spoilt = weights_;
      spoilt[name] = other;
      const fs::path file = save(spoilt);
      try {
        open(file);
      } catch (const Error& error) {
        EXPECT_EQ(error.kind(), ErrorKind::input) << name << ": " << error.what();
      }
    }
  }
}

/// A family's fixture, its weights changed.
class ConvCheckpoints : public testing::Test {
 protected:
  void SetUp() override {
    folder_ = fs::temp_directory_path() / ("linex_conv_checkpoints_" + std::to_string(::getpid()));
    fs::create_directories(folder_);
  }
  void TearDown() override { fs::remove_all(folder_); }
  std::shared_ptr<TargetModel> open(const std::string& plugin, const Tensors& tensors) {
    CheckpointNode::Dict entries;
    for (const auto& [name, tensor] : tensors) entries.emplace_back(name, tensor);
    save_checkpoint(folder_ / "c.pth", CheckpointNode(entries));
    OptionValues options;
    options.set("weights", (folder_ / "c.pth").string());
    return plugins_.make<TargetModel>(plugin, options);
  }
  static Tensors read(const std::string& name) {
    return load_weights(fixtures("models/" + name + ".safetensors")).tensors;
  }

  fs::path folder_;
  test::Plugins plugins_;
};

TEST_F(ConvCheckpoints, DenseNetsFromBeforePyTorch04AreRead) {
  Tensors old;
  for (const auto& [name, tensor] : read("densenet")) {
    std::string before = name;
    for (const char* module : {"norm1.", "norm2.", "conv1.", "conv2."})
      if (const auto at = before.find(module);
          at != std::string::npos && before.find(".denselayer") < at)
        before.insert(at + 4, ".");
    old[before] = tensor;
  }
  ASSERT_EQ(old.count("features.denseblock1.denselayer1.norm.1.weight"), 1u);
  const Tensors expected = read("densenet.expected");
  const auto model = open("densenet", old);
  const std::string layer = "features.denseblock1.denselayer1.norm1";
  const auto out = model->forward(expected.at("images"), {layer}, true);
  EXPECT_LT(test::relative_difference(out.logits, expected.at("logits")), 1e-5);
  EXPECT_LT(test::relative_difference(out.layers[0], expected.at("tap:" + layer)), 1e-5);
}

TEST_F(ConvCheckpoints, ImagesTooSmallForANetworkAreRefused) {
  for (const char* name : {"inception", "densenet", "densenet_blur_timm"}) {
    const std::string plugin = std::string(name).substr(0, std::string(name).find('_'));
    const auto model = open(plugin, read(name));
    const std::string layer = plugin == "densenet" ? "features" : "Mixed_7c";
    for (const std::int64_t side : {1, 2, 4}) {
      const torch::Tensor images = torch::zeros({2, 3, side, side});
      const std::string sides = std::to_string(side) + "x" + std::to_string(side);
      for (const std::string& message :
           {input_error_of([&] { model->forward(images, {layer}, false); }),
            input_error_of([&] { model->split(images, layer); })})
        EXPECT_NE(message.find(sides + " pixels are too small"), std::string::npos)
            << name << ": " << message;
    }
  }
}

TEST_F(ConvCheckpoints, AnAuxiliaryClassifierIsPassedOver) {
  Tensors weights = read("inception");
  weights["AuxLogits.conv0.conv.weight"] = torch::ones({3, 3, 1, 1});
  weights["AuxLogits.fc.weight"] = torch::ones({5, 3});
  const Tensors expected = read("inception.expected");
  const auto logits = open("inception", weights)->forward(expected.at("images"), {}, true).logits;
  EXPECT_LT(test::relative_difference(logits, expected.at("logits")), 1e-5);
}

TEST_F(ConvCheckpoints, TimmsConfigurationNamesTheLayers) {
  const std::string layer = "Pool2";  // maxpool2 to torchvision
  const Tensors weights = read("inception_timm");
  const auto has = [&](const std::shared_ptr<TargetModel>& model) {
    const auto layers = model->layers();
    return std::find(layers.begin(), layers.end(), layer) != layers.end();
  };
  EXPECT_FALSE(has(open("inception", weights)));
  write_file_atomic(folder_ / "config.json", R"({"architecture": "inception_v3",
    "pretrained_cfg": {"tag": "tf_in1k"}})");
  EXPECT_TRUE(has(open("inception", weights)));
  write_file_atomic(folder_ / "config.json", R"({"architectures": ["Other"]})");
  EXPECT_FALSE(has(open("inception", weights)));
}

TEST_F(ConvCheckpoints, TimmsConfigurationTellsPaddingAndPixels) {
  const Tensors weights = read("efficientnet_tf_timm"),
                expected = read("efficientnet_tf_timm.expected");
  const auto logits = [&] {
    return open("efficientnet", weights)->forward(expected.at("images"), {}, true).logits;
  };
  EXPECT_GT(test::relative_difference(logits(), expected.at("logits")), 1e-3);
  write_file_atomic(folder_ / "config.json", R"({"architecture": "tf_efficientnet_b0",
    "pretrained_cfg": {"input_size": [3, 240, 240], "crop_pct": 0.9, "interpolation": "bilinear",
                       "mean": [0.1, 0.2, 0.3], "std": [0.5, 0.5, 0.5]}})");
  EXPECT_LT(test::relative_difference(logits(), expected.at("logits")), 1e-5);
  const Preprocess pixels = open("efficientnet", weights)->preprocess();
  EXPECT_EQ(pixels.size, 266);
  EXPECT_EQ(pixels.crop, 240);
  EXPECT_EQ(pixels.interpolation, Preprocess::Interpolation::bilinear);
  EXPECT_EQ(pixels.mean[2], 0.3f);
  // What makes no sense tells nothing.
  write_file_atomic(folder_ / "config.json", R"({"architecture": 3, "pretrained_cfg":
    {"input_size": [-1, 1e99], "crop_pct": -2, "mean": "no", "std": [0, 1, 1]}})");
  const Preprocess usual = open("efficientnet", weights)->preprocess();
  EXPECT_EQ(usual.size, 256);
  EXPECT_EQ(usual.crop, 224);
  EXPECT_EQ(usual.std, kImageNetStd);
}

INSTANTIATE_TEST_SUITE_P(Fixtures, ConvFamilies, testing::ValuesIn(cases()),
                         [](const auto& info) { return std::string(info.param.name); });

}  // namespace
}  // namespace linex
