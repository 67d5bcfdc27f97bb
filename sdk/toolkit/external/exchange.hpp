// The folder through which a host and an external command hand each other arrays.
#pragma once

#include <torch/types.h>

#include <cstdint>
#include <filesystem>
#include <nlohmann/json_fwd.hpp>
#include <string>
#include <vector>

#include "linex/context.hpp"
#include "linex/labeler.hpp"

namespace linex {

/// A folder of this run's own, removed when it ends. One that a killed run left behind goes when
/// the next one is made beside it.
class Exchange {
 public:
  /// Below run.cache, or the system's temporary folder where nothing is cached.
  explicit Exchange(const RunSettings& run);
  /// In shared memory where there is room for `bytes`, else like the other one: for what is used
  /// once, such as batches of images.
  Exchange(const RunSettings& run, std::uint64_t bytes);
  ~Exchange();
  Exchange(const Exchange&) = delete;
  Exchange& operator=(const Exchange&) = delete;

  /// Absolute.
  const std::filesystem::path& folder() const { return folder_; }
  /// Leaves the folder where it is.
  void keep() { keep_ = true; }

  /// Each give() answers {"file", "dtype", "shape"}. Throws Error(input) where there is no room.
  ///
  /// A tensor made by map_npy is given as the file it was mapped from; any other is written to
  /// NAME.npy.
  nlohmann::json give(const std::string& name, const torch::Tensor& tensor) const;
  /// All rows, in blocks within `context`'s memory; likewise the file itself where it is one.
  nlohmann::json give(const std::string& name, const Presence& presence,
                      const PluginContext& context) const;
  /// Writes NAME.json.
  std::string give(const std::string& name, const nlohmann::json& value) const;

  /// The array in file `name` of this folder, read into memory. Throws std::invalid_argument saying
  /// what is wrong with it: a name outside of the folder, another dtype than float32, another shape
  /// (-1: any extent), a value that is not finite.
  torch::Tensor take(const std::string& name, const std::vector<std::int64_t>& shape) const;

 private:
  void open(const std::filesystem::path& root);
  std::filesystem::path room_for(const std::string& file, std::uint64_t bytes) const;

  std::filesystem::path folder_;
  int lock_ = -1;
  bool keep_ = false;
};

}  // namespace linex
