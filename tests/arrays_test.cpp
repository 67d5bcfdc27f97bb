// Arrays as people have them, wherever one is taken.
#include "toolkit/checkpoint/arrays.hpp"

#include <gtest/gtest.h>
#include <zlib.h>

#include <fstream>

#include "folder_test.hpp"
#include "linex/labeler.hpp"
#include "linex/model.hpp"
#include "tests/test_models.hpp"
#include "tests/test_plugins.hpp"
#include "tests/zip_file.hpp"
#include "toolkit/base/files.hpp"
#include "toolkit/base/npy.hpp"
#include "toolkit/checkpoint/checkpoint_writer.hpp"
#include "toolkit/checkpoint/safetensors.hpp"
#include "toolkit/data/split.hpp"

namespace linex {
namespace {

namespace fs = std::filesystem;
using test::given;
using test::input_error_of;

/// A .npy of raw bytes.
std::string npy(const std::string& descr, bool fortran, const std::string& shape,
                const std::string& values) {
  std::string header = "{'descr': '" + descr +
                       "', 'fortran_order': " + (fortran ? "True" : "False") +
                       ", 'shape': " + shape + ", }\n";
  std::string bytes("\x93NUMPY\x01\x00", 8);
  bytes += static_cast<char>(header.size());
  bytes += static_cast<char>(header.size() >> 8);
  return bytes + header + values;
}

template <class T>
std::string raw(const std::vector<T>& values, bool swapped = false) {
  std::string bytes;
  for (const T& value : values) {
    std::string one(reinterpret_cast<const char*>(&value), sizeof value);
    if (swapped) std::reverse(one.begin(), one.end());
    bytes += one;
  }
  return bytes;
}

using Arrays = FolderTest;

TEST_F(Arrays, NpyInEveryOrderAndRealType) {
  const torch::Tensor wanted = torch::tensor({{1.F, 2.F, 3.F}, {-4.F, 5.F, 6.F}});
  const std::vector<float> rows{1, 2, 3, -4, 5, 6}, columns{1, -4, 2, 5, 3, 6};
  const auto is = [&](const std::string& bytes) {
    const torch::Tensor got = read_array(write("a.npy", bytes));
    EXPECT_TRUE(got.is_contiguous());
    EXPECT_TRUE(torch::equal(got.to(torch::kFloat), wanted)) << bytes.substr(10, 60);
  };
  is(npy("<f4", false, "(2, 3)", raw(rows)));
  is(npy("<f4", true, "(2, 3)", raw(columns)));
  is(npy(">f4", false, "(2, 3)", raw(rows, true)));
  is(npy(">f4", true, "(2, 3)", raw(columns, true)));
  is(npy(">f8", false, "(2, 3)", raw(std::vector<double>{1, 2, 3, -4, 5, 6}, true)));
  is(npy(">i2", false, "(2, 3)", raw(std::vector<std::int16_t>{1, 2, 3, -4, 5, 6}, true)));
  is(npy("=i8", true, "(2, 3)", raw(std::vector<std::int64_t>{1, -4, 2, 5, 3, 6})));
  const auto one = [&](const char* descr, const std::string& bytes) {
    return read_array(write("b.npy", npy(descr, false, "(1,)", bytes))).item<std::int64_t>();
  };
  EXPECT_EQ(one("<u2", raw(std::vector<std::uint16_t>{65535})), 65535);
  EXPECT_EQ(one(">u2", raw(std::vector<std::uint16_t>{258}, true)), 258);
  EXPECT_EQ(one("<u4", raw(std::vector<std::uint32_t>{4294967295U})), 4294967295);
  EXPECT_EQ(one("<u8", raw(std::vector<std::uint64_t>{1ULL << 62})), std::int64_t{1} << 62);
  EXPECT_NE(input_error_of([&] {
              one("<u8", raw(std::vector<std::uint64_t>{1ULL << 63}));
            }).find("too large"),
            std::string::npos);
  EXPECT_NE(input_error_of([&] { one("<c8", std::string(8, 'x')); }).find("complex"),
            std::string::npos);
  EXPECT_NE(input_error_of([&] { one("|O", std::string(8, 'x')); }).find("Python objects"),
            std::string::npos);
  // Three dimensions in Fortran order.
  const torch::Tensor cube = torch::arange(24, torch::kFloat).view({2, 3, 4});
  const torch::Tensor turned = cube.permute({2, 1, 0}).contiguous();
  const std::string bytes(static_cast<const char*>(turned.data_ptr()), turned.nbytes());
  EXPECT_TRUE(torch::equal(read_array(write("c.npy", npy("<f4", true, "(2, 3, 4)", bytes))), cube));
}

std::string deflated(const std::string& content) {
  z_stream stream{};
  deflateInit2(&stream, 6, Z_DEFLATED, -MAX_WBITS, 8, Z_DEFAULT_STRATEGY);
  std::string out(content.size() + 256, '\0');
  stream.next_in = reinterpret_cast<Bytef*>(const_cast<char*>(content.data()));
  stream.avail_in = static_cast<uInt>(content.size());
  stream.next_out = reinterpret_cast<Bytef*>(out.data());
  stream.avail_out = static_cast<uInt>(out.size());
  deflate(&stream, Z_FINISH);
  out.resize(out.size() - stream.avail_out);
  deflateEnd(&stream);
  return out;
}

TEST_F(Arrays, ArchivesAndTheNamesInThem) {
  const torch::Tensor a = torch::rand({4, 3}), b = torch::rand({2});
  write_npy(folder_ / "a.npy", a);
  write_npy(folder_ / "b.npy", b);
  const std::string bytes = read_file(folder_ / "a.npy"), other = read_file(folder_ / "b.npy");
  EXPECT_TRUE(torch::equal(read_array(write("one.npz", test::zip_of({{"a.npy", bytes}}))), a));
  const std::string packed = deflated(bytes);
  const auto size = static_cast<std::uint32_t>(bytes.size());
  EXPECT_TRUE(torch::equal(
      read_array(write("packed.npz", test::zip_of({{"a.npy", packed, true, size}}))), a));
  const std::string two = write("two.npz", test::zip_of({{"a.npy", bytes}, {"b.npy", other}}));
  EXPECT_TRUE(torch::equal(read_array(two + ":a"), a));
  EXPECT_TRUE(torch::equal(read_array(two + ":b"), b));
  const std::string choice = input_error_of([&] { read_array(two); });
  EXPECT_NE(choice.find("2 arrays (a, b)"), std::string::npos) << choice;
  EXPECT_NE(input_error_of([&] { read_array(two + ":c"); }).find("no array 'c'"),
            std::string::npos);

  const std::string tensors = (folder_ / "t.safetensors").string();
  write_safetensors(tensors, {{"x.y", a}, {"z", b}});
  EXPECT_TRUE(torch::equal(read_array(tensors + ":x.y"), a));
  input_error_of([&] { read_array(tensors); });
  const std::string tensor = (folder_ / "t.pt").string(), dict = (folder_ / "d.pt").string();
  save_checkpoint(tensor, a);
  EXPECT_TRUE(torch::equal(read_array(tensor), a));
  save_checkpoint(dict, CheckpointNode::Dict{{"acts", a}, {"epoch", std::int64_t{3}}});
  EXPECT_TRUE(torch::equal(read_array(dict), a));
  EXPECT_TRUE(torch::equal(read_array(dict + ":acts"), a));
  EXPECT_NE(fingerprint_of_array(two + ":a"), fingerprint_of_array(two + ":b"));
  // A colon may be part of a file's name.
  write_npy(folder_ / "run:1.npy", b);
  EXPECT_TRUE(torch::equal(read_array((folder_ / "run:1.npy").string()), b));
  EXPECT_TRUE(torch::equal(read_matrix((folder_ / "b.npy").string()), b.unsqueeze(1)));
  input_error_of([&] { read_array(write("text", "hello, world")); });
  EXPECT_NE(input_error_of([&] { read_array((folder_ / "none.npy").string()); }).find("none.npy"),
            std::string::npos);
}

TEST_F(Arrays, BadValuesAreCalledWhatTheyAre) {
  torch::Tensor values = torch::rand({3, 2}, torch::kDouble);
  values[1][1] = 1e60;
  const std::string large = input_error_of([&] { finite_float32(values, "x"); });
  EXPECT_NE(large.find("row 1, column 1 is 1e+60, too large for float32"), std::string::npos)
      << large;
  values[1][1] = NAN;
  EXPECT_NE(input_error_of([&] { finite_float32(values, "x"); }).find("NaN or infinite"),
            std::string::npos);
}

TEST_F(Arrays, RecordedPluginsTakeThemAll) {
  test::Plugins plugins;
  const torch::Tensor a = torch::rand({6, 4});
  const auto file = [&](const char* name) { return (folder_ / name).string(); };
  const torch::Tensor columns = a.t().contiguous();
  write("f.npy", npy("<f4", true, "(6, 4)",
                     std::string(static_cast<const char*>(columns.data_ptr()), columns.nbytes())));
  write_npy(folder_ / "a.npy", a);
  save_checkpoint(file("a.pt"), a);
  write("a.npz", test::zip_of({{"a.npy", read_file(folder_ / "a.npy")}}));
  write_safetensors(file("a.safetensors"), {{"a", a}, {"b", a + 1}});
  for (const char* name : {"a.npy", "f.npy", "a.pt", "a.npz", "a.safetensors:a"}) {
    const auto model = plugins.make<TargetModel>("recorded", given({{"activations", file(name)}}));
    EXPECT_TRUE(torch::equal(model->recorded(), a)) << name;
    const auto labeler =
        plugins.make<ConceptLabeler>("recorded", given({{"concepts", file(name)}}));
    torch::Tensor read = torch::empty({2, 4});
    const std::vector<std::int64_t> rows{1, 5};
    labeler->presence()->read(rows, Columns::all(), read.data_ptr<float>());
    EXPECT_TRUE(torch::equal(read, a.index_select(0, torch::tensor({1, 5})))) << name;
  }
  write_npy(folder_ / "unit.npy", a.select(1, 2).contiguous());
  EXPECT_EQ(plugins.make<TargetModel>("recorded", given({{"activations", file("unit.npy")}}))
                ->recorded()
                .sizes(),
            (std::vector<std::int64_t>{6, 1}));
  write_npy(folder_ / "whole.npy", torch::arange(8).view({4, 2}));
  EXPECT_EQ(plugins.make<TargetModel>("recorded", given({{"activations", file("whole.npy")}}))
                ->recorded()
                .scalar_type(),
            torch::kFloat);
}

TEST_F(Arrays, SplitsTakeThem) {
  const torch::Tensor train = torch::tensor({0, 1, 2}), val = torch::tensor({3}),
                      test_ids = torch::tensor({4, 5});
  write_npy(folder_ / "ids.npy", train);
  write("train_ids.npz", test::zip_of({{"arr_0.npy", read_file(folder_ / "ids.npy")}}));
  write("val_ids.npy", npy(">i4", false, "(1,)", raw(std::vector<std::int32_t>{3}, true)));
  write_npy(folder_ / "test_ids.npy", test_ids);
  const Split split = make_split(folder_.string(), 6, 0);
  EXPECT_EQ(split.train, (Rows{0, 1, 2}));
  EXPECT_EQ(split.val, (Rows{3}));
  EXPECT_EQ(split.test, (Rows{4, 5}));
}

TEST_F(Arrays, AnAbsurdClassIdIsNoNumberOfClasses) {
  test::Plugins plugins;
  const std::string labels = write(
      "labels.npy", npy("<i8", false, "(3,)", raw(std::vector<std::int64_t>{0, 1, 9'999'999})));
  const auto labeler = plugins.make<ConceptLabeler>("label", given({{"labels", labels}}));
  const std::string message = input_error_of([&] { labeler->attach(nullptr); });
  EXPECT_NE(message.find("class id 9999999 among 3 labels"), std::string::npos) << message;
}

}  // namespace
}  // namespace linex
