// Unicode text as code points: conversions, case, normal form and the classes tokenizers need.
// Categories and mappings are ICU's.
#pragma once

#include <string>
#include <string_view>

namespace linex {

/// Code points of UTF-8 text; malformed bytes become U+FFFD.
std::u32string to_code_points(std::string_view utf8);
std::string to_utf8(std::u32string_view text);

/// Full lower-casing without a locale: the final sigma is found, "İ" becomes two code points.
std::u32string lower_case(std::u32string_view text);
/// UTF-8 text with each character lowered by itself: no final sigma. Hugging Face's `Lowercase`.
std::string each_lower(std::string_view utf8);
std::u32string upper_case(std::u32string_view text);
/// Canonical composition (NFC) and compatibility composition (NFKC).
std::u32string compose(std::u32string_view text);
std::u32string compose_compatible(std::u32string_view text);

bool is_letter(char32_t c);  ///< general category L
bool is_number(char32_t c);  ///< general category N
/// What Python's str.split() and str.strip() take for white space.
bool is_space(char32_t c);

/// Without white space at both ends.
std::u32string_view strip_spaces(std::u32string_view text);
/// Runs of white space become one blank; none at the ends.
std::u32string collapse_spaces(std::u32string_view text);

}  // namespace linex
