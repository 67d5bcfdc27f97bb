// Files made to exhaust memory: each is read in a child process whose peak is held against the rule
// of toolkit/base/budget.hpp.
#include <fcntl.h>
#include <gtest/gtest.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>
#include <zlib.h>

#include <chrono>
#include <cstdio>
#include <fstream>
#include <functional>

#include "tests/test_models.hpp"
#include "tests/zip_file.hpp"
#include "toolkit/base/budget.hpp"
#include "toolkit/base/files.hpp"
#include "toolkit/base/npy.hpp"
#include "toolkit/base/text.hpp"
#include "toolkit/checkpoint/arrays.hpp"
#include "toolkit/checkpoint/pickle.hpp"
#include "toolkit/checkpoint/weights.hpp"
#include "toolkit/data/image_header.hpp"
#include "toolkit/text/gzip.hpp"
#include "toolkit/text/tokenizer.hpp"

namespace linex {
namespace {

namespace fs = std::filesystem;
using std::string;
using namespace std::string_literals;
using test::zip_of;

/// A line of /proc/self/status in bytes.
std::uint64_t status_bytes(const string& key) {
  std::ifstream file("/proc/self/status");
  for (string line; std::getline(file, line);)
    if (line.compare(0, key.size(), key) == 0)
      return std::strtoull(line.c_str() + key.size() + 1, nullptr, 10) << 10;
  return 0;
}

struct Outcome {
  double seconds = 0;
  std::uint64_t bytes = 0;  ///< peak of resident memory above what was there before
  bool crashed = false;
  string message;  ///< of the Error(input), "" where the file was read
};

/// Runs `work` in a child.
Outcome measure(const std::function<void()>& work) {
  int ends[2];
  if (::pipe(ends) != 0) throw std::runtime_error("pipe");
  const pid_t child = ::fork();
  if (child == 0) {
    // Resets the peak to what is resident now.
    if (std::FILE* refs = std::fopen("/proc/self/clear_refs", "w")) {
      std::fputs("5", refs);
      std::fclose(refs);
    }
    const std::uint64_t before = status_bytes("VmRSS:");
    const auto start = std::chrono::steady_clock::now();
    string message;
    try {
      work();
    } catch (const Error& error) {
      message = error.kind() == ErrorKind::input ? error.what() : "another kind of error";
    } catch (const std::exception& error) {
      message = string("no Error: ") + error.what();
    }
    const std::chrono::duration<double> took = std::chrono::steady_clock::now() - start;
    const std::uint64_t peak = status_bytes("VmHWM:");
    const string text = std::to_string(took.count()) + " " +
                        std::to_string(peak > before ? peak - before : 0) + " " + message;
    [[maybe_unused]] const auto ignored = ::write(ends[1], text.data(), text.size());
    ::_exit(0);
  }
  ::close(ends[1]);
  string text;
  char buffer[4096];
  for (ssize_t got; (got = ::read(ends[0], buffer, sizeof buffer)) > 0;)
    text.append(buffer, static_cast<std::size_t>(got));
  ::close(ends[0]);
  int status = 0;
  ::waitpid(child, &status, 0);
  Outcome outcome;
  outcome.crashed = !WIFEXITED(status) || WEXITSTATUS(status) != 0 || text.empty();
  if (outcome.crashed) return outcome;
  const auto first = text.find(' '), second = text.find(' ', first + 1);
  outcome.seconds = std::stod(text);
  outcome.bytes = std::stoull(text.substr(first + 1));
  outcome.message = text.substr(second + 1);
  return outcome;
}

constexpr bool kSanitized =
#ifdef __SANITIZE_ADDRESS__
    true;
#else
    false;
#endif

string number(std::uint64_t value, int bytes) {
  string text;
  for (int i = 0; i < bytes; ++i, value >>= 8) text += static_cast<char>(value & 0xff);
  return text;
}
string repeat(const string& part, std::size_t times) {
  string text;
  text.reserve(part.size() * times);
  for (std::size_t i = 0; i < times; ++i) text += part;
  return text;
}
/// BINUNICODE.
string unicode(const string& text) { return "X" + number(text.size(), 4) + text; }

class Bombs : public testing::Test {
 protected:
  static fs::path write(const string& name, const string& content) {
    const fs::path path = fs::path(LINEX_TEST_DIR) / ("bombs_test_" + name);
    std::ofstream(path, std::ios::binary) << content;
    return path;
  }

  /// Reads a file of `content` and holds the child against the rule; `said` has to be in the error
  /// ("": it may be read).
  static void expect_bounded(const string& name, const string& content, const string& said,
                             const std::function<void(const fs::path&)>& read) {
    const fs::path path = write(name, content);
    const Outcome outcome = measure([&] { read(path); });
    std::printf("[   bomb   ] %-28s %9zu bytes %6.2f s %5.0f MiB  %s\n", name.c_str(),
                content.size(), outcome.seconds, static_cast<double>(outcome.bytes) / (1 << 20),
                outcome.message.c_str());
    EXPECT_FALSE(outcome.crashed) << name;
    EXPECT_EQ(outcome.message.find("no Error"), string::npos) << outcome.message;
    EXPECT_EQ(outcome.message.find('\n'), string::npos) << outcome.message;
    if (!said.empty()) {
      EXPECT_NE(outcome.message.find(said), string::npos) << outcome.message;
    }
    fs::remove(path);
    if (kSanitized) return;
    EXPECT_LE(outcome.bytes, kMemoryBase + kMemoryFactor * content.size()) << name;
  }

  static void expect_pickle(const string& name, const string& pickle, const string& said) {
    expect_bounded(name, pickle, said,
                   [&](const fs::path& path) { PickleTree(read_file(path), path.string()); });
  }
  static void expect_weights(const string& name, const string& content, const string& said) {
    expect_bounded(name, content, said, [](const fs::path& path) { load_weights(path); });
  }
};

const string kProto = "\x80\x02";

TEST_F(Bombs, ArgumentsAreNotCopiedWithoutBound) {
  const string arguments = "(" + repeat("N", 20'000) + "tq\1" + "0";
  // The same long tuple given to a class again and again, side by side and nested.
  expect_pickle("reduce",
                kProto + "cos\nsystem\nq\0"s + arguments + "(" + repeat("h\0h\1R"s, 20'000) + "t.",
                "memory");
  expect_pickle("reduce nested",
                kProto + "cos\nsystem\nq\0"s + arguments + "h\1" +
                    repeat("q\2"
                           "0h\0h\1R\x85"
                           "q\1"s,
                           10'000) +
                    ".",
                "");
  expect_pickle(
      "newobj",
      kProto + "cos\nsystem\nq\0"s + arguments + "(" + repeat("h\0h\1\x81"s, 20'000) + "t.",
      "memory");
  const string dict = "ccollections\nOrderedDict\nq\0"s;
  expect_pickle("ordered dict",
                kProto + dict + "](" + repeat("]K\1aK\2a", 10'000) + "e\x85q\1" + "0(" +
                    repeat("h\0h\1R"s, 20'000) + "t.",
                "memory");
  expect_pickle("extend itself",
                kProto + "]q\0("s + repeat("N", 10'000) + "e" + repeat("(h\0h\0h\0e"s, 5'000) + ".",
                "");
  expect_pickle("update with one list",
                kProto + "}q\0("s + repeat("NN", 20'000) + "u" + repeat("(NNu", 20'000) + ".", "");
}

TEST_F(Bombs, TextsAreNotJoinedWithoutBound) {
  const string name = unicode(string(60'000, 'a'));
  expect_pickle("stack global", "\x80\x04" + name + "q\0("s + repeat("h\0h\0\x93"s, 20'000) + "t.",
                "memory");
  expect_pickle("object's class", kProto + name + "q\0("s + repeat("(h\0o"s, 20'000) + "t.",
                "memory");
  expect_pickle(
      "class of every object",
      kProto + "c" + string(60'000, 'a') + "\nb\nq\0)q\1("s + repeat("h\0h\1R"s, 20'000) + "t.",
      "memory");
}

TEST_F(Bombs, ValuesAreInProportionToTheirBytes) {
  expect_pickle("empty lists", kProto + "(" + repeat("]", 4'000'000) + "t.", "memory");
  expect_pickle("nothing", kProto + "(" + repeat("N", 4'000'000) + "t.", "");
  expect_pickle("numbers", kProto + "(" + repeat("K\1", 2'000'000) + "t.", "");
  expect_pickle("100,000 deep", kProto + repeat("]", 100'000) + repeat("a", 99'999) + ".", "");
  expect_pickle("marks", kProto + repeat("(", 4'000'000), "ends too early");
}

string tensor_pickle(const string& sizes, const string& strides, std::size_t count) {
  string pickle = kProto + "ctorch._utils\n_rebuild_tensor_v2\nq\0"s;
  pickle += "((" + unicode("storage") + "ctorch\nFloatStorage\n" + unicode("0") + unicode("cpu") +
            "K\4tQK\0("s + sizes + "t(" + strides + "t\x89}tq\1" + "0}(";
  for (std::size_t i = 0; i < count; ++i) pickle += unicode("t" + std::to_string(i)) + "h\0h\1R"s;
  return pickle + "u.";
}

TEST_F(Bombs, TensorsAreInProportionToTheirBytes) {
  // Sixteen bytes of values, seen 10,000 times as 16 million numbers.
  const string expanded = tensor_pickle("J" + number(16'000'000, 4), "K\0"s, 10'000);
  expect_weights("expanded.pth", zip_of({{"a/data.pkl", expanded}, {"a/data/0", string(16, 'x')}}),
                 "memory");
  const string small = tensor_pickle("K\4", "K\1", 30'000);
  expect_weights("views.pth", zip_of({{"a/data.pkl", small}, {"a/data/0", string(16, 'x')}}), "");
  expect_weights("overlapping.pth", zip_of({{"a/data.pkl", string(1 << 20, 'x')}}, 5'000),
                 "overlap");
}

TEST_F(Bombs, StateNamesAreCheckedBeforeTheyAreKept) {
  // Modules within modules, each with a long name, and a thousand tensors in the innermost.
  const string module = "ca\nb\n)\x81";
  string open, close;
  for (int depth = 0; depth < 60; ++depth) {
    open += module + "}(" + unicode("_modules") + "}(" + unicode(string(5'000, 'n'));
    close += "uub";
  }
  expect_weights("names.pth",
                 zip_of({{"a/data.pkl", kProto + open + module + "}" + "b" + close + "."}}),
                 "no name for a tensor");
  // Each level holds the next twice: 2^40 paths.
  string shared = module + "}(" + unicode("_modules") + "}ubq\0"s;
  for (int depth = 0; depth < 40; ++depth)
    shared += "0" + module + "}(" + unicode("_modules") + "}(" + unicode("a") + "h\0"s +
              unicode("b") + "h\0uubq\0"s;
  expect_weights("shared.pth", zip_of({{"a/data.pkl", kProto + shared + "."}}), "");
}

string safetensors(const string& header, const string& values) {
  return number(header.size(), 8) + header + values;
}

TEST_F(Bombs, SafetensorsHeaders) {
  string overlapping = "{";
  for (int i = 0; i < 8'000; ++i)
    overlapping += (i ? ",\"" : "\"") + std::to_string(i) +
                   R"(":{"dtype":"U8","shape":[500000],"data_offsets":[0,500000]})";
  expect_weights("overlapping.safetensors", safetensors(overlapping + "}", string(500'000, 'x')),
                 "shares bytes");
  expect_weights("hole.safetensors",
                 safetensors(R"({"a":{"dtype":"U8","shape":[2],"data_offsets":[1,3]}})", "xxx"),
                 "gap");
  expect_weights("tail.safetensors",
                 safetensors(R"({"a":{"dtype":"U8","shape":[2],"data_offsets":[0,2]}})", "xxx"),
                 "no tensor");
  expect_weights("brackets.safetensors", safetensors("{\"a\":" + string(20'000'000, '['), ""),
                 "header");
  expect_weights("braces.safetensors", safetensors(repeat("{\"\":", 5'000'000), ""), "header");
  expect_weights(
      "metadata.safetensors",
      safetensors("{\"__metadata__\":{" + repeat("\"\":\"\",", 3'000'000) + "\"\":\"\"}}", ""), "");
  expect_weights("claims.safetensors", number(100'000'000, 8) + "{}" + string(100, ' '),
                 "does not fit");
  expect_weights("absurd.safetensors",
                 safetensors(R"({"a":{"dtype":"F64","shape":[4294967296,4294967296,0],)"
                             R"("data_offsets":[0,0]}})",
                             ""),
                 "damaged");
}

/// zlib's deflate, raw or with gzip's header.
string packed(const string& content, int window_bits) {
  z_stream stream{};
  deflateInit2(&stream, 9, Z_DEFLATED, window_bits, 9, Z_DEFAULT_STRATEGY);
  string out(deflateBound(&stream, content.size()) + 64, '\0');
  stream.next_in = reinterpret_cast<Bytef*>(const_cast<char*>(content.data()));
  stream.avail_in = static_cast<uInt>(content.size());
  stream.next_out = reinterpret_cast<Bytef*>(out.data());
  stream.avail_out = static_cast<uInt>(out.size());
  deflate(&stream, Z_FINISH);
  out.resize(out.size() - stream.avail_out);
  deflateEnd(&stream);
  return out;
}

TEST_F(Bombs, MembersThatSwell) {
  const string feeds(64 << 20, '\n');
  expect_bounded("vocabulary.txt.gz", packed(feeds, 16 + MAX_WBITS), "no vocabulary",
                 [](const fs::path& path) {
                   try {
                     open_clip_vocabulary(path);
                   } catch (const Error& error) {
                     throw input_error(string("no vocabulary: ") + error.what());
                   }
                 });
  expect_bounded("vocabulary.txt", feeds.substr(0, 4 << 20), "vocabulary",
                 [](const fs::path& path) { open_clip_vocabulary(path); });
  expect_bounded("list.txt", feeds.substr(0, 4 << 20), "",
                 [](const fs::path& path) { read_list(path); });
  string npy = "\x93NUMPY\x01"s + '\0';
  string header = "{'descr': '<f4', 'fortran_order': False, 'shape': (25000000,), }";
  header.resize(118, ' ');
  npy += number(header.size(), 2) + header;
  const string zeros = packed(npy + string(100'000'000, '\0'), -MAX_WBITS);
  expect_bounded("swells.npz", zip_of({{"a.npy", zeros, true, 100'000'128}}), "memory",
                 [](const fs::path& path) { read_array(path.string()); });
  expect_bounded("lies.npz", zip_of({{"a.npy", zeros, true, 1'000}}), "unpack",
                 [](const fs::path& path) { read_array(path.string()); });
}

TEST_F(Bombs, AbsurdShapes) {
  const auto npy = [](const string& shape, const string& descr) {
    string header = "{'descr': " + descr + ", 'fortran_order': True, 'shape': " + shape + ", }";
    return "\x93NUMPY\x01"s + '\0' + number(header.size(), 2) + header + "values";
  };
  const auto read = [](const fs::path& path) { map_npy(path); };
  expect_bounded("overflow.npy", npy("(4294967296, 4294967296)", "'<f4'"), "absurd", read);
  expect_bounded("digits.npy", npy("(99999999999999999999999,)", "'<f4'"), "absurd", read);
  expect_bounded("large.npy", npy("(100000000000,)", "'<f4'"), "truncated", read);
  expect_bounded("zero.npy", npy("(0, 100000000000000000, 1000)", "'<f8'"), "absurd", read);
  expect_bounded("object.npy", npy("(3,)", "'|O'"), "objects", read);
  expect_bounded("long.npy", "\x93NUMPY\x02"s + '\0' + number(0xffffffff, 4) + "{", "truncated",
                 read);
}

TEST_F(Bombs, DeepJson) {
  const auto index = [](const fs::path& path) { load_weights(path); };
  expect_bounded("deep.index.json", string(100'000, '['), "weight_map", index);
  expect_bounded("objects.index.json", repeat("{\"weight_map\":", 100'000), "weight_map", index);
  EXPECT_TRUE(json_nests_at_most(R"({"a":[["[[[[\"[["]]})", 3));
  EXPECT_FALSE(json_nests_at_most(R"({"a":[["[[[[\"[["]]})", 2));
}

TEST_F(Bombs, Images) {
  const auto read = [](const fs::path& path) {
    const string bytes = read_file(path);
    read_image_header(reinterpret_cast<const unsigned char*>(bytes.data()), bytes.size(),
                      path.string());
  };
  const string side = "\0\1\x86\xa0"s;  // 100,000, most significant byte first
  expect_bounded("large.png",
                 "\x89PNG\r\n\x1a\n"s + "\0\0\0\rIHDR"s + side + side + "\x08\x02\0\0\0crc."s +
                     "\0\0\0\0IDATcrc."s + "\0\0\0\0IENDcrc."s,
                 "more than", read);
  const string jpeg_start = "\xff\xd8\xff\xc2\0\x11\x08"s,
               components = "\3\1\x11\0\2\x11\0\3\x11\0"s;
  const string end = "\xff\xd9"s, scan = "\xff\xda\0\x08\1\1\0\0\0\0"s;
  expect_bounded("large.jpg", jpeg_start + "\xff\xff\xff\xff"s + components + scan + end,
                 "more than", read);
  expect_bounded("large.tif",
                 "MM\0*\0\0\0\x08\0\2"s + "\1\0\0\4\0\0\0\1"s + side + "\1\1\0\4\0\0\0\1"s + side,
                 "more than", read);
  const string photo = jpeg_start + "\x0f\xa0\x0f\xa0"s + components;  // 4000 x 4000
  expect_bounded("scans.jpg", photo + repeat(scan, 5'000) + end, "5000 scans", read);
  expect_bounded("usual.jpg", photo + repeat(scan, 12) + end, "", read);
}

TEST_F(Bombs, WhatIsNoFile) {
  const fs::path fifo = fs::path(LINEX_TEST_DIR) / "bombs_test_fifo";
  fs::remove(fifo);
  ASSERT_EQ(::mkfifo(fifo.c_str(), 0600), 0);
  for (const fs::path& path : {fifo, fs::path("/dev/zero"), fs::path("/dev/null")})
    for (const auto& read : std::vector<std::function<void()>>{
             [&] { load_weights(path); }, [&] { map_npy(path); },
             [&] { read_array(path.string()); }, [&] { read_file(path); },
             [&] { sha256_of_file(path); }, [&] { read_list(path); },
             [&] { open_clip_vocabulary(path); }}) {
      ::alarm(60);  // ends a test that waits for the other end of the FIFO
      EXPECT_NE(test::input_error_of(read).find("not a regular file"), string::npos) << path;
    }
  ::alarm(0);
  fs::remove(fifo);
}

}  // namespace
}  // namespace linex
