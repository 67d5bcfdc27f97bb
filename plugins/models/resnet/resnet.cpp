// Residual networks of torchvision (ImageNet, Places365) and of the usual CIFAR repositories.
#include <linex/plugin.hpp>

#include "toolkit/base/text.hpp"
#include "toolkit/net/image_options.hpp"
#include "toolkit/net/resnet_network.hpp"

namespace {

/// "0,1,1": which of stages 2, 3, ... are dilated instead of strided.
std::vector<bool> parse_dilated(const std::string& text) {
  std::vector<bool> dilated;
  if (text.empty()) return dilated;
  for (const std::string& part : linex::split(text, ',')) {
    const std::string word = linex::trim(part);
    const bool yes = word == "1" || word == "true" || word == "True";
    if (!yes && word != "0" && word != "false" && word != "False")
      throw linex::usage_error("model.replace_stride_with_dilation=" + text +
                               ": give 0 or 1 for stages 2, 3, ..., e.g. 0,1,1");
    dilated.push_back(yes);
  }
  return dilated;
}

linex::BuiltNetwork build(const linex::PluginContext& context) {
  const auto& options = context.options();
  auto weights = linex::load_weights(options.path("weights"), options.text("state"));
  auto spec = linex::resnet_spec(options.text("arch"), weights);
  spec.stem_stride = options.integer("stem_stride");
  if (const std::string& pool = options.text("stem_pool"); pool != "auto")
    spec.stem_pool = pool == "max" ? 1 : 0;
  if (const auto dilated = parse_dilated(options.text("replace_stride_with_dilation"));
      !dilated.empty())
    linex::replace_stride_with_dilation(spec, dilated);
  auto built = linex::build_resnet(spec, std::move(weights));
  return linex::with_preprocess(std::move(built), options);
}

class ResNet final : public linex::ImageModel {
 public:
  static constexpr auto kOptions = linex::with_image_options(std::array{
      linex::kWeightsOption,
      linex::option::choice(
          "arch", "auto",
          "auto|resnet18|resnet34|resnet50|resnet101|resnet152|resnext50_32x4d|resnext101_32x8d|"
          "wide_resnet50_2|wide_resnet101_2|cifar_resnet20|cifar_resnet32|cifar_resnet44|"
          "cifar_resnet56|cifar_resnet110",
          "architecture; auto infers it from the weights"),
      linex::kStateOption,
      linex::option::integer("stem_stride", 0, 0, 8,
                             "stride of the first convolution; 0 = 1 for 3x3, 2 for 7x7"),
      linex::option::choice("stem_pool", "auto", "auto|max|none",
                            "max pooling after the stem; auto = after all but a 3x3 stem"),
      linex::option::text("replace_stride_with_dilation", "",
                          "0 or 1 for stages 2, 3, ...: dilated, as torchvision's argument of "
                          "that name; e.g. 0,1,1")});

  explicit ResNet(const linex::PluginContext& context)
      : ImageModel(build(context), context, "resnet") {}
};

}  // namespace

LINEX_MODEL_PLUGIN(ResNet, "resnet", "1.0.0",
                   "ResNets of torchvision (ImageNet, Places365) and CIFAR, from their weights")
