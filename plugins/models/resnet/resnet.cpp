// Residual networks of torchvision (ImageNet, Places365) and of the usual CIFAR repositories.
#include <linex/plugin.hpp>

#include "toolkit/net/image_options.hpp"
#include "toolkit/net/resnet_network.hpp"

namespace {

linex::BuiltNetwork build(const linex::PluginContext& context) {
  const auto& options = context.options();
  auto weights = linex::load_weights(options.path("weights"));
  const auto spec = linex::resnet_spec(options.text("arch"), weights);
  auto built = linex::build_resnet(spec, std::move(weights));
  built.preprocess = linex::override_preprocess(built.preprocess, options);
  context.log().info("resnet: " + built.arch + ", " + std::to_string(spec.classes) + " classes");
  return built;
}

class ResNet final : public linex::ImageModel {
 public:
  static constexpr auto kOptions = linex::with_image_options(std::array{
      linex::option::required(
          linex::option::path("weights", "", "checkpoint: PyTorch, TorchScript or safetensors")),
      linex::option::choice(
          "arch", "auto",
          "auto|resnet18|resnet34|resnet50|resnet101|resnet152|resnext50_32x4d|resnext101_32x8d|"
          "wide_resnet50_2|wide_resnet101_2|cifar_resnet20|cifar_resnet32|cifar_resnet44|"
          "cifar_resnet56|cifar_resnet110",
          "architecture; auto infers it from the weights")});

  explicit ResNet(const linex::PluginContext& context)
      : ImageModel(build(context), context.run()) {}
};

}  // namespace

LINEX_MODEL_PLUGIN(ResNet, "resnet", "1.0.0",
                   "ResNets of torchvision (ImageNet, Places365) and CIFAR, from their weights")
