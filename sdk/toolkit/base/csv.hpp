// CSV with RFC 4180 quoting.
#pragma once

#include <filesystem>
#include <string>
#include <string_view>
#include <vector>

namespace linex {

struct CsvTable {
  std::vector<std::string> header;
  std::vector<std::vector<std::string>> rows;  ///< each as long as header
  /// Column of that name, or -1.
  int column(std::string_view name) const;
};

/// Throws Error(input) naming file and line for a row of another length or an open quote.
CsvTable read_csv(const std::filesystem::path& path);
/// Records of a table as people write them: between their cells stand commas, semicolons or tabs,
/// whichever the first lines have in equal number. Empty lines are left out. Throws Error(input)
/// naming the file for an open quote.
std::vector<std::vector<std::string>> read_table(const std::filesystem::path& path);
/// One record with its line end ("\n"), quoted where needed.
std::string csv_record(const std::vector<std::string>& cells);

}  // namespace linex
