// CLIP and SigLIP as models of images and texts: both towers, their vocabulary, their options.
#pragma once

#include <array>
#include <filesystem>
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "linex/context.hpp"
#include "linex/option.hpp"
#include "toolkit/concepts/embedding_labeler.hpp"
#include "toolkit/concepts/image_text_model.hpp"
#include "toolkit/net/image_options.hpp"
#include "toolkit/net/vision_text.hpp"
#include "toolkit/text/tokenizer.hpp"

namespace linex {

/// Options of a labeler over a VisionTextModel.
inline constexpr auto kVisionTextOptions = with_embedding_options(std::array{
    option::required(
        option::path("weights", "", "checkpoint in open_clip's, OpenAI's or Hugging Face's form")),
    option::path("vocabulary", "",
                 "the tokenizer's file; default: beside the weights (bpe_simple_vocab_16e6.txt.gz "
                 "or vocab.json for clip, spiece.model for siglip, tokenizer.model or "
                 "tokenizer.json for SigLIP 2)"),
    option::choice("precision", "float", "float|half",
                   "half: bfloat16 (CPU) or float16 (GPU) towers, embeddings kept as float16"),
    option::path("config", "",
                 "the model's JSON configuration; default: beside the weights, else from shapes"),
    option::choice("activation", "auto", "auto|gelu|gelu_tanh|quick_gelu",
                   "of the towers; auto: from the configuration, else by whose names the weights "
                   "have"),
    option::integer("image_size", 0, 0, 4096, "pixels; 0: from the checkpoint"), kStateOption});

/// What one family has of its own.
struct VisionTextFamily {
  VisionTextConfig::Family family = VisionTextConfig::Family::clip;
  std::vector<std::string> vocabularies;  ///< files looked for beside the weights, in this order
  std::function<std::unique_ptr<Tokenizer>(const std::filesystem::path&, const VisionTextConfig&)>
      open_vocabulary;
  /// Whether the vocabulary must have every token that the weights have, not just no others.
  bool whole_vocabulary = false;
};

class VisionTextModel : public ImageTextModel {
 public:
  /// Reads what kVisionTextOptions name. Throws Error(input) where the checkpoint is of the other
  /// family or the vocabulary of another checkpoint, Error(usage) where there is no vocabulary.
  VisionTextModel(const PluginContext& context, const VisionTextFamily& family);

  std::string name() const override { return model_.config().name(); }
  std::int64_t width() const override { return model_.config().embed; }
  Preprocess preprocess() const override { return model_.preprocess(); }
  Margin margin() const override {
    return model_.crops_down() ? Margin::down : Margin::half_to_even;
  }
  torch::Tensor embed_images(const torch::Tensor& images) const override {
    return model_.embed_images(images);
  }
  torch::Tensor embed_texts(const std::vector<std::string>& texts) const override {
    return model_.embed_texts(tokenizer_->encode_batch(texts, model_.config().context));
  }
  std::string fingerprint() const override { return model_.fingerprint(); }
  std::string vocabulary_fingerprint() const override { return tokenizer_->fingerprint(); }
  std::int64_t context() const override { return model_.config().context; }
  bool is_cut(const std::string& text) const override {
    return tokenizer_->is_cut(text, model_.config().context);
  }
  bool is_half() const override { return half_; }
  KnownSigmoid sigmoid() const override { return published_sigmoid(model_.config()); }

 private:
  bool half_;
  VisionText model_;
  std::unique_ptr<Tokenizer> tokenizer_;
};

}  // namespace linex
