// VGG networks of torchvision (ImageNet) and of chenyaofo's CIFAR repository.
#include <linex/plugin.hpp>

#include "toolkit/net/image_options.hpp"
#include "vgg_network.hpp"

namespace {

linex::BuiltNetwork build(const linex::PluginContext& context) {
  const auto& options = context.options();
  auto weights = linex::load_weights(options.path("weights"), options.text("state"));
  const auto spec = linex::vgg_spec(options.text("arch"), weights);
  return linex::with_preprocess(linex::build_vgg(spec, std::move(weights)), options);
}

class Vgg final : public linex::ImageModel {
 public:
  static constexpr auto kOptions = linex::with_image_options(std::array{
      linex::kWeightsOption,
      linex::option::choice("arch", "auto",
                            "auto|vgg11|vgg11_bn|vgg13|vgg13_bn|vgg16|vgg16_bn|vgg19|vgg19_bn",
                            "architecture; auto infers it from the weights"),
      linex::kStateOption});

  explicit Vgg(const linex::PluginContext& context) : ImageModel(build(context), context, "vgg") {}
};

}  // namespace

LINEX_MODEL_PLUGIN(Vgg, "vgg", "1.0.0",
                   "VGGs of torchvision (ImageNet) and CIFAR, from their weights")
