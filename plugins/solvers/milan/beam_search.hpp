// From exemplar features to captions: beam search and re-ranking (docs/methods.md §2.3).
#pragma once

#include <torch/types.h>

#include <cstdint>
#include <vector>

#include "networks.hpp"

namespace linex {

/// A caption and what the networks think of it.
struct Candidate {
  std::vector<std::int64_t> words;  ///< without start, padded with stop
  double log_probability = 0;       ///< Σ log p(word | exemplars)
  double score = 0;                 ///< after re-ranking; otherwise log_probability
};

struct BeamOptions {
  std::int64_t beam = 50;    ///< candidates kept, and tried from each
  std::int64_t length = 15;  ///< words at most
  std::int64_t start = 0, stop = 0;
};

/// AllenNLP's beam search for one unit, features float32 (m, D): finished candidates go on with
/// stop at no cost, lengths are not normalised. Best first; equal ones in the order of their words'
/// numbers. At most `beam` candidates, fewer where the vocabulary is smaller.
std::vector<Candidate> beam_search(const CaptionDecoder& decoder, const torch::Tensor& features,
                                   const BeamOptions& options);

/// The most probable word at each step.
Candidate greedy_search(const CaptionDecoder& decoder, const torch::Tensor& features,
                        const BeamOptions& options);

/// Pointwise mutual information: log p(caption | exemplars) − weight·log p(caption). Best first.
void rerank(std::vector<Candidate>& candidates, const LanguageModel& language, double weight,
            const BeamOptions& options);

}  // namespace linex
