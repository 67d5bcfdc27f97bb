// Small text helpers shared by readers and error messages.
#pragma once

#include <filesystem>
#include <string>
#include <string_view>
#include <vector>

namespace linex {

/// Lines of a text whose line ends are LF, CR LF or CR; no empty last line for a closing line end.
std::vector<std::string> split_lines(std::string_view text);
/// The lines of a UTF-8 list file, a byte-order mark removed. Throws Error(input) naming the line
/// that is not UTF-8.
std::vector<std::string> read_list(const std::filesystem::path& path);
/// Strict UTF-8: no overlong forms, no surrogates, nothing above U+10FFFF.
bool is_utf8(std::string_view text);
std::vector<std::string> split(std::string_view text, char separator);
std::string trim(std::string_view text);
/// `text` for an error message: control characters become '?', a long one is cut.
std::string printable(std::string_view text, std::size_t most = 80);
std::string join(const std::vector<std::string>& parts, std::string_view separator);

/// Up to `count` candidates nearest to `word` by edit distance, nearest first, none absurdly far.
std::vector<std::string> nearest(std::string_view word, const std::vector<std::string>& candidates,
                                 std::size_t count = 3);
/// "; did you mean 'a' or 'b'?" or "".
std::string did_you_mean(std::string_view word, const std::vector<std::string>& candidates);
/// Shortest text that reads back as the same double; "" for NaN.
std::string format_number(double value);
/// For people: at most three significant digits at any scale ("2.32", "0.000346", "1.5e-30").
std::string significant(double value);
/// RFC 4648, padded.
std::string base64(std::string_view bytes);

}  // namespace linex
