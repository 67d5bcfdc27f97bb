// Vision transformers of torchvision.
#include <linex/plugin.hpp>

#include "toolkit/net/image_options.hpp"
#include "vit_network.hpp"

namespace {

linex::BuiltNetwork build(const linex::PluginContext& context) {
  const auto& options = context.options();
  auto weights = linex::load_weights(options.path("weights"), options.text("state"));
  auto spec = linex::vit_spec(options.text("arch"), weights, options.integer("heads"));
  // A crop is the size of the images, and says it where image_size does not.
  if (options.integer("image_size") > 0)
    linex::set_image_size(spec, options.integer("image_size"));
  else if (options.integer("crop") > 0)
    linex::set_image_size(spec, options.integer("crop"));
  return linex::with_preprocess(linex::build_vit(spec, std::move(weights)), options);
}

class Vit final : public linex::ImageModel {
 public:
  static constexpr auto kOptions = linex::with_image_options(std::array{
      linex::option::required(
          linex::option::path("weights", "", "checkpoint: PyTorch, TorchScript or safetensors")),
      linex::option::choice("arch", "auto", "auto|vit_b_16|vit_b_32|vit_l_16|vit_l_32|vit_h_14",
                            "architecture; auto infers it from the weights"),
      linex::option::integer(
          "heads", 0, 0, 1024,
          "attention heads of a transformer that is none of these; 0 = width/64"),
      linex::kStateOption,
      linex::option::integer("image_size", 0, 0, 4096,
                             "side of the images; 0 = model.crop, else that of the weights, whose "
                             "position embedding is interpolated to any other")});

  explicit Vit(const linex::PluginContext& context) : ImageModel(build(context), context, "vit") {}
};

}  // namespace

LINEX_MODEL_PLUGIN(Vit, "vit", "1.0.0", "Vision transformers of torchvision, from their weights")
