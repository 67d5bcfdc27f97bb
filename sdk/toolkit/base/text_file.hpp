// Text files as editors and spreadsheets write them.
#pragma once

#include <filesystem>
#include <string>

namespace linex {

/// Content of a text file in UTF-8, or in UTF-16 with a byte-order mark, as UTF-8 without the mark.
/// Throws Error(input) for broken UTF-16, and for NUL bytes (UTF-16 without its mark), naming the
/// remedy; UTF-8 is not checked.
std::string read_text(const std::filesystem::path& path);

}  // namespace linex
