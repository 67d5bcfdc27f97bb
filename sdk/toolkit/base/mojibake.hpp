// Text that went through the wrong encoding (docs/methods.md §1.16.7).
#pragma once

#include <string>
#include <string_view>

namespace linex {

/// What a byte of Windows-1252 means; the five unassigned ones stay, as in browsers.
char32_t from_windows_1252(unsigned char byte);

/// UTF-8 text as it is; anything else is taken for Windows-1252, the encoding of spreadsheets.
std::string decode_text(std::string_view bytes);

/// "jalapeÃ±o" to "jalapeño": undoes UTF-8 that was read as Windows-1252 and written again, as
/// often as it happened. Text that cannot have come about that way is returned as it is.
std::string repair_mojibake(std::string_view text);

}  // namespace linex
