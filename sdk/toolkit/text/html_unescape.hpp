// HTML character references, decoded in two published ways.
#pragma once

#include <string>
#include <string_view>

namespace linex {

/// As browsers (and Python's html.unescape): named references even without a semicolon where the
/// standard allows it, longest name first; decimal and hexadecimal ones, invalid code points
/// replaced or dropped.
std::u32string unescape_html(std::u32string_view text);

/// As ftfy's unescape_html: only references that end in a semicolon, and all-capitals spellings of
/// lower-case names ("&EACUTE;" is "É").
std::u32string unescape_html_strictly(std::u32string_view text);

}  // namespace linex
