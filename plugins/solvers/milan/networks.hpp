// MILAN's two recurrent networks (docs/methods.md §2.3), as functions of their named parameters:
// the same code decodes and is trained.
#pragma once

#include <torch/types.h>

#include <cstdint>
#include <functional>
#include <map>
#include <string>
#include <vector>

namespace linex {

/// Parameters by the names the published checkpoints use.
using Parameters = std::map<std::string, torch::Tensor>;

struct DecoderSizes {
  std::int64_t vocabulary = 0, features = 0;
  std::int64_t embedding = 128, hidden = 512, attention = 512;
};

/// An LSTM that attends over the feature vectors of a unit's exemplars.
class CaptionDecoder {
 public:
  struct State {
    torch::Tensor h, c;  ///< (n, hidden)
  };
  struct Step {
    torch::Tensor output;     ///< (n, hidden): h, before dropout and the output layer
    torch::Tensor attention;  ///< (n, m): weights of the exemplars
    State state;
  };
  /// The exemplars of n units, with what all steps need of them.
  struct Context {
    torch::Tensor features;  ///< float32 (n, m, D)
    torch::Tensor keys;      ///< (n, m, attention)
    /// Rows `index` of both.
    Context select(const torch::Tensor& index) const;
  };

  /// Throws Error(input) beginning with `source` for missing parameters or shapes that do not fit
  /// each other or `vocabulary`.
  CaptionDecoder(Parameters parameters, std::int64_t vocabulary, const std::string& source);
  /// Random parameters, PyTorch's default initialisation.
  static Parameters initial(const DecoderSizes& sizes, std::uint64_t seed);

  const Parameters& parameters() const { return parameters_; }
  const DecoderSizes& sizes() const { return sizes_; }

  Context attend_to(const torch::Tensor& features) const;
  State start(const torch::Tensor& features) const;
  /// One word: `words` int64 (n), the previous ones.
  Step step(const Context& context, const torch::Tensor& words, const State& state) const;
  /// log softmax of the output layer, (n, vocabulary).
  torch::Tensor log_probabilities(const torch::Tensor& output) const;

 private:
  const torch::Tensor& at(const char* name) const { return parameters_.at(name); }
  Parameters parameters_;
  DecoderSizes sizes_;
};

struct LanguageModelSizes {
  std::int64_t vocabulary = 0, embedding = 128, hidden = 512, layers = 2;
};

/// A stacked LSTM over the words alone.
class LanguageModel {
 public:
  LanguageModel(Parameters parameters, std::int64_t vocabulary, const std::string& source);
  static Parameters initial(const LanguageModelSizes& sizes, std::uint64_t seed);

  const Parameters& parameters() const { return parameters_; }
  const LanguageModelSizes& sizes() const { return sizes_; }

  /// log p of every word after each prefix: `words` int64 (n, length) to (n, length, vocabulary).
  /// `dropout(x)`, where given, is applied between layers (training).
  using Dropout = std::function<torch::Tensor(const torch::Tensor&)>;
  torch::Tensor log_probabilities(const torch::Tensor& words, const Dropout& dropout = {}) const;
  /// log p of whole captions, `words` int64 (n, length) without the start token. As published, the
  /// word after the first stop still counts (§2.3). Returns float64 (n).
  torch::Tensor score(const torch::Tensor& words, std::int64_t start, std::int64_t stop) const;

 private:
  Parameters parameters_;
  LanguageModelSizes sizes_;
};

}  // namespace linex
