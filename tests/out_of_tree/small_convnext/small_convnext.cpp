// ConvNeXt (Liu et al. 2022) from torchvision's weights, of any depth and width.
// Its name is not that of the plugin in the box, which linex would find as well.
#include <linex/plugin.hpp>

#include "toolkit/net/builder.hpp"
#include "toolkit/net/image_model.hpp"
#include "toolkit/net/image_options.hpp"

namespace {

using Node = linex::NetworkBuilder::Node;
constexpr double kEps = 1e-6;

/// Axes in another order: layer normalisation and linear maps work on the last one.
class Permute final : public linex::Op {
 public:
  explicit Permute(std::vector<std::int64_t> order) : order_(std::move(order)) {}
  torch::Tensor run(const std::vector<torch::Tensor>& in, bool) const override {
    return in[0].permute(order_);
  }
  bool aliases() const override { return true; }

 private:
  std::vector<std::int64_t> order_;
};

/// Each channel of (n, C, H, W) times its weight (C, 1, 1).
class LayerScale final : public linex::Op {
 public:
  explicit LayerScale(torch::Tensor weight) : weight_(std::move(weight)) {}
  torch::Tensor run(const std::vector<torch::Tensor>& in, bool) const override {
    return in[0] * weight_;
  }
  void to(const linex::Placement& place) override { weight_ = linex::placed(weight_, place); }

 private:
  torch::Tensor weight_;
};

class ConvNext {
 public:
  explicit ConvNext(linex::StateDict weights)
      : net_(linex::find_network(std::move(weights),
                                 {{"features.0.0.weight", "features.1.0.layer_scale"}})) {}

  linex::BuiltNetwork build() {
    std::int64_t channels = size("features.0.0.weight", 0), blocks = 0, stage = 1;
    const std::int64_t patch = size("features.0.0.weight", 2);
    Node x = net_.conv("features.0.0", net_.input(), 3, channels, patch, {patch}, true);
    x = norm("features.0.1", x, channels);
    net_.alias("features.0", x);
    for (;; ++stage) {
      const std::string name = "features." + std::to_string(stage);
      if (has(name + ".0.layer_scale")) {
        for (std::int64_t i = 0; has(name + "." + std::to_string(i) + ".layer_scale"); ++i) {
          x = block(name + "." + std::to_string(i), x, channels);
          ++blocks;
        }
      } else if (has(name + ".1.weight")) {
        const std::int64_t wider = size(name + ".1.weight", 0);
        x = norm(name + ".0", x, channels);
        x = net_.conv(name + ".1", x, channels, wider, 2, {2}, true);
        channels = wider;
      } else {
        break;
      }
      net_.alias(name, x);
    }
    net_.alias("features", x);
    x = net_.add("avgpool", linex::make_adaptive_avg_pool(1), {x});
    x = norm("classifier.0", x, channels);
    x = net_.add("classifier.1", linex::make_flatten(), {x});
    const std::int64_t classes = size("classifier.2.weight", 0);
    x = net_.linear("classifier.2", x, channels, classes);
    net_.alias("classifier", x);

    linex::BuiltNetwork built;
    built.arch = "convnext of " + std::to_string(blocks) + " blocks";
    built.network = net_.finish(built.arch, x);
    built.fingerprint = net_.fingerprint();
    built.notes = net_.notes();
    built.classes = classes;
    built.preprocess.resize = linex::Preprocess::Resize::short_side;
    built.preprocess.size = 236;  // as torchvision's convnext_tiny
    built.preprocess.crop = built.side = 224;
    built.preprocess.mean = linex::kImageNetMean;
    built.preprocess.std = linex::kImageNetStd;
    return built;
  }

 private:
  bool has(const std::string& name) const { return net_.weights().has(name); }

  /// Size of an axis of a weight that tells the architecture.
  std::int64_t size(const std::string& name, std::int64_t axis) const {
    const torch::Tensor weight = net_.weights().get(name);
    if (!weight.defined() || axis >= weight.dim())
      throw linex::input_error(net_.weights().source + ": not the weights of a ConvNeXt (no " +
                               name + "); choose another model.plugin");
    return weight.size(axis);
  }

  Node channels_last(Node x) {
    return net_.add("", std::make_unique<Permute>(std::vector<std::int64_t>{0, 2, 3, 1}), {x});
  }
  Node channels_first(const std::string& name, Node x) {
    return net_.add(name, std::make_unique<Permute>(std::vector<std::int64_t>{0, 3, 1, 2}), {x});
  }

  /// Over the last axis; no layer, for its units are not where those of an image are.
  Node inner_norm(const std::string& name, Node x, std::int64_t channels) {
    const torch::Tensor weight = net_.parameter(name + ".weight", {channels});
    const torch::Tensor bias = net_.parameter(name + ".bias", {channels});
    return net_.add("", linex::make_layer_norm(weight, bias, kEps), {x});
  }
  Node inner_linear(const std::string& name, Node x, std::int64_t in, std::int64_t out) {
    const torch::Tensor weight = net_.parameter(name + ".weight", {out, in});
    const torch::Tensor bias = net_.parameter(name + ".bias", {out});
    return net_.add("", linex::make_linear(weight, bias), {x});
  }

  Node norm(const std::string& name, Node x, std::int64_t channels) {
    return channels_first(name, inner_norm(name, channels_last(x), channels));
  }

  Node block(const std::string& name, Node x, std::int64_t channels) {
    const std::int64_t hidden = size(name + ".block.3.weight", 0);
    Node y = net_.conv(name + ".block.0", x, channels, channels, 7, {1, 3, channels}, true);
    y = inner_norm(name + ".block.2", channels_last(y), channels);
    y = inner_linear(name + ".block.3", y, channels, hidden);
    y = net_.activation("", y, linex::Activation::gelu);
    y = inner_linear(name + ".block.5", y, hidden, channels);
    y = channels_first(name + ".block.6", y);
    net_.alias(name + ".block", y);
    const torch::Tensor scale = net_.parameter(name + ".layer_scale", {channels, 1, 1});
    y = net_.add("", std::make_unique<LayerScale>(scale), {y});
    return net_.add(name, linex::make_add(), {y, x});
  }

  linex::NetworkBuilder net_;
};

class ConvNextModel final : public linex::ImageModel {
 public:
  static constexpr auto kOptions = linex::with_image_options(std::array{
      linex::option::required(linex::option::path("weights", "", "torchvision's checkpoint")),
      linex::kStateOption});

  explicit ConvNextModel(const linex::PluginContext& context)
      : ImageModel(build(context), context, "small_convnext") {}

 private:
  static linex::BuiltNetwork build(const linex::PluginContext& context) {
    const auto& options = context.options();
    ConvNext network(linex::load_weights(options.path("weights"), options.text("state")));
    return linex::with_preprocess(network.build(), options);
  }
};

}  // namespace

LINEX_MODEL_PLUGIN(ConvNextModel, "small_convnext", "0.1.0", "ConvNeXt, from torchvision's weights")
