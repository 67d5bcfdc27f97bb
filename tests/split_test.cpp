// Which rows train, select and score.
#include "data_fixture.hpp"

#include <algorithm>
#include <cstdlib>
#include <numeric>

#include "shared_file.hpp"
#include "toolkit/base/npy.hpp"
#include "toolkit/base/random.hpp"
#include "toolkit/data/split.hpp"

namespace linex {
namespace {

using test::message_of;
namespace fs = std::filesystem;

class Splits : public test::DataTest {};

TEST_F(Splits, SplitFilesMeanRowsOfTheListing) {
  const Listing listing{{0, 1, 3, 4, 6, 7, 8, 9}, 10};  // 2 and 5 were skipped
  const auto ids = [&](const char* part, const std::vector<std::int64_t>& values) {
    write_npy(folder_ / (std::string(part) + "_ids.npy"), torch::tensor(values, torch::kInt64));
  };
  ids("train", {0, 2, 4, 9});
  ids("val", {1, 3});
  ids("test", {6, 8});
  const Split split = make_split(folder_.string(), 8, 0, &listing, &log_);
  EXPECT_EQ(split.train, (Rows{0, 3, 7}));
  EXPECT_EQ(split.val, (Rows{1, 2}));
  EXPECT_EQ(split.test, (Rows{4, 6}));
  ASSERT_EQ(log_.warnings.size(), 1u);
  EXPECT_NE(log_.warnings[0].find("1 of its rows"), std::string::npos);
  ids("val", {5});
  EXPECT_NE(message_of([&] { make_split(folder_.string(), 8, 0, &listing); }).find("part val"),
            std::string::npos);
  ids("val", {1, 10});
  EXPECT_NE(message_of([&] { make_split(folder_.string(), 8, 0, &listing); }).find("10"),
            std::string::npos);
}

TEST_F(Splits, DrawnSplitsHaveThePublishedSizes) {
  const std::string fractions = "0.7,0.1,0.2";
  for (const auto& [n, train, val] : {std::tuple(50000, 35000, 5000), std::tuple(10000, 7000, 1000),
                                      std::tuple(36500, 25550, 3650), std::tuple(11, 7, 1)}) {
    const Split split = make_split(fractions, n, 0);
    EXPECT_EQ(split.train.size(), static_cast<std::size_t>(train));
    EXPECT_EQ(split.val.size(), static_cast<std::size_t>(val));
    Rows all = split.train;
    all.insert(all.end(), split.val.begin(), split.val.end());
    all.insert(all.end(), split.test.begin(), split.test.end());
    EXPECT_TRUE(std::is_sorted(split.test.begin(), split.test.end()));
    std::sort(all.begin(), all.end());
    Rows expected(static_cast<std::size_t>(n));
    std::iota(expected.begin(), expected.end(), 0);
    EXPECT_EQ(all, expected);
  }
  EXPECT_EQ(make_split(fractions, 100, 3).test, make_split(fractions, 100, 3).test);
  EXPECT_NE(make_split(fractions, 100, 3).test, make_split(fractions, 100, 4).test);
  // Frozen: the generator is part of every result (the reference implementation's first number).
  EXPECT_EQ(Random(0).next(), 0xe220a8397b1dcdafULL);
  EXPECT_EQ(make_split("0.5,0.25,0.25", 8, 1).train, (Rows{2, 3, 4, 7}));
  EXPECT_EQ(make_split("0.5,0.25,0.25", 8, 1).val, (Rows{5, 6}));
}

TEST_F(Splits, SplitFoldersAreChecked) {
  const auto write_ids = [&](const std::string& part, std::vector<std::int64_t> ids) {
    write_npy(folder_ / (part + "_ids.npy"), torch::tensor(ids, torch::kInt64));
  };
  const auto problem = [&] { return message_of([&] { make_split(folder_.string(), 10, 0); }); };
  write_ids("train", {4, 2, 3});
  write_ids("val", {1});
  EXPECT_NE(problem().find("test_ids.npy"), std::string::npos);
  write_ids("test", {0, 9});
  EXPECT_EQ(make_split(folder_.string(), 10, 0).train, (Rows{2, 3, 4}));
  write_ids("test", {0, 10});
  EXPECT_NE(problem().find("10 is outside"), std::string::npos);
  write_ids("test", {0, -1});
  EXPECT_NE(problem().find("-1 is outside"), std::string::npos);
  write_ids("test", {0, 3});
  EXPECT_NE(problem().find("3 is in both train and test"), std::string::npos);
  write_ids("test", {0, 0});
  EXPECT_NE(problem().find("twice"), std::string::npos);
  write_npy(folder_ / "test_ids.npy", torch::tensor({0.5F}));
  EXPECT_NE(problem().find("integers"), std::string::npos);
  for (const char* text : {"0.7,0.1", "0.7,0.1,x", "0.7,0.4,0.2", "0.7,0.3,0", "nowhere"})
    EXPECT_NE(message_of([&] { make_split(text, 10, 0); }), "no error") << text;
}

TEST_F(Splits, PublishedSplitsAreRead) {
  const fs::path folder = shared_file("data/splits/cifar100_val");
  if (folder.empty()) GTEST_SKIP() << "no published splits";
  const Split split = make_split(folder.string(), 10000, 0);
  const auto sum = [](const Rows& rows) { return std::accumulate(rows.begin(), rows.end(), 0L); };
  EXPECT_EQ(split.train.size(), 7000u);  // docs/methods.md §1.2
  EXPECT_EQ(sum(split.train), 35004870);
  EXPECT_EQ(sum(split.val), 5010884);
  EXPECT_EQ(sum(split.test), 9979246);
}

}  // namespace
}  // namespace linex
