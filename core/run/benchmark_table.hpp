// Several methods on several networks: one table, with paired differences between methods.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

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

/// Two methods on the units that both have a score for.
struct PairedDifference {
  std::string first, second, network, score;
  MeanSem difference;  ///< first − second, unit by unit
  std::int64_t first_wins = 0, second_wins = 0, ties = 0;
};
/// Pairs units by number. `wins` respects higher_is_better.
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
};
BenchmarkTable make_benchmark_table(const std::vector<BenchmarkRun>& runs);

/// Aligned plain text: a table for each score, the best of each network starred, then each method's
/// paired difference to that best.
std::string to_terminal(const BenchmarkTable& table);
/// The same as Markdown tables.
std::string to_markdown(const BenchmarkTable& table);
/// One record a cell: score, method, network, mean, sem, n, units, dead, length.
std::string to_csv(const BenchmarkTable& table);
/// {"cells": [...], "paired": [...]}: everything, numbers in full.
std::string to_json(const BenchmarkTable& table);

}  // namespace linex
