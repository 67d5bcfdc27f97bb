#include "beam_search.hpp"

#include <algorithm>
#include <cmath>

namespace linex {

namespace {

struct Expansion {
  double score;
  std::int64_t parent, word;
};

/// Best first; equal ones by parent and word, so that nothing depends on the sorting.
bool before(const Expansion& a, const Expansion& b) {
  if (a.score != b.score) return a.score > b.score;
  return a.parent != b.parent ? a.parent < b.parent : a.word < b.word;
}

void keep_best(std::vector<Expansion>& expansions, std::int64_t count) {
  const auto kept = std::min(static_cast<std::int64_t>(expansions.size()), count);
  std::partial_sort(expansions.begin(), expansions.begin() + kept, expansions.end(), before);
  expansions.resize(static_cast<std::size_t>(kept));
}

torch::Tensor column(const std::vector<Expansion>& beams, std::int64_t Expansion::*field) {
  torch::Tensor values = torch::empty({static_cast<std::int64_t>(beams.size())}, torch::kInt64);
  for (std::size_t i = 0; i < beams.size(); ++i)
    values.data_ptr<std::int64_t>()[i] = beams[i].*field;
  return values;
}

}  // namespace

std::vector<Candidate> beam_search(const CaptionDecoder& decoder, const torch::Tensor& features,
                                   const BeamOptions& options) {
  const torch::NoGradGuard no_gradients;
  const auto single = decoder.attend_to(features.unsqueeze(0));
  CaptionDecoder::State state = decoder.start(single.features);
  std::vector<Expansion> beams{{0.0, 0, options.start}};
  std::vector<std::vector<std::int64_t>> words(1);

  for (std::int64_t t = 0; t < options.length; ++t) {
    const auto width = static_cast<std::int64_t>(beams.size());
    if (t > 0 && std::all_of(beams.begin(), beams.end(),
                             [&](const Expansion& beam) { return beam.word == options.stop; }))
      break;
    const auto context = single.select(torch::zeros({width}, torch::kInt64));
    const auto step = decoder.step(context, column(beams, &Expansion::word), state);
    const auto log_probabilities = decoder.log_probabilities(step.output).contiguous();
    const std::int64_t vocabulary = log_probabilities.size(1);
    std::vector<Expansion> next;
    for (std::int64_t b = 0; b < width; ++b) {
      const Expansion& beam = beams[static_cast<std::size_t>(b)];
      if (t > 0 && beam.word == options.stop) {
        next.push_back({beam.score, b, options.stop});
        continue;
      }
      const float* const row = log_probabilities.data_ptr<float>() + b * vocabulary;
      std::vector<Expansion> own;
      for (std::int64_t w = 0; w < vocabulary; ++w)
        own.push_back({beam.score + static_cast<double>(row[w]), b, w});
      keep_best(own, options.beam);
      next.insert(next.end(), own.begin(), own.end());
    }
    keep_best(next, options.beam);
    const auto parents = column(next, &Expansion::parent);
    state = {step.state.h.index_select(0, parents), step.state.c.index_select(0, parents)};
    std::vector<std::vector<std::int64_t>> grown;
    for (const Expansion& beam : next) {
      grown.push_back(words[static_cast<std::size_t>(beam.parent)]);
      grown.back().push_back(beam.word);
    }
    words = std::move(grown);
    beams = std::move(next);
  }

  std::vector<Candidate> candidates;
  for (std::size_t i = 0; i < beams.size(); ++i)
    candidates.push_back({words[i], beams[i].score, beams[i].score});
  return candidates;
}

Candidate greedy_search(const CaptionDecoder& decoder, const torch::Tensor& features,
                        const BeamOptions& options) {
  BeamOptions greedy = options;
  greedy.beam = 1;
  return beam_search(decoder, features, greedy).front();
}

void rerank(std::vector<Candidate>& candidates, const LanguageModel& language, double weight,
            const BeamOptions& options) {
  if (candidates.empty()) return;
  const torch::NoGradGuard no_gradients;
  const auto length = static_cast<std::int64_t>(candidates.front().words.size());
  torch::Tensor words =
      torch::empty({static_cast<std::int64_t>(candidates.size()), length}, torch::kInt64);
  for (std::size_t i = 0; i < candidates.size(); ++i)
    std::copy(candidates[i].words.begin(), candidates[i].words.end(),
              words.data_ptr<std::int64_t>() + static_cast<std::int64_t>(i) * length);
  const auto prior = language.score(words, options.start, options.stop);
  for (std::size_t i = 0; i < candidates.size(); ++i)
    candidates[i].score = candidates[i].log_probability - weight * prior.data_ptr<double>()[i];
  std::stable_sort(candidates.begin(), candidates.end(),
                   [](const Candidate& a, const Candidate& b) { return a.score > b.score; });
}

}  // namespace linex
