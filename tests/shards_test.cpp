// Images in tar archives: what of an archive is read, and what is refused in one line.
#include <algorithm>
#include <cstring>

#include "tests/data_fixture.hpp"
#include "toolkit/base/files.hpp"
#include "toolkit/data/tar.hpp"

namespace linex {
namespace {

using test::message_of;
using test::names_of;
namespace fs = std::filesystem;

/// One header block of ustar.
std::string header(const std::string& name, const std::string& size, char type,
                   const std::string& prefix = "") {
  std::string block(512, '\0');
  const auto put = [&](std::size_t at, const std::string& text) {
    block.replace(at, text.size(), text);
  };
  put(0, name.substr(0, 100));
  put(100, "0000644");
  put(124, size);
  put(136, "00000000000");
  block[156] = type;
  put(257, std::string("ustar\0", 6) + "00");
  put(345, prefix);
  put(148, "        ");
  unsigned sum = 0;
  for (const unsigned char c : block) sum += c;
  char digits[8];
  std::snprintf(digits, sizeof digits, "%06o", sum);
  put(148, std::string(digits, 7) + " ");
  return block;
}

std::string octal(std::size_t size) {
  char digits[16];
  std::snprintf(digits, sizeof digits, "%011zo", size);
  return digits;
}

std::string padded(std::string content) {
  content.resize((content.size() + 511) / 512 * 512);
  return content;
}

std::string file(const std::string& name, const std::string& content, char type = '0') {
  return header(name, octal(content.size()), type) + padded(content);
}

std::string pax(const std::string& key, const std::string& value, char type = 'x') {
  const std::size_t base = key.size() + value.size() + 3;  // blank, equals, line end
  std::size_t length = base + 1;
  while (length != base + std::to_string(length).size()) ++length;
  return file("PaxHeaders/x", std::to_string(length) + " " + key + "=" + value + "\n", type);
}

std::string end() { return std::string(1024, '\0'); }

class Shards : public test::DataTest {
 protected:
  void SetUp() override {
    DataTest::SetUp();
    for (int i = 0; i < 4; ++i)
      images_.push_back(read_file(paint("one/" + std::to_string(i) + ".png", 10 * i + 10)));
  }
  std::string image(int i) const { return images_[static_cast<std::size_t>(i)]; }
  std::shared_ptr<DataSet> read(const fs::path& root) { return open(root, "webdataset"); }
  /// An archive of that content as a data set.
  std::shared_ptr<DataSet> of(const std::string& content) {
    log_.warnings.clear();
    return read(write("a.tar", content));
  }
  std::string problem(const std::string& content) {
    const std::string message = message_of([&] { of(content); });
    EXPECT_NE(message.find("a.tar"), std::string::npos) << message;
    return message;
  }
  static int grey(const DataSet& data, std::int64_t row) {
    return data.pixels(row)[0][0][0].item<int>();
  }

  std::vector<std::string> images_;
};

#define EXPECT_SAYS(text, words) EXPECT_NE((text).find(words), std::string::npos) << (text)

TEST_F(Shards, SamplesOfArchivesInOrder) {
  write("set/1.tar", file("b/x.png", image(2)) + file("b/x.cls", "0\n") + end());
  write("set/0.tar", file("./a/", "", '5') + file("./a/2.cls", "1") + file("./a/2.PNG", image(0)) +
                         file("a/1.json", R"({"label": 7})") + file("a/1.png", image(1)) +
                         file("a/1.cls", "2") + file("a/1.seg.png", image(3)) +
                         file("._hidden.png", "junk") + end() + std::string(8192, '\0'));
  write("set/readme.txt", "no shard");
  const auto data = read(folder_ / "set");
  EXPECT_EQ(names_of(*data),
            (std::vector<std::string>{"0.tar/a/2.PNG", "0.tar/a/1.png", "1.tar/b/x.png"}));
  EXPECT_EQ(data->labels(), (std::vector<std::int64_t>{1, 2, 0}));
  EXPECT_EQ(data->class_names(), (std::vector<std::string>{"0", "1", "2"}));
  for (int row = 0; row < 3; ++row) EXPECT_EQ(grey(*data, row), 10 * row + 10);
  EXPECT_TRUE(log_.warnings.empty());
  // A file, a pattern, a list.
  EXPECT_EQ(read(folder_ / "set/1.tar")->size(), 1);
  EXPECT_EQ(names_of(*read(folder_ / "set/{0..1}.tar")), names_of(*data));
  EXPECT_EQ(names_of(*read(folder_ / "set/{1,0}.tar")).front(), "1.tar/b/x.png");
  for (const char* name : {"w/x-08.tar", "w/x-09.tar", "w/x-10.tar"})
    write(name, file("k.png", image(0)) + end());
  EXPECT_EQ(read(folder_ / "w/x-{08..10}.tar")->size(), 3);
  // Rows are chosen as those of other data sets are.
  options_.limit = 2;
  EXPECT_EQ(read(folder_ / "set")->size(), 2);
}

TEST_F(Shards, PatternsThatNameNothing) {
  const auto problem = [&](const char* root) { return message_of([&] { read(folder_ / root); }); };
  write("s/0.tar", file("k.png", image(0)) + end());
  EXPECT_SAYS(problem("s/{0..1}.tar"), "s/1.tar does not exist");
  EXPECT_SAYS(problem("none.tar"), "does not exist");
  EXPECT_SAYS(problem("one"), "no .tar in");
  EXPECT_SAYS(problem("s/{3..1}.tar"), "ascending");
  EXPECT_SAYS(problem("s/{a..b}.tar"), "ascending");
  EXPECT_SAYS(problem("s/{0.tar"), "not closed");
  EXPECT_SAYS(problem("s/0}.tar"), "not opened");
  EXPECT_SAYS(problem("s/{0..999999}{0..999999}.tar"), "million");
  // Whoever forgets data.kind is told.
  EXPECT_SAYS(message_of([&] { open(folder_ / "s"); }), "data.kind=webdataset");
  EXPECT_SAYS(message_of([&] { open(folder_ / "s/0.tar"); }), "data.kind=webdataset");
}

TEST_F(Shards, NamesAndSizesOfEveryKindOfHeader) {
  const std::string deep(90, 'd'), name = deep + "/" + std::string(90, 'n') + ".png";
  // GNU: a name in a record of its own, a number to the base 256.
  std::string big = octal(0);
  big.assign(12, '\0');
  big[0] = '\x80';
  big[10] = static_cast<char>(image(1).size() >> 8);
  big[11] = static_cast<char>(image(1).size() & 0xff);
  const auto data =
      of(file("././@LongLink", name + '\0', 'L') + file("cut", image(0)) +
         header("base256.png", big, '0') + padded(image(1)) + pax("comment", "for all", 'g') +
         pax("path", "pax/" + name) + file("cut", image(2)) +
         header(std::string(90, 'n') + ".png", octal(image(3).size()), '0', deep + "2") +
         padded(image(3)) + end());
  EXPECT_EQ(names_of(*data),
            (std::vector<std::string>{"a.tar/" + name, "a.tar/base256.png", "a.tar/pax/" + name,
                                      "a.tar/" + deep + "2/" + std::string(90, 'n') + ".png"}));
  for (int row = 0; row < 4; ++row) EXPECT_EQ(grey(*data, row), 10 * row + 10);
  // PAX may say the size, too.
  const std::string size = std::to_string(image(0).size());
  EXPECT_EQ(
      grey(*of(pax("size", size) + header("x.png", octal(0), '0') + padded(image(0)) + end()), 0),
      10);
  // Archives of before 1988, and those whose closing blocks were left out.
  std::string old = header("v7.png", octal(image(0).size()), '\0');
  EXPECT_EQ(of(old + padded(image(0)))->size(), 1);
}

TEST_F(Shards, WhatTellsAClass) {
  using Names = std::vector<std::string>;
  const auto sample = [&](int i, const std::string& kind, const std::string& content) {
    const std::string key = "s" + std::to_string(i);
    return file(key + ".png", image(i)) + file(key + "." + kind, content);
  };
  auto data = of(sample(0, "txt", " tabby cat \n") + sample(1, "txt", "dog") + end());
  EXPECT_EQ(data->class_names(), (Names{"dog", "tabby cat"}));
  EXPECT_EQ(data->labels(), (std::vector<std::int64_t>{1, 0}));
  data = of(sample(0, "json", R"({"caption": "x", "class": 3})") + sample(1, "json", "1") + end());
  EXPECT_EQ(data->labels(), (std::vector<std::int64_t>{3, 1}));
  EXPECT_EQ(of(sample(0, "json", R"({"sha256": "x"})") + end())->class_names(), Names{});
  options_.label = "json:breed";
  EXPECT_EQ(of(sample(0, "json", R"({"label": 1, "breed": "pug"})") + end())->class_names(),
            Names{"pug"});
  EXPECT_SAYS(problem(sample(0, "json", R"({"label": 1})") + end()), "under 'breed'");
  options_.label = "txt";
  EXPECT_EQ(of(sample(0, "cls", "4") + file("s0.txt", "cat") + end())->class_names(), Names{"cat"});
  options_.label = "none";
  EXPECT_TRUE(of(sample(0, "cls", "4") + end())->labels().empty());
  options_.label = "npy";
  EXPECT_SAYS(message_of([&] { of(end()); }), "data.label=npy");
  options_.label = "";
  // Classes by number have names, too.
  options_.classes = write("classes.json", R"({"0": ["n1", "cat"], "1": ["n2", "dog"]})");
  EXPECT_EQ(of(sample(0, "cls", "1") + end())->class_names(), (Names{"cat", "dog"}));
  options_.classes = "";
  // Captions are no classes.
  std::string captions;
  for (int i = 0; i < 12; ++i)
    captions += file("c" + std::to_string(i) + ".png", image(0)) +
                file("c" + std::to_string(i) + ".txt", "a photo, number " + std::to_string(i));
  EXPECT_TRUE(of(captions + end())->labels().empty());
  ASSERT_EQ(log_.warnings.size(), 1u);
  EXPECT_SAYS(log_.warnings[0], "captions");
}

TEST_F(Shards, SamplesThatAreNotWhole) {
  const std::string good = file("k.png", image(0)) + file("k.cls", "0");
  EXPECT_SAYS(problem(good + file("l.png", image(1)) + end()),
              "1 of 2 samples have no class, the first is a.tar/l.png");
  EXPECT_SAYS(problem(good + file("k.cls", "1") + end()), "'k' has two labels .cls");
  EXPECT_SAYS(problem(good + file("k.jpg", image(1)) + end()), "'k' has two images");
  EXPECT_SAYS(problem(file("k.png", image(0)) + file("k.cls", "\xff\xfe") + end()), "not UTF-8");
  EXPECT_SAYS(problem(file("k.png", image(0)) + file("k.txt", std::string(2 << 20, 'x')) + end()),
              "more than the 1048576");
  EXPECT_SAYS(problem(file("k.cls", "1") + end()), "no image in its shards");
  EXPECT_SAYS(problem(end()), "no image in its shards");
  EXPECT_EQ(of(good + file("gone.cls", "1") + end())->size(), 1);
  ASSERT_EQ(log_.warnings.size(), 1u);
  EXPECT_SAYS(log_.warnings[0], "1 samples without an image");
  EXPECT_EQ(of(good + end() + std::string(1 << 14, 'x'))->size(), 1);
  ASSERT_EQ(log_.warnings.size(), 1u);
  EXPECT_SAYS(log_.warnings[0], "bytes behind the end");
  // What is wrong with pixels is found as elsewhere.
  const auto damaged =
      of(good + file("x.png", image(0).substr(0, 60)) + file("x.cls", "0") + end());
  EXPECT_SAYS(message_of([&] { damaged->pixels(1); }), "a.tar/x.png");
  EXPECT_EQ(open(folder_ / "a.tar", "webdataset", /*skip=*/true)->size(), 1);
}

TEST_F(Shards, HostileArchives) {
  const std::string good = file("k.png", image(0));
  EXPECT_SAYS(problem(header("k.png", "77777777777", '0') + padded(image(0))),
              "says it has 8589934591 bytes, the archive has");
  std::string huge(12, '\xff');
  huge[0] = '\x80';
  EXPECT_SAYS(problem(header("k.png", huge, '0') + padded(image(0))), "its size is no number");
  huge.assign(12, '\xff');
  EXPECT_SAYS(problem(header("k.png", huge, '0') + padded(image(0))), "its size is no number");
  EXPECT_SAYS(problem(header("k.png", "12345678x", '0') + padded(image(0))),
              "its size is no number");
  EXPECT_SAYS(problem(pax("size", "99999999999999999999") + good), "is damaged");
  EXPECT_SAYS(problem(pax("size", "-1") + good), "is damaged");
  EXPECT_SAYS(problem(pax("size", "4611686018427387904") + good),
              "says it has 4611686018427387904");
  EXPECT_SAYS(problem(file("p", "5 a=b", 'x') + good), "is damaged");
  EXPECT_SAYS(problem(file("p", "99999999999 a=b\n", 'x') + good), "is damaged");
  EXPECT_SAYS(problem(file("p", "6 ab=\n7 cd\n", 'x') + good), "is damaged");
  EXPECT_SAYS(problem(header("p", octal(2 << 20), 'x') + good), "more than a name can need");
  EXPECT_SAYS(problem(header("p", octal(1 << 20), 'L') + good), "more than the archive holds");
  EXPECT_SAYS(problem(file("../k.png", image(0)) + end()), "not a name within a folder");
  EXPECT_SAYS(problem(file("a/../../k.png", image(0)) + end()), "not a name within a folder");
  EXPECT_SAYS(problem(file("/etc/k.png", image(0)) + end()), "not a name within a folder");
  EXPECT_SAYS(problem(pax("path", "a\nb.png") + good), "control characters");
  EXPECT_SAYS(problem(header("k.png", octal(0), '1') + end()), "a hard link");
  EXPECT_SAYS(problem(header("k.png", octal(0), '2') + end()), "a symbolic link");
  EXPECT_SAYS(problem(header("k.png", octal(0), '3') + end()), "a device");
  EXPECT_SAYS(problem(header("k.png", octal(0), '6') + end()), "a pipe");
  EXPECT_SAYS(problem(header("k.png", octal(0), 'S') + end()), "a sparse file");
  EXPECT_SAYS(problem(pax("GNU.sparse.major", "1") + good), "a sparse file");
  EXPECT_SAYS(problem(header("k.png", octal(0), '!') + end()), "unknown type '!'");
  EXPECT_SAYS(problem(good.substr(0, 540)), "says it has");
  EXPECT_SAYS(problem(good + good.substr(0, 100)), "is cut off");
  std::string flipped = good + good + end();
  flipped[good.size() + 3] ^= 1;
  EXPECT_SAYS(problem(flipped), "its checksum does not fit");
  EXPECT_SAYS(problem(std::string(2048, 'x')), "it is no tar archive");
  EXPECT_SAYS(problem("short"), "shorter than a block");
  EXPECT_SAYS(problem("\x1f\x8b" + std::string(1000, 'x')), "compressed with gzip");
  EXPECT_SAYS(problem("\x28\xb5\x2f\xfd" + std::string(1000, 'x')), "compressed with zstd");
}

/// Puts the checksum right again.
void seal(std::string& archive, std::size_t at) {
  archive.replace(at + 148, 8, "        ");
  unsigned sum = 0;
  for (std::size_t i = 0; i < 512; ++i) sum += static_cast<unsigned char>(archive[at + i]);
  char digits[8];
  std::snprintf(digits, sizeof digits, "%06o", sum);
  archive.replace(at + 148, 7, std::string(digits, 7));
}

TEST_F(Shards, AnyByteOfAHeaderMayBeAnother) {
  const std::string sound = file("././@LongLink", std::string(120, 'n') + ".png" + '\0', 'L') +
                            file("cut", image(0)) + pax("size", std::to_string(image(1).size())) +
                            file("l.png", image(1)) + file("l.cls", "1") + end();
  const auto attempt = [&](const std::string& archive) {
    const std::string message = message_of([&] {
      const auto data = of(archive);
      for (std::int64_t row = 0; row < data->size(); ++row) data->pixels(row);
    });
    if (message == "no error") return;
    EXPECT_NE(message.find("a.tar"), std::string::npos) << message;
  };
  options_.threads = 1;
  for (std::size_t at = 0; at + 1024 < sound.size(); at += 512) {
    if (sound.compare(at + 257, 5, "ustar") != 0) continue;
    for (std::size_t i = 0; i < 512; i += i < 160 ? 1 : 13) {
      std::string changed = sound;
      changed[at + i] = static_cast<char>(changed[at + i] ^ (i % 2 ? 0xff : 0x09));
      seal(changed, at);
      attempt(changed);
    }
  }
  for (std::size_t size = 0; size < sound.size(); size += 97) attempt(sound.substr(0, size));
}

TEST_F(Shards, AnArchiveIsReadThroughOnce) {
  options_.cache = folder_ / "cache";
  const fs::path shard = write("a.tar", file("k.png", image(0)) + file("k.txt", "ca t") +
                                            file("l.png", image(1)) + file("l.txt", "dog") + end());
  const auto before = read(shard);
  const auto time = fs::last_write_time(shard);
  // The index knows: the headers are not looked at again.
  std::string content = read_file(shard);
  content[3] ^= 1;
  write("a.tar", content);
  fs::last_write_time(shard, time);
  const auto after = read(shard);
  EXPECT_EQ(names_of(*after), names_of(*before));
  EXPECT_EQ(after->labels(), before->labels());
  EXPECT_EQ(after->class_names(), (std::vector<std::string>{"ca t", "dog"}));
  EXPECT_EQ(after->fingerprint(), before->fingerprint());
  EXPECT_EQ(grey(*after, 1), 20);
  // Another time, another question: it is read again.
  options_.label = "none";
  EXPECT_SAYS(message_of([&] { read(shard); }), "it is no tar archive");
  options_.label = "";
  fs::last_write_time(shard, time + std::chrono::seconds(1));
  EXPECT_SAYS(message_of([&] { read(shard); }), "it is no tar archive");
  // A damaged index is no index.
  content[3] ^= 1;
  write("a.tar", content);
  fs::last_write_time(shard, time);
  const fs::path index = fs::directory_iterator(folder_ / "cache/shards")->path();
  const std::string whole = read_file(index);
  for (const std::size_t size : {std::size_t{0}, whole.size() / 2, whole.size() - 1}) {
    write(index, whole.substr(0, size));
    EXPECT_EQ(read(shard)->fingerprint(), before->fingerprint());
  }
  write(index, "linex shard index 1\n1\t2\nend\t0\t0\t0\t0\n");
  EXPECT_EQ(read(shard)->size(), 2);
}

TEST_F(Shards, FingerprintFollowsArchivesAndContent) {
  const std::string one = file("k.png", image(0)), two = file("k.png", image(1));
  std::set<std::string> seen;
  EXPECT_TRUE(seen.insert(of(one + end())->fingerprint()).second);
  const auto time = fs::last_write_time(folder_ / "a.tar");
  EXPECT_FALSE(seen.insert(read(folder_ / "a.tar")->fingerprint()).second);
  fs::last_write_time(folder_ / "a.tar", time + std::chrono::seconds(1));
  EXPECT_TRUE(seen.insert(read(folder_ / "a.tar")->fingerprint()).second);
  // By content, times do not matter and pixels do.
  options_.verify_content = true;
  seen.clear();
  EXPECT_TRUE(seen.insert(of(one + end())->fingerprint()).second);
  fs::last_write_time(folder_ / "a.tar", time + std::chrono::seconds(9));
  EXPECT_FALSE(seen.insert(read(folder_ / "a.tar")->fingerprint()).second);
  EXPECT_TRUE(seen.insert(of(two + end())->fingerprint()).second);
}

}  // namespace
}  // namespace linex
