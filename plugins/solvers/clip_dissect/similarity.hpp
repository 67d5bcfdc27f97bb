// CLIP-Dissect's similarity of units and concepts (docs/methods.md §2.1), in bounded memory.
#pragma once

#include <torch/types.h>

#include <cstdint>
#include <functional>
#include <string>

#include "linex/data.hpp"
#include "linex/labeler.hpp"

namespace linex {

enum class Similarity { soft_wpmi, wpmi, rank_reorder, cos_similarity, cos_similarity_cubed };
/// The contract's names ("soft_wpmi", ...).
Similarity similarity_from_string(const std::string& name);

struct SimilarityOptions {
  Similarity function = Similarity::soft_wpmi;
  std::int64_t top_k = 0;  ///< images of soft_wpmi and wpmi; 0 = published: 100 and 28
  std::uint64_t seed = 0;  ///< of rank_reorder's random baselines
  std::int64_t memory_bytes = 1LL << 30;  ///< bound on everything held beside the input
  int threads = 1;
};

/// What units and concepts are compared on. Lent for the duration of the call.
struct SimilarityInput {
  const Presence& presence;   ///< (N, C); published: cosines of images and texts
  torch::Tensor activations;  ///< float32 (N, K)
  Rows rows;                  ///< the images to use, ascending; published: all of them
};

/// Takes the similarities of all K units to concepts [first, first + n): float32 (K, n), higher is
/// better. NaN where not defined: a unit that is constant over the rows, and, for rank_reorder, a
/// concept whose mean presence on the unit's images is negative.
using SimilarityBlock = std::function<void(std::int64_t first, const torch::Tensor& scores)>;
/// Told which share of the work is done, in [0, 1], ascending; may throw to stop.
using SimilarityTick = std::function<void(double done)>;

/// Computes similarities block by block, concepts ascending. Soft WPMI and WPMI read each image
/// that is among the top images of some unit once (twice where units × concepts do not fit into
/// half of the memory), and take its softmax once. Constant units have no part in the prior, which
/// is over all other units. The same for any thread count. Throws Error(input) where there are too
/// few images, Error(usage) for a top_k beyond what the function can take.
void concept_similarity(const SimilarityInput& input, const SimilarityOptions& options,
                        const SimilarityBlock& emit, const SimilarityTick& tick = {});

}  // namespace linex
