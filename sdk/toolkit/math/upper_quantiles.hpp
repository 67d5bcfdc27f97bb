// High quantiles of many streams at once, exactly or within bounded memory.
#pragma once

#include <torch/types.h>

#include <cstdint>
#include <vector>

#include "toolkit/base/random.hpp"

namespace linex {

enum class QuantileMethod {
  automatic,  ///< exact where it fits into the memory
  exact,      ///< keeps the (1 − q)·n largest values of each stream
  sketch      ///< keeps a weighted sample of them, finest at the top (after KLL and REQ sketches)
};

struct QuantileOptions {
  double quantile = 0.995;
  QuantileMethod method = QuantileMethod::automatic;
  std::int64_t memory_bytes = 1LL << 28;  ///< bound on what is kept; 16 KB a stream at the least
  std::uint64_t seed = 0;                 ///< of the sketch
};

/// One high quantile of each of K streams whose length is known beforehand. Only values above the
/// quantile matter, so what is certainly below is dropped on sight. A sketch's rank error
/// is about 1/C of (1 − q)·n, the memory allowing C >= 1024 values a level. [one thread]
class UpperQuantiles {
 public:
  /// `total` values are going to come in each of `streams`.
  UpperQuantiles(std::int64_t streams, std::int64_t total, const QuantileOptions& options);

  /// Adds float32 (n, K, m): m values a stream for each of n rows. The same rows in the same order
  /// give the same quantiles, whatever the thread count or the size of the batches.
  void add(const torch::Tensor& values, int threads);
  /// float32 (K). Exact: linear interpolation between the neighbours of rank q·(total − 1), as
  /// numpy.quantile.
  torch::Tensor values() const;
  bool exact() const { return exact_; }

 private:
  struct Stream {
    float floor;                             // values up to here are certainly below the quantile
    std::vector<std::vector<float>> levels;  // a value at level l stands for 2^l
    std::int64_t compactions = 0;
    Random random{0};
  };
  void add(Stream& stream, const float* values, std::int64_t n) const;
  void shrink_exact(Stream& stream) const;
  void compact(Stream& stream) const;
  void raise_floor(Stream& stream) const;
  float exact_value(const Stream& stream) const;
  float sketched_value(const Stream& stream) const;

  double position_;  // ascending, in [0, total − 1]
  std::int64_t total_;
  std::int64_t needed_;  // values from rank floor(position) upwards
  std::int64_t capacity_ = 0;
  bool exact_;
  std::int64_t added_ = 0;
  std::vector<Stream> streams_;
};

}  // namespace linex
