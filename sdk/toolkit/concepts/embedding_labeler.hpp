// The labeler behind the plugins clip and siglip: presence from embeddings of images and texts.
#pragma once

#include <filesystem>
#include <memory>
#include <optional>
#include <string>
#include <unordered_map>
#include <vector>

#include "linex/context.hpp"
#include "linex/labeler.hpp"
#include "linex/option.hpp"
#include "toolkit/concepts/sigmoid.hpp"
#include "toolkit/net/vision_text.hpp"
#include "toolkit/text/tokenizer.hpp"

namespace linex {

/// Options of both plugins, in the order `inspect` shows them.
inline constexpr std::array kEmbeddingOptions{
    option::required(
        option::path("weights", "", "checkpoint in open_clip's, OpenAI's or Hugging Face's form")),
    option::path("vocabulary", "",
                 "the tokenizer's file; default: beside the weights (bpe_simple_vocab_16e6.txt.gz "
                 "or vocab.json for clip, spiece.model for siglip)"),
    option::path("concepts", "", "list of concepts, one a line; not needed for a simulator"),
    option::text("template", "{}", "prompt of a concept, which stands for {}"),
    option::text("a", "auto", "presence = sigmoid(a (cos + b)); auto: published for the model"),
    option::text("b", "auto", "see a; linex calibrate fits both"),
    option::choice("presence", "sigmoid", "sigmoid|cosine",
                   "cosine: as CLIP-Dissect compares (solver clip_dissect)"),
    option::choice("precision", "float", "float|half",
                   "half: bfloat16 (CPU) or float16 (GPU) towers, embeddings kept as float16"),
    option::path("config", "",
                 "the model's JSON configuration; default: beside the weights, else from shapes"),
    option::choice("activation", "auto", "auto|gelu|gelu_tanh|quick_gelu",
                   "of the towers; auto: from the configuration, else by whose names the weights "
                   "have"),
    option::integer("image_size", 0, 0, 4096, "pixels; 0: from the checkpoint"),
};

/// Embeds the data set's images and concept texts once (cached by content in run.cache) and
/// generates presence from them. Any text can be asked for.
class EmbeddingLabeler : public ConceptLabeler {
 public:
  /// `family` is what the plugin is for: a checkpoint of the other one is an Error(input).
  EmbeddingLabeler(const PluginContext& context, VisionTextConfig::Family family);

  void attach(std::shared_ptr<const DataSet> data) override;
  std::vector<std::string> concepts() const override;
  std::shared_ptr<const Presence> presence() override;
  bool knows(const std::string& text) const override;
  std::shared_ptr<const Presence> presence_of(const std::vector<std::string>& texts) override;
  /// Of the network, its vocabulary and the list of concepts.
  std::string fingerprint() const override;

 private:
  void open_vocabulary();
  void choose_sigmoid();
  std::string prompt(const std::string& text) const;
  /// Unit-length embeddings of texts (n, E); the ones seen before are not computed again.
  torch::Tensor embed_texts(const std::vector<std::string>& texts);
  torch::Tensor compute_texts(const std::vector<std::string>& texts);
  const torch::Tensor& images();

  const PluginContext& context_;
  bool half_ = false;
  VisionText model_;
  std::unique_ptr<Tokenizer> tokenizer_;
  std::optional<Sigmoid> sigmoid_;  ///< none for cosines
  std::vector<std::string> concepts_;
  std::shared_ptr<const DataSet> data_;
  torch::Tensor images_;  ///< (N, E) unit length, once computed
  std::unordered_map<std::string, torch::Tensor> texts_;
};

}  // namespace linex
