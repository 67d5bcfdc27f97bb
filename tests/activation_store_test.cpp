// Pooling, the cache of activations, and what happens to it when things go wrong.
#include <ATen/Parallel.h>
#include <gtest/gtest.h>
#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

#include <fstream>
#include <limits>

#include "core/run/host_context.hpp"
#include "folder_test.hpp"
#include "linex/error.hpp"
#include "toolkit/base/files.hpp"
#include "toolkit/data/activation_store.hpp"
#include "toolkit/data/row_store.hpp"

namespace linex {
namespace {

namespace fs = std::filesystem;

struct Recorder : Logger {
  void write(LogLevel level, std::string_view message) override {
    if (level == LogLevel::warning) warnings.emplace_back(message);
  }
  std::vector<std::string> warnings;
};

/// Small grey images; the content of row i is i plus an offset.
class Greys final : public DataSet {
 public:
  Greys(std::int64_t n, int offset) : n_(n), offset_(offset) {}
  std::int64_t size() const override { return n_; }
  const std::vector<std::string>& class_names() const override { return none_; }
  const std::vector<std::int64_t>& labels() const override { return labels_; }
  std::string name(std::int64_t row) const override { return "grey " + std::to_string(row); }
  torch::Tensor pixels(std::int64_t row) const override {
    return torch::full({4, 4, 3}, (row + offset_) % 256, torch::kUInt8);
  }
  std::string fingerprint() const override { return "greys+" + std::to_string(offset_); }

 private:
  std::int64_t n_;
  int offset_;
  std::vector<std::string> none_;
  std::vector<std::int64_t> labels_;
};

/// Layer "map": 5 channels, pixel value × (channel + 1); layer "vector": 2 sums; logits: 3.
class Toy final : public TargetModel {
 public:
  std::vector<std::string> layers() const override { return {"map", "vector"}; }
  Preprocess preprocess() const override { return preprocess_; }
  ForwardResult forward(const torch::Tensor& images, const std::vector<std::string>& layers,
                        bool logits) override {
    if (--batches_until_killed_ == 0) ::kill(::getpid(), SIGKILL);
    ForwardResult result;
    const torch::Tensor channel = images.narrow(1, 0, 1);
    for (const auto& layer : layers) {
      if (layer == "map")
        result.layers.push_back(channel * torch::arange(1, 6).view({1, 5, 1, 1}) / 3);
      else
        result.layers.push_back(images.sum({2, 3}).narrow(1, 0, 2) / 7);
    }
    if (logits) result.logits = images.mean({2, 3});
    if (broken_ && !result.layers.empty())
      result.layers[0].index_put_({-1, 1}, std::numeric_limits<float>::quiet_NaN());
    return result;
  }
  std::unique_ptr<ModelTail> split(const torch::Tensor&, const std::string&) override { return {}; }
  std::string fingerprint() const override { return weights_; }
  std::int64_t preferred_batch() const override { return 32; }

  Preprocess preprocess_;
  std::string weights_ = "toy";
  int batches_until_killed_ = -1;
  bool broken_ = false;
};

class ActivationStore : public FolderTest {
 protected:
  void SetUp() override {
    run_.cache = folder_;
    at::set_num_threads(1);  // forked children have no other threads
  }

  Activations extract(bool half = false, const std::vector<std::string>& layers = {"map"},
                      Pool pool = Pool::avg) {
    const HostContext context({}, run_, log_, /*quiet=*/true);
    return extract_activations(model_, data_, {layers, pool, true, half}, context);
  }
  std::vector<fs::path> shard_files(const std::string& extension = ".f32") const {
    std::vector<fs::path> files;
    for (const auto& entry : fs::recursive_directory_iterator(folder_))
      if (entry.path().extension() == extension) files.push_back(entry.path());
    std::sort(files.begin(), files.end());
    return files;
  }

  RunSettings run_;
  Recorder log_;
  Toy model_;
  std::shared_ptr<const DataSet> data_ = std::make_shared<Greys>(600, 0);
};

TEST(Pooling, FollowsTheReference) {
  const torch::Tensor maps = torch::arange(24, torch::kFloat32).view({2, 3, 2, 2});
  EXPECT_TRUE(
      torch::equal(pool_output(maps, Pool::avg, "l")[0], torch::tensor({1.5F, 5.5F, 9.5F})));
  EXPECT_TRUE(
      torch::equal(pool_output(maps, Pool::max, "l")[1], torch::tensor({15.F, 19.F, 23.F})));
  const torch::Tensor tokens = torch::arange(12, torch::kFloat32).view({1, 4, 3});
  EXPECT_TRUE(
      torch::equal(pool_output(tokens, Pool::avg, "l")[0], torch::tensor({4.5F, 5.5F, 6.5F})));
  EXPECT_TRUE(
      torch::equal(pool_output(tokens, Pool::max, "l")[0], torch::tensor({9.F, 10.F, 11.F})));
  EXPECT_TRUE(
      torch::equal(pool_output(tokens, Pool::first, "l")[0], torch::tensor({0.F, 1.F, 2.F})));
  const torch::Tensor vectors = torch::ones({2, 3});
  EXPECT_TRUE(torch::equal(pool_output(vectors, Pool::max, "l"), vectors));
  EXPECT_THROW(pool_output(maps, Pool::first, "l"), Error);
  EXPECT_THROW(pool_output(vectors, Pool::first, "l"), Error);
  EXPECT_THROW(pool_output(torch::ones({3}), Pool::avg, "l"), Error);
  EXPECT_THROW(pool_from_string("mean"), Error);
}

TEST_F(ActivationStore, SecondRunReadsWhatTheFirstComputed) {
  const Activations first = extract(false, {"map", "vector"});
  EXPECT_EQ(first.computed, 600);
  EXPECT_EQ(first.layers[0].sizes().vec(), (std::vector<std::int64_t>{600, 5}));
  EXPECT_FLOAT_EQ(first.layers[0][30][1].item<float>(), 30.0F / 255 * 2 / 3);
  const Activations second = extract(false, {"vector", "map"});
  EXPECT_EQ(second.computed, 0);
  EXPECT_TRUE(torch::equal(first.layers[0], second.layers[1]));
  EXPECT_TRUE(torch::equal(first.layers[1], second.layers[0]));
  EXPECT_TRUE(torch::equal(first.logits, second.logits));
  run_.cache.clear();
  const Activations uncached = extract();
  EXPECT_EQ(uncached.computed, 600);
  EXPECT_TRUE(torch::equal(uncached.layers[0], first.layers[0]));
}

TEST_F(ActivationStore, HalfStorageRoundsTheFirstRunToo) {
  const Activations exact = extract(false);
  const Activations first = extract(true);
  EXPECT_EQ(first.computed, 600);
  const Activations second = extract(true);
  EXPECT_EQ(second.computed, 0);
  EXPECT_TRUE(torch::equal(first.layers[0], second.layers[0]));
  EXPECT_FALSE(torch::equal(first.layers[0], exact.layers[0]));
  EXPECT_TRUE(torch::allclose(first.layers[0], exact.layers[0], 1e-3));
}

TEST_F(ActivationStore, NothingStaleIsReused) {
  extract();
  EXPECT_EQ(extract(false, {"vector"}).computed, 600);
  EXPECT_EQ(extract(false, {"map"}, Pool::max).computed, 600);
  model_.weights_ = "other weights";
  EXPECT_EQ(extract().computed, 600);
  model_.preprocess_.std[2] = 0.5F;
  EXPECT_EQ(extract().computed, 600);
  data_ = std::make_shared<Greys>(600, 1);
  EXPECT_EQ(extract().computed, 600);
  EXPECT_EQ(extract().computed, 0);
}

TEST_F(ActivationStore, DamagedAndMissingShardsAreComputedAgain) {
  const Activations good = extract();
  const auto files = shard_files();
  ASSERT_EQ(files.size(), 6u);  // 3 shards of 256 rows, for the layer and the logits
  std::string content = read_file(files[1]);
  content[content.size() / 2] = static_cast<char>(content[content.size() / 2] ^ 1);
  std::ofstream(files[1], std::ios::binary) << content;
  fs::resize_file(files[4], 100);
  const Activations again = extract();
  EXPECT_GT(again.computed, 0);
  EXPECT_LT(again.computed, 600);
  EXPECT_GE(log_.warnings.size(), 2u);
  EXPECT_TRUE(torch::equal(again.layers[0], good.layers[0]));
  EXPECT_TRUE(torch::equal(again.logits, good.logits));
  EXPECT_EQ(extract().computed, 0);
  // Every header byte matters, and no length in it is believed.
  const std::string sound = read_file(files[0]);
  for (std::size_t at = 0; at < 104; ++at) {
    std::string bad = sound;
    bad[at] = static_cast<char>(bad[at] ^ 0x80);
    std::ofstream(files[0], std::ios::binary) << bad;
    EXPECT_GT(extract().computed, 0) << "header byte " << at;
  }
}

TEST_F(ActivationStore, AKilledRunGoesOnAndEndsInTheSameBytes) {
  run_.cache = folder_ / "unbroken";
  const Activations unbroken = extract();
  run_.cache = folder_ / "killed";
  const pid_t child = ::fork();
  if (child == 0) {
    model_.batches_until_killed_ = 12;  // in the second shard of 256 rows = 8 batches
    extract();
    ::_exit(0);
  }
  int status = 0;
  ASSERT_EQ(::waitpid(child, &status, 0), child);
  ASSERT_TRUE(WIFSIGNALED(status));
  const Activations resumed = extract();
  EXPECT_EQ(resumed.computed, 600 - 256);
  EXPECT_TRUE(torch::equal(resumed.layers[0], unbroken.layers[0]));
  EXPECT_TRUE(torch::equal(resumed.logits, unbroken.logits));
}

TEST_F(ActivationStore, TwoRunsShareTheWork) {
  std::vector<pid_t> children;
  for (int i = 0; i < 2; ++i) {
    const pid_t child = ::fork();
    if (child == 0) {
      const std::int64_t computed = extract().computed;
      ::_exit(computed == 600 ? 60 : computed == 0 ? 0 : 1);
    }
    children.push_back(child);
  }
  int total = 0;
  for (const pid_t child : children) {
    int status = 0;
    ASSERT_EQ(::waitpid(child, &status, 0), child);
    ASSERT_TRUE(WIFEXITED(status));
    total += WEXITSTATUS(status);
  }
  EXPECT_EQ(total, 60);  // one computed all, the other waited and read
  EXPECT_EQ(extract().computed, 0);
}

TEST_F(ActivationStore, NaNIsNamed) {
  model_.broken_ = true;
  try {
    extract();
    FAIL() << "no error";
  } catch (const Error& error) {
    EXPECT_EQ(error.kind(), ErrorKind::input);
    const std::string message = error.what();
    EXPECT_NE(message.find("unit 1 of image grey 31"), std::string::npos) << message;
  }
}

TEST_F(ActivationStore, AnUnusableCacheIsAWarning) {
  std::ofstream(folder_ / "file") << "x";
  run_.cache = folder_ / "file";
  EXPECT_EQ(extract().computed, 600);
  EXPECT_FALSE(log_.warnings.empty());
}

TEST_F(ActivationStore, RowsOfAnyKindCanBeStored) {
  const HostContext context({}, run_, log_, true);
  RowStoreOptions options{folder_, "embeddings", "encoder=x texts=y", 10, 4, false};
  int calls = 0;
  const auto compute = [&](std::int64_t begin, std::int64_t end) {
    ++calls;
    return torch::arange(begin, end).to(torch::kFloat32).unsqueeze(1).repeat({1, 3});
  };
  const torch::Tensor first = stored_rows(options, context, "texts", "texts", compute);
  EXPECT_EQ(calls, 3);
  EXPECT_TRUE(torch::equal(stored_rows(options, context, "texts", "texts", compute), first));
  EXPECT_EQ(calls, 3);
  EXPECT_EQ(first[9][2].item<float>(), 9);
}

}  // namespace
}  // namespace linex
