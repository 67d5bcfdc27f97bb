// Target models against forward hooks of PyTorch: tiny committed networks, and real ones where
// LINEX_SHARED is set.
#include <gtest/gtest.h>

#include <algorithm>
#include <opencv2/imgcodecs.hpp>
#include <opencv2/imgproc.hpp>

#include "shared_file.hpp"
#include "tests/test_models.hpp"
#include "toolkit/base/npy.hpp"

namespace linex {
namespace {

using test::fixtures;
using test::input_error_of;
using test::options;
using test::TestModel;

struct Case {
  const char* plugin;
  const char* weights;  ///< in fixtures/models; the outputs are beside it under `name`
  const char* name;
  std::int64_t side;  ///< of the images' corner that was used
  std::vector<std::string> layers;
  std::int64_t heads = 0;  ///< option `heads` where it is not 0
};

std::vector<Case> cases() {
  return {
      {"resnet",
       "resnet_basic.pth",
       "resnet_basic",
       16,
       {"conv1", "maxpool", "layer1.1.conv2", "layer2", "layer2.0.downsample", "layer3.0.bn1",
        "layer3"}},
      {"resnet", "resnet_basic.scripted.pt", "resnet_basic", 16, {"layer1.1.conv2", "layer3"}},
      {"resnet",
       "resnet_bottleneck.pth.tar",
       "resnet_bottleneck",
       16,
       {"layer1.0.conv3", "layer2.0.bn2", "layer2"}},
      {"resnet",
       "resnet_cifar.safetensors",
       "resnet_cifar",
       16,
       {"conv1", "layer2.0.downsample.1", "layer3"}},
      {"resnet",
       "resnet_option_a.pth",
       "resnet_option_a",
       16,
       {"layer1.1.conv2", "layer2.0.shortcut", "layer3"}},
      {"vgg",
       "vgg.pth",
       "vgg",
       16,
       {"features.0", "features.6", "features", "avgpool", "classifier.4"}},
      {"vgg",
       "vgg_bn.pth",
       "vgg_bn",
       8,
       {"features.1", "features.13", "classifier.0", "classifier.4"}},
      {"vit",
       "vit.pth",
       "vit",
       16,
       {"conv_proj", "encoder.layers.encoder_layer_0.self_attention",
        "encoder.layers.encoder_layer_0.mlp.1", "encoder.layers.encoder_layer_1", "encoder"},
       2},
      {"torchscript",
       "resnet_basic.scripted.pt",
       "resnet_basic",
       16,
       {"conv1", "maxpool", "layer1.1.conv2", "layer2", "layer2.0.downsample", "layer3.0.bn1",
        "layer3"}},
      {"torchscript",
       "vit.traced.pt",
       "vit",
       16,
       {"conv_proj", "encoder.layers.encoder_layer_0.self_attention",
        "encoder.layers.encoder_layer_0.mlp.1", "encoder.layers.encoder_layer_1", "encoder"}},
      {"vit", "vit_old_names.pth", "vit", 16, {"encoder"}, 2},
  };
}

class Models : public testing::TestWithParam<Case> {
 protected:
  torch::Tensor images() const {
    const std::int64_t side = GetParam().side;
    return map_npy(fixtures("models/images.npy")).slice(2, 0, side).slice(3, 0, side).clone();
  }
  torch::Tensor expected(const std::string& layer) const {
    return map_npy(fixtures("models/" + std::string(GetParam().name) + "." + layer + ".npy"));
  }
  OptionValues given() const {
    OptionValues values =
        options({{"weights", fixtures("models/" + std::string(GetParam().weights)).string()}});
    if (GetParam().heads > 0) values.set("heads", GetParam().heads);
    return values;
  }
};

TEST_P(Models, TapsEqualForwardHooks) {
  TestModel model(GetParam().plugin, given());
  const auto all = model->forward(images(), GetParam().layers, true);
  EXPECT_LT(test::relative_difference(all.logits, expected("logits")), 1e-5);
  for (std::size_t i = 0; i < GetParam().layers.size(); ++i) {
    const std::string& layer = GetParam().layers[i];
    EXPECT_LT(test::relative_difference(all.layers[i], expected(layer)), 1e-5) << layer;
    // Alone, and stopping there, it is the same.
    const auto alone = model->forward(images(), {layer}, false);
    EXPECT_TRUE(torch::equal(alone.layers[0], all.layers[i])) << layer;
    EXPECT_FALSE(alone.logits.defined());
  }
}

TEST_P(Models, ReplacingALayerByItselfChangesNoBit) {
  if (GetParam().layers.size() <= 2) return;  // another case has the same network
  TestModel model(GetParam().plugin, given());
  const torch::Tensor batch = images().repeat({7, 1, 1, 1});  // several pieces, the last one short
  const torch::Tensor plain = model->forward(batch, {}, true).logits;
  for (const std::string& layer : model->layers()) {
    const auto tail = model->split(batch, layer);
    const torch::Tensor kept = tail->activation();
    EXPECT_TRUE(torch::equal(tail->logits(kept), plain)) << layer;
    // Contiguous in another memory format, two variants at once: the first is still the plain one.
    torch::Tensor other = kept.clone(at::MemoryFormat::Contiguous);
    other.select(1, 0).zero_();
    const torch::Tensor both = tail->logits(torch::cat({kept.contiguous(), other}));
    EXPECT_TRUE(torch::equal(both.narrow(0, 0, batch.size(0)), plain)) << layer;
    EXPECT_TRUE(torch::equal(tail->activation(), kept)) << layer;
    EXPECT_TRUE(torch::equal(tail->logits(kept), plain)) << layer << " after other variants";
  }
}

TEST_P(Models, ReplacingAUnitEqualsAHook) {
  TestModel model(GetParam().plugin, given());
  for (const std::string& layer : GetParam().layers) {
    const auto tail = model->split(images(), layer);
    torch::Tensor replaced = tail->activation().clone();
    replaced.select(replaced.dim() == 4 ? 1 : -1, 1).fill_(0.5);
    EXPECT_LT(test::relative_difference(tail->logits(replaced), expected(layer + ".unit1")), 1e-5)
        << layer;
  }
}

TEST_P(Models, ThreadsChangeNoBit) {
  if (GetParam().layers.size() <= 2) return;  // another case has the same network
  TestModel one(GetParam().plugin, given(), 1), three(GetParam().plugin, given(), 3);
  const torch::Tensor batch = images().repeat({7, 1, 1, 1});
  EXPECT_TRUE(
      torch::equal(one->forward(batch, {}, true).logits, three->forward(batch, {}, true).logits));
  EXPECT_EQ(one->fingerprint(), three->fingerprint());
}

INSTANTIATE_TEST_SUITE_P(Fixtures, Models, testing::ValuesIn(cases()), [](const auto& info) {
  std::string name = std::string(info.param.plugin) + "_" + info.param.weights;
  std::replace_if(
      name.begin(), name.end(), [](char c) { return !std::isalnum(c); }, '_');
  return name;
});

OptionValues with_weights(const std::string& file) {
  return options({{"weights", fixtures(file).string()}});
}

TEST(ResNet, LinearHeadIsTheRestOfTheNetwork) {
  TestModel model("resnet", with_weights("models/resnet_basic.pth"));
  const torch::Tensor images = map_npy(fixtures("models/images.npy"));
  const auto out = model->forward(images, {"layer3"}, true);
  for (const char* layer : {"layer3", "layer3.0.relu", "avgpool"}) {
    const LinearHead head = model->linear_head(layer);
    ASSERT_TRUE(head.weight.defined()) << layer;
    const torch::Tensor pooled = out.layers[0].mean({2, 3});
    EXPECT_LT(test::relative_difference(at::linear(pooled, head.weight, head.bias), out.logits),
              1e-5);
  }
  EXPECT_FALSE(model->linear_head("layer2").weight.defined());
  EXPECT_FALSE(model->linear_head("fc").weight.defined());
}

TEST(ResNet, WrongArchitectureIsSaidInOneLine) {
  OptionValues values = with_weights("models/resnet_basic.pth");
  values.set("arch", std::string("resnet50"));
  const std::string message = input_error_of([&] { TestModel("resnet", values); });
  EXPECT_NE(message.find("missing"), std::string::npos) << message;
  EXPECT_NE(message.find("of another shape"), std::string::npos) << message;
  EXPECT_NE(message.find("resnet50"), std::string::npos) << message;
  input_error_of([&] { TestModel("resnet", with_weights("models/vit.pth")); });
}

TEST(ResNet, UnknownLayerNamesNearOnes) {
  TestModel model("resnet", with_weights("models/resnet_basic.pth"));
  const torch::Tensor images = map_npy(fixtures("models/images.npy"));
  const std::string message =
      input_error_of([&] { model->forward(images, {"layer3.0.conv9"}, false); });
  EXPECT_NE(message.find("layer3.0.conv"), std::string::npos) << message;
  EXPECT_EQ(model->forward(images, {"layer1[1].conv2"}, false).layers.size(), 1u);
  input_error_of([&] { model->forward(images.narrow(1, 0, 1), {}, true); });
}

TEST(ResNet, PreprocessingIsThatOfTheWeightsUnlessOverridden) {
  EXPECT_EQ(TestModel("resnet", with_weights("models/resnet_basic.pth"))->preprocess().crop, 224);
  OptionValues values = with_weights("models/resnet_cifar.safetensors");
  // Seven classes are of no CIFAR: the images as they are, and ImageNet's colours.
  Preprocess cifar = TestModel("resnet", values)->preprocess();
  EXPECT_EQ(cifar.resize, Preprocess::Resize::none);
  EXPECT_FLOAT_EQ(cifar.mean[0], 0.485f);
  values.set("resize", std::int64_t{64});
  EXPECT_EQ(TestModel("resnet", values)->preprocess().size, 64);
  values.set("mean", std::string("0.1,0.2,0.3"));
  values.set("resize", std::int64_t{0});
  cifar = TestModel("resnet", values)->preprocess();
  EXPECT_EQ(cifar.resize, Preprocess::Resize::none);
  EXPECT_FLOAT_EQ(cifar.mean[2], 0.3f);
  values.set("std", std::string("1,2"));
  EXPECT_THROW(TestModel("resnet", values), Error);
}

torch::Tensor layer_of(const char* plugin, const OptionValues& values, const torch::Tensor& images,
                       const char* layer) {
  return TestModel(plugin, values)->forward(images, {layer}, false).layers[0];
}

TEST(ResNet, StemAndDilationAreOptions) {
  const torch::Tensor images = map_npy(fixtures("models/images.npy"));
  OptionValues values = with_weights("models/resnet_basic.pth");
  values.set("stem_stride", std::int64_t{1});
  values.set("stem_pool", std::string("none"));
  EXPECT_LT(test::relative_difference(layer_of("resnet", values, images, "layer3"),
                                      map_npy(fixtures("models/resnet_basic.stem1.layer3.npy"))),
            1e-5);
  EXPECT_NE(TestModel("resnet", values)->fingerprint(),
            TestModel("resnet", with_weights("models/resnet_basic.pth"))->fingerprint());
  values = with_weights("models/resnet_dilated.safetensors");
  values.set("replace_stride_with_dilation", std::string("0,1"));
  EXPECT_LT(
      test::relative_difference(layer_of("resnet", values, images.repeat({1, 1, 4, 4}), "layer3"),
                                map_npy(fixtures("models/resnet_dilated.layer3.npy"))),
      1e-5);
  values.set("replace_stride_with_dilation", std::string("yes"));
  EXPECT_THROW(TestModel("resnet", values), Error);
}

TEST(Vit, AnotherImageSizeInterpolatesThePositions) {
  const torch::Tensor images =
      map_npy(fixtures("models/images.npy")).repeat({1, 1, 2, 2}).slice(2, 0, 24).slice(3, 0, 24);
  for (const char* option : {"image_size", "crop"}) {
    OptionValues values = with_weights("models/vit.pth");
    values.set("heads", std::int64_t{2});
    values.set(option, std::int64_t{24});
    EXPECT_EQ(TestModel("vit", values)->preprocess().crop, 24);
    EXPECT_LT(test::relative_difference(layer_of("vit", values, images, "encoder"),
                                        map_npy(fixtures("models/vit.side24.encoder.npy"))),
              1e-5);
    values.set(option, std::int64_t{23});
    EXPECT_THROW(TestModel("vit", values), Error);
  }
  // Images of another side than the network's are refused in words.
  OptionValues values = with_weights("models/vit.pth");
  values.set("heads", std::int64_t{2});
  EXPECT_NE(input_error_of([&] { layer_of("vit", values, images, "encoder"); }).find("16x16"),
            std::string::npos);
}

TEST(TorchScript, OtherFilesAndUnknownPathsAreNamed) {
  const std::string message =
      input_error_of([] { TestModel("torchscript", with_weights("models/resnet_basic.pth")); });
  EXPECT_NE(message.find("torch.jit.save"), std::string::npos) << message;
  input_error_of([] { TestModel("torchscript", with_weights("models/images.npy")); });
  TestModel model("torchscript", with_weights("models/resnet_basic.scripted.pt"));
  const torch::Tensor images = map_npy(fixtures("models/images.npy"));
  const std::string near = input_error_of([&] { model->forward(images, {"layer7"}, false); });
  EXPECT_NE(near.find("layer1"), std::string::npos) << near;
  // Images the module cannot take.
  TestModel vit("torchscript", with_weights("models/vit.traced.pt"));
  input_error_of([&] { vit->forward(images.slice(2, 0, 5), {}, true); });
}

TEST(Recorded, GivesTheMatrixAndNamesABadValue) {
  const auto path = std::filesystem::path(LINEX_TEST_DIR) / "model_test_recorded.npy";
  torch::Tensor matrix = torch::rand({5, 3});
  write_npy(path, matrix);
  const OptionValues values = options({{"activations", path.string()}});
  EXPECT_TRUE(torch::equal(TestModel("recorded", values)->recorded(), matrix));
  matrix[3][1] = NAN;
  write_npy(path, matrix);
  const std::string message = input_error_of([&] { TestModel("recorded", values); });
  EXPECT_NE(message.find("row 3, column 1"), std::string::npos) << message;
  std::filesystem::remove(path);
}

/// Files of an image folder in torchvision's order.
std::vector<std::filesystem::path> image_files(const std::filesystem::path& root) {
  std::vector<std::filesystem::path> files;
  for (const auto& entry : std::filesystem::recursive_directory_iterator(root))
    if (entry.path().extension() == ".png") files.push_back(entry.path());
  std::sort(files.begin(), files.end());
  return files;
}

TEST(ResNet, TrainedNetworkOnRealImages) {
  const auto weights = shared_file("data/weights/resnet20-12fca82f.th"),
             pictures = shared_file("data/cifar10/test"),
             golden = shared_file("golden/resnet20_cifar10");
  if (weights.empty() || pictures.empty() || golden.empty()) GTEST_SKIP() << "no golden files";
  TestModel model("resnet", options({{"weights", weights.string()}, {"arch", "cifar_resnet20"}}));
  const Preprocess preprocess = model->preprocess();
  EXPECT_EQ(preprocess.resize, Preprocess::Resize::none);
  const auto files = image_files(pictures);
  ASSERT_EQ(files.size(), 2000u);
  torch::Tensor images = torch::empty({2000, 3, 32, 32});
  for (std::size_t i = 0; i < files.size(); ++i) {
    cv::Mat picture;
    cv::cvtColor(cv::imread(files[i].string()), picture, cv::COLOR_BGR2RGB);
    ASSERT_EQ(picture.size(), cv::Size(32, 32));
    images[i] = torch::from_blob(picture.data, {32, 32, 3}, torch::kByte).permute({2, 0, 1}) / 255.;
  }
  const auto channel = [](const std::array<float, 3>& values) {
    return torch::tensor(at::ArrayRef<float>(values.data(), 3)).view({3, 1, 1});
  };
  images = (images - channel(preprocess.mean)) / channel(preprocess.std);

  const auto out = model->forward(images, {"layer1", "layer2", "layer3"}, true);
  for (int i = 0; i < 3; ++i) {
    const std::string layer = "layer" + std::to_string(i + 1);
    const auto difference = [&](const torch::Tensor& pooled, const std::string& file) {
      return (pooled - map_npy(golden / file)).abs().max().item<double>();
    };
    EXPECT_LT(difference(out.layers[i].mean({2, 3}), layer + "_avg.npy"), 1e-4);
    EXPECT_LT(difference(out.layers[i].amax({2, 3}), layer + "_max.npy"), 1e-4);
  }
  EXPECT_LT((out.logits - map_npy(golden / "logits.npy")).abs().max().item<double>(), 1e-4);
  const torch::Tensor hits = out.logits.argmax(1) == map_npy(golden / "labels.npy");
  EXPECT_NEAR(hits.to(torch::kDouble).mean().item<double>(), 0.9035, 1e-9);
}

}  // namespace
}  // namespace linex
