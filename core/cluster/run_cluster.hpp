// The ranks of this run: one process, or several that mpirun or srun started.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "core/cluster/transport.hpp"
#include "core/cluster/watch.hpp"
#include "linex/cluster.hpp"

namespace linex {

/// The host's cluster. A run in one process has one too, whose calls do nothing. [main thread]
class RunCluster final : public Cluster {
 public:
  /// One process.
  RunCluster();
  /// All ranks of `transport`, which lives as long as the process.
  explicit RunCluster(Transport& transport);
  RunCluster(const RunCluster&) = delete;
  RunCluster& operator=(const RunCluster&) = delete;

  int rank() const override { return rank_; }
  int size() const override { return size_; }
  void sum(double* values, std::int64_t n) const override;
  void sum(std::int64_t* values, std::int64_t n) const override;
  std::vector<std::string> gather(const std::string& mine) const override;
  void broadcast(std::string& bytes, int from) const override;
  void barrier() const override;

  /// Rank 0, which alone writes, prints and decides.
  bool leads() const { return rank_ == 0; }
  bool several() const { return size_ > 1; }
  /// What rank 0 found, on every rank: for whatever depends on files that ranks may see
  /// differently.
  bool agreed(bool of_rank_0) const;
  const std::vector<std::string>& hosts() const { return hosts_; }  ///< by rank
  /// Names of the machines, each once, in order of rank.
  std::vector<std::string> machines() const;
  /// Bytes that this rank put into calls so far: sums, and what it gave to the others.
  std::int64_t bytes() const { return bytes_; }

  /// While one lives, plugins of this process work alone: their contexts offer no cluster.
  class Apart {
   public:
    explicit Apart(const RunCluster& cluster) : cluster_(cluster) { ++cluster_.apart_; }
    ~Apart() { --cluster_.apart_; }
    Apart(const Apart&) = delete;
    Apart& operator=(const Apart&) = delete;

   private:
    const RunCluster& cluster_;
  };
  /// What a plugin's context offers: this, or null where there is one rank or it works apart.
  const Cluster* for_plugins() const { return several() && apart_ == 0 ? this : nullptr; }

  /// The orderly end of all ranks.
  void finish();
  /// The end of one of several ranks with a message and an exit code; see Watch::fail().
  [[noreturn]] void fail(const std::string& line, int code);

 private:
  int rank_ = 0, size_ = 1;
  Transport* transport_ = nullptr;
  std::vector<std::string> hosts_;
  std::unique_ptr<Watch> watch_;
  mutable int apart_ = 0;
  mutable std::int64_t bytes_ = 0;
};

/// The cluster of this process, made by the first call and kept. `choice` is run.cluster: `auto`
/// (several ranks where mpirun or srun started more than one), `none`, or `mpi` (Error(usage) where
/// neither did). Standard output of other ranks than 0 goes nowhere from then on. Throws
/// Error(usage) where linex was built without MPI and is one of several ranks.
RunCluster& join_cluster(const std::string& choice);
/// The one that was made, or null.
RunCluster* joined_cluster();

}  // namespace linex
