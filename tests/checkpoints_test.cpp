// Checkpoints as training scripts write them: prefixes, several states, other heads, weights in
// other forms. The network is always the same tiny ResNet.
#include <gtest/gtest.h>

#include <fstream>

#include "folder_test.hpp"
#include "linex/model.hpp"
#include "tests/test_models.hpp"
#include "tests/test_plugins.hpp"
#include "tests/zip_file.hpp"
#include "toolkit/base/files.hpp"
#include "toolkit/base/npy.hpp"
#include "toolkit/checkpoint/checkpoint_writer.hpp"
#include "toolkit/checkpoint/weights.hpp"

namespace linex {
namespace {

namespace fs = std::filesystem;
using test::fixtures;
using test::given;
using test::input_error_of;
using Dict = CheckpointNode::Dict;
using Tensors = std::map<std::string, torch::Tensor>;

class Checkpoints : public FolderTest {
 protected:
  void SetUp() override {
    plain_ = load_weights(fixtures("models/resnet_basic.pth")).tensors;
    body_ = plain_;
    body_.erase("fc.weight");
    body_.erase("fc.bias");
    images_ = map_npy(fixtures("models/images.npy"));
    wanted_ = map_npy(fixtures("models/resnet_basic.layer3.npy"));
  }

  static Dict dict(const Tensors& tensors, const std::string& prefix = "") {
    Dict entries;
    for (const auto& [name, tensor] : tensors) entries.emplace_back(prefix + name, tensor);
    return entries;
  }
  static Dict joined(Dict a, const Dict& b) {
    a.insert(a.end(), b.begin(), b.end());
    return a;
  }
  std::string save(const CheckpointNode& root) {
    const fs::path path = folder_ / "c.pth";
    save_checkpoint(path, root);
    return path.string();
  }
  std::shared_ptr<TargetModel> open(const std::string& file, const std::string& state = "") {
    plugins_.log.lines.clear();
    return plugins_.make<TargetModel>("resnet", given({{"weights", file}, {"state", state}}));
  }
  /// Whether the network of that file gives layer3 of the plain one, and has logits or not.
  void expect_same(const CheckpointNode& root, const std::string& what, bool logits = true,
                   const std::string& state = "") {
    SCOPED_TRACE(what);
    const auto model = open(save(root), state);
    const ForwardResult out = model->forward(images_, {"layer3"}, true);
    EXPECT_LT(test::relative_difference(out.layers[0], wanted_), 1e-5);
    EXPECT_EQ(out.logits.defined(), logits);
  }
  bool said(const std::string& text) const {
    for (const auto& line : plugins_.log.lines)
      if (line.find(text) != std::string::npos) return true;
    return false;
  }
  Tensors other() const {
    Tensors changed = plain_;
    for (auto& [name, tensor] : changed) tensor = tensor * 2;
    return changed;
  }

  Tensors plain_, body_;
  torch::Tensor images_, wanted_;
  test::Plugins plugins_;
};

TEST_F(Checkpoints, PrefixesOfEveryFramework) {
  for (const char* prefix :
       {"", "module.", "_orig_mod.", "model.", "net.", "backbone.", "net.backbone.",
        "model._orig_mod.", "_orig_mod.module.", "module.encoder.", "module.backbone.",
        "base_model.model.", "whatever.it.is."}) {
    expect_same(dict(plain_, prefix), prefix);
    expect_same(Dict{{"epoch", std::int64_t{3}}, {"state_dict", dict(plain_, prefix)}},
                std::string("state_dict of ") + prefix);
  }
  // torch.compile of a part of it.
  Tensors compiled;
  for (const auto& [name, tensor] : plain_)
    compiled[name.compare(0, 7, "layer1.") == 0 ? "layer1._orig_mod." + name.substr(7) : name] =
        tensor;
  expect_same(dict(compiled), "a compiled stage");
}

TEST_F(Checkpoints, WhatStandsBesideTheNetworkIsTold) {
  expect_same(Dict{{"state_dict",
                    joined(dict(plain_, "model."), {{"criterion.weight", torch::ones({5})}})}},
              "a loss with weights");
  EXPECT_TRUE(said("'model.'"));
  EXPECT_TRUE(said("criterion.weight"));
  expect_same(
      Dict{{"model_ema", joined(dict(plain_, "module."), {{"n_averaged", torch::tensor(7)}})}},
      "AveragedModel");
  expect_same(joined(dict(plain_, "module."), {{"n_averaged", torch::tensor(7)}}),
              "AveragedModel alone");
  expect_same(
      joined(dict(plain_), {{"mean", torch::zeros({3, 1, 1})}, {"std", torch::ones({3, 1, 1})}}),
      "buffers that normalise");
  EXPECT_TRUE(said("mean is not used"));
  // What is no part of it and no buffer is still refused.
  const std::string file =
      save(joined(dict(plain_), {{"layer3.7.conv1.weight", torch::ones({2, 2})}}));
  EXPECT_NE(input_error_of([&] { open(file); }).find("layer3.7.conv1.weight"), std::string::npos);
}

TEST_F(Checkpoints, SeveralStatesByADocumentedOrder) {
  const Dict first = dict(plain_), second = dict(other());
  expect_same(Dict{{"model_ema", second}, {"model", first}}, "model before model_ema");
  EXPECT_TRUE(said("(model, model_ema): 'model' is taken"));
  expect_same(Dict{{"model", second}, {"model_ema", first}}, "model_ema by name", true,
              "model_ema");
  expect_same(Dict{{"state_dict_ema", first}}, "an average alone");
  expect_same(
      Dict{{"student", dict(other(), "module.backbone.")}, {"teacher", dict(plain_, "backbone.")}},
      "the teacher");
  expect_same(
      Dict{{"student", dict(plain_, "module.backbone.")}, {"teacher", dict(other(), "backbone.")}},
      "the student by name", true, "student");
  const Dict moco =
      joined(joined(dict(plain_, "module.encoder_q."), dict(other(), "module.encoder_k.")),
             {{"module.queue", torch::zeros({8, 4})}});
  expect_same(Dict{{"state_dict", moco}}, "MoCo's query encoder");
  EXPECT_TRUE(said("'encoder_q.' is taken"));
  const Dict keys = joined(dict(other(), "module.encoder_q."), dict(plain_, "module.encoder_k."));
  expect_same(Dict{{"state_dict", keys}}, "MoCo's key encoder by name", true, "encoder_k");
  expect_same(Dict{{"nets", Dict{{"good", first}, {"bad", second}}}}, "a path of keys", true,
              "nets.good");
  expect_same(joined(dict(other(), "ema_model."), dict(plain_, "online_model.")),
              "averages come last");
  expect_same(joined(dict(plain_, "semantic."), dict(other(), "semantic_ema.")),
              "ema is a part of a name, not of a word");
  const std::string file = save(Dict{{"model", first}, {"model_ema", second}});
  const std::string message = input_error_of([&] { open(file, "nothing"); });
  EXPECT_NE(message.find(": state=nothing"), std::string::npos) << message;
  const std::string unknown = save(Dict{{"anna", first}, {"otto", second}});
  const std::string names = input_error_of([&] { open(unknown); });
  EXPECT_NE(names.find("(anna, otto); name one with the option state"), std::string::npos) << names;
}

TEST_F(Checkpoints, OtherHeadsLeaveTheLayers) {
  const auto headless = [&](const Dict& head, const std::string& what) {
    expect_same(joined(dict(body_), head), what, false);
    EXPECT_TRUE(said("no logits")) << what;
  };
  headless({}, "none");
  headless({{"fc.0.weight", torch::rand({4, 8})}, {"fc.2.weight", torch::rand({3, 4})}}, "an MLP");
  EXPECT_TRUE(said("fc.0.weight"));
  headless({{"projection_head.0.weight", torch::rand({4, 8})},
            {"prototypes.weight", torch::rand({3, 4})}},
           "SwAV's");
  expect_same(joined(dict(body_, "backbone."), {{"head.fc.weight", torch::rand({5, 8})}}),
              "mmpretrain's", false);
  Tensors unbiased = plain_;
  unbiased.erase("fc.bias");
  expect_same(dict(unbiased), "a head without bias");

  const auto model = open(save(dict(body_)));
  EXPECT_FALSE(model->linear_head("layer3").weight.defined());
  const auto tail = model->split(images_, "layer3");
  EXPECT_LT(test::relative_difference(tail->activation(), wanted_), 1e-5);
  EXPECT_NE(input_error_of([&] { tail->logits(tail->activation()); }).find("no logits"),
            std::string::npos);
}

TEST_F(Checkpoints, PrunedWeightsAreTheProduct) {
  Tensors pruned = plain_;
  const torch::Tensor weight = pruned.at("layer2.0.conv1.weight");
  pruned.erase("layer2.0.conv1.weight");
  const torch::Tensor mask = torch::ones_like(weight);
  pruned["layer2.0.conv1.weight_orig"] = weight;
  pruned["layer2.0.conv1.weight_mask"] = mask;
  expect_same(dict(pruned), "a mask of ones");
  EXPECT_TRUE(said("pruned"));
  mask.view(-1)[0] = 0;
  const StateDict read = load_weights(save(dict(pruned)));
  EXPECT_TRUE(torch::equal(read.get("layer2.0.conv1.weight"), weight * mask));
}

TEST_F(Checkpoints, FormsThatAreNotReadAreNamed) {
  Tensors weights = plain_;
  const torch::Tensor conv = weights.at("layer1.0.conv2.weight");
  weights.erase("layer1.0.conv2.weight");
  const auto message = [&](const Tensors& tensors) {
    return input_error_of([&] { open(save(dict(tensors))); });
  };
  Tensors normed = weights;
  normed["layer1.0.conv2.weight_g"] = torch::ones({2, 1, 1, 1});
  normed["layer1.0.conv2.weight_v"] = conv;
  EXPECT_NE(message(normed).find("layer1.0.conv2.weight: under weight_norm"), std::string::npos);
  Tensors parametrised = weights;
  parametrised["layer1.0.conv2.parametrizations.weight.original0"] = conv;
  EXPECT_NE(message(parametrised).find("layer1.0.conv2.weight: parametrised"), std::string::npos);
  Tensors adapted = weights;
  adapted["layer1.0.conv2.base_layer.weight"] = conv;
  adapted["layer1.0.conv2.lora_A.default.weight"] = conv;
  EXPECT_NE(message(adapted).find("layer1.0.conv2.weight: under an adapter"), std::string::npos);
}

TEST_F(Checkpoints, QuantisedTensorsAreNamed) {
  // {"fc.weight": torch._utils._rebuild_qtensor(...), "fc.bias": 1}, as far as it matters.
  const std::string pickle = "\x80\x02}(X\x09" + std::string(3, '\0') +
                             "fc.weightctorch._utils\n_rebuild_qtensor\n)RX\x07" +
                             std::string(3, '\0') + "fc.biasK\x01u.";
  const fs::path path = folder_ / "q.pth";
  std::ofstream(path, std::ios::binary) << test::zip_of({{"q/data.pkl", pickle}});
  const StateDict read = load_weights(path);
  ASSERT_EQ(read.unread.count("fc.weight"), 1u);
  EXPECT_EQ(read.unread.at("fc.weight"), "quantised");
}

TEST_F(Checkpoints, ShardsAndFolders) {
  Tensors one, two;
  for (const auto& [name, tensor] : plain_) (name < "layer2" ? one : two)[name] = tensor;
  save_checkpoint(folder_ / "pytorch_model-00001-of-00002.bin", dict(one));
  save_checkpoint(folder_ / "pytorch_model-00002-of-00002.bin", dict(two));
  std::string map;
  for (const auto& [name, tensor] : plain_)
    map += (map.empty() ? "\"" : ",\"") + name + "\":\"pytorch_model-0000" +
           (name < "layer2" ? "1" : "2") + "-of-00002.bin\"";
  std::ofstream(folder_ / "pytorch_model.bin.index.json") << "{\"weight_map\":{" << map << "}}";
  for (const fs::path& place : {folder_ / "pytorch_model.bin.index.json", folder_}) {
    const auto model = open(place.string());
    EXPECT_LT(
        test::relative_difference(model->forward(images_, {"layer3"}, true).layers[0], wanted_),
        1e-5);
  }
  EXPECT_NE(input_error_of([&] {
              load_weights(fs::path(LINEX_SOURCE_DIR) / "tests");
            }).find("model.safetensors"),
            std::string::npos);
}

TEST_F(Checkpoints, APointerOfGitLfsIsToldWhateverItsName) {
  for (const char* name : {"a.safetensors", "a.bin", "a.pth"}) {
    std::ofstream(folder_ / name) << "version https://git-lfs.github.com/spec/v1\noid sha256:0\n";
    EXPECT_NE(input_error_of([&] { load_weights(folder_ / name); }).find("git lfs pull"),
              std::string::npos)
        << name;
  }
}

TEST_F(Checkpoints, PreprocessingIsSaidAndAGuessIsCalledOne) {
  open(fixtures("models/resnet_basic.pth").string());
  EXPECT_TRUE(said("pixels: "));
  EXPECT_FALSE(said("the weights do not tell"));
  const std::string small = fixtures("models/resnet_cifar.safetensors").string();
  open(small);
  EXPECT_TRUE(said("the weights do not tell"));
  plugins_.log.lines.clear();
  plugins_.make<TargetModel>("resnet", given({{"weights", small}, {"resize", std::int64_t{32}}}));
  EXPECT_FALSE(said("the weights do not tell"));
}

}  // namespace
}  // namespace linex
