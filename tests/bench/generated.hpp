// Generated regression problems of any size, row tile by row tile.
#pragma once

#include <torch/types.h>

#include <cstdint>
#include <string>
#include <vector>

#include "linex/data.hpp"

namespace linex::bench {

/// What concept presence looks like.
enum class PresenceKind {
  similarity,  ///< σ(a(cos + b)) of clustered concepts in a latent space: dense, correlated, rare
  labels       ///< one-hot classes and super-classes
};

struct GeneratedOptions {
  std::int64_t rows = 7000, concepts = 1123, units = 64;
  PresenceKind kind = PresenceKind::similarity;
  double noise = 1.0;   ///< standard deviation of noise, in that of a unit's planted signal
  double hidden = 0.5;  ///< the same for a signal outside the concepts
  std::int64_t most_terms = 8;
  std::uint64_t seed = 0;
};

/// Units are planted sums of few concepts plus a hidden non-linear direction plus noise. A tile
/// depends on options and its first row only, so a problem of any size streams.
class Generated {
 public:
  explicit Generated(const GeneratedOptions& options);

  struct Tile {
    torch::Tensor presence, activations;  // float32 (n, C), (n, K)
  };
  /// Rows [begin, begin + n); the same tile grid must be used throughout.
  Tile tile(std::int64_t begin, std::int64_t n) const;
  /// Shuffled 70/10/20, each part sorted.
  Split split() const;

  /// Unit-length embeddings whose presence σ(a·cos) is that of the tiles (PresenceKind::similarity
  /// only), in a space of `width` ≥ 51 dimensions.
  struct Embeddings {
    torch::Tensor images, texts;  // float32 (n, width), (C, width)
  };
  Embeddings embeddings(std::int64_t begin, std::int64_t n, std::int64_t width) const;
  static double embeddings_a();
  std::vector<std::string> names() const;

 private:
  torch::Tensor latent(std::int64_t begin, std::int64_t n) const;
  torch::Tensor similarity(const torch::Tensor& latent) const;
  torch::Tensor labels(const torch::Tensor& latent) const;

  GeneratedOptions options_;
  torch::Tensor embedding_;  // (latent, C), unit columns
  torch::Tensor threshold_;  // (C)
  torch::Tensor direction_;  // (latent, K)
  std::vector<std::vector<std::int64_t>> terms_;
  std::vector<std::vector<float>> weights_;
  std::vector<float> scale_;  // of noise, for each unit
};

}  // namespace linex::bench
