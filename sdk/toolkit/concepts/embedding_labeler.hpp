// Presence from embeddings of images and texts: the labeler behind clip, siglip and any other
// family.
#pragma once

#include <array>
#include <cstddef>
#include <memory>
#include <optional>
#include <string>
#include <unordered_map>
#include <vector>

#include "linex/context.hpp"
#include "linex/labeler.hpp"
#include "linex/option.hpp"
#include "toolkit/concepts/concept_list.hpp"
#include "toolkit/concepts/embedding_ability.hpp"
#include "toolkit/concepts/image_text_model.hpp"
#include "toolkit/concepts/sigmoid.hpp"

namespace linex {

/// Options of EmbeddingLabeler itself.
inline constexpr std::array kEmbeddingOptions{
    option::path("concepts", "", "list of concepts, one a line; not needed for a simulator"),
    option::text("template", "{}", "prompt of a concept, which stands for {}"),
    option::text("a", "auto", "presence = sigmoid(a (cos + b)); auto: published for the model"),
    option::text("b", "auto", "see a; linex calibrate fits both"),
    option::choice("presence", "sigmoid", "sigmoid|cosine",
                   "cosine: as CLIP-Dissect compares (solver clip_dissect)"),
};

/// `own` options, those of the model, followed by kEmbeddingOptions.
template <std::size_t N>
constexpr std::array<linex_option_spec, N + kEmbeddingOptions.size()> with_embedding_options(
    const std::array<linex_option_spec, N>& own) {
  std::array<linex_option_spec, N + kEmbeddingOptions.size()> all{};
  for (std::size_t i = 0; i < N; ++i) all[i] = own[i];
  for (std::size_t i = 0; i < kEmbeddingOptions.size(); ++i) all[N + i] = kEmbeddingOptions[i];
  return all;
}

/// Embeds the data set's images and concept texts once (cached by content in run.cache) and
/// generates presence from them. Any text can be asked for.
class EmbeddingLabeler : public ConceptLabeler, public ImageTextEmbeddings {
 public:
  /// Reads kEmbeddingOptions; `plugin` is the plugin's name, for messages.
  EmbeddingLabeler(const PluginContext& context, std::string plugin,
                   std::unique_ptr<const ImageTextModel> model);

  void attach(std::shared_ptr<const DataSet> data) override;
  std::vector<std::string> concepts() const override;
  std::shared_ptr<const Presence> presence() override;
  bool knows(const std::string& text) const override;
  std::shared_ptr<const Presence> presence_of(const std::vector<std::string>& texts) override;
  /// Of the model, its vocabulary and the list of concepts.
  std::string fingerprint() const override;
  const void* ability(const char* name) const override;
  torch::Tensor text_embeddings(const std::vector<std::string>& texts) const override;
  torch::Tensor image_embeddings() const override { return images(); }

 private:
  void choose_sigmoid();
  std::string prompt(const std::string& text) const;
  /// Unit-length embeddings of texts (n, E); the ones seen before are not computed again.
  torch::Tensor embed_texts(const std::vector<std::string>& texts) const;
  torch::Tensor compute_texts(const std::vector<std::string>& texts) const;
  /// `embedded`; throws std::logic_error where the model broke its promise.
  torch::Tensor checked(const torch::Tensor& embedded, std::size_t count) const;
  const torch::Tensor& images() const;

  const PluginContext& context_;
  std::string plugin_;
  std::unique_ptr<const ImageTextModel> model_;
  std::optional<Sigmoid> sigmoid_;  ///< none for cosines
  ConceptList concepts_;
  std::shared_ptr<const DataSet> data_;
  mutable torch::Tensor images_;  ///< (N, E) unit length, once computed
  mutable std::unordered_map<std::string, torch::Tensor> texts_;
};

}  // namespace linex
