// Checkpoint files in every format, and files made to hurt.
#include "toolkit/checkpoint/weights.hpp"

#include <gtest/gtest.h>

#include <fstream>
#include <random>

#include "shared_file.hpp"
#include "tests/test_models.hpp"
#include "toolkit/base/files.hpp"
#include "toolkit/base/npy.hpp"
#include "toolkit/checkpoint/checkpoint.hpp"

namespace linex {
namespace {

using test::fixtures;
using test::input_error_of;

torch::Tensor expected_conv() { return map_npy(fixtures("weights/conv.weight.npy")); }

class Formats : public testing::TestWithParam<const char*> {};

TEST_P(Formats, GiveTheSameTensors) {
  const StateDict weights = load_weights(fixtures(std::string("weights/") + GetParam()));
  ASSERT_TRUE(weights.has("conv.weight")) << weights.tensors.begin()->first;
  EXPECT_TRUE(torch::equal(weights.get("conv.weight"), expected_conv()));
  EXPECT_EQ(weights.get("conv.bias").numel(), 4);
  EXPECT_EQ(weights.get("fc.weight").sizes(), (std::vector<std::int64_t>{2, 4}));
  EXPECT_LE(weights.tensors.size(), 4u);
}

INSTANTIATE_TEST_SUITE_P(Weights, Formats,
                         testing::Values("zip.pth", "legacy.pth", "protocol4.pth",
                                         "legacy_protocol4.pth", "trained.pth",
                                         "trained_legacy.pth", "module.pth", "module_parallel.pth",
                                         "plain.safetensors", "model.safetensors.index.json",
                                         "hostile.pth", "hostile_legacy.pth"));

TEST(Weights, NothingInAPickleIsExecuted) {
  std::filesystem::remove("linex_pickle_was_executed");
  load_weights(fixtures("weights/hostile.pth"));
  load_weights(fixtures("weights/hostile_legacy.pth"));
  EXPECT_FALSE(std::filesystem::exists("linex_pickle_was_executed"));
  const Checkpoint checkpoint = load_checkpoint(fixtures("weights/hostile.pth"));
  const PickleValue* extra = checkpoint.root().get("extra");
  ASSERT_NE(extra, nullptr);
  EXPECT_TRUE(extra->is(PickleValue::Kind::opaque));
  EXPECT_NE(extra->text.find("system"), std::string::npos);
}

TEST(Weights, ViewsAndTypesOfTensors) {
  const torch::Tensor base = torch::arange(24, torch::kFloat).view({4, 6});
  for (const char* file : {"weights/kinds.pth", "weights/kinds_legacy.pth"}) {
    const StateDict kinds = load_weights(fixtures(file));
    EXPECT_TRUE(torch::equal(kinds.get("view"), base.slice(0, 1, 3).slice(1, 0, 6, 2)));
    EXPECT_TRUE(torch::equal(kinds.get("transposed"), base.t()));
    EXPECT_TRUE(torch::equal(kinds.get("half"), base.to(torch::kHalf)));
    EXPECT_TRUE(torch::equal(kinds.get("bfloat"), base.to(torch::kBFloat16)));
    EXPECT_TRUE(torch::equal(kinds.get("double"), base.to(torch::kDouble)));
    EXPECT_TRUE(torch::equal(kinds.get("bool"), base > 3));
    EXPECT_TRUE(torch::equal(kinds.get("byte"), base.to(torch::kByte)));
    EXPECT_EQ(kinds.get("scalar").item<float>(), 2.5f);
    EXPECT_EQ(kinds.get("empty").sizes(), (std::vector<std::int64_t>{0, 3}));
    EXPECT_TRUE(torch::equal(kinds.get("expanded"), torch::tensor({1.f, 2.f}).expand({3, 2})));
  }
}

TEST(Weights, TensorFiles) {
  EXPECT_TRUE(torch::equal(load_tensor(fixtures("weights/ids.pt")), torch::tensor({0, 3, 5})));
  EXPECT_NE(input_error_of([] { load_tensor(fixtures("weights/zip.pth")); }).find("one tensor"),
            std::string::npos);
}

TEST(Weights, TorchScriptParameters) {
  const StateDict scripted = load_weights(fixtures("models/resnet_basic.scripted.pt"));
  const StateDict plain = load_weights(fixtures("models/resnet_basic.pth"));
  for (const auto& [name, tensor] : plain.tensors)
    EXPECT_TRUE(scripted.has(name) && torch::equal(scripted.get(name), tensor)) << name;
}

TEST(Weights, PublishedSplitIds) {
  const auto file = shared_file("data/splits/cifar100_val/train_ids.pt");
  if (file.empty()) GTEST_SKIP() << "no published splits";
  const torch::Tensor ids = load_tensor(file);
  EXPECT_EQ(ids.scalar_type(), torch::kLong);
  EXPECT_EQ(ids.numel(), 7000);
  EXPECT_EQ(ids.sum().item<std::int64_t>(), 35004870);
}

void write(const std::filesystem::path& path, const std::string& bytes) {
  std::ofstream(path, std::ios::binary) << bytes;
}

/// Loads a file of these bytes and returns its error.
std::string error_of_bytes(const std::string& bytes, const std::string& name = "bad.pth") {
  const auto path = std::filesystem::path(LINEX_TEST_DIR) / ("weights_test_" + name);
  write(path, bytes);
  const std::string message = input_error_of([&] { load_weights(path); });
  EXPECT_NE(message.find(name), std::string::npos) << message;
  std::filesystem::remove(path);
  return message;
}

TEST(Weights, OtherFilesAreNamed) {
  EXPECT_NE(error_of_bytes("version https://git-lfs.github.com/spec/v1\noid").find("LFS"),
            std::string::npos);
  EXPECT_NE(error_of_bytes("<!DOCTYPE html><html>").find("web page"), std::string::npos);
  error_of_bytes("garbage");
  error_of_bytes(std::string("\x80\x02]q\x00.", 6));
  error_of_bytes(std::string("PK\3\4garbage"));
  error_of_bytes(std::string(8, '\xff') + "{}", "bad.safetensors");
  input_error_of([] { load_weights("/nonexistent/weights.pth"); });
  input_error_of([] { load_weights(fixtures("weights/plain_pickle.pkl")); });
  input_error_of([] { load_weights(fixtures("weights/ids.pt")); });
}

TEST(Weights, AbsurdLengths) {
  // BINUNICODE8 of 2^62 bytes; LONG4 of 2^32-1; TUPLE3 on an empty stack; a memo that is not there.
  for (const std::string& pickle :
       {std::string("\x80\x02\x8d\0\0\0\0\0\0\0\x40.", 12),
        std::string("\x80\x02\x8b\xff\xff\xff\xff.", 8), std::string("\x80\x02\x87.", 4),
        std::string("\x80\x02h\x05.", 5), std::string("\x80\x02(.", 4)}) {
    EXPECT_THROW(PickleTree(pickle, "x"), Error);
  }
  const std::string header =
      R"({"a":{"dtype":"F32","shape":[4611686018427387904,8],"data_offsets":[0,4]}})";
  std::string bytes(8, '\0');
  bytes[0] = static_cast<char>(header.size());
  error_of_bytes(bytes + header + "1234", "absurd.safetensors");
  EXPECT_NE(error_of_bytes(R"({"weight_map":{"a":"../../etc/passwd"}})", "x.index.json")
                .find("plain file name"),
            std::string::npos);
}

TEST(Weights, EveryTruncationIsAnError) {
  for (const char* name : {"zip.pth", "legacy.pth", "plain.safetensors"}) {
    const std::string whole = read_file(fixtures(std::string("weights/") + name));
    const auto path = std::filesystem::path(LINEX_TEST_DIR) / "weights_test_truncated";
    for (std::size_t size = 1; size < whole.size(); size += 1 + size / 16) {
      write(path, whole.substr(0, size));
      input_error_of([&] { load_weights(path); });
    }
    std::filesystem::remove(path);
  }
}

TEST(Weights, DamageNeverCrashes) {
  std::mt19937 random(7);
  const auto path = std::filesystem::path(LINEX_TEST_DIR) / "weights_test_damaged";
  for (const char* name : {"trained.pth", "kinds_legacy.pth", "module.pth", "plain.safetensors"}) {
    const std::string whole = read_file(fixtures(std::string("weights/") + name));
    for (int round = 0; round < 300; ++round) {
      std::string bytes = whole;
      for (unsigned flips = 1 + random() % 4; flips > 0; --flips)
        bytes[random() % bytes.size()] = static_cast<char>(random());
      write(path, bytes);
      try {
        for (const auto& [key, tensor] : load_weights(path).tensors)
          if (tensor.numel() > 0) tensor.to(torch::kDouble).sum();
      } catch (const Error& error) {
        EXPECT_EQ(error.kind(), ErrorKind::input);
        EXPECT_EQ(std::string(error.what()).find('\n'), std::string::npos) << error.what();
      }
    }
  }
  std::filesystem::remove(path);
}

}  // namespace
}  // namespace linex
