// EfficientNets, V1 and V2, of torchvision and timm.
#include <linex/plugin.hpp>

#include "efficientnet_network.hpp"
#include "toolkit/net/image_options.hpp"

namespace {

linex::BuiltNetwork build(const linex::PluginContext& context) {
  const auto& options = context.options();
  auto weights = linex::load_weights(options.path("weights"), options.text("state"));
  auto spec = linex::efficientnet_spec(options.text("arch"), weights);
  if (options.real("norm_eps") > 0) spec.eps = options.real("norm_eps");
  if (options.text("padding") != "auto") spec.same = options.text("padding") == "same";
  return linex::with_preprocess(linex::build_efficientnet(spec, std::move(weights)), options);
}

class EfficientNet final : public linex::ImageModel {
 public:
  static constexpr auto kOptions = linex::with_image_options(std::array{
      linex::kWeightsOption,
      linex::option::choice(
          "arch", "auto",
          "auto|efficientnet_b0|efficientnet_b1|efficientnet_b2|efficientnet_b3|efficientnet_b4|"
          "efficientnet_b5|efficientnet_b6|efficientnet_b7|efficientnet_b8|efficientnet_v2_s|"
          "efficientnet_v2_m|efficientnet_v2_l|efficientnetv2_s|efficientnetv2_m|"
          "efficientnetv2_l|efficientnetv2_xl|efficientnetv2_rw_t|efficientnetv2_rw_s|"
          "efficientnetv2_rw_m|tf_efficientnet_b0|tf_efficientnet_b1|tf_efficientnet_b2|"
          "tf_efficientnet_b3|tf_efficientnet_b4|tf_efficientnet_b5|tf_efficientnet_b6|"
          "tf_efficientnet_b7|tf_efficientnet_b8|tf_efficientnetv2_s|tf_efficientnetv2_m|"
          "tf_efficientnetv2_l|tf_efficientnetv2_xl|tf_efficientnetv2_b0|tf_efficientnetv2_b1|"
          "tf_efficientnetv2_b2|tf_efficientnetv2_b3",
          "architecture; auto infers it from the weights, tf_ from the file's name"),
      linex::kStateOption,
      linex::option::choice("padding", "auto", "auto|symmetric|same",
                            "of convolutions; auto = same, TensorFlow's, for tf_ networks"),
      linex::option::real("norm_eps", 0, 0, 1,
                          "eps of batch normalisation; 0 = that of the architecture")});

  explicit EfficientNet(const linex::PluginContext& context)
      : ImageModel(build(context), context, "efficientnet") {}
};

}  // namespace

LINEX_MODEL_PLUGIN(EfficientNet, "efficientnet", "1.0.0",
                   "EfficientNets (V1, V2) of torchvision and timm, from their weights")
