// SigLIP: presence of any text in an image (docs/methods.md §1.3).
#include "linex/plugin.hpp"
#include "toolkit/concepts/embedding_labeler.hpp"

namespace {

class Siglip final : public linex::EmbeddingLabeler {
 public:
  static constexpr auto kOptions = linex::kEmbeddingOptions;
  explicit Siglip(const linex::PluginContext& context)
      : EmbeddingLabeler(context, linex::VisionTextConfig::Family::siglip) {}
};

}  // namespace

LINEX_LABELER_PLUGIN(Siglip, "siglip", "0.1.0", "presence of any text, from SigLIP embeddings")
