// MobileNets V2 and V3 of torchvision and timm.
#include <linex/plugin.hpp>

#include "mobilenet_network.hpp"
#include "toolkit/net/image_options.hpp"

namespace {

linex::BuiltNetwork build(const linex::PluginContext& context) {
  const auto& options = context.options();
  auto weights = linex::load_weights(options.path("weights"), options.text("state"));
  auto spec = linex::mobilenet_spec(options.text("arch"), weights);
  if (options.real("norm_eps") > 0) spec.eps = options.real("norm_eps");
  if (options.text("padding") != "auto") spec.same = options.text("padding") == "same";
  return linex::with_preprocess(linex::build_mobilenet(spec, std::move(weights)), options);
}

class MobileNet final : public linex::ImageModel {
 public:
  static constexpr auto kOptions = linex::with_image_options(std::array{
      linex::kWeightsOption,
      linex::option::choice("arch", "auto",
                            "auto|mobilenet_v2|mobilenet_v3_large|mobilenet_v3_small|"
                            "tf_mobilenet_v3_large|tf_mobilenet_v3_small",
                            "architecture at any width; auto infers it from the weights, tf_ from "
                            "the file's name"),
      linex::kStateOption,
      linex::option::choice("padding", "auto", "auto|symmetric|same",
                            "of convolutions; auto = same, TensorFlow's, for tf_ networks"),
      linex::option::real("norm_eps", 0, 0, 1,
                          "eps of batch normalisation; 0 = that of the architecture")});

  explicit MobileNet(const linex::PluginContext& context)
      : ImageModel(build(context), context, "mobilenet") {}
};

}  // namespace

LINEX_MODEL_PLUGIN(MobileNet, "mobilenet", "1.0.0",
                   "MobileNets (V2, V3) of torchvision and timm, from their weights")
