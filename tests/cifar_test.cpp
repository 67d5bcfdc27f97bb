// CIFAR-10 and CIFAR-100 in both of their forms.
#include "data_fixture.hpp"

#include <cstring>

#include "toolkit/base/files.hpp"
#include "toolkit/checkpoint/arrays.hpp"
#include "toolkit/checkpoint/zip.hpp"

namespace linex {
namespace {

using test::message_of;
namespace fs = std::filesystem;

std::shared_ptr<DataSet> open_coarse(const fs::path& root) {
  DataOptions options;
  options.kind = "cifar100";
  options.root = root;
  options.labels = "coarse";
  return open_data_set(options);
}

class Cifar : public test::DataTest {};

TEST_F(Cifar, CifarBinaryFiles) {
  std::string records;
  for (int row = 0; row < 3; ++row) {
    records += static_cast<char>(7 - row);
    for (int i = 0; i < 3072; ++i) records += static_cast<char>((i / 1024) * 50 + row);
  }
  write("ten/cifar-10-batches-bin/test_batch.bin", records);
  const auto data = open(folder_ / "ten", "cifar10");
  ASSERT_EQ(data->size(), 3);
  EXPECT_EQ(data->labels(), (std::vector<std::int64_t>{7, 6, 5}));
  EXPECT_EQ(data->class_names()[7], "horse");
  const torch::Tensor pixels = data->pixels(2);
  EXPECT_EQ(pixels.sizes().vec(), (std::vector<std::int64_t>{32, 32, 3}));
  EXPECT_TRUE(torch::equal(pixels[3][4], torch::tensor({2, 52, 102}, torch::kUInt8)));

  std::string fine(2 + 3072, '\1');
  fine[1] = 99;
  write("hundred/test.bin", fine);
  EXPECT_EQ(open(folder_ / "hundred", "cifar100")->labels()[0], 99);
  EXPECT_EQ(open(folder_ / "hundred", "cifar100")->class_names()[99], "worm");
  const auto coarse = open_coarse(folder_ / "hundred");
  EXPECT_EQ(coarse->labels()[0], 1);
  EXPECT_EQ(coarse->class_names().size(), 20u);
  EXPECT_EQ(coarse->class_names()[1], "fish");
  fine[0] = 20;
  write("group/test.bin", fine);
  EXPECT_NE(message_of([&] { open_coarse(folder_ / "group"); }).find("not below 20"),
            std::string::npos);

  write("short/test_batch.bin", records.substr(1));
  EXPECT_NE(message_of([&] { open(folder_ / "short", "cifar10"); }).find("3073"),
            std::string::npos);
  records[3073] = 10;
  write("label/test_batch.bin", records);
  EXPECT_NE(message_of([&] { open(folder_ / "label", "cifar10"); }).find("record 1"),
            std::string::npos);
  EXPECT_NE(message_of([&] { open(folder_ / "hundred", "cifar10"); }).find("test_batch.bin"),
            std::string::npos);
}

/// A pickle such as Python 2 wrote for the published archives (protocol 2, str as SHORT_BINSTRING,
/// NumPy array through _reconstruct and __setstate__).
std::string cifar_pickle(const std::string& label_key, const std::vector<int>& labels,
                         const std::string& pixels) {
  const auto text = [](const std::string& value) {
    return "U" + std::string(1, static_cast<char>(value.size())) + value;
  };
  const auto length = static_cast<std::uint32_t>(pixels.size());
  std::string four(4, '\0');
  std::memcpy(&four[0], &length, 4);
  std::string pickle = "\x80\x02}(" + text("data");
  pickle += "cnumpy.core.multiarray\n_reconstruct\ncnumpy\nndarray\n";
  pickle += std::string("K\0\x85", 3) + text("b") + "\x87R(K\x01";
  pickle += "K" + std::string(1, static_cast<char>(labels.size())) + std::string("M\0\x0c", 3) +
            "\x86";  // shape (n, 3072)
  pickle += "cnumpy\ndtype\n" + text("u1") + std::string("K\0K\x01\x87R", 6);
  pickle += "(K\x03" + text("|") + std::string("NNNK\0K\0K\0tb\x89T", 13) + four + pixels + "tb";
  pickle += text(label_key) + "](";
  for (const int label : labels) pickle += "K" + std::string(1, static_cast<char>(label));
  return pickle + "eu.";
}

TEST_F(Cifar, CifarPythonFiles) {
  std::string pixels;
  for (int row = 0; row < 2; ++row)
    for (int i = 0; i < 3072; ++i) pixels += static_cast<char>((i / 1024) * 50 + row);
  write("ten/cifar-10-batches-py/test_batch", cifar_pickle("labels", {3, 9}, pixels));
  const auto data = open(folder_ / "ten", "cifar10");
  EXPECT_EQ(data->labels(), (std::vector<std::int64_t>{3, 9}));
  EXPECT_TRUE(torch::equal(data->pixels(1)[3][4], torch::tensor({1, 51, 101}, torch::kUInt8)));
  // The same pictures in the other form are the same data.
  write("bin/test_batch.bin", '\3' + pixels.substr(0, 3072) + '\11' + pixels.substr(3072));
  EXPECT_EQ(open(folder_ / "bin", "cifar10")->fingerprint(), data->fingerprint());

  write("hundred/test", cifar_pickle("fine_labels", {99, 0}, pixels));
  EXPECT_EQ(open(folder_ / "hundred", "cifar100")->labels()[0], 99);
  EXPECT_NE(message_of([&] { open_coarse(folder_ / "hundred"); }).find("no data and labels"),
            std::string::npos);
  write("groups/test", cifar_pickle("coarse_labels", {19, 0}, pixels));
  EXPECT_EQ(open_coarse(folder_ / "groups")->labels()[0], 19);
  const auto problem = [&](const std::string& content) {
    write("bad/test_batch", content);
    return message_of([&] { open(folder_ / "bad", "cifar10"); });
  };
  EXPECT_NE(problem(cifar_pickle("labels", {3}, pixels)).find("more bytes than its shape"),
            std::string::npos);
  EXPECT_NE(problem(cifar_pickle("labels", {3, 9, 1}, pixels)).find("truncated"),
            std::string::npos);
  EXPECT_NE(problem(cifar_pickle("labels", {3, 10}, pixels)).find("label 10"), std::string::npos);
  EXPECT_NE(problem(cifar_pickle("names", {3, 9}, pixels)).find("no data"), std::string::npos);
  const std::string good = cifar_pickle("labels", {3, 9}, pixels);
  for (std::size_t at = 0; at < 200; ++at) {
    EXPECT_NE(problem(good.substr(0, at)), "no error");
    std::string damaged = good;
    damaged[at] = static_cast<char>(damaged[at] ^ 0x41);
    problem(damaged);  // must not crash
  }
}

TEST_F(Cifar, PicklesOfPython3AreRead) {
  const fs::path fixture = fs::path(LINEX_SOURCE_DIR) / "tests/fixtures/cifar_pickles.npz";
  const MappedFile file(fixture);
  const ZipArchive archive(file.data(), file.size(), fixture.string());
  std::string fingerprint;
  for (const auto& entry : archive.entries()) {
    const std::string name = entry.name.substr(0, entry.name.rfind(".npy"));
    const torch::Tensor bytes = read_array(fixture.string() + ":" + name);
    const std::string good(static_cast<const char*>(bytes.data_ptr()), bytes.nbytes());
    write(name + "/test_batch", good);
    const auto data = open(folder_ / name, "cifar10");
    EXPECT_EQ(data->labels(), (std::vector<std::int64_t>{3, 9, 0})) << name;
    const auto i = [](int plane) { return 7 * (1024 * plane + 32 * 3 + 4) + 50 * 2; };
    const auto right = torch::tensor({i(0) % 256, i(1) % 256, i(2) % 256}, torch::kUInt8);
    EXPECT_TRUE(torch::equal(data->pixels(2)[3][4], right)) << name;
    if (fingerprint.empty()) fingerprint = data->fingerprint();
    EXPECT_EQ(data->fingerprint(), fingerprint) << name;
    for (std::size_t at = 0; at < good.size(); at += 1 + good.size() / 30) {
      std::string damaged = good;
      damaged[at] = static_cast<char>(damaged[at] ^ (at % 2 ? 0x41 : 0xff));
      write("bad/test_batch", damaged);
      message_of([&] { open(folder_ / "bad", "cifar10"); });  // must not crash
      write("bad/test_batch", good.substr(0, at));
      EXPECT_NE(message_of([&] { open(folder_ / "bad", "cifar10"); }), "no error") << name << at;
    }
  }
  EXPECT_GE(archive.entries().size(), 17u);
}

}  // namespace
}  // namespace linex
