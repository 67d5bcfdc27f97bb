// SigLIP and SigLIP 2: presence of any text in an image (docs/methods.md §1.3).
#include "linex/plugin.hpp"
#include "toolkit/concepts/vision_text_model.hpp"

namespace {

std::unique_ptr<linex::Tokenizer> open_vocabulary(const std::filesystem::path& file,
                                                  const linex::VisionTextConfig& config) {
  const auto rule = config.text_naming == linex::Naming::hugging_face ? linex::GemmaText::lower
                                                                      : linex::GemmaText::canonical;
  return file.extension() == ".json" ? linex::open_gemma_json(file, rule)
                                     : linex::open_sentencepiece_model(file, rule);
}

class SiglipModel final : public linex::VisionTextModel {
 public:
  explicit SiglipModel(const linex::PluginContext& context)
      : VisionTextModel(
            context, {linex::VisionTextConfig::Family::siglip,
                      {"spiece.model", "sentencepiece.model", "tokenizer.model", "tokenizer.json"},
                      open_vocabulary,
                      false}) {}
};

class Siglip final : public linex::EmbeddingLabeler {
 public:
  static constexpr auto kOptions = linex::kVisionTextOptions;
  explicit Siglip(const linex::PluginContext& context)
      : EmbeddingLabeler(context, "siglip", std::make_unique<SiglipModel>(context)) {}
};

}  // namespace

LINEX_LABELER_PLUGIN(Siglip, "siglip", "0.1.0", "presence of any text, from SigLIP embeddings")
