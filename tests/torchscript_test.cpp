// TorchScript modules against forward hooks of PyTorch on committed fixtures
// (fixtures/make_torchscript.py), and files that are none.
#include <caffe2/serialize/inline_container.h>
#include <gtest/gtest.h>
#include <torch/csrc/jit/api/module.h>

#include <algorithm>
#include <fstream>

#include "tests/test_models.hpp"
#include "toolkit/base/files.hpp"
#include "toolkit/base/npy.hpp"
#include "toolkit/net/layers.hpp"

namespace linex {
namespace {

using test::fixtures;
using test::input_error_of;
using test::options;
using test::TestModel;

std::filesystem::path fixture(const std::string& name) { return fixtures("torchscript/" + name); }

OptionValues module(const std::string& file) {
  return options({{"weights", fixture(file + ".pt").string()}});
}

struct Case {
  const char* file;
  std::vector<std::string> layers;
};

/// Googletest would print the bytes of a Case that include pointers.
void PrintTo(const Case& given, std::ostream* out) { *out << given.file; }

const std::vector<std::string> kResNet{"conv1",
                                       "layer1.0.conv2",
                                       "layer1.0.relu",
                                       "layer1.0",
                                       "layer1.1.bn2",
                                       "layer1",
                                       "layer2.0.conv1",
                                       "layer2.0.downsample.0",
                                       "layer2.0.downsample",
                                       "layer2",
                                       "avgpool",
                                       "fc"};
const std::vector<std::string> kViT{"conv_proj",
                                    "encoder.0.ln_1",
                                    "encoder.0.self_attention",
                                    "encoder.0.mlp.1",
                                    "encoder.0",
                                    "encoder.1.mlp.3",
                                    "encoder",
                                    "head"};

const std::vector<std::string> kLast{"stem", "sequence", "norm", "fc1", "act",
                                     "fc2",  "same",     "back", "head"};

class Scripts : public testing::TestWithParam<Case> {
 protected:
  torch::Tensor expected(const std::string& what) const {
    const std::string file = GetParam().file;
    return map_npy(fixture(file.substr(0, file.find('.')) + "." + what + ".npy")).clone();
  }
  torch::Tensor images() const { return map_npy(fixture("images.npy")).clone(); }
};

TEST_P(Scripts, LayersAreWhatForwardHooksRecord) {
  TestModel model("torchscript", module(GetParam().file));
  const auto known = model->layers();
  const auto out = model->forward(images(), GetParam().layers, true);
  EXPECT_LT(test::relative_difference(out.logits, expected("logits")), 1e-5);
  ASSERT_EQ(out.layers.size(), GetParam().layers.size());
  for (std::size_t i = 0; i < out.layers.size(); ++i) {
    const std::string& layer = GetParam().layers[i];
    EXPECT_NE(std::find(known.begin(), known.end(), layer), known.end()) << layer;
    EXPECT_LT(test::relative_difference(out.layers[i], expected(layer)), 1e-5) << layer;
    EXPECT_TRUE(out.layers[i].is_non_overlapping_and_dense()) << layer;
    const auto alone = model->forward(images(), {layer}, false);
    EXPECT_TRUE(torch::equal(alone.layers[0], out.layers[i])) << layer;
    EXPECT_FALSE(alone.logits.defined());
  }
}

TEST_P(Scripts, ReplacedLayersGiveWhatReplacingHooksGive) {
  TestModel model("torchscript", module(GetParam().file));
  for (const std::string& layer : GetParam().layers) {
    const auto tail = model->split(images(), layer);
    const torch::Tensor kept = tail->activation();
    EXPECT_LT(test::relative_difference(kept, expected(layer)), 1e-5) << layer;
    const torch::Tensor logits = tail->logits(kept * 0.5 + 0.25);
    EXPECT_LT(test::relative_difference(logits, expected(layer + ".replaced")), 1e-5) << layer;
    EXPECT_GT(test::relative_difference(logits, expected("logits")), 1e-5) << layer;
  }
}

TEST_P(Scripts, ReplacingALayerByItselfChangesNoBit) {
  TestModel model("torchscript", module(GetParam().file));
  const torch::Tensor batch = images().repeat({7, 1, 1, 1});  // several pieces, the last one short
  const torch::Tensor plain = model->forward(batch, {}, true).logits;
  ASSERT_EQ(plain.size(0), batch.size(0));
  for (const std::string& layer : model->layers()) {
    // Odd's returns its input, which later steps change through it.
    if (layer == "same" && GetParam().file == std::string("odd.scripted")) continue;
    const auto tail = model->split(batch, layer);
    const torch::Tensor kept = tail->activation();
    EXPECT_TRUE(torch::equal(tail->logits(kept), plain)) << layer;
    const torch::Tensor other = kept * 0.5 + 0.25;
    const torch::Tensor both = tail->logits(torch::cat({other, kept}));
    EXPECT_TRUE(torch::equal(both.narrow(0, batch.size(0), batch.size(0)), plain)) << layer;
    EXPECT_TRUE(torch::equal(both.narrow(0, 0, batch.size(0)), tail->logits(other))) << layer;
    EXPECT_TRUE(torch::equal(tail->activation(), kept)) << layer;
    EXPECT_TRUE(torch::equal(tail->logits(kept), plain)) << layer << " after other variants";
  }
}

TEST_P(Scripts, ThreadsAndEarlierRunsChangeNoBit) {
  TestModel one("torchscript", module(GetParam().file), 1);
  TestModel three("torchscript", module(GetParam().file), 3);
  const torch::Tensor batch = images().repeat({7, 1, 1, 1});
  const auto first = one->forward(batch, GetParam().layers, true);
  for (int run = 0; run < 4; ++run) {
    const auto again = three->forward(batch, GetParam().layers, true);
    EXPECT_TRUE(torch::equal(first.logits, again.logits)) << run;
    for (std::size_t i = 0; i < first.layers.size(); ++i)
      EXPECT_TRUE(torch::equal(first.layers[i], again.layers[i])) << run;
  }
  EXPECT_EQ(one->fingerprint(), three->fingerprint());
}

INSTANTIATE_TEST_SUITE_P(
    Fixtures, Scripts,
    testing::Values(Case{"resnet.scripted", kResNet}, Case{"resnet.traced", kResNet},
                    Case{"vit.scripted", kViT}, Case{"vit.traced", kViT},
                    Case{"last.scripted", kLast}, Case{"last.traced", kLast},
                    Case{"odd.scripted", {"stem", "grow.0", "grow.1", "twice", "chosen", "head"}}),
    [](const auto& info) {
      std::string name = info.param.file;
      std::replace(name.begin(), name.end(), '.', '_');
      return name;
    });

TEST(TorchScript, LayersComeInOrderOfComputationUnderModulePaths) {
  TestModel scripted("torchscript", module("vit.scripted"));
  TestModel traced("torchscript", module("vit.traced"));
  const std::vector<std::string> layers = scripted->layers();
  const std::vector<std::string> first{"conv_proj", "encoder.0.ln_1", "encoder.0.self_attention",
                                       "encoder.0.ln_2", "encoder.0.mlp.0"};
  ASSERT_GE(layers.size(), first.size());
  EXPECT_TRUE(std::equal(first.begin(), first.end(), layers.begin()));
  EXPECT_EQ(layers.back(), "head");
  EXPECT_EQ(layers, traced->layers());
  EXPECT_NE(scripted->fingerprint(), traced->fingerprint());
  const torch::Tensor images = map_npy(fixture("images.npy"));
  const auto out = scripted->forward(images, {"encoder[0].mlp[1]", "encoder.0.mlp.1"}, false);
  EXPECT_TRUE(torch::equal(out.layers[0], out.layers[1]));
}

TEST(TorchScript, UnknownAndHiddenLayersAreSaidInOneLine) {
  const torch::Tensor images = map_npy(fixture("images.npy"));
  TestModel vit("torchscript", module("vit.traced"));
  EXPECT_NE(input_error_of([&] {
              vit->forward(images, {"encoder.0.ln_9"}, false);
            }).find("encoder.0.ln_1"),
            std::string::npos);
  EXPECT_NE(input_error_of([&] { vit->split(images, "encoder.7"); }).find("no layer"),
            std::string::npos);
  TestModel odd("torchscript", module("odd.scripted"));
  const auto layers = odd->layers();
  EXPECT_EQ(std::find(layers.begin(), layers.end(), "sometimes"), layers.end());
  EXPECT_NE(input_error_of([&] { odd->forward(images, {"sometimes"}, false); }).find("trace"),
            std::string::npos);
  input_error_of([&] { vit->forward(images.narrow(1, 0, 1), {}, true); });
  // 12 pixels instead of 16: the position embedding does not fit.
  const std::string wrong = input_error_of(
      [&] { vit->forward(images.slice(2, 0, 12).slice(3, 0, 12), {"encoder.1"}, false); });
  EXPECT_NE(wrong.find("vit.traced.pt"), std::string::npos) << wrong;
}

TEST(TorchScript, PreprocessingIsThatOfThePresetUnlessOverridden) {
  OptionValues values = module("vit.traced");
  EXPECT_EQ(TestModel("torchscript", values)->preprocess().crop, 224);
  values.set("preset", std::string("cifar100"));
  values.set("crop", std::int64_t{24});
  const Preprocess cifar = TestModel("torchscript", values)->preprocess();
  EXPECT_EQ(cifar.size, 32);
  EXPECT_EQ(cifar.crop, 24);
  EXPECT_FLOAT_EQ(cifar.std[0], 0.2673f);
  values.set("preset", std::string("none"));
  values.set("mean", std::string("0.5,0.5,0.5"));
  const Preprocess none = TestModel("torchscript", values)->preprocess();
  EXPECT_EQ(none.resize, Preprocess::Resize::none);
  EXPECT_FLOAT_EQ(none.mean[1], 0.5f);
  EXPECT_FLOAT_EQ(none.std[1], 1.0f);
}

torch::Tensor recorded(const std::string& name) { return map_npy(fixture(name + ".npy")).clone(); }

TEST(TorchScript, FormsOfOneNetworkGiveTheSameValues) {
  const torch::Tensor images = recorded("images");
  struct Form {
    const char* file;
    std::string prefix;
    double tolerance;
  };
  for (const Form& form :
       {Form{"last.dictionary", "body.", 1e-5}, Form{"last.dictionary.cuda", "body.", 1e-5},
        Form{"last.half", "", 2e-3}, Form{"last.bfloat16", "", 2e-2}}) {
    TestModel model("torchscript", module(form.file));
    std::vector<std::string> layers;
    for (const auto& layer : kLast)
      if (layer != "same") layers.push_back(form.prefix + layer);
    const auto out = model->forward(images, layers, true);
    ASSERT_TRUE(out.logits.defined()) << form.file;
    EXPECT_LT(test::relative_difference(out.logits, recorded("last.logits")), form.tolerance)
        << form.file;
    for (std::size_t i = 0; i < layers.size(); ++i)
      EXPECT_LT(test::relative_difference(out.layers[i],
                                          recorded("last." + layers[i].substr(form.prefix.size()))),
                form.tolerance)
          << form.file << " " << layers[i];
  }
}

TEST(TorchScript, OperatorsAreTheLayersOfAFrozenModule) {
  const torch::Tensor images = recorded("images");
  TestModel model("torchscript", module("last.frozen"));
  const std::vector<std::pair<std::string, std::string>> same{
      {"conv2d_1", "stem"}, {"layer_norm_1", "norm"}, {"linear_1", "fc1"}, {"gelu_1", "act"},
      {"linear_2", "fc2"},  {"conv2d_2", "back"},     {"linear_3", "head"}};
  for (const auto& [layer, original] : same) {
    const auto out = model->forward(images, {layer}, true);
    EXPECT_LT(test::relative_difference(out.layers[0], recorded("last." + original)), 1e-5)
        << layer;
    EXPECT_LT(test::relative_difference(out.logits, recorded("last.logits")), 1e-5);
    const auto tail = model->split(images, layer);
    EXPECT_LT(test::relative_difference(tail->logits(tail->activation() * 0.5 + 0.25),
                                        recorded("last." + original + ".replaced")),
              1e-5)
        << layer;
  }
}

TEST(TorchScript, LayoutIsAskedForWhereNothingTells) {
  // (n, 4, 4, 4) of a reshape that only a reshape reads: any axis could count units.
  const auto path = std::filesystem::path(LINEX_TEST_DIR) / "torchscript_test_layout.pt";
  torch::jit::Module unknown("Unknown"), net("Net");
  unknown.define("def forward(self, x: Tensor) -> Tensor:\n    return x.reshape([-1, 4, 4, 4])\n");
  net.register_module("unknown", unknown);
  net.define(
      "def forward(self, x: Tensor) -> Tensor:\n"
      "    return self.unknown.forward(x[:, 0, :8, :8]).reshape([-1, 64])\n");
  net.save(path.string());
  OptionValues values = options({{"weights", path.string()}});
  const torch::Tensor images = recorded("images");
  {
    TestModel model("torchscript", values);
    const std::string message = input_error_of([&] { model->forward(images, {"unknown"}, false); });
    EXPECT_NE(message.find("model.layout=nchw or nhwc"), std::string::npos) << message;
    input_error_of([&] { model->split(images, "unknown"); });
  }
  values.set("layout", std::string("nchw"));
  TestModel first("torchscript", values);
  values.set("layout", std::string("nhwc"));
  TestModel last("torchscript", values);
  EXPECT_NE(first->fingerprint(), last->fingerprint());
  const auto a = first->forward(images, {"unknown"}, false).layers[0];
  const auto b = last->forward(images, {"unknown"}, false).layers[0];
  EXPECT_TRUE(torch::equal(a.permute({0, 3, 1, 2}), b));
  const auto tail = last->split(images, "unknown");
  const torch::Tensor changed = tail->activation() * 2;
  EXPECT_TRUE(torch::equal(tail->logits(changed),
                           changed.permute({0, 2, 3, 1}).reshape({images.size(0), 64})));
  std::filesystem::remove(path);
}

TEST(TorchScript, LayersAreDescribedWithShapesAndUnits) {
  OptionValues values = module("last.traced");
  values.set("preset", std::string("none"));
  values.set("crop", std::int64_t{16});
  TestModel model("torchscript", values);
  const std::string table = describe_layers(*model.operator->());
  EXPECT_NE(table.find("fc1       (n, 12, 4, 4)  n,C,H,W  12 units\n"), std::string::npos) << table;
  EXPECT_NE(table.find("sequence  (n, 16, 6)  n,T,D  6 units\n"), std::string::npos) << table;
  EXPECT_NE(table.find("head      (n, 5)  n,D  5 units\n"), std::string::npos) << table;
  // A layer without units says so and leaves the others alone.
  values = module("vit.traced");
  values.set("preset", std::string("none"));
  values.set("crop", std::int64_t{12});
  TestModel wrong("torchscript", values);
  const std::string partly = describe_layers(*wrong.operator->());
  EXPECT_NE(partly.find("conv_proj"), std::string::npos);
  EXPECT_NE(partly.find("(n, 8, 3, 3)"), std::string::npos) << partly;
}

TEST(TorchScript, ProgramsOfTorchExportSayHowToRecord) {
  const auto path = std::filesystem::path(LINEX_TEST_DIR) / "torchscript_test_program.pt2";
  for (const std::string record : {"serialized_exported_program.json", "models/model.json"}) {
    {
      caffe2::serialize::PyTorchStreamWriter writer(path.string());
      writer.writeRecord("archive_format", "pt2", 3);
      writer.writeRecord(record, "{}", 2);
      writer.writeEndOfFile();
    }
    const std::string message = input_error_of([&] {
      TestModel model("torchscript", options({{"weights", path.string()}}));
    });
    EXPECT_NE(message.find("model.plugin=recorded"), std::string::npos) << message;
    EXPECT_NE(message.find("torch.export"), std::string::npos) << message;
  }
  std::filesystem::remove(path);
}

TEST(TorchScript, ModulesThatCannotServeSayWhy) {
  const std::vector<std::pair<std::string, std::string>> reasons{
      {"bad.checkpoint", "torch.jit.save"}, {"bad.training", "eval()"},
      {"bad.writes", "aten::save"},         {"bad.changes", "'count'"},
      {"bad.many", "List[Tensor]"},         {"bad.missing", "bad.missing.pt"}};
  for (const auto& [file, reason] : reasons) {
    const std::string message =
        input_error_of([&] { TestModel model("torchscript", module(file)); });
    EXPECT_NE(message.find(reason), std::string::npos) << message;
    EXPECT_NE(message.find(file + ".pt"), std::string::npos) << message;
  }
  EXPECT_FALSE(std::filesystem::exists("written_by_a_module"));
  // No tensor as output: layers can still be tapped, there are just no logits.
  TestModel named("torchscript", module("bad.named"));
  const torch::Tensor images = map_npy(fixture("images.npy"));
  EXPECT_FALSE(named->forward(images, {}, true).logits.defined());
}

TEST(TorchScript, DamagedFilesEndInOneLine) {
  const std::string whole = read_file(fixture("vit.scripted.pt"));
  const auto path = std::filesystem::path(LINEX_TEST_DIR) / "torchscript_test_damaged.pt";
  const auto attempt = [&](const std::string& bytes) {
    std::ofstream(path, std::ios::binary) << bytes;
    try {
      TestModel model("torchscript", options({{"weights", path.string()}}));
      return true;
    } catch (const Error& error) {
      EXPECT_EQ(error.kind(), ErrorKind::input) << error.what();
      EXPECT_EQ(std::string(error.what()).find('\n'), std::string::npos) << error.what();
      EXPECT_NE(std::string(error.what()).find(path.string()), std::string::npos) << error.what();
      return false;
    }
  };
  EXPECT_TRUE(attempt(whole));
  for (std::size_t size : {0UL, 3UL, 40UL, whole.size() / 2, whole.size() - 1})
    EXPECT_FALSE(attempt(whole.substr(0, size))) << size;
  EXPECT_FALSE(attempt(std::string(5000, 'x')));
  EXPECT_FALSE(attempt("PK\x03\x04" + std::string(5000, '\0')));
  // Any outcome but a crash.
  std::uint64_t state = 1;
  for (int trial = 0; trial < 150; ++trial) {
    std::string bytes = whole;
    for (int change = 0; change < 3; ++change) {
      state = state * 6364136223846793005ULL + 1442695040888963407ULL;
      bytes[(state >> 20) % bytes.size()] = static_cast<char>(state >> 56);
    }
    attempt(bytes);
  }
  std::filesystem::remove(path);
}

}  // namespace
}  // namespace linex
