// CSV through libcsv; quoting as in RFC 4180.
#include "toolkit/base/csv.hpp"

#include <csv.h>

#include "linex/error.hpp"
#include "toolkit/base/files.hpp"

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

}  // namespace

CsvTable read_csv(const std::filesystem::path& path) {
  std::string content = read_file(path);
  if (content.compare(0, 3, "\xef\xbb\xbf") == 0) content.erase(0, 3);
  csv_parser parser;
  csv_init(&parser, CSV_STRICT | CSV_STRICT_FINI);
  Collector collector;
  const bool read = csv_parse(&parser, content.data(), content.size(), on_field, on_record,
                              &collector) == content.size() &&
                    csv_fini(&parser, on_field, on_record, &collector) == 0;
  csv_free(&parser);
  const auto where = [&](std::size_t record) {
    return "cannot read " + path.string() + ": record " + std::to_string(record + 1);
  };
  if (!read)
    throw input_error(where(collector.records.size()) + " has a misplaced or unclosed quote");
  if (collector.records.empty())
    throw input_error("cannot read " + path.string() + ": it has no header line");
  CsvTable table;
  table.header = std::move(collector.records.front());
  for (std::size_t i = 1; i < collector.records.size(); ++i) {
    if (collector.records[i].size() != table.header.size())
      throw input_error(where(i) + " has " + std::to_string(collector.records[i].size()) +
                        " cells, the header has " + std::to_string(table.header.size()));
    table.rows.push_back(std::move(collector.records[i]));
  }
  return table;
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
