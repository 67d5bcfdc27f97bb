#include "toolkit/text/unicode.hpp"

#include <unicode/locid.h>
#include <unicode/normalizer2.h>
#include <unicode/uchar.h>
#include <unicode/unistr.h>

#include "linex/error.hpp"

namespace linex {
namespace {

icu::UnicodeString to_icu(std::u32string_view text) {
  return icu::UnicodeString::fromUTF32(reinterpret_cast<const UChar32*>(text.data()),
                                       static_cast<std::int32_t>(text.size()));
}

std::u32string from_icu(const icu::UnicodeString& text) {
  std::u32string points;
  points.reserve(static_cast<std::size_t>(text.length()));
  for (std::int32_t i = 0; i < text.length(); i = text.moveIndex32(i, 1))
    points += static_cast<char32_t>(text.char32At(i));
  return points;
}

using NormalForm = const icu::Normalizer2* (*)(UErrorCode&);

std::u32string normalize(std::u32string_view text, NormalForm form) {
  UErrorCode status = U_ZERO_ERROR;
  const icu::Normalizer2* normalizer = form(status);
  const icu::UnicodeString composed =
      U_SUCCESS(status) ? normalizer->normalize(to_icu(text), status) : icu::UnicodeString();
  if (U_FAILURE(status))
    throw Error(ErrorKind::plugin,
                std::string("ICU cannot normalise text: ") + u_errorName(status));
  return from_icu(composed);
}

}  // namespace

std::u32string to_code_points(std::string_view utf8) {
  return from_icu(icu::UnicodeString::fromUTF8(
      icu::StringPiece(utf8.data(), static_cast<std::int32_t>(utf8.size()))));
}

std::string to_utf8(std::u32string_view text) {
  std::string utf8;
  to_icu(text).toUTF8String(utf8);
  return utf8;
}

std::u32string lower_case(std::u32string_view text) {
  return from_icu(to_icu(text).toLower(icu::Locale::getRoot()));
}

std::string each_lower(std::string_view utf8) {
  std::u32string lowered;
  for (const char32_t c : to_code_points(utf8)) lowered += lower_case({&c, 1});
  return to_utf8(lowered);
}

std::u32string upper_case(std::u32string_view text) {
  return from_icu(to_icu(text).toUpper(icu::Locale::getRoot()));
}

std::u32string compose(std::u32string_view text) {
  return normalize(text, &icu::Normalizer2::getNFCInstance);
}

std::u32string compose_compatible(std::u32string_view text) {
  return normalize(text, &icu::Normalizer2::getNFKCInstance);
}

bool is_letter(char32_t c) { return (U_GET_GC_MASK(static_cast<UChar32>(c)) & U_GC_L_MASK) != 0; }
bool is_number(char32_t c) { return (U_GET_GC_MASK(static_cast<UChar32>(c)) & U_GC_N_MASK) != 0; }

bool is_space(char32_t c) {
  return (c >= 0x09 && c <= 0x0d) || (c >= 0x1c && c <= 0x20) || c == 0x85 || c == 0xa0 ||
         c == 0x1680 || (c >= 0x2000 && c <= 0x200a) || c == 0x2028 || c == 0x2029 || c == 0x202f ||
         c == 0x205f || c == 0x3000;
}

std::u32string_view strip_spaces(std::u32string_view text) {
  while (!text.empty() && is_space(text.front())) text.remove_prefix(1);
  while (!text.empty() && is_space(text.back())) text.remove_suffix(1);
  return text;
}

std::u32string collapse_spaces(std::u32string_view text) {
  std::u32string collapsed;
  for (const char32_t c : strip_spaces(text)) {
    if (!is_space(c))
      collapsed += c;
    else if (collapsed.back() != U' ')
      collapsed += U' ';
  }
  return collapsed;
}

}  // namespace linex
