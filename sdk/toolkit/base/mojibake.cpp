#include "toolkit/base/mojibake.hpp"

#include <unicode/unistr.h>
#include <unicode/utf8.h>

#include <algorithm>
#include <array>
#include <iterator>
#include <numeric>
#include <stdexcept>

#include "toolkit/base/text.hpp"

namespace linex {

namespace {

/// ICU's converter, asked once: what each byte means.
const std::array<char32_t, 256>& meanings() {
  static const auto table = [] {
    std::array<char, 256> bytes{};
    std::iota(reinterpret_cast<unsigned char*>(bytes.data()),
              reinterpret_cast<unsigned char*>(bytes.data()) + bytes.size(), 0);
    const icu::UnicodeString text(bytes.data(), static_cast<std::int32_t>(bytes.size()),
                                  "windows-1252");
    if (text.length() != 256) throw std::logic_error("ICU does not know windows-1252");
    std::array<char32_t, 256> points{};
    for (std::int32_t i = 0; i < 256; ++i)
      points[static_cast<std::size_t>(i)] = static_cast<char32_t>(text[i]);
    return points;
  }();
  return table;
}

void append_utf8(char32_t code, std::string& out) {
  icu::UnicodeString(static_cast<UChar32>(code)).toUTF8String(out);
}

/// The Windows-1252 bytes of UTF-8 `text`; false where it holds a character that has none.
bool to_windows_1252(std::string_view text, std::string& bytes) {
  bytes.clear();
  for (std::size_t i = 0; i < text.size();) {
    UChar32 code = 0;
    U8_NEXT(text, i, text.size(), code);
    const auto found = std::find(meanings().begin(), meanings().end(), static_cast<char32_t>(code));
    if (found == meanings().end()) return false;
    bytes += static_cast<char>(std::distance(meanings().begin(), found));
  }
  return true;
}

bool is_ascii(std::string_view text) {
  return std::all_of(text.begin(), text.end(), [](char c) { return (c & '\x80') == 0; });
}

}  // namespace

char32_t from_windows_1252(unsigned char byte) { return meanings()[byte]; }

std::string decode_text(std::string_view bytes) {
  if (is_utf8(bytes)) return std::string(bytes);
  std::string text;
  for (const char c : bytes) append_utf8(from_windows_1252(static_cast<unsigned char>(c)), text);
  return text;
}

std::string repair_mojibake(std::string_view text) {
  std::string current(text), bytes;
  while (!is_ascii(current) && is_utf8(current) && to_windows_1252(current, bytes) &&
         is_utf8(bytes))
    current = bytes;
  return current;
}

}  // namespace linex
