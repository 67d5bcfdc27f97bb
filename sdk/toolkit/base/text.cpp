#include "toolkit/base/text.hpp"

#include <openssl/evp.h>
#include <unicode/utf8.h>

#include <algorithm>
#include <charconv>
#include <cmath>
#include <cstdio>
#include <numeric>

#include "linex/error.hpp"
#include "toolkit/base/text_file.hpp"

namespace linex {

std::vector<std::string> split_lines(std::string_view text) {
  std::vector<std::string> lines;
  lines.reserve(1 + static_cast<std::size_t>(std::count_if(
                        text.begin(), text.end(), [](char c) { return c == '\n' || c == '\r'; })));
  std::size_t begin = 0;
  while (begin < text.size()) {
    const auto end = std::min(text.find_first_of("\r\n", begin), text.size());
    lines.emplace_back(text.substr(begin, end - begin));
    begin = end + (text.substr(end, 2) == "\r\n" ? 2 : 1);
  }
  return lines;
}

bool is_utf8(std::string_view text) {
  for (std::size_t i = 0; i < text.size();) {
    UChar32 code = 0;
    U8_NEXT(text, i, text.size(), code);
    if (code < 0) return false;
  }
  return true;
}

namespace {

std::size_t edit_distance(std::string_view a, std::string_view b) {
  std::vector<std::size_t> row(b.size() + 1);
  std::iota(row.begin(), row.end(), 0);
  for (std::size_t i = 0; i < a.size(); ++i) {
    std::size_t diagonal = row[0];
    row[0] = i + 1;
    for (std::size_t j = 0; j < b.size(); ++j) {
      const std::size_t replaced = diagonal + (a[i] != b[j]);
      diagonal = row[j + 1];
      row[j + 1] = std::min({replaced, row[j] + 1, row[j + 1] + 1});
    }
  }
  return row.back();
}

}  // namespace

std::vector<std::string> read_list(const std::filesystem::path& path) {
  auto lines = split_lines(read_text(path));
  for (std::size_t i = 0; i < lines.size(); ++i)
    if (!is_utf8(lines[i]))
      throw input_error("cannot read " + path.string() + ": line " + std::to_string(i + 1) +
                        " is not UTF-8; convert the file, e.g. iconv -f latin1 -t utf-8");
  return lines;
}

std::vector<std::string> split(std::string_view text, char separator) {
  std::vector<std::string> parts;
  // A vector that grows holds its elements twice.
  parts.reserve(1 + static_cast<std::size_t>(std::count(text.begin(), text.end(), separator)));
  std::size_t begin = 0;
  for (;;) {
    const auto end = text.find(separator, begin);
    parts.emplace_back(text.substr(begin, end - begin));
    if (end == std::string_view::npos) return parts;
    begin = end + 1;
  }
}

std::string trim(std::string_view text) {
  const auto begin = text.find_first_not_of(" \t\r\n");
  if (begin == std::string_view::npos) return "";
  return std::string(text.substr(begin, text.find_last_not_of(" \t\r\n") - begin + 1));
}

std::string printable(std::string_view text, std::size_t most) {
  std::string shown(text.substr(0, most));
  for (char& c : shown)
    if (static_cast<unsigned char>(c) < ' ' || c == 0x7f) c = '?';
  return text.size() > most ? shown + "..." : shown;
}

std::string join(const std::vector<std::string>& parts, std::string_view separator) {
  std::string text;
  for (std::size_t i = 0; i < parts.size(); ++i) {
    if (i > 0) text += separator;
    text += parts[i];
  }
  return text;
}

std::vector<std::string> nearest(std::string_view word, const std::vector<std::string>& candidates,
                                 std::size_t count) {
  std::vector<std::pair<std::size_t, std::string>> ranked;
  const std::size_t limit = std::max<std::size_t>(2, word.size() / 2);
  for (const auto& candidate : candidates) {
    // A word that is the beginning or the end of a longer name is near, however long the rest is.
    const bool part = word.size() >= 3 && candidate.find(word) != std::string::npos;
    const std::size_t distance = part ? 1 : edit_distance(word, candidate);
    if (distance <= limit) ranked.emplace_back(distance, candidate);
  }
  std::stable_sort(ranked.begin(), ranked.end(),
                   [](const auto& a, const auto& b) { return a.first < b.first; });
  std::vector<std::string> names;
  for (const auto& entry : ranked) {
    if (names.size() == count) break;
    if (std::find(names.begin(), names.end(), entry.second) == names.end())
      names.push_back(entry.second);
  }
  return names;
}

std::string did_you_mean(std::string_view word, const std::vector<std::string>& candidates) {
  auto names = nearest(word, candidates);
  if (names.empty()) return "";
  for (auto& name : names) name = "'" + name + "'";
  return "; did you mean " + join(names, " or ") + "?";
}

std::string format_number(double value) {
  if (std::isnan(value)) return "";
  char buffer[64];
  const auto end = std::to_chars(buffer, buffer + sizeof buffer, value).ptr;
  return std::string(buffer, end);
}

std::string significant(double value) {
  if (std::isnan(value)) return "";
  char buffer[32];
  std::snprintf(buffer, sizeof buffer, "%.3g", value);
  return buffer;
}

std::string base64(std::string_view bytes) {
  // EVP_EncodeBlock writes a zero byte after the text, and takes an int.
  constexpr std::size_t kPiece = 3 << 20;
  std::string text;
  for (std::size_t at = 0; at < bytes.size(); at += kPiece) {
    const std::string_view piece = bytes.substr(at, kPiece);
    const std::size_t begin = text.size(), length = (piece.size() + 2) / 3 * 4;
    text.resize(begin + length + 1);
    EVP_EncodeBlock(reinterpret_cast<unsigned char*>(&text[begin]),
                    reinterpret_cast<const unsigned char*>(piece.data()),
                    static_cast<int>(piece.size()));
    text.resize(begin + length);
  }
  return text;
}

}  // namespace linex
