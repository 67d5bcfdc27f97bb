// What happens to a text before it is cut into tokens, as open_clip does it.
#pragma once

#include <string>
#include <string_view>

namespace linex {

/// The glyph-level repairs of ftfy.fix_text, until nothing changes: character references, C1
/// controls read as Windows-1252, Latin ligatures, half- and full-width forms, curly quotes, line
/// ends, terminal escapes, control characters, NFC. Text decoded with a wrong encoding ("Ã©") is
/// not guessed back (ftfy's fix_encoding): such a list is to be fixed where it was made.
std::u32string repair_text(std::u32string_view text);

/// open_clip's "lower": repair_text, HTML unescaped twice, white space collapsed, lower case.
std::u32string clean_lower(std::string_view utf8);

/// open_clip's "canonicalize", made for SigLIP: repair_text, HTML unescaped twice, '_' to a blank,
/// ASCII punctuation removed, lower case, white space collapsed. (Transformers' SiglipTokenizer
/// drops '_' instead; big_vision and the published explanations use this.)
std::u32string clean_canonical(std::string_view utf8);

}  // namespace linex
