#include "toolkit/base/text_file.hpp"

#include <unicode/utf16.h>
#include <unicode/utf8.h>

#include <cstdint>
#include <optional>
#include <string_view>

#include "linex/error.hpp"
#include "toolkit/base/files.hpp"

namespace linex {
namespace {

/// Nothing for half characters.
std::optional<std::string> utf8_of_utf16(std::string_view bytes, bool big_endian) {
  if (bytes.size() % 2 != 0) return std::nullopt;
  const auto unit = [&](std::size_t i) {
    const auto first = static_cast<unsigned char>(bytes[i]);
    const auto second = static_cast<unsigned char>(bytes[i + 1]);
    return static_cast<std::uint32_t>(big_endian ? first << 8 | second : second << 8 | first);
  };
  std::string text;
  for (std::size_t i = 0; i < bytes.size(); i += 2) {
    std::uint32_t code = unit(i);
    if (U16_IS_SURROGATE(code)) {
      if (!U16_IS_LEAD(code) || i + 2 >= bytes.size() || !U16_IS_TRAIL(unit(i + 2)))
        return std::nullopt;
      i += 2;
      code = U16_GET_SUPPLEMENTARY(code, unit(i));
    }
    char encoded[U8_MAX_LENGTH];
    int length = 0;
    U8_APPEND_UNSAFE(encoded, length, code);
    text.append(encoded, static_cast<std::size_t>(length));
  }
  return text;
}

}  // namespace

std::string read_text(const std::filesystem::path& path) {
  std::string content = read_file(path);
  const std::string mark = content.substr(0, 2);
  if (mark == "\xff\xfe" || mark == "\xfe\xff") {
    auto text = utf8_of_utf16(content, mark == "\xfe\xff");
    if (!text) throw input_error("cannot read " + path.string() + ": it is no sound UTF-16");
    content = std::move(*text);
  }
  if (content.compare(0, 3, "\xef\xbb\xbf") == 0) content.erase(0, 3);
  const auto nul = content.find('\0');
  if (nul != std::string::npos)
    throw input_error("cannot read " + path.string() +
                      ": it holds NUL bytes, as UTF-16 without a byte-order mark does; convert it, "
                      "e.g. iconv -f utf-16" +
                      (nul % 2 == 0 ? "be" : "le") + " -t utf-8");
  return content;
}

}  // namespace linex
