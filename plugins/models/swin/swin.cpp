// Swin transformers, V1 and V2, of torchvision, timm and the authors.
#include <linex/plugin.hpp>

#include <algorithm>

#include "swin_network.hpp"
#include "toolkit/net/image_options.hpp"

namespace {

linex::BuiltNetwork build(const linex::PluginContext& context) {
  const auto& options = context.options();
  auto weights = linex::load_weights(options.path("weights"), options.text("state"));
  auto spec = linex::swin_spec(options.text("arch"), weights);
  const auto& windows = spec.windows;
  const bool told = std::find(windows.begin(), windows.end(), 0) == windows.end();
  const auto window = options.integer("window");
  if (told && window > 0 && window != windows.front())
    throw linex::usage_error("model.window=" + std::to_string(window) + ": the weights are for " +
                             "windows of " + std::to_string(windows.front()) + "; leave it out");
  linex::set_windows(spec, window, options.integer("image_size"));
  spec.pretrained_window = options.integer("pretrained_window");
  auto built = linex::build_swin(spec, std::move(weights));
  if (!told && window == 0)
    built.warnings.push_back("the side of the windows is not in the weights; " +
                             std::to_string(spec.windows.front()) + " for images of " +
                             std::to_string(spec.image) + " pixels is taken, give model.window " +
                             "and model.image_size where that is wrong");
  return linex::with_preprocess(std::move(built), options);
}

class Swin final : public linex::ImageModel {
 public:
  static constexpr auto kOptions = linex::with_image_options(std::array{
      linex::kWeightsOption,
      linex::option::choice("arch", "auto",
                            "auto|swin_t|swin_s|swin_b|swin_l|swin_v2_t|swin_v2_s|swin_v2_b|"
                            "swin_v2_l",
                            "architecture; auto infers it from the weights"),
      linex::kStateOption,
      linex::option::integer("window", 0, 0, 256,
                             "side of the attention's windows, where the weights do not tell (V2 "
                             "of timm); 0 = 8"),
      linex::option::integer("pretrained_window", 0, 0, 256,
                             "V2: windows of the pretraining, which distances are relative to; 0 "
                             "= the same"),
      linex::option::integer("image_size", 0, 0, 4096,
                             "side of the images the network was made for; 0 = that of the "
                             "published weights")});

  explicit Swin(const linex::PluginContext& context)
      : ImageModel(build(context), context, "swin") {}
};

}  // namespace

LINEX_MODEL_PLUGIN(Swin, "swin", "1.0.0",
                   "Swin transformers (V1, V2) of torchvision and timm, from their weights")
