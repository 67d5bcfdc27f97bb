// MILAN: captions for units from the images they respond to (docs/methods.md §2.3).
#pragma once

#include <torch/types.h>

#include <filesystem>
#include <optional>
#include <string>
#include <vector>

#include "beam_search.hpp"
#include "linex/context.hpp"
#include "networks.hpp"
#include "toolkit/text/vocabulary.hpp"

namespace linex {

/// A decoder with its words and, for re-ranking, a language model over the same words.
struct Milan {
  Vocabulary vocabulary;
  Parameters decoder;
  Parameters language;                      ///< empty: no language model
  std::int64_t length = 15, beam = 50;      ///< as the checkpoint says
  double temperature = 0.2;                 ///< weight of the language model
  std::string encoder;                      ///< published: name of the featuriser ("resnet101")
  std::vector<std::string> feature_layers;  ///< ours: layers of the featuriser
};

/// Reads a checkpoint of nested {properties, children, state_dict}: published ones and ours.
/// Nothing in it is executed. The language model's words may stand in another order. Throws
/// Error(input) naming the file.
Milan load_milan(const std::filesystem::path& path);
/// Writes the same structure, readable by torch.load. Atomic.
void save_milan(const std::filesystem::path& path, const Milan& milan);

enum class CaptionStrategy {
  rerank,  ///< beam search, then pointwise mutual information with the language model
  beam,
  greedy
};
struct CaptionOptions {
  CaptionStrategy strategy = CaptionStrategy::rerank;
  std::int64_t beam = 0, length = 0;  ///< 0: the checkpoint's
  double temperature = -1;            ///< below 0: the checkpoint's
};

/// Captions units from features float32 (units, m, D). Same bytes for any thread count. Throws
/// Error(input) where D is not what the decoder was trained on.
class Captioner {
 public:
  Captioner(const Milan& milan, const CaptionOptions& options, const std::string& source);
  struct Caption {
    std::string text;
    double score;
  };
  std::vector<Caption> describe(const torch::Tensor& features, int threads) const;
  std::int64_t feature_size() const { return decoder_.sizes().features; }

 private:
  Vocabulary vocabulary_;
  CaptionDecoder decoder_;
  std::optional<LanguageModel> language_;
  CaptionStrategy strategy_;
  BeamOptions beam_;
  double temperature_;
};

/// A training example: one unit's features and what people say about it.
struct CaptionedUnits {
  torch::Tensor features;                          ///< float32 (units, m, D)
  std::vector<std::vector<std::string>> captions;  ///< at least one a unit
};

struct MilanTrainOptions {
  std::int64_t embedding = 128, hidden = 512, length = 15;
  std::int64_t batch = 64, epochs = 100, patience = 4;
  double learning_rate = 1e-3, weight_decay = 1e-2;  ///< AdamW
  double dropout = 0.5, hold_out = 0.1;
  double attention_penalty = 1.0;  ///< of (1 − Σ_t α)², doubly stochastic attention
  std::uint64_t seed = 0;
};

/// Trains decoder and language model with AdamW; stops when the likelihood of held-out captions has
/// not improved for `patience` epochs (published: BLEU, which is coarser on small sets) and returns
/// the best parameters. Everything is seeded and runs on one thread: same bytes every time.
Milan train_milan(const CaptionedUnits& data, const MilanTrainOptions& options,
                  const PluginContext& context);

}  // namespace linex
