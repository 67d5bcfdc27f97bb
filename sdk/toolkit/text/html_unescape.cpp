#include "toolkit/text/html_unescape.hpp"

#include <algorithm>
#include <iterator>

#include "toolkit/base/mojibake.hpp"
#include "toolkit/text/unicode.hpp"

namespace linex {
namespace {

struct Entity {
  std::string_view name;  // with its semicolon, where it needs one
  std::string_view utf8;
};
constexpr Entity kEntities[] = {
#include "toolkit/text/html_entities.inc"
};

/// Text of a named reference (name without '&'), or null.
const Entity* find_entity(std::string_view name) {
  const auto* found = std::lower_bound(
      std::begin(kEntities), std::end(kEntities), name,
      [](const Entity& entity, std::string_view wanted) { return entity.name < wanted; });
  return found != std::end(kEntities) && found->name == name ? found : nullptr;
}

bool is_digit(char32_t c) { return c >= U'0' && c <= U'9'; }
bool is_ascii_letter(char32_t c) { return (c >= U'a' && c <= U'z') || (c >= U'A' && c <= U'Z'); }
int hex_value(char32_t c) {
  if (is_digit(c)) return static_cast<int>(c - U'0');
  if (c >= U'a' && c <= U'f') return static_cast<int>(c - U'a') + 10;
  if (c >= U'A' && c <= U'F') return static_cast<int>(c - U'A') + 10;
  return -1;
}

/// Appends the character of a numeric reference.
void append_code_point(char32_t code, std::u32string& out) {
  if (code == 0 || (code >= 0xd800 && code <= 0xdfff) || code > 0x10ffff) {
    out += U'\ufffd';
  } else if (code >= 0x80 && code <= 0x9f) {
    out += from_windows_1252(static_cast<unsigned char>(code));
  } else {
    const bool dropped = code <= 8 || code == 0xb || (code >= 0xe && code <= 0x1f) ||
                         code == 0x7f || (code >= 0xfdd0 && code <= 0xfdef) ||
                         (code & 0xfffe) == 0xfffe;
    if (!dropped) out += code;
  }
}

/// Reads "#123;" or "#x7b;" at `text` (after the '&'); returns its length, 0 where there is none.
std::size_t read_numeric(std::u32string_view text, std::u32string& out) {
  const bool hexadecimal = text.size() > 1 && (text[1] == U'x' || text[1] == U'X');
  std::size_t at = hexadecimal ? 2 : 1;
  const std::size_t first = at;
  char32_t code = 0;
  for (; at < text.size(); ++at) {
    const int digit = hex_value(text[at]);
    if (digit < 0 || (!hexadecimal && digit > 9)) break;
    code =
        std::min<char32_t>(code * (hexadecimal ? 16 : 10) + static_cast<char32_t>(digit), 0x110000);
  }
  if (at == first) return 0;
  append_code_point(code, out);
  return at < text.size() && text[at] == U';' ? at + 1 : at;
}

/// The longest name at `text` (after the '&'); returns its length, 0 where there is none.
std::size_t read_named(std::u32string_view text, std::u32string& out) {
  constexpr std::size_t kLongest = 33;  // 32 characters and a semicolon
  std::string name;
  while (name.size() < std::min(kLongest, text.size())) {
    const char32_t c = text[name.size()];
    if (!is_digit(c) && !is_ascii_letter(c)) break;
    name += static_cast<char>(c);
  }
  if (name.size() < text.size() && text[name.size()] == U';') name += ';';
  for (; name.size() > 1; name.pop_back())
    if (const Entity* entity = find_entity(name)) {
      out += to_code_points(entity->utf8);
      return name.size();
    }
  return 0;
}

/// Text of a reference "&name;" or "&#1;" that ends in its semicolon, or the reference itself.
std::u32string decode_strictly(std::u32string_view reference) {
  const std::string utf8 = to_utf8(reference);
  const std::string name = utf8.substr(1);
  if (const Entity* entity = find_entity(name)) return to_code_points(entity->utf8);
  if (name[0] == '#') {
    const std::u32string decoded = unescape_html(reference);
    return decoded.find(U';') == std::u32string::npos ? decoded : std::u32string(reference);
  }
  if (std::none_of(name.begin(), name.end(), [](char c) { return c >= 'a' && c <= 'z'; }) &&
      unescape_html(reference) == reference) {
    const Entity* entity = find_entity(to_utf8(lower_case(reference.substr(1))));
    if (entity) return upper_case(to_code_points(entity->utf8));
  }
  return std::u32string(reference);
}

}  // namespace

std::u32string unescape_html(std::u32string_view text) {
  std::u32string out;
  for (std::size_t i = 0; i < text.size();) {
    std::size_t length = 0;
    if (text[i] == U'&' && i + 1 < text.size()) {
      const std::u32string_view rest = text.substr(i + 1);
      length = rest[0] == U'#' ? read_numeric(rest, out) : read_named(rest, out);
    }
    if (length == 0)
      out += text[i++];
    else
      i += 1 + length;
  }
  return out;
}

std::u32string unescape_html_strictly(std::u32string_view text) {
  constexpr std::size_t kLongest = 24;
  std::u32string out;
  for (std::size_t i = 0; i < text.size();) {
    std::size_t end = i + 1;
    if (text[i] == U'&') {
      if (end < text.size() && text[end] == U'#') ++end;
      const std::size_t first = end;
      while (end < text.size() && end - first < kLongest &&
             (is_digit(text[end]) || is_ascii_letter(text[end])))
        ++end;
      if (end > first && end < text.size() && text[end] == U';') {
        out += decode_strictly(text.substr(i, end + 1 - i));
        i = end + 1;
        continue;
      }
    }
    out += text[i++];
  }
  return out;
}

}  // namespace linex
