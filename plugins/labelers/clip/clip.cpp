// CLIP: presence of any text in an image (docs/methods.md §1.3).
#include "linex/plugin.hpp"
#include "toolkit/concepts/vision_text_model.hpp"

namespace {

std::unique_ptr<linex::Tokenizer> open_vocabulary(const std::filesystem::path& file,
                                                  const linex::VisionTextConfig& /*config*/) {
  return linex::open_clip_vocabulary(file);
}

class ClipModel final : public linex::VisionTextModel {
 public:
  explicit ClipModel(const linex::PluginContext& context)
      : VisionTextModel(
            context, {linex::VisionTextConfig::Family::clip,
                      {"bpe_simple_vocab_16e6.txt.gz", "bpe_simple_vocab_16e6.txt", "vocab.json"},
                      open_vocabulary,
                      true}) {}  // it finds the end of a text by its largest id
};

class Clip final : public linex::EmbeddingLabeler {
 public:
  static constexpr auto kOptions = linex::kVisionTextOptions;
  explicit Clip(const linex::PluginContext& context)
      : EmbeddingLabeler(context, "clip", std::make_unique<ClipModel>(context)) {}
};

}  // namespace

LINEX_LABELER_PLUGIN(Clip, "clip", "0.1.0", "presence of any text, from CLIP embeddings")
