// Inception v3 of torchvision and timm.
#include <linex/plugin.hpp>

#include "inception_network.hpp"
#include "toolkit/net/image_options.hpp"

namespace {

linex::BuiltNetwork build(const linex::PluginContext& context) {
  const auto& options = context.options();
  auto weights = linex::load_weights(options.path("weights"), options.text("state"));
  return linex::with_preprocess(linex::build_inception(options.text("names"), std::move(weights)),
                                options);
}

class Inception final : public linex::ImageModel {
 public:
  static constexpr auto kOptions = linex::with_image_options(std::array{
      linex::kWeightsOption, linex::kStateOption,
      linex::option::choice("names", "auto", "auto|torchvision|timm",
                            "whose names the layers have; auto = timm's where its config.json lies "
                            "beside the weights, else torchvision's")});

  explicit Inception(const linex::PluginContext& context)
      : ImageModel(build(context), context, "inception") {}
};

}  // namespace

LINEX_MODEL_PLUGIN(Inception, "inception", "1.0.0",
                   "Inception v3 of torchvision and timm, from its weights")
