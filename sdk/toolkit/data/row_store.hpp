// A content-keyed cache of matrices, filled shard by shard.
#pragma once

#include <torch/types.h>

#include <cstdint>
#include <filesystem>
#include <functional>
#include <memory>
#include <string>

#include "linex/cluster.hpp"
#include "linex/context.hpp"

namespace linex {

struct RowStoreOptions {
  std::filesystem::path cache;  ///< run.cache; empty = keep nothing
  std::string kind;             ///< sub-folder, e.g. "activations"
  std::string key;              ///< everything the values depend on, in one line of text
  std::int64_t rows = 0;
  std::int64_t shard_rows = 256;
  bool half = false;  ///< store float16: half the size, values rounded
};

/// Rows of a matrix under cache/kind/DIGEST OF KEY/. Each shard is one file with its own SHA-256,
/// written atomically: what is there is whole, and what a killed run finished is not done again. A
/// damaged shard reads as missing. Two runs may share a store: shards are replaced whole, and
/// lock() keeps them from doing the same work.
class RowStore {
 public:
  /// `log` outlives the store.
  RowStore(RowStoreOptions options, Logger& log);
  ~RowStore();
  RowStore(const RowStore&) = delete;
  RowStore& operator=(const RowStore&) = delete;

  std::int64_t shards() const;
  std::int64_t begin(std::int64_t shard) const;
  std::int64_t end(std::int64_t shard) const;

  /// float32 (end - begin, columns), or undefined where the shard is missing or damaged.
  torch::Tensor read(std::int64_t shard) const;
  /// Stores float32 (end - begin, columns). Where the cache cannot be written, warns once and goes
  /// on without it.
  void write(std::int64_t shard, const torch::Tensor& values);
  /// `values` as read() will give them: rounded to float16 where `half`. Computed values pass
  /// through here, so that a first run equals a later one.
  torch::Tensor rounded(const torch::Tensor& values) const;

  /// Waits until no other process fills this store, then keeps them out until this object ends.
  /// Throws Error(interrupted) when cancelled.
  void lock(const PluginContext& context);
  /// The folder's name; stores are locked in the order of their ids.
  const std::string& id() const { return id_; }

 private:
  std::filesystem::path shard_file(std::int64_t shard) const;

  RowStoreOptions options_;
  Logger& log_;
  std::string id_;
  std::filesystem::path folder_;  // empty where nothing is kept
  int lock_ = -1;
};

/// Shards of one matrix, of which every rank of a cluster may have others: each rank ends with all
/// that any has. Collective. `shards` hold float32 or are undefined; what a rank lacks it first
/// looks for in `store`, which others may fill, and is else sent what lacks on any rank.
void exchange_shards(const Cluster& cluster, const RowStore& store,
                     std::vector<torch::Tensor>& shards);

/// A whole (rows, columns) float32 matrix through a store: compute(begin, end) gives the rows that
/// are missing. Runs in order of rows; shows `title` as progress when anything is computed. In a
/// cluster each rank computes a share of what is missing.
torch::Tensor stored_rows(const RowStoreOptions& options, const PluginContext& context,
                          const std::string& title, const std::string& unit,
                          const std::function<torch::Tensor(std::int64_t, std::int64_t)>& compute);

}  // namespace linex
