#include "core/run/benchmark_table.hpp"

#include <algorithm>
#include <cmath>
#include <cstdio>
#include <map>
#include <nlohmann/json.hpp>

#include "toolkit/base/csv.hpp"
#include "toolkit/base/text.hpp"
#include "toolkit/explanations/concept_texts.hpp"

namespace linex {

namespace {

const ScoreColumn* find_score(const BenchmarkRun& run, const std::string& name) {
  for (const auto& score : run.scores)
    if (score.name == name) return &score;
  return nullptr;
}

void add_once(std::vector<std::string>& names, const std::string& name) {
  if (std::find(names.begin(), names.end(), name) == names.end()) names.push_back(name);
}

std::string number(double value, const char* format) {
  if (!std::isfinite(value)) return "–";
  char buffer[40];
  std::snprintf(buffer, sizeof buffer, format, value);
  return buffer;
}

std::string mean_and_error(const MeanSem& mean, const char* format) {
  return number(mean.mean, format) + " ± " + number(mean.sem, "%.4f");
}

/// A table of texts: the first row is its head, the first column its stub.
using Grid = std::vector<std::vector<std::string>>;

/// Characters on a screen: bytes that do not continue a UTF-8 sequence.
std::size_t width_of(const std::string& text) {
  return static_cast<std::size_t>(std::count_if(text.begin(), text.end(), [](char c) {
    return (static_cast<unsigned char>(c) & 0xC0) != 0x80;
  }));
}

std::string aligned(const Grid& grid) {
  std::vector<std::size_t> widths(grid.front().size(), 0);
  for (const auto& row : grid)
    for (std::size_t c = 0; c < row.size(); ++c) widths[c] = std::max(widths[c], width_of(row[c]));
  std::string text;
  for (const auto& row : grid) {
    std::string line;
    for (std::size_t c = 0; c < row.size(); ++c) {
      const std::string gap(widths[c] - width_of(row[c]), ' ');
      line += "  " + (c ? gap + row[c] : row[c] + gap);
    }
    text += line.substr(0, line.find_last_not_of(' ') + 1) + "\n";
  }
  return text;
}

std::string markdown(const Grid& grid) {
  std::string text;
  for (std::size_t r = 0; r < grid.size(); ++r) {
    text += "|";
    for (std::string cell : grid[r]) {
      for (std::size_t at = 0; (at = cell.find('|', at)) != std::string::npos; at += 2)
        cell.insert(at, "\\");
      text += " " + cell + " |";
    }
    text += "\n";
    if (r > 0) continue;
    text += "| --- |";
    for (std::size_t c = 1; c < grid[r].size(); ++c) text += " ---: |";
    text += "\n";
  }
  return text;
}

/// Methods × networks: mean ± SEM (n[, dead]); `mark` goes around the best of a network where it
/// stands out. The last column is the mean length of explanations, network by network.
Grid score_grid(const BenchmarkTable& table, const std::string& score, const std::string& before,
                const std::string& after) {
  Grid grid{{score}};
  std::vector<const BenchmarkCell*> marked;
  const auto lengths = [&](const std::string& method) {
    std::string text;
    for (const auto& network : table.networks)
      if (const BenchmarkCell* cell = table.cell(method, network, score))
        text += (text.empty() ? "" : " / ") + number(cell->length, "%.2f");
    return text;
  };
  for (const auto& network : table.networks) {
    grid[0].push_back(network);
    if (table.best_stands_out(network, score)) marked.push_back(table.best(network, score));
  }
  for (const auto& method : table.methods) {
    std::vector<std::string> row{method};
    bool any = false;
    for (const auto& network : table.networks) {
      const BenchmarkCell* cell = table.cell(method, network, score);
      if (!cell) {
        row.emplace_back("–");
        continue;
      }
      any = true;
      std::string text = mean_and_error(cell->mean, "%.4f");
      if (std::find(marked.begin(), marked.end(), cell) != marked.end())
        text = before + text + after;
      const BenchmarkCell* ceiling =
          score == "sim correlation" ? table.cell(method, network, "sim ceiling") : nullptr;
      if (ceiling) text += number(ceiling->mean.mean, " of %.4f");
      text += " (n " + std::to_string(cell->mean.n);
      if (cell->dead > 0) text += ", dead " + std::to_string(cell->dead);
      row.push_back(text + ")");
    }
    row.push_back(lengths(method));
    if (any) grid.push_back(std::move(row));
  }
  grid[0].push_back("length");
  return grid;
}

/// Each method's paired difference to the best one of its network.
Grid pair_grid(const BenchmarkTable& table, const std::string& score) {
  Grid grid{{"best − other, unit by unit", "network", "difference ± SEM", "wins : ties : losses",
             "p", "n"}};
  for (const auto& network : table.networks)
    for (const auto& pair : table.against_best(network, score))
      grid.push_back({pair.first + " − " + pair.second, network,
                      mean_and_error(pair.outcome.difference, "%+.4f"), pair.outcome.outcome(),
                      p_value_text(pair.holm_p), std::to_string(pair.outcome.difference.n)});
  return grid;
}

nlohmann::ordered_json json_number(double value) {
  return std::isfinite(value) ? nlohmann::ordered_json(value) : nlohmann::ordered_json();
}

}  // namespace

PairedDifference paired_difference(const BenchmarkRun& first, const BenchmarkRun& second,
                                   const std::string& score) {
  PairedDifference pair{first.method, second.method, first.network, score, {}, kNone};
  const ScoreColumn *a = find_score(first, score), *b = find_score(second, score);
  if (a && b) pair.outcome = compare_methods(first.explanations, *a, second.explanations, *b);
  pair.holm_p = pair.outcome.p;
  return pair;
}

const BenchmarkCell* BenchmarkTable::cell(const std::string& method, const std::string& network,
                                          const std::string& score) const {
  for (const auto& cell : cells)
    if (cell.method == method && cell.network == network && cell.score == score) return &cell;
  return nullptr;
}

const BenchmarkCell* BenchmarkTable::best(const std::string& network,
                                          const std::string& score) const {
  const BenchmarkCell* found = nullptr;
  for (const auto& cell : cells) {
    if (cell.network != network || cell.score != score || cell.mean.n == 0) continue;
    const double gain = found ? cell.mean.mean - found->mean.mean : 1;
    if (!found || (cell.higher_is_better ? gain > 0 : gain < 0)) found = &cell;
  }
  return found;
}

std::vector<PairedDifference> BenchmarkTable::against_best(const std::string& network,
                                                           const std::string& score) const {
  std::vector<PairedDifference> found;
  const BenchmarkCell* best = this->best(network, score);
  if (!best) return found;
  for (const auto& pair : pairs) {
    if (pair.network != network || pair.score != score) continue;
    if (pair.first == best->method) found.push_back(pair);
    if (pair.second != best->method) continue;
    found.push_back(pair);
    std::swap(found.back().first, found.back().second);
    found.back().outcome = pair.outcome.turned();
  }
  return found;
}

bool BenchmarkTable::best_stands_out(const std::string& network, const std::string& score) const {
  const auto others = against_best(network, score);
  const BenchmarkCell* best = this->best(network, score);
  return !others.empty() && std::all_of(others.begin(), others.end(), [&](const auto& pair) {
    return pair.outcome.first_ahead(best->higher_is_better);
  });
}

BenchmarkTable make_benchmark_table(const std::vector<BenchmarkRun>& runs) {
  BenchmarkTable table;
  for (const auto& run : runs) {
    add_once(table.methods, run.method);
    add_once(table.networks, run.network);
    for (const auto& score : run.scores) add_once(table.scores, score.name);
  }
  for (const auto& score : table.scores)
    for (const auto& method : table.methods)
      for (const auto& run : runs) {
        const ScoreColumn* column = find_score(run, score);
        if (run.method != method || !column) continue;
        BenchmarkCell cell{method, run.network, score, mean_sem(column->value),
                           0,      0,           kNone, column->higher_is_better};
        std::vector<double> lengths;
        for (const auto& explanation : run.explanations) {
          cell.dead += explanation.status == Status::dead || explanation.status == Status::constant;
          if (!explanation.terms.empty())
            lengths.push_back(static_cast<double>(concept_count(explanation)));
        }
        cell.units = static_cast<std::int64_t>(run.explanations.size());
        cell.length = mean_sem(lengths).mean;
        table.cells.push_back(std::move(cell));
      }
  for (const auto& score : table.scores)
    for (std::size_t i = 0; i < runs.size(); ++i)
      for (std::size_t j = i + 1; j < runs.size(); ++j)
        if (runs[i].network == runs[j].network && find_score(runs[i], score) &&
            find_score(runs[j], score))
          table.pairs.push_back(paired_difference(runs[i], runs[j], score));
  for (const auto& score : table.scores)
    for (const auto& network : table.networks) {
      std::vector<PairedDifference*> family;
      std::vector<double> p;
      for (auto& pair : table.pairs)
        if (pair.network == network && pair.score == score) {
          family.push_back(&pair);
          p.push_back(pair.outcome.p);
        }
      const auto corrected = holm(p);
      for (std::size_t i = 0; i < family.size(); ++i) family[i]->holm_p = corrected[i];
    }
  return table;
}

std::string p_value_text(double p) { return p < 1e-4 ? "< 0.0001" : number(p, "%.2g"); }

std::string table_notes(const std::string& mark) {
  return "Mean ± standard error over n units; the best of a network is " + mark +
         " where it is ahead of every other method by more than the standard error of their "
         "paired difference.\nDifferences below 1e-6 are ties; p is of two-sided paired t-tests, "
         "by Holm's correction for all pairs of methods of a network.\n"
         "Length is the mean number of concepts in an explanation, network by network.";
}

std::string to_terminal(const BenchmarkTable& table) {
  std::string text;
  for (const auto& score : table.scores) {
    text += aligned(score_grid(table, score, "*", ""));
    const Grid pairs = pair_grid(table, score);
    if (pairs.size() > 1) text += "\n" + aligned(pairs);
    text += "\n";
  }
  return text + table_notes("starred") + "\n";
}

std::string to_markdown(const BenchmarkTable& table) {
  std::string text;
  for (const auto& score : table.scores) {
    text += markdown(score_grid(table, score, "**", "**")) + "\n";
    const Grid pairs = pair_grid(table, score);
    if (pairs.size() > 1) text += markdown(pairs) + "\n";
  }
  return text + table_notes("bold") + "\n";
}

std::string to_csv(const BenchmarkTable& table) {
  std::string text = csv_record(
      {"score", "method", "network", "mean", "sem", "n", "units", "dead", "mean length"});
  for (const auto& cell : table.cells)
    text += csv_record({cell.score, cell.method, cell.network, format_number(cell.mean.mean),
                        format_number(cell.mean.sem), std::to_string(cell.mean.n),
                        std::to_string(cell.units), std::to_string(cell.dead),
                        format_number(cell.length)});
  return text;
}

std::string to_json(const BenchmarkTable& table) {
  nlohmann::ordered_json json;
  json["cells"] = nlohmann::ordered_json::array();
  for (const auto& cell : table.cells)
    json["cells"].push_back({{"score", cell.score},
                             {"method", cell.method},
                             {"network", cell.network},
                             {"mean", json_number(cell.mean.mean)},
                             {"sem", json_number(cell.mean.sem)},
                             {"n", cell.mean.n},
                             {"units", cell.units},
                             {"dead", cell.dead},
                             {"mean_length", json_number(cell.length)},
                             {"higher_is_better", cell.higher_is_better}});
  json["paired"] = nlohmann::ordered_json::array();
  for (const auto& pair : table.pairs)
    json["paired"].push_back({{"score", pair.score},
                              {"network", pair.network},
                              {"first", pair.first},
                              {"second", pair.second},
                              {"difference", json_number(pair.outcome.difference.mean)},
                              {"sem", json_number(pair.outcome.difference.sem)},
                              {"n", pair.outcome.difference.n},
                              {"first_wins", pair.outcome.wins},
                              {"second_wins", pair.outcome.losses},
                              {"ties", pair.outcome.ties},
                              {"p", json_number(pair.outcome.p)},
                              {"holm_p", json_number(pair.holm_p)}});
  return json.dump(2, ' ', false, nlohmann::ordered_json::error_handler_t::replace) + "\n";
}

}  // namespace linex
