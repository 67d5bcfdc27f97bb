// RegNets of torchvision and timm.
#include <linex/plugin.hpp>

#include "regnet_network.hpp"
#include "toolkit/net/image_options.hpp"

namespace {

linex::BuiltNetwork build(const linex::PluginContext& context) {
  const auto& options = context.options();
  auto weights = linex::load_weights(options.path("weights"), options.text("state"));
  auto spec = linex::regnet_spec(options.text("arch"), weights);
  if (options.text("activation") != "auto")
    spec.activation =
        options.text("activation") == "silu" ? linex::Activation::silu : linex::Activation::relu;
  return linex::with_preprocess(linex::build_regnet(spec, std::move(weights)), options);
}

class RegNet final : public linex::ImageModel {
 public:
  static constexpr auto kOptions = linex::with_image_options(std::array{
      linex::kWeightsOption,
      linex::option::text("arch", "auto",
                          "architecture by its library's name (regnet_y_400mf, regnetx_002, ...); "
                          "auto infers it from the weights"),
      linex::kStateOption,
      linex::option::choice("activation", "auto", "auto|relu|silu",
                            "auto = SiLU for RegNets Z, else ReLU")});

  explicit RegNet(const linex::PluginContext& context)
      : ImageModel(build(context), context, "regnet") {}
};

}  // namespace

LINEX_MODEL_PLUGIN(RegNet, "regnet", "1.0.0",
                   "RegNets (X, Y, Z) of torchvision and timm, from their weights")
