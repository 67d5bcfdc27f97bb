#include "core/pipeline/explanation_csv.hpp"

#include <algorithm>
#include <cctype>
#include <charconv>
#include <cmath>

#include "core/base/csv.hpp"
#include "core/base/files.hpp"
#include "core/base/text.hpp"
#include "linex/error.hpp"

namespace linex {

namespace {

/// Published files have ten slots (reference.md §1.7); more are written only where they are used.
constexpr std::size_t kSlots = 10;

bool parse_number(std::string_view text, double& value) {
  const auto result = std::from_chars(text.data(), text.data() + text.size(), value);
  return result.ec == std::errc() && result.ptr == text.data() + text.size();
}

/// One cell of a file, with the words to complain about it.
struct Cell {
  const std::filesystem::path& path;
  const CsvTable& table;
  std::size_t row;
  int column;

  const std::string& text() const { return table.rows[row][static_cast<std::size_t>(column)]; }
  Error error(const std::string& what) const {
    return input_error("cannot read " + path.string() + ": record " + std::to_string(row + 2) +
                       ", column '" + table.header[static_cast<std::size_t>(column)] +
                       "': " + what);
  }
  /// kNone for an empty cell, "nan" or "-" (the published filler of columns not computed yet).
  double number() const {
    const std::string cell = trim(text());
    if (cell.empty() || cell == "-") return kNone;
    double value = 0;
    if (!parse_number(cell, value)) throw error("'" + cell + "' is not a number");
    return std::isfinite(value) ? value : kNone;
  }
  std::int64_t unit() const {
    const double value = number();
    if (!(value >= 0 && value < 1e9) || value != std::floor(value))
      throw error("'" + text() + "' is not a unit number");
    return static_cast<std::int64_t>(value);
  }
};

bool is_slot(const std::string& name, const char* stem) {
  const std::size_t length = std::char_traits<char>::length(stem);
  return name.compare(0, length, stem) == 0 && name.size() > length &&
         std::all_of(name.begin() + static_cast<std::ptrdiff_t>(length), name.end(),
                     [](unsigned char c) { return std::isdigit(c); });
}

struct Slot {
  int weight, concept_name;
};

}  // namespace

void write_explanations(const std::filesystem::path& path, const ExplanationFile& file) {
  std::size_t slots = kSlots;
  for (const auto& explanation : file.explanations)
    slots = std::max(slots, explanation.terms.size());

  std::vector<std::string> header{"layer", "unit", "val correlation"};
  for (std::size_t i = 0; i < slots; ++i) {
    header.push_back("weight" + std::to_string(i));
    header.push_back("concept" + std::to_string(i));
  }
  header.push_back("bias");
  for (const auto& score : file.scores) header.push_back(score.name);
  header.push_back("status");

  std::string content = csv_record(header);
  for (std::size_t row = 0; row < file.explanations.size(); ++row) {
    const Explanation& explanation = file.explanations[row];
    std::vector<Term> terms = explanation.terms;
    if (terms.empty() && !explanation.text.empty()) terms = {{explanation.text, 1.0}};
    std::vector<std::string> cells{file.layers[row], std::to_string(explanation.unit),
                                   format_number(explanation.val_correlation)};
    for (std::size_t i = 0; i < slots; ++i) {
      cells.push_back(i < terms.size() ? format_number(terms[i].weight) : "");
      cells.push_back(i < terms.size() ? terms[i].concept_name : "");
    }
    cells.push_back(terms.empty() ? "" : format_number(explanation.bias));
    Status status = explanation.status;
    for (const auto& score : file.scores) {
      cells.push_back(format_number(score.value[row]));
      if (status == Status::ok && row < score.status.size()) status = score.status[row];
    }
    cells.emplace_back(to_string(status));
    content += csv_record(cells);
  }
  write_file_atomic(path, content);
}

ExplanationFile read_explanations(const std::filesystem::path& path) {
  const CsvTable table = read_csv(path);
  const int unit = table.column("unit");
  if (unit < 0)
    throw input_error("cannot read " + path.string() + ": it has no column 'unit'" +
                      did_you_mean("unit", table.header));
  const int layer = table.column("layer"), bias = table.column("bias"),
            val = table.column("val correlation"), description = table.column("description"),
            status = table.column("status");
  std::vector<Slot> slots;
  for (int i = 0;; ++i) {
    const Slot slot{table.column("weight" + std::to_string(i)),
                    table.column("concept" + std::to_string(i))};
    if (slot.weight < 0 && slot.concept_name < 0) break;
    if (slot.weight < 0 || slot.concept_name < 0)
      throw input_error("cannot read " + path.string() +
                        ": it has only one of the columns 'weight" + std::to_string(i) +
                        "' and 'concept" + std::to_string(i) + "'");
    slots.push_back(slot);
  }
  if (slots.empty() && description < 0)
    throw input_error("cannot read " + path.string() +
                      ": it has neither 'weight0,concept0,…' nor 'description' columns");

  ExplanationFile file;
  std::vector<int> score_columns;
  for (std::size_t j = 0; j < table.header.size(); ++j) {
    const std::string& name = table.header[j];
    const int column = static_cast<int>(j);
    if (column == unit || column == layer || column == bias || column == val ||
        column == description || column == status || is_slot(name, "weight") ||
        is_slot(name, "concept"))
      continue;
    if (name.compare(0, 4, "sim ") != 0) continue;
    score_columns.push_back(column);
    file.scores.push_back({name, true, {}, {}, {}, {}});
  }

  for (std::size_t row = 0; row < table.rows.size(); ++row) {
    const auto cell = [&](int column) { return Cell{path, table, row, column}; };
    Explanation explanation;
    explanation.unit = cell(unit).unit();
    file.layers.push_back(layer >= 0 ? cell(layer).text() : "");
    if (val >= 0) explanation.val_correlation = cell(val).number();
    if (bias >= 0) {
      const double value = cell(bias).number();
      explanation.bias = std::isnan(value) ? 0 : value;
    }
    if (status >= 0) explanation.status = status_from_string(cell(status).text());
    for (const Slot& slot : slots) {
      const std::string& name = cell(slot.concept_name).text();
      const double weight = cell(slot.weight).number();
      // The published filler is concept "0" with weight 0; a concept really called "0" has a
      // weight.
      if (name.empty() || (name == "0" && !(std::fabs(weight) > 0))) continue;
      if (std::isnan(weight))
        throw cell(slot.weight).error("the concept '" + name + "' has no weight");
      explanation.terms.push_back({name, weight});
    }
    if (slots.empty() && !trim(cell(description).text()).empty())
      explanation.terms.push_back({cell(description).text(), 1.0});
    if (explanation.terms.empty() && explanation.status == Status::ok)
      explanation.status = Status::empty;
    for (std::size_t s = 0; s < score_columns.size(); ++s) {
      file.scores[s].value.push_back(cell(score_columns[s]).number());
      file.scores[s].status.push_back(Status::ok);
    }
    file.explanations.push_back(std::move(explanation));
  }
  return file;
}

}  // namespace linex
