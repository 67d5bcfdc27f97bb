// The processes that share a run: an optional ability of the host's context, and how solvers and
// evaluators say that they make use of it.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

namespace linex {

/// The ranks of a run (docs/cluster.md). Every rank runs the same program on the same
/// configuration; who asks the context for this ability may do a share of the work and exchange
/// what came out, so that every rank goes on with the same values.
///
/// All calls are collective: every rank makes the same calls in the same order, on the thread that
/// called the plugin. A rank that is lost ends the process: no call returns without it. Lent as
/// long as the context, and null where a plugin works alone: keep no pointer over a call of the
/// plugin.
class Cluster {
 public:
  static constexpr char kAbility[] = "linex.cluster/1";

  virtual ~Cluster() = default;
  virtual int rank() const = 0;  ///< 0 .. size() - 1; rank 0 alone writes and prints
  virtual int size() const = 0;
  /// values[i] becomes its sum over all ranks, on every rank. Additions come in any order: only
  /// sums that double precision represents exactly are the same for every number of ranks.
  virtual void sum(double* values, std::int64_t n) const = 0;
  virtual void sum(std::int64_t* values, std::int64_t n) const = 0;
  /// Bytes of every rank, by rank, on every rank. They may differ in length.
  virtual std::vector<std::string> gather(const std::string& mine) const = 0;
  /// `bytes` becomes what it is on rank `from`.
  virtual void broadcast(std::string& bytes, int from) const = 0;
  /// Returns once every rank has called it.
  virtual void barrier() const = 0;
};

/// Ability of a solver or an evaluator that shares its work by itself: where a run has several
/// ranks, each of them calls it, with the same input, and it ends with the same result on all.
/// Without it rank 0 alone calls the plugin, whose context then has no cluster, and tells the
/// others what came out.
struct SharesWork {
  static constexpr char kAbility[] = "linex.shares_work/1";
};

}  // namespace linex
