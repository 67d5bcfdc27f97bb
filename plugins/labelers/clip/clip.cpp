// CLIP: presence of any text in an image (docs/methods.md §1.3).
#include "linex/plugin.hpp"
#include "toolkit/concepts/embedding_labeler.hpp"

namespace {

class Clip final : public linex::EmbeddingLabeler {
 public:
  static constexpr auto kOptions = linex::kEmbeddingOptions;
  explicit Clip(const linex::PluginContext& context)
      : EmbeddingLabeler(context, linex::VisionTextConfig::Family::clip) {}
};

}  // namespace

LINEX_LABELER_PLUGIN(Clip, "clip", "0.1.0", "presence of any text, from CLIP embeddings")
