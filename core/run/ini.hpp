// Configuration files: one grammar for what is read and what is written.
//
//   file    = [byte-order mark of UTF-8] { line ( LF | CRLF ) }
//   line    = blanks [ section | entry ] [ comment ]
//   section = "[" name "]"              name: anything but "]", without blanks around
//   entry   = key "=" value             blanks around key and value do not count
//   value   = plain | quoted
//   plain   = anything that does not begin with '"', up to the end of the line or a comment
//   quoted  = '"' { character | escape } '"'
//   escape  = \" \\ \n \r \t \xHH       HH: a byte as two hexadecimal digits
//   comment = "#" or ";" at the start of a line or after a blank, and the rest of the line
//
// A plain value is taken as it stands: backslashes, further "=", quotes and a "#" inside a word
// ("data#1") are part of it. Blanks are space and tab; other control characters are refused. A key
// may come once in a section, which may be opened again. Before the first section stand only keys
// that name theirs: "run.seed = 3".
#pragma once

#include <filesystem>
#include <string>
#include <string_view>
#include <vector>

namespace linex {

struct IniEntry {
  std::string section, key, value;
  std::int64_t line = 0;  ///< 1-based
};

/// Entries in the order of the file. `name` is how errors call it: "NAME, line 3: ...". Throws
/// Error(usage).
std::vector<IniEntry> parse_ini(std::string_view content, const std::string& name);
/// Throws Error(input) where the file cannot be read, Error(usage) as parse_ini.
std::vector<IniEntry> read_ini(const std::filesystem::path& file);

/// Lines of a file that read_ini() gives back exactly, whatever bytes a value holds. Names of
/// sections and keys are written as they are; Error(usage) for one that would not be read back.
std::string ini_section(const std::string& name);
std::string ini_entry(const std::string& key, const std::string& value);

}  // namespace linex
