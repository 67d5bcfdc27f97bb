// Base helpers: files from outside are hostile, numbers keep their bits.
#include <gtest/gtest.h>
#include <torch/types.h>

#include <chrono>
#include <fstream>
#include <limits>
#include <numeric>
#include <random>
#include <thread>

#include "folder_test.hpp"
#include "linex/error.hpp"
#include "toolkit/base/csv.hpp"
#include "toolkit/base/file_digest.hpp"
#include "toolkit/base/files.hpp"
#include "toolkit/base/finite.hpp"
#include "toolkit/base/mojibake.hpp"
#include "toolkit/base/npy.hpp"
#include "toolkit/base/parallel.hpp"
#include "toolkit/base/stats.hpp"
#include "toolkit/base/text.hpp"

namespace linex {
namespace {

namespace fs = std::filesystem;

using Base = FolderTest;

std::string message_of(const std::function<void()>& work) {
  try {
    work();
  } catch (const Error& error) {
    EXPECT_EQ(error.kind(), ErrorKind::input);
    return error.what();
  }
  return "no error";
}

TEST_F(Base, NpyKeepsEveryDtypeAndShape) {
  for (const auto dtype :
       {torch::kFloat32, torch::kFloat64, torch::kFloat16, torch::kInt64, torch::kInt32,
        torch::kInt16, torch::kInt8, torch::kUInt8, torch::kBool}) {
    const auto tensor = (torch::arange(24).reshape({2, 3, 4}) % 2).to(dtype);
    write_npy(folder_ / "a.npy", tensor);
    const auto back = map_npy(folder_ / "a.npy");
    EXPECT_EQ(back.scalar_type(), dtype);
    EXPECT_TRUE(torch::equal(back, tensor));
  }
  write_npy(folder_ / "v.npy", torch::arange(5));
  EXPECT_EQ(map_npy(folder_ / "v.npy").sizes().vec(), (std::vector<std::int64_t>{5}));
}

TEST_F(Base, NpyWriterAppendsBlocksAndRefusesTheWrongCount) {
  const auto tensor = torch::randn({7, 3});
  {
    NpyWriter writer(folder_ / "w.npy", {7, 3});
    writer.append(tensor.slice(0, 0, 4));
    EXPECT_FALSE(fs::exists(folder_ / "w.npy"));
    EXPECT_THROW(writer.finish(), std::logic_error);
    writer.append(tensor.slice(0, 4));
    writer.finish();
  }
  EXPECT_TRUE(torch::equal(map_npy(folder_ / "w.npy"), tensor));
}

TEST_F(Base, RowsOfALargeFileComeBackAfterTheyAreReleased) {
  // 1.1 GiB that take no disk: only the second page is written.
  constexpr std::int64_t kRows = 300, kCols = 1 << 20;
  std::string header = "{'descr': '<f4', 'fortran_order': False, 'shape': (300, 1048576), }";
  header.resize(117, ' ');
  header += "\n";
  const fs::path path = folder_ / "large.npy";
  {
    std::ofstream file(path, std::ios::binary);
    file << "\x93NUMPY" << '\x01' << '\x00' << '\x76' << '\x00' << header;
    const std::vector<float> row(2048, 2.5F);
    file.seekp(128 + kCols * 4);
    file.write(reinterpret_cast<const char*>(row.data()), 2048 * 4);
  }
  fs::resize_file(path, 128 + static_cast<std::uintmax_t>(kRows) * kCols * 4);
  const auto mapped = map_npy(path);
  EXPECT_EQ(mapped[1][2047].item<float>(), 2.5F);
  release_rows(mapped, 0, kRows);
  EXPECT_EQ(mapped[1][0].item<float>(), 2.5F);
  EXPECT_EQ(mapped[299][5].item<float>(), 0.0F);
  const auto copy = copy_rows(mapped, {0, 1, 299});
  EXPECT_EQ(copy.size(0), 3);
  EXPECT_EQ(copy[1].sum().item<float>(), 2048 * 2.5F);

  // Memory of our own is never touched.
  auto own = torch::ones({kRows, kCols / 4});
  release_rows(own, 0, kRows);
  EXPECT_EQ(own.select(1, 7).sum().item<float>(), 300.0F);
}

TEST_F(Base, HostileNpyIsOneLine) {
  write_npy(folder_ / "good.npy", torch::ones({10, 10}));
  const std::string good = read_file(folder_ / "good.npy");
  EXPECT_NE(message_of([&] { map_npy(folder_ / "none.npy"); }).find("none.npy"), std::string::npos);
  EXPECT_NE(message_of([&] { map_npy(write("t.npy", good.substr(0, 200))); }).find("truncated"),
            std::string::npos);
  EXPECT_NE(message_of([&] { map_npy(write("g.npy", "garbage, not numpy")); }).find("not a .npy"),
            std::string::npos);
  std::string absurd = good;
  absurd.replace(absurd.find("(10, 10)"), 8, "(9999999999999999, 99)");
  EXPECT_NE(message_of([&] { map_npy(write("a.npy", absurd)); }), "no error");
  // What is no literal of Python is refused, as by numpy.load(): half of it would be a plausible
  // array.
  const std::size_t begin = good.find('{'), end = good.find('}') + 1;
  const auto with_header = [&](const std::string& header) {
    std::string bytes = good;
    bytes.replace(begin, end - begin, header);
    bytes[8] =
        static_cast<char>(static_cast<unsigned char>(good[8]) + header.size() - (end - begin));
    return write("h.npy", bytes);
  };
  for (const char* header :
       {"{'descr': '<f4', 'fortran_order': 1, 'shape': (10, 10), }",
        "{'descr': '<f4', 'fortran_order': False, 'shape': (10; 10), }",
        "{'descr': '<f4', 'fortran_order': False, 'shape': (-10, 10), }",
        "{'descr': '<f4', 'fortran_order': False, 'shape': (10 10), }",
        "{'descr': '<f4', 'fortran_order': False, 'shape': (10, 10), 'x': 1}",
        "{'descr': '<f4', 'fortran_order': False, 'shape': (2, 2), 'shape': (10, 10)}",
        "'descr': '<f4', 'fortran_order': False, 'shape': (10, 10)",
        "{'descr': '<f4', 'fortran_order': False, 'shape': (10, 10), } x"})
    EXPECT_NE(message_of([&] { map_npy(with_header(header)); }).find("malformed"),
              std::string::npos)
        << header;
  EXPECT_NE(message_of([&] {
              map_npy(with_header("{'descr': '<f4', 'fortran_order': False, }"));
            }).find("has no 'shape'"),
            std::string::npos);
  for (const char* header : {"{\"shape\":(10L,10L),\"fortran_order\":False,\"descr\":\"<f4\"}",
                             "{'descr': '<f4', 'fortran_order': False, 'shape': ( 10 , 10 )}"})
    EXPECT_EQ(map_npy(with_header(header)).sizes(), (std::vector<std::int64_t>{10, 10})) << header;
  EXPECT_EQ(
      map_npy(with_header("{'descr': '>f4', 'fortran_order': False, 'shape': (0, 3)}")).numel(), 0);
  std::mt19937 random(1);
  for (int i = 0; i < 3000; ++i) {  // whatever the bytes: a tensor or an Error
    std::string mutant = good;
    for (int k = 0; k < 3; ++k) mutant[random() % 128] = static_cast<char>(random());
    try {
      const auto tensor = map_npy(write("m.npy", mutant));
      if (tensor.numel() > 0) tensor.flatten()[tensor.numel() - 1].item<double>();
    } catch (const Error&) {
    }
  }
}

TEST_F(Base, ListsTakeAnyLineEndAndNameBadUtf8) {
  EXPECT_EQ(split_lines("a\rb\r\nc\n\nd"), (std::vector<std::string>{"a", "b", "c", "", "d"}));
  EXPECT_EQ(read_list(write("l.txt",
                            "\xef\xbb\xbf"
                            "a\r\nb\r\n")),
            (std::vector<std::string>{"a", "b"}));
  EXPECT_NE(message_of([&] { read_list(write("u.txt", "fine\njalape\xf1o\n")); }).find("line 2"),
            std::string::npos);
}

TEST_F(Base, CsvRoundTripsAnyText) {
  const std::vector<std::string> cells{"plain", "with, comma", "a \"quote\"", "two\nlines",
                                       "",      " edge "};
  const std::string header = "a,b,c,d,e,f\n";
  const auto table = read_csv(write("r.csv", header + csv_record(cells)));
  ASSERT_EQ(table.rows.size(), 1U);
  EXPECT_EQ(table.rows[0], cells);
  EXPECT_EQ(table.column("c"), 2);
  EXPECT_EQ(table.column("zz"), -1);
  EXPECT_NE(message_of([&] { read_csv(write("s.csv", "a,b\n1\n")); }).find("record 2"),
            std::string::npos);
  EXPECT_NE(message_of([&] { read_csv(write("q.csv", "a,b\n\"1,2\n")); }).find("quote"),
            std::string::npos);
}

TEST(Text, Utf8IsStrict) {
  for (const char* good :
       {"", "plain", "jalape\xc3\xb1o", "\xed\x9f\xbf\xee\x80\x80", "\xf4\x8f\xbf\xbf"})
    EXPECT_TRUE(is_utf8(good)) << good;
  for (const char* bad : {"\xc0\x80", "\xe0\x9f\xbf", "\xf0\x8f\xbf\xbf",  // longer than needed
                          "\xed\xa0\x80", "\xf4\x90\x80\x80", "\xf8\x88\x80\x80\x80", "\x80",
                          "a\xff", "\xc3", "\xe2\x82", "\xf0\x9f\x98", "\xc3(", "\xe2\x82(a"})
    EXPECT_FALSE(is_utf8(bad)) << bad;
  EXPECT_TRUE(is_utf8(std::string_view("a\0b", 3)));
}

TEST(Text, Windows1252IsTheBrowsers) {
  const char32_t high[32] = {0x20ac, 0x81,   0x201a, 0x0192, 0x201e, 0x2026, 0x2020, 0x2021,
                             0x02c6, 0x2030, 0x0160, 0x2039, 0x0152, 0x8d,   0x017d, 0x8f,
                             0x90,   0x2018, 0x2019, 0x201c, 0x201d, 0x2022, 0x2013, 0x2014,
                             0x02dc, 0x2122, 0x0161, 0x203a, 0x0153, 0x9d,   0x017e, 0x0178};
  for (unsigned byte = 0; byte < 256; ++byte) {
    const char32_t expected = byte >= 0x80 && byte < 0xa0 ? high[byte - 0x80] : byte;
    EXPECT_EQ(from_windows_1252(static_cast<unsigned char>(byte)), expected) << byte;
    EXPECT_TRUE(is_utf8(decode_text(std::string(1, static_cast<char>(byte)) + "\xff"))) << byte;
  }
}

TEST(Text, SuggestsNearNames) {
  EXPECT_EQ(nearest("solver.lamda", {"solver.lambda", "run.out"}).front(), "solver.lambda");
  EXPECT_EQ(did_you_mean("layr4", {"layer3", "layer4"}).substr(0, 29),
            "; did you mean 'layer4' or 'l");
  EXPECT_EQ(did_you_mean("xyzzy", {"layer3", "layer4"}), "");
}

TEST(Text, NumbersReadBackExactly) {
  for (const double value : {0.1, 1.0 / 3, -1e-300, 12345678.0})
    EXPECT_EQ(std::stod(format_number(value)), value);
  EXPECT_EQ(format_number(std::nan("")), "");
}

/// Bytes that this process has read so far.
std::int64_t bytes_read() {
  std::ifstream io("/proc/self/io");
  std::string name;
  std::int64_t count = 0;
  io >> name >> count;
  return count;
}

TEST_F(Base, ALargeFileIsDigestedOnceUntilItChanges) {
  constexpr std::int64_t kSize = 4 << 20;
  const auto file = write("large", std::string(kSize, 'a'));
  const std::string first = digest_of_file(file);
  EXPECT_EQ(first, sha256_of_file(file));
  write("large", std::string(kSize, 'b'));  // at once, and as long
  EXPECT_NE(digest_of_file(file), first);
  EXPECT_EQ(stamp_of_file(file), "");
  std::this_thread::sleep_for(std::chrono::milliseconds(3100));
  const std::string second = digest_of_file(file), stamp = stamp_of_file(file);
  EXPECT_EQ(known_digest(stamp), second);
  const std::int64_t before = bytes_read();
  EXPECT_EQ(digest_of_file(file), second);
  EXPECT_LT(bytes_read() - before, kSize);
  remember_digest(file, "what it was before", "what another rank found");
  EXPECT_EQ(digest_of_file(file), second);
  remember_digest(file, stamp, "what another rank found");
  EXPECT_EQ(digest_of_file(file), "what another rank found");
  write("large", std::string(kSize, 'a'));
  EXPECT_EQ(digest_of_file(file), first);
}

TEST_F(Base, AFileOfSeveralPiecesIsDigestedByThreads) {
  std::string text(2 * kDigestPiece + 5, 'x');
  text[kDigestPiece] = 'y';
  const auto file = write("pieces", text);
  const auto sha = [&](std::size_t begin, std::size_t size) {
    return Sha256().add(text.data() + begin, size).hex();
  };
  EXPECT_EQ(digest_pieces(text.size()), 3);
  EXPECT_EQ(digest_of_piece(file, 1), sha(kDigestPiece, kDigestPiece));
  EXPECT_EQ(digest_of_piece(file, 2), sha(2 * kDigestPiece, 5));
  EXPECT_THROW(digest_of_piece(file, 3), Error);
  // As the line of shell in file_digest.hpp has it.
  const std::string lines = sha(0, kDigestPiece) + "\n" + sha(kDigestPiece, kDigestPiece) + "\n" +
                            sha(2 * kDigestPiece, 5) + "\n";
  EXPECT_EQ(digest_of_file(file), Sha256().add(lines.data(), lines.size()).hex());
  EXPECT_EQ(digest_of_file(file, 3), digest_of_file(file));
  EXPECT_EQ(sha256_of_file(file), sha(0, text.size()));
  EXPECT_EQ(sha256_of_paths({file}, 2), sha256_of_paths({file}));
  // Whole pieces alone, and nothing at all.
  EXPECT_EQ(digest_pieces(kDigestPiece), 1);
  EXPECT_EQ(digest_pieces(kDigestPiece + 1), 2);
  EXPECT_EQ(digest_of_file(write("empty", "")), Sha256().hex());
}

TEST(Finite, TheFirstValueThatIsNone) {
  std::vector<float> values(10000, std::numeric_limits<float>::max());
  values[17] = std::numeric_limits<float>::denorm_min();
  values[18] = -0.0F;
  EXPECT_EQ(first_not_finite(values.data(), 10000), 10000);
  EXPECT_EQ(first_not_finite(values.data(), 0), 0);
  values[9999] = -std::numeric_limits<float>::infinity();
  EXPECT_EQ(first_not_finite(values.data(), 10000), 9999);
  EXPECT_EQ(first_not_finite(values.data(), 9999), 9999);
  values[4096] = std::numeric_limits<float>::quiet_NaN();
  EXPECT_EQ(first_not_finite(values.data(), 10000), 4096);
  values[0] = std::numeric_limits<float>::infinity();
  EXPECT_EQ(first_not_finite(values.data(), 10000), 0);
}

TEST(Digest, Sha256OfKnownTexts) {
  EXPECT_EQ(Sha256().add("abc", 3).hex(),
            "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad");
  EXPECT_NE(Sha256().add("ab").add("c").hex(), Sha256().add("a").add("bc").hex());
}

TEST(Stats, MeanSemLeavesOutWhatIsNotThere) {
  const auto result = mean_sem({1, 2, 3, std::nan(""), 6});
  EXPECT_DOUBLE_EQ(result.mean, 3);
  EXPECT_EQ(result.n, 4);
  EXPECT_NEAR(result.sem, std::sqrt(14.0 / 3 / 4), 1e-15);
}

TEST(Stats, PearsonEqualsTheObviousFormulaFarFromZero) {
  torch::manual_seed(0);
  const auto x = torch::randn({500, 4}) + 300, y = torch::randn({500, 4}) + x * 0.5;
  const auto r = pearson_columns(x, y);
  for (int j = 0; j < 4; ++j) {
    const auto a = x.select(1, j).to(torch::kFloat64), b = y.select(1, j).to(torch::kFloat64);
    const auto da = a - a.mean(), db = b - b.mean();
    EXPECT_NEAR(r[j], ((da * db).sum() / (da.norm() * db.norm())).item<double>(), 1e-12);
  }
  EXPECT_TRUE(std::isnan(pearson_columns(torch::full({9, 1}, 0.1F), torch::randn({9, 1}))[0]));
}

TEST(Stats, FisherIntervalHoldsItsCorrelation) {
  const auto interval = fisher_interval(0.5, 103);
  EXPECT_NEAR(interval.low, std::tanh(std::atanh(0.5) - 0.196), 1e-5);
  EXPECT_NEAR(interval.high, std::tanh(std::atanh(0.5) + 0.196), 1e-5);
  EXPECT_TRUE(std::isnan(fisher_interval(std::nan(""), 100).low));
}

TEST(Parallel, RethrowsTheFirstFailureAfterTheJoin) {
  std::vector<int> done(100, 0);
  parallel_for(100, 4, [&](std::int64_t i) { done[i] = 1; });
  EXPECT_EQ(std::accumulate(done.begin(), done.end(), 0), 100);
  EXPECT_THROW(parallel_for(100, 4,
                            [](std::int64_t i) {
                              if (i == 7) throw input_error("seven");
                            }),
               Error);
}

}  // namespace
}  // namespace linex
