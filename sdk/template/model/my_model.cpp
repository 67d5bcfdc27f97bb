// A small convolutional network. Rename, then replace build() and the weights.
#include <linex/plugin.hpp>

#include "toolkit/net/builder.hpp"
#include "toolkit/net/image_model.hpp"
#include "toolkit/net/image_options.hpp"

namespace {

linex::BuiltNetwork build(const linex::PluginContext& context) {
  linex::NetworkBuilder net(linex::load_weights(context.options().path("weights")));
  auto x = net.conv("conv1", net.input(), 3, 4, 3, {/*stride=*/2, /*padding=*/1}, /*bias=*/true);
  x = net.activation("relu1", x, linex::Activation::relu);
  x = net.conv("conv2", x, 4, 8, 3, {2, 1}, true);
  x = net.activation("relu2", x, linex::Activation::relu);
  x = net.add("pool", linex::make_adaptive_avg_pool(1), {x});
  x = net.add("", linex::make_flatten(), {x});  // without a name it is no layer
  x = net.linear("fc", x, 8, 4);
  linex::BuiltNetwork built;
  built.network = net.finish("my_model", x);
  built.arch = "my_model";
  built.fingerprint = net.fingerprint();
  built.classes = 4;
  built.preprocess.resize = linex::Preprocess::Resize::squash;
  built.preprocess.size = built.side = 32;
  built.preprocess.mean = built.preprocess.std = {0.5f, 0.5f, 0.5f};
  return linex::with_preprocess(std::move(built), context.options());
}

struct MyModel final : linex::ImageModel {
  static constexpr auto kOptions = linex::with_image_options(
      std::array{linex::option::required(linex::option::path("weights", "", "its state dict"))});
  explicit MyModel(const linex::PluginContext& c) : ImageModel(build(c), c, "my_model") {}
};

}  // namespace

LINEX_MODEL_PLUGIN(MyModel, "my_model", "0.1.0", "A small convolutional network")
