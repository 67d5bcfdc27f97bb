#include "toolkit/explanations/explanation_csv.hpp"

#include <algorithm>
#include <cctype>
#include <charconv>
#include <cmath>
#include <functional>
#include <set>
#include <stdexcept>

#include "linex/error.hpp"
#include "toolkit/base/files.hpp"
#include "toolkit/base/mojibake.hpp"
#include "toolkit/base/text.hpp"
#include "toolkit/explanations/broden_label.hpp"
#include "toolkit/explanations/simulate.hpp"

namespace linex {

namespace {

/// Published files have ten slots (docs/methods.md §1.7); more are written only where they are
/// used.
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
  Status status() const {
    try {
      return status_from_string(text());
    } catch (const Error& problem) {
      throw error(problem.what());
    }
  }
};

struct Slot {
  int weight, concept_name;
};

/// Columns of a confidence interval follow their score's: "sim correlation low", "… high".
constexpr const char* kIntervalEnds[] = {" low", " high"};

bool has_interval(const ScoreColumn& score) {
  return !score.low.empty() && score.low.size() == score.value.size() &&
         score.high.size() == score.value.size();
}

bool bends(const Explanation& explanation) {
  return link_of(explanation).kind != Link::Kind::identity;
}

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
  const bool links = std::any_of(file.explanations.begin(), file.explanations.end(), bends);
  if (links) header.push_back("link");
  header.push_back("bias");
  for (const auto& score : file.scores) {
    header.push_back(score.name);
    if (has_interval(score))
      for (const char* end : kIntervalEnds) header.push_back(score.name + end);
  }
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
    if (links) cells.push_back(to_text(link_of(explanation)));
    cells.push_back(terms.empty() ? "" : format_number(explanation.bias));
    Status status = explanation.status;
    for (const auto& score : file.scores) {
      cells.push_back(format_number(score.value[row]));
      if (has_interval(score)) {
        cells.push_back(format_number(score.low[row]));
        cells.push_back(format_number(score.high[row]));
      }
      if (status == Status::ok && row < score.status.size()) status = score.status[row];
    }
    cells.emplace_back(to_string(status));
    content += csv_record(cells);
  }
  write_file_atomic(path, content);
}

namespace {

/// Where the columns of a file are.
struct FileColumns {
  int unit, layer, bias, val, description, status, label, link;
  std::vector<Slot> slots;
  std::vector<int> scores;
};

/// Our own files hold scores of any name, between `bias` and `status`; published ones these.
bool is_score(const CsvTable& table, int column, ExplanationLayout layout) {
  const std::string& name = table.header[static_cast<std::size_t>(column)];
  if (layout == ExplanationLayout::tally && name == "score") return true;
  if (name.compare(0, 4, "sim ") == 0 || name == "similarity") return true;
  return layout == ExplanationLayout::linear && table.column("bias") >= 0 &&
         column > table.column("bias") && column < table.column("status");
}

bool is_interval_end(const CsvTable& table, int column) {
  const std::string& name = table.header[static_cast<std::size_t>(column)];
  for (const std::string end : kIntervalEnds)
    if (name.size() > end.size() && name.compare(name.size() - end.size(), end.size(), end) == 0 &&
        table.column(name.substr(0, name.size() - end.size())) >= 0)
      return true;
  return false;
}

std::vector<Slot> find_slots(const CsvTable& table, const std::filesystem::path& path) {
  std::vector<Slot> slots;
  for (int i = 0;; ++i) {
    const Slot slot{table.column("weight" + std::to_string(i)),
                    table.column("concept" + std::to_string(i))};
    if (slot.weight < 0 && slot.concept_name < 0) return slots;
    if (slot.weight < 0 || slot.concept_name < 0)
      throw input_error("cannot read " + path.string() +
                        ": it has only one of the columns 'weight" + std::to_string(i) +
                        "' and 'concept" + std::to_string(i) + "'");
    slots.push_back(slot);
  }
}

FileColumns find_columns(const CsvTable& table, const std::filesystem::path& path,
                         ExplanationLayout& layout) {
  FileColumns columns{table.column("unit"),        table.column("layer"),
                      table.column("bias"),        table.column("val correlation"),
                      table.column("description"), table.column("status"),
                      table.column("label"),       table.column("link"),
                      find_slots(table, path),     {}};
  if (columns.unit < 0)
    throw input_error("cannot read " + path.string() + ": it has no column 'unit'" +
                      did_you_mean("unit", table.header));
  if (!columns.slots.empty())
    layout = ExplanationLayout::linear;
  else if (columns.description >= 0)
    layout = ExplanationLayout::description;
  else if (columns.label >= 0 && table.column("score") >= 0)
    layout = ExplanationLayout::tally;
  else
    throw input_error("cannot read " + path.string() +
                      ": it has neither 'weight0,concept0,…' nor 'description' columns, nor "
                      "those of a tally ('label', 'score')");
  for (int column = 0; column < static_cast<int>(table.header.size()); ++column)
    if (is_score(table, column, layout) && !is_interval_end(table, column))
      columns.scores.push_back(column);
  return columns;
}

/// Plain names of the labels a tally mentions that are no scenes.
std::set<std::string> labels_besides_scenes(const CsvTable& table) {
  std::set<std::string> names;
  for (std::size_t j = 0; j < table.header.size(); ++j) {
    const std::string& name = table.header[j];
    if (name != "label" && (name.size() < 6 || name.compare(name.size() - 6, 6, "-label") != 0))
      continue;
    for (const auto& row : table.rows)
      if (!row[j].empty() && !is_scene_label(row[j])) names.insert(plain_label(row[j]));
  }
  return names;
}

void add_terms(const FileColumns& columns, const std::vector<std::string>& row,
               const std::function<Cell(int)>& cell, const ReadOptions& options,
               const std::set<std::string>& labels, Explanation& explanation) {
  const auto add = [&](const std::string& name, double weight) {
    explanation.terms.push_back({options.repair_text ? repair_mojibake(name) : name, weight});
  };
  for (const Slot& slot : columns.slots) {
    const std::string& name = row[static_cast<std::size_t>(slot.concept_name)];
    const double weight = cell(slot.weight).number();
    // The published filler is concept "0" with weight 0; a concept really called "0" has a weight.
    if (name.empty() || (name == "0" && !(std::fabs(weight) > 0))) continue;
    if (std::isnan(weight))
      throw cell(slot.weight).error("the concept '" + name + "' has no weight");
    add(name, weight);
  }
  if (!columns.slots.empty()) return;
  const bool tally = columns.description < 0;
  const std::string& text =
      row[static_cast<std::size_t>(tally ? columns.label : columns.description)];
  if (!trim(text).empty()) add(tally ? plain_label(text, labels) : text, 1.0);
}

}  // namespace

ExplanationTable read_explanation_table(const std::filesystem::path& path,
                                        const ReadOptions& options) {
  ExplanationTable result;
  result.table = read_csv(path);
  CsvTable& table = result.table;
  for (auto& row : table.rows)
    for (auto& cell : row)
      if (!is_utf8(cell)) cell = decode_text(cell);
  const FileColumns columns = find_columns(table, path, result.layout);
  const bool tally = result.layout == ExplanationLayout::tally;
  const std::set<std::string> labels =
      tally ? labels_besides_scenes(table) : std::set<std::string>();
  ExplanationFile& file = result.content;
  for (const int column : columns.scores)
    file.scores.push_back({table.header[static_cast<std::size_t>(column)], true, {}, {}, {}, {}});

  for (std::size_t row = 0; row < table.rows.size(); ++row) {
    const auto cell = [&](int column) { return Cell{path, table, row, column}; };
    Explanation explanation;
    explanation.unit = cell(columns.unit).unit();
    if (tally && --explanation.unit < 0)
      throw cell(columns.unit).error("a tally's units start at 1");
    file.layers.push_back(columns.layer >= 0 ? cell(columns.layer).text() : "");
    if (columns.val >= 0) explanation.val_correlation = cell(columns.val).number();
    if (columns.bias >= 0) {
      const double value = cell(columns.bias).number();
      explanation.bias = std::isnan(value) ? 0 : value;
    }
    if (columns.status >= 0) explanation.status = cell(columns.status).status();
    add_terms(columns, table.rows[row], cell, options, labels, explanation);
    if (columns.link >= 0 && result.layout == ExplanationLayout::linear &&
        !explanation.terms.empty()) {
      explanation.text = cell(columns.link).text();
      if (!link_from_text(explanation.text))
        throw cell(columns.link)
            .error("'" + printable(explanation.text) +
                   "' is no link; one is relu, softplus(SCALE) or nothing");
    }
    if (explanation.terms.empty() && explanation.status == Status::ok)
      explanation.status = Status::empty;
    for (std::size_t s = 0; s < columns.scores.size(); ++s) {
      file.scores[s].value.push_back(cell(columns.scores[s]).number());
      file.scores[s].status.push_back(Status::ok);
      const std::string& name = file.scores[s].name;
      const int low = table.column(name + kIntervalEnds[0]),
                high = table.column(name + kIntervalEnds[1]);
      if (low < 0 || high < 0) continue;
      file.scores[s].low.push_back(cell(low).number());
      file.scores[s].high.push_back(cell(high).number());
    }
    file.explanations.push_back(std::move(explanation));
  }
  return result;
}

ExplanationFile read_explanations(const std::filesystem::path& path, const ReadOptions& options) {
  return read_explanation_table(path, options).content;
}

void write_in_layout(const std::filesystem::path& path, const ExplanationTable& file,
                     const std::vector<ScoreColumn>& scores) {
  CsvTable table = file.table;
  for (const ScoreColumn& score : scores) {
    if (score.value.size() != table.rows.size())
      throw std::logic_error("a score column has " + std::to_string(score.value.size()) +
                             " values for " + std::to_string(table.rows.size()) + " rows");
    int column = table.column(score.name);
    if (column < 0) {
      column = static_cast<int>(table.header.size());
      table.header.push_back(score.name);
      for (auto& row : table.rows) row.emplace_back();
    }
    for (std::size_t row = 0; row < table.rows.size(); ++row) {
      std::string& cell = table.rows[row][static_cast<std::size_t>(column)];
      double before = kNone;
      const bool number = parse_number(trim(cell), before) && std::isfinite(before);
      const double value = score.value[row];
      if (number ? before == value : std::isnan(value)) continue;
      cell = format_number(value);
    }
  }
  std::string content = csv_record(table.header);
  for (const auto& row : table.rows) content += csv_record(row);
  write_file_atomic(path, content);
}

}  // namespace linex
