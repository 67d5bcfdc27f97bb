// DenseNets of torchvision and timm.
#include <linex/plugin.hpp>

#include "densenet_network.hpp"
#include "toolkit/net/image_options.hpp"

namespace {

linex::BuiltNetwork build(const linex::PluginContext& context) {
  const auto& options = context.options();
  auto weights = linex::load_weights(options.path("weights"), options.text("state"));
  const auto spec = linex::densenet_spec(options.text("arch"), options.text("names"), weights);
  return linex::with_preprocess(linex::build_densenet(spec, std::move(weights)), options);
}

class DenseNet final : public linex::ImageModel {
 public:
  static constexpr auto kOptions = linex::with_image_options(std::array{
      linex::kWeightsOption,
      linex::option::choice("arch", "auto",
                            "auto|densenet121|densenet161|densenet169|densenet201|densenet264d|"
                            "densenetblur121d",
                            "architecture; auto infers it from the weights"),
      linex::kStateOption,
      linex::option::choice("names", "auto", "auto|torchvision|timm",
                            "whose names the layers have; auto = timm's where its config.json lies "
                            "beside the weights, else torchvision's")});

  explicit DenseNet(const linex::PluginContext& context)
      : ImageModel(build(context), context, "densenet") {}
};

}  // namespace

LINEX_MODEL_PLUGIN(DenseNet, "densenet", "1.0.0",
                   "DenseNets of torchvision and timm, from their weights")
