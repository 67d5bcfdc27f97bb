// Several methods on several networks: one table, with paired differences between methods.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "core/report/comparison.hpp"
#include "linex/data.hpp"
#include "toolkit/base/stats.hpp"

namespace linex {

/// The outcome of one method on one network (or one layer of it).
struct BenchmarkRun {
  std::string method, network;
  std::vector<Explanation> explanations;
  std::vector<ScoreColumn> scores;  ///< over explanations
};

/// A method's mean of one score on one network.
struct BenchmarkCell {
  std::string method, network, score;
  MeanSem mean;            ///< over units that have the score
  std::int64_t units = 0;  ///< explanations in all
  std::int64_t dead = 0;   ///< of these, dead or constant
  double length = kNone;   ///< mean number of concepts
  bool higher_is_better = true;
};

/// Two methods on one network.
struct PairedDifference {
  std::string first, second, network, score;
  Comparison outcome;     ///< of `first` against `second`; empty where one lacks the score
  double holm_p = kNone;  ///< outcome.p corrected for all pairs of the network in this score
};
PairedDifference paired_difference(const BenchmarkRun& first, const BenchmarkRun& second,
                                   const std::string& score);

struct BenchmarkTable {
  std::vector<std::string> methods, networks, scores;  ///< in order of first appearance
  std::vector<BenchmarkCell> cells;                    ///< by score, method, network
  std::vector<PairedDifference> pairs;                 ///< every two methods of a network
  /// Null where that method was not run there or lacks the score.
  const BenchmarkCell* cell(const std::string& method, const std::string& network,
                            const std::string& score) const;
  /// The best mean of a network, null where there is none.
  const BenchmarkCell* best(const std::string& network, const std::string& score) const;
  /// Whether the best one's paired difference to every other method there is larger than its
  /// standard error; false where there is no other.
  bool best_stands_out(const std::string& network, const std::string& score) const;
  /// The best method of a network against each other one, the best one first in each.
  std::vector<PairedDifference> against_best(const std::string& network,
                                             const std::string& score) const;
};
BenchmarkTable make_benchmark_table(const std::vector<BenchmarkRun>& runs);

/// What marks, ties and p-values mean, in sentences. `mark` names how the best is marked ("bold").
std::string table_notes(const std::string& mark);
/// "0.012", "< 0.0001", "–".
std::string p_value_text(double p);

/// Aligned plain text: a table for each score, the best of each network starred where it stands
/// out, then each method's paired difference to that best.
std::string to_terminal(const BenchmarkTable& table);
/// The same as Markdown tables.
std::string to_markdown(const BenchmarkTable& table);
/// One record a cell: score, method, network, mean, sem, n, units, dead, length.
std::string to_csv(const BenchmarkTable& table);
/// {"cells": [...], "paired": [...]}: everything, numbers in full.
std::string to_json(const BenchmarkTable& table);

}  // namespace linex
