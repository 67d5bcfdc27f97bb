// The three ways to compute CLIP-Dissect's similarities; behind clip_dissect.hpp.
#pragma once

#include <cstdint>
#include <vector>

#include "similarity.hpp"
#include "toolkit/math/top_rows.hpp"

namespace linex::clip_dissect {

/// Whether each unit takes more than one value on the rows; the others have no similarity.
std::vector<char> varying_units(const SimilarityInput& input, int threads);
/// Top images of every unit as positions in input.rows.
TopRows top_images(const SimilarityInput& input, std::int64_t count, int threads);
/// Concepts a block can hold when each takes `bytes_per_concept`.
std::int64_t block_width(std::int64_t concepts, std::int64_t bytes_per_concept,
                         std::int64_t memory_bytes);

/// soft_wpmi and wpmi.
void weighted_pmi(const SimilarityInput& input, const SimilarityOptions& options,
                  const SimilarityBlock& emit, const SimilarityTick& tick);
void rank_reorder(const SimilarityInput& input, const SimilarityOptions& options,
                  const SimilarityBlock& emit, const SimilarityTick& tick);
/// cos_similarity and cos_similarity_cubed.
void cosines(const SimilarityInput& input, const SimilarityOptions& options,
             const SimilarityBlock& emit, const SimilarityTick& tick);

}  // namespace linex::clip_dissect
