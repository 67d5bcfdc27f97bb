// CSV through libcsv; quoting as in RFC 4180.
#include "toolkit/base/csv.hpp"

#include <csv.h>

#include <algorithm>

#include "linex/error.hpp"
#include "toolkit/base/text_file.hpp"

namespace linex {

int CsvTable::column(std::string_view name) const {
  for (std::size_t j = 0; j < header.size(); ++j)
    if (header[j] == name) return static_cast<int>(j);
  return -1;
}

namespace {

struct Collector {
  std::vector<std::vector<std::string>> records;
  std::vector<std::string> current;
};

void on_field(void* bytes, std::size_t size, void* data) {
  static_cast<Collector*>(data)->current.emplace_back(static_cast<const char*>(bytes), size);
}

void on_record(int, void* data) {
  auto& collector = *static_cast<Collector*>(data);
  collector.records.push_back(std::move(collector.current));
  collector.current.clear();
}

std::string record_of(const std::filesystem::path& path, std::size_t record) {
  return "cannot read " + path.string() + ": record " + std::to_string(record + 1);
}

std::vector<std::vector<std::string>> parse(const std::string& content, char separator,
                                            const std::filesystem::path& path) {
  csv_parser parser;
  csv_init(&parser, CSV_STRICT | CSV_STRICT_FINI);
  csv_set_delim(&parser, static_cast<unsigned char>(separator));
  Collector collector;
  const bool read = csv_parse(&parser, content.data(), content.size(), on_field, on_record,
                              &collector) == content.size() &&
                    csv_fini(&parser, on_field, on_record, &collector) == 0;
  csv_free(&parser);
  if (!read)
    throw input_error(record_of(path, collector.records.size()) +
                      " has a misplaced or unclosed quote");
  return std::move(collector.records);
}

/// What each of the first lines has as often as the others, outside quotes.
char separator_of(const std::string& content) {
  constexpr std::size_t kLines = 20;
  for (const char candidate : {'\t', ';', ','}) {
    std::vector<int> counts(1, 0);
    bool quoted = false, blank = true;
    for (const char c : content) {
      if (c == '"') quoted = !quoted;
      if (!quoted && c == candidate) ++counts.back();
      if (c != '\n' && c != '\r') blank = blank && (c == ' ' || c == '\t');
      if (quoted || (c != '\n' && c != '\r')) continue;
      if (!blank && counts.size() == kLines) break;
      if (blank)
        counts.back() = 0;
      else
        counts.push_back(0);
      blank = true;
    }
    if (blank) counts.pop_back();
    const auto differs = [&](int count) { return count != counts.front(); };
    if (!counts.empty() && counts.front() > 0 &&
        std::none_of(counts.begin(), counts.end(), differs))
      return candidate;
  }
  return ',';
}

}  // namespace

CsvTable read_csv(const std::filesystem::path& path) {
  auto records = parse(read_text(path), ',', path);
  if (records.empty())
    throw input_error("cannot read " + path.string() + ": it has no header line");
  CsvTable table;
  table.header = std::move(records.front());
  for (std::size_t i = 1; i < records.size(); ++i) {
    if (records[i].size() != table.header.size())
      throw input_error(record_of(path, i) + " has " + std::to_string(records[i].size()) +
                        " cells, the header has " + std::to_string(table.header.size()));
    table.rows.push_back(std::move(records[i]));
  }
  return table;
}

std::vector<std::vector<std::string>> read_table(const std::filesystem::path& path) {
  const std::string content = read_text(path);
  return parse(content, separator_of(content), path);
}

std::string csv_record(const std::vector<std::string>& cells) {
  std::string record;
  for (std::size_t j = 0; j < cells.size(); ++j) {
    if (j > 0) record += ',';
    const std::string& cell = cells[j];
    const bool spaced = !cell.empty() && (cell.front() == ' ' || cell.back() == ' ');
    if (!spaced && cell.find_first_of(",\"\r\n") == std::string::npos) {
      record += cell;
      continue;
    }
    std::string quoted(2 * cell.size() + 2, '\0');
    quoted.resize(csv_write(quoted.data(), quoted.size(), cell.data(), cell.size()));
    record += quoted;
  }
  return record + "\n";
}

}  // namespace linex
