// ConvNeXts, first version and V2, of torchvision, timm and the authors.
#include <linex/plugin.hpp>

#include "convnext_network.hpp"
#include "toolkit/net/image_options.hpp"

namespace {

linex::BuiltNetwork build(const linex::PluginContext& context) {
  const auto& options = context.options();
  auto weights = linex::load_weights(options.path("weights"), options.text("state"));
  auto spec = linex::convnext_spec(options.text("arch"), weights);
  if (options.real("norm_eps") > 0) spec.eps = options.real("norm_eps");
  return linex::with_preprocess(linex::build_convnext(spec, std::move(weights)), options);
}

class ConvNext final : public linex::ImageModel {
 public:
  static constexpr auto kOptions = linex::with_image_options(std::array{
      linex::kWeightsOption,
      linex::option::choice(
          "arch", "auto",
          "auto|convnext_atto|convnext_femto|convnext_pico|convnext_nano|convnext_tiny|"
          "convnext_small|convnext_base|convnext_large|convnext_xlarge|convnext_xxlarge|"
          "convnextv2_atto|convnextv2_femto|convnextv2_pico|convnextv2_nano|convnextv2_tiny|"
          "convnextv2_base|convnextv2_large|convnextv2_huge",
          "architecture; auto infers it from the weights"),
      linex::kStateOption,
      linex::option::real("norm_eps", 0, 0, 1,
                          "eps of the layer normalisations; 0 = 1e-6, of convnext_xxlarge 1e-5")});

  explicit ConvNext(const linex::PluginContext& context)
      : ImageModel(build(context), context, "convnext") {}
};

}  // namespace

LINEX_MODEL_PLUGIN(ConvNext, "convnext", "1.0.0",
                   "ConvNeXts (V1, V2) of torchvision and timm, from their weights")
