// Vision transformers, from the checkpoints of torchvision, timm, Hugging Face, DINO, DINOv2, CLIP
// and SigLIP.
#include <linex/plugin.hpp>

#include "toolkit/net/image_options.hpp"
#include "toolkit/net/vision_text_config.hpp"
#include "vit_network.hpp"

namespace {

linex::BuiltNetwork build(const linex::PluginContext& context) {
  const auto& options = context.options();
  linex::VitChoices choices;
  choices.arch = options.text("arch");
  choices.heads = options.integer("heads");
  if (options.text("activation") != "auto")
    choices.activation = linex::activation_named(options.text("activation"));
  choices.pool = options.text("global_pool");
  choices.config = options.path("config");
  // A crop is the size of the images, and says it where image_size does not.
  choices.image_size = options.integer("image_size");
  if (choices.image_size == 0 && options.integer("crop") > 0)
    choices.image_size = options.integer("crop");
  const auto& file = options.path("weights");
  linex::NamedVit vit = linex::find_vit(linex::load_weights(file, options.text("state")));
  const linex::VitSpec spec = linex::infer_vit(vit, file, choices);
  return linex::with_preprocess(linex::build_vit(spec, std::move(vit.weights)), options);
}

class Vit final : public linex::ImageModel {
 public:
  static constexpr auto kOptions = linex::with_image_options(std::array{
      linex::kWeightsOption,
      linex::option::choice("arch", "auto", "auto|vit_b_16|vit_b_32|vit_l_16|vit_l_32|vit_h_14",
                            "architecture; auto infers it from the weights"),
      linex::option::integer("heads", 0, 0, 1024,
                             "attention heads; 0 = those of the configuration beside the weights, "
                             "else of the published networks of that width"),
      linex::option::choice("activation", "auto", "auto|gelu|gelu_tanh|quick_gelu",
                            "of the blocks; auto = that of the configuration, else as published"),
      linex::option::choice("global_pool", "auto", "auto|token|avg",
                            "what the head reads; auto = the class token, or the mean of the "
                            "patches where the weights have none or normalise it (fc_norm)"),
      linex::option::path("config", "",
                          "config.json of Hugging Face, timm or open_clip; default: beside the "
                          "weights"),
      linex::kStateOption,
      linex::option::integer("image_size", 0, 0, 4096,
                             "side of the images; 0 = model.crop, else that of the weights or "
                             "their configuration; the position embedding is interpolated")});

  explicit Vit(const linex::PluginContext& context) : ImageModel(build(context), context, "vit") {}
};

}  // namespace

LINEX_MODEL_PLUGIN(
    Vit, "vit", "1.1.0",
    "Vision transformers (ViT, DeiT, DINO, DINOv2, CLIP's and SigLIP's image towers)")
