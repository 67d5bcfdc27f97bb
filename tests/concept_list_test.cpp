// Lists of concepts in the forms that people have them in.
#include "toolkit/concepts/concept_list.hpp"
#include "tests/data_fixture.hpp"

namespace linex {
namespace {

using test::message_of;
using Names = std::vector<std::string>;

class Lists : public test::DataTest {
 protected:
  Names read(const std::string& name, const std::string& content) {
    return read_concept_list(write(name, content), log_).names;
  }
  std::string problem(const std::string& name, const std::string& content) {
    const std::string message = message_of([&] { read(name, content); });
    EXPECT_NE(message.find(name), std::string::npos) << message;
    return message;
  }
};

/// `text` in UTF-16 with a mark.
std::string wide(const std::u16string& text, bool big_endian) {
  std::string bytes;
  for (const char16_t unit : u"\ufeff" + text) {
    const char high = static_cast<char>(unit >> 8), low = static_cast<char>(unit & 0xff);
    bytes += big_endian ? std::string{high, low} : std::string{low, high};
  }
  return bytes;
}

#define EXPECT_SAYS(text, words) EXPECT_NE((text).find(words), std::string::npos) << (text)

TEST_F(Lists, TextOfAnyEncodingAndLineEnd) {
  for (const bool big_endian : {false, true})
    EXPECT_EQ(read("l.txt", wide(u"caf\u00e9\r\n \U0001F436 dog \r\nc\r\n\r\n", big_endian)),
              (Names{"caf\u00e9", "\U0001F436 dog", "c"}));
  // What begins as JSON does and is none stays text.
  EXPECT_EQ(read("l.txt", "[a\n{b\n"), (Names{"[a", "{b"}));
  EXPECT_SAYS(problem("l.txt", wide(u"ab", false).substr(0, 5)), "no sound UTF-16");
  EXPECT_SAYS(problem("l.txt", "\xff\xfe" + std::string("\x00\xd8", 2)), "no sound UTF-16");
  EXPECT_SAYS(problem("l.txt", "\xff\xfe" + std::string("\x00\xdc\x00\xd8", 4)), "no sound UTF-16");
  EXPECT_SAYS(problem("l.txt", std::string("a\0b\0", 4)), "iconv -f utf-16le");
  EXPECT_SAYS(problem("l.txt", std::string("\0a\0b", 4)), "iconv -f utf-16be");
}

TEST_F(Lists, Json) {
  EXPECT_EQ(read("l.txt", "\n[\"cat\",\n \" dog\"]"), (Names{"cat", "dog"}));
  EXPECT_EQ(read("l.json", R"(["cat", "cat"])"), (Names{"cat", "cat (2)"}));
  EXPECT_EQ(read("l.json", R"({"1": "dog", "0": "cat", "10": "k", "2": "a", "3": "b", "4": "c",
                               "5": "d", "6": "e", "7": "f", "8": "g", "9": "h"})"),
            (Names{"cat", "dog", "a", "b", "c", "d", "e", "f", "g", "h", "k"}));
  EXPECT_EQ(read("l.json", R"({"dog": 1, "cat": 0})"), (Names{"cat", "dog"}));
  EXPECT_EQ(read("l.json", R"({"0": ["n1", "tench"], "1": ["n2", "goldfish"]})"),
            (Names{"tench", "goldfish"}));
  EXPECT_EQ(read("l.json", R"({"n2": "goldfish", "n1": "tench"})"), (Names{"goldfish", "tench"}));
  EXPECT_EQ(read("config.json", R"({"model_type": "vit", "id2label": {"0": "cat", "1": "dog"},
                                    "label2id": {"cat": 0, "dog": 1}})"),
            (Names{"cat", "dog"}));
  EXPECT_SAYS(problem("l.json", R"({"0": "a", "2": "b"})"), "names no concept 1, but a concept 2");
  EXPECT_SAYS(problem("l.json", R"({"0": "a", "00": "b"})"), "share one");
  EXPECT_SAYS(problem("l.json", R"({"0": "a", "x": "b"})"), "some have none");
  EXPECT_SAYS(problem("l.json", R"({"a": 18446744073709551615})"), "names no concept 0");
  EXPECT_SAYS(problem("l.json", R"({"a": -1})"), "neither");
  EXPECT_SAYS(problem("l.json", R"({"a": {}})"), "neither");
  EXPECT_SAYS(problem("l.json", R"(["a", 3])"), "entry 2");
  EXPECT_SAYS(problem("l.json", R"(["a", " "])"), "entry 2 is empty");
  EXPECT_SAYS(problem("l.json", R"(["a", "caf)"
                                "\xe9"
                                R"("])"),
              "no JSON");
  EXPECT_SAYS(problem("l.json", "[]"), "no concept");
  EXPECT_SAYS(problem("l.json", "cat\n"), "no JSON list");
  EXPECT_SAYS(problem("l.json", std::string(100000, '[')), "no JSON list");
}

TEST_F(Lists, Tables) {
  EXPECT_EQ(read("l.csv", "id,Name\n0,cat\n1,\"dog, large\"\n"), (Names{"cat", "dog, large"}));
  EXPECT_EQ(read("l.csv", "id;concept;label\n0;cat;x\n1;dog;y\n"), (Names{"cat", "dog"}));
  EXPECT_EQ(read("l.tsv", "label\tn\ncat\t3\n"), (Names{"cat"}));
  EXPECT_EQ(read("l.csv", "cat\ndog\n"), (Names{"cat", "dog"}));
  EXPECT_EQ(read("l.csv", "name\ncat\ndog\n\n"), (Names{"cat", "dog"}));
  EXPECT_SAYS(problem("l.csv", "a,b\n1,2\n"), "none of its columns (a, b)");
  EXPECT_SAYS(problem("l.csv", "id,name\n1,a\n2\n"), "record 3 has 1 cells");
  EXPECT_SAYS(problem("l.csv", "id,name\n1,a\n2,\n"), "concept 2 is empty");
  EXPECT_SAYS(problem("l.csv", "name\ncaf\xe9\n"), "not UTF-8");
  EXPECT_SAYS(problem("l.csv", "name\n\"a\n"), "quote");
  EXPECT_SAYS(problem("l.csv", "name\n"), "no concept");
  EXPECT_SAYS(problem("l.csv", ""), "no concept");
  // Text that happens to have commas is text.
  EXPECT_EQ(read("l.txt", "dog, large\ncat\n"), (Names{"dog, large", "cat"}));
}

}  // namespace
}  // namespace linex
