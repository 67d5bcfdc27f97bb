#include "stability_table.hpp"

#include <algorithm>

#include "toolkit/base/csv.hpp"
#include "toolkit/base/files.hpp"
#include "toolkit/base/stats.hpp"
#include "toolkit/base/text.hpp"

namespace linex {

namespace {

const std::vector<std::string> kHeader{"layer",      "unit",        "term",  "frequency",
                                       "weight low", "weight high", "weight"};

}  // namespace

void StabilityTable::add(const Regression& regression, std::int64_t k,
                         const std::vector<std::string>& names, const Selection& selection,
                         const UnitStability& stability) {
  if (selection.terms.empty()) return;
  jaccard_.push_back(stability.jaccard);
  std::vector<std::size_t> order(selection.terms.size());
  for (std::size_t t = 0; t < order.size(); ++t) order[t] = t;
  std::stable_sort(order.begin(), order.end(), [&](std::size_t a, std::size_t b) {
    return selection.weight[a] > selection.weight[b];
  });
  for (const std::size_t t : order) {
    const std::int64_t concept_ = regression.concepts[static_cast<std::size_t>(selection.terms[t])];
    const TermStability& term = stability.terms[t];
    rows_.push_back({layer_, std::to_string(regression.units[static_cast<std::size_t>(k)]),
                     names[static_cast<std::size_t>(concept_)], format_number(term.frequency),
                     format_number(term.low), format_number(term.high),
                     format_number(selection.weight[t])});
  }
}

double StabilityTable::mean_jaccard() const { return mean_sem(jaccard_).mean; }

void StabilityTable::write(const std::filesystem::path& path) const {
  std::string text = csv_record(kHeader);
  if (std::filesystem::exists(path)) {
    const CsvTable before = read_csv(path);
    for (const auto& row : before.rows)
      if (before.header == kHeader && row.front() != layer_) text += csv_record(row);
  }
  for (const auto& row : rows_) text += csv_record(row);
  write_file_atomic(path, text);
}

}  // namespace linex
