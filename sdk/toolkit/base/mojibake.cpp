#include "toolkit/base/mojibake.hpp"

#include <algorithm>
#include <array>
#include <cstdint>
#include <iterator>

#include "toolkit/base/text.hpp"

namespace linex {

namespace {

/// Windows-1252's 0x80 to 0x9f; the five undefined ones pass through, as browsers do.
constexpr std::array<std::uint32_t, 32> kHigh{
    0x20ac, 0x81,   0x201a, 0x0192, 0x201e, 0x2026, 0x2020, 0x2021, 0x02c6, 0x2030, 0x0160,
    0x2039, 0x0152, 0x8d,   0x017d, 0x8f,   0x90,   0x2018, 0x2019, 0x201c, 0x201d, 0x2022,
    0x2013, 0x2014, 0x02dc, 0x2122, 0x0161, 0x203a, 0x0153, 0x9d,   0x017e, 0x0178};

void append_utf8(std::uint32_t code, std::string& out) {
  const auto byte = [&out](std::uint32_t value) { out += static_cast<char>(value); };
  if (code < 0x80) return byte(code);
  if (code < 0x800) {
    byte(0xc0 | code >> 6);
  } else {
    byte(0xe0 | code >> 12);
    byte(0x80 | (code >> 6 & 0x3f));
  }
  byte(0x80 | (code & 0x3f));
}

/// The Windows-1252 bytes of UTF-8 `text`; false where it holds a character that has none.
bool to_windows_1252(std::string_view text, std::string& bytes) {
  bytes.clear();
  for (std::size_t i = 0; i < text.size();) {
    const auto lead = static_cast<unsigned char>(text[i]);
    if (lead >= 0xf0) return false;
    const std::size_t length = lead < 0x80 ? 1 : lead < 0xe0 ? 2 : 3;
    std::uint32_t code = length == 1 ? lead : lead & (0x7fU >> length);
    for (std::size_t k = 1; k < length; ++k)
      code = code << 6 | (static_cast<unsigned char>(text[i + k]) & 0x3fU);
    i += length;
    const auto high = std::find(kHigh.begin(), kHigh.end(), code);
    if (high != kHigh.end())
      bytes += static_cast<char>(0x80 + std::distance(kHigh.begin(), high));
    else if (code < 0x80 || (code >= 0xa0 && code < 0x100))
      bytes += static_cast<char>(code);
    else
      return false;
  }
  return true;
}

bool is_ascii(std::string_view text) {
  return std::all_of(text.begin(), text.end(), [](char c) { return (c & '\x80') == 0; });
}

}  // namespace

std::string to_utf8(std::string_view bytes) {
  if (is_utf8(bytes)) return std::string(bytes);
  std::string text;
  for (const char c : bytes) {
    const auto byte = static_cast<unsigned char>(c);
    append_utf8(byte >= 0x80 && byte < 0xa0 ? kHigh[byte - 0x80U] : byte, text);
  }
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
