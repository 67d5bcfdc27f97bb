#include "densenet_network.hpp"

#include <algorithm>

#include "linex/error.hpp"
#include "toolkit/net/conv_blocks.hpp"
#include "toolkit/net/families.hpp"
#include "toolkit/net/map_ops.hpp"
#include "toolkit/net/token_ops.hpp"

namespace linex {
namespace {

using Node = Network::Node;

struct Known {
  const char* arch;
  std::vector<std::int64_t> depths;
  std::int64_t growth;
  bool deep;
};

const std::vector<Known>& known_networks() {
  static const std::vector<Known> known{
      {"densenet121", {6, 12, 24, 16}, 32, false}, {"densenet161", {6, 12, 36, 24}, 48, false},
      {"densenet169", {6, 12, 32, 32}, 32, false}, {"densenet201", {6, 12, 48, 32}, 32, false},
      {"densenet264d", {6, 12, 64, 48}, 48, true}, {"densenetblur121d", {6, 12, 24, 16}, 32, true}};
  return known;
}

/// Of checkpoints from before PyTorch 0.4, torchvision's published ones among them: `norm.1` for
/// `norm1`, and so on.
template <typename Value>
void rename(std::map<std::string, Value>& entries) {
  std::map<std::string, Value> renamed;
  for (auto& [name, value] : entries) {
    std::string now = name;
    for (const char* old : {".norm.1.", ".norm.2.", ".conv.1.", ".conv.2."})
      if (const std::size_t at = now.find(old);
          at != std::string::npos && now.find(".denselayer") < at)
        now.erase(at + std::string(".norm").size(), 1);
    renamed.emplace(std::move(now), std::move(value));
  }
  entries = std::move(renamed);
}

StateDict find_densenet(StateDict given) {
  StateDict weights = find_network(std::move(given), family_anchors("densenet"));
  if (!weights.has("features.denseblock1.denselayer1.norm.1.weight")) return weights;
  rename(weights.tensors);
  rename(weights.unread);
  return weights;
}

std::string block_name(std::size_t block) {
  return "features.denseblock" + std::to_string(block + 1);
}

std::string layer_name(std::size_t block, std::int64_t layer) {
  return block_name(block) + ".denselayer" + std::to_string(layer + 1);
}

std::vector<std::int64_t> read_depths(const StateDict& weights) {
  constexpr std::size_t kMostBlocks = 16;
  constexpr std::int64_t kMostLayers = 1000;
  std::vector<std::int64_t> depths;
  for (std::size_t block = 0; block < kMostBlocks; ++block) {
    std::int64_t layer = 0;
    while (layer < kMostLayers && weights.has(layer_name(block, layer) + ".conv2.weight")) ++layer;
    if (layer == 0) break;
    depths.push_back(layer);
  }
  return depths;
}

class DenseNetBuilder {
 public:
  DenseNetBuilder(const DenseNetSpec& spec, StateDict weights)
      : spec_(spec), net_(std::move(weights)) {}

  BuiltNetwork build() {
    Node x = stem();
    for (std::size_t block = 0; block < spec_.depths.size(); ++block) {
      for (std::int64_t layer = 0; layer < spec_.depths[block]; ++layer)
        x = dense_layer(layer_name(block, layer), x);
      net_.alias(block_name(block), x);
      if (block + 1 < spec_.depths.size())
        x = transition("features.transition" + std::to_string(block + 1), x);
    }
    x = spec_.timm ? timm_head(x) : torchvision_head(x);
    BuiltNetwork built =
        finish_network(net_, spec_.arch, x, "classifier", spec_.classes, {"features."});
    if (!spec_.timm) {
      imagenet_preprocess(built, 256);
      if (!spec_.deep)
        built.notes.push_back(
            "layers have torchvision's names; timm's weights have the same (model.names=timm)");
      return built;
    }
    timm_preprocess(built, net_.weights().source, {});
    return built;
  }

 private:
  Node conv(const std::string& name, Node x, std::int64_t stride = 1) {
    ConvNorm spec = read_conv(net_.weights(), name, channels_);
    spec.options.stride = stride;
    channels_ = spec.out;
    return bare_conv(net_, name, x, spec);
  }

  /// Normalisation and ReLU: `path`.norm1 and `path`.relu1 where `at` is "1".
  Node norm_relu(const std::string& path, const std::string& at, Node x) {
    const std::string norm = path + ".norm" + at;
    if (spec_.timm) {
      x = net_.batch_norm(norm + ".drop", norm, x, channels_, 1e-5);
      x = net_.activation(norm + ".act", x, Activation::relu);
      net_.alias(norm, x);
      return x;
    }
    x = net_.batch_norm(norm, x, channels_);
    return net_.activation(path + ".relu" + at, x, Activation::relu);
  }

  Node stem() {
    Node x = conv("features.conv0", net_.input(), 2);
    x = norm_relu("features", "0", x);
    if (!spec_.deep) return net_.add("features.pool0", make_max_pool(3, 2, 1), {x});
    for (const char* at : {"1", "2"}) {
      x = conv(std::string("features.conv") + at, x);
      x = norm_relu("features", at, x);
    }
    x = net_.add("features.pool0.0", make_max_pool(3, 1, 1), {x});
    x = net_.add("features.pool0.1", make_blur_pool(), {x});
    net_.alias("features.pool0", x);
    return x;
  }

  /// The map so far and what the layer adds to it.
  Node dense_layer(const std::string& name, Node x) {
    const std::int64_t before = channels_;
    Node y = norm_relu(name, "1", x);
    y = conv(name + ".conv1", y);
    y = norm_relu(name, "2", y);
    y = conv(name + ".conv2", y);
    net_.alias(name, y);
    channels_ += before;
    return net_.add("", make_concat(), {x, y});
  }

  Node transition(const std::string& name, Node x) {
    x = norm_relu(name, "", x);
    x = conv(name + ".conv", x);
    x = net_.add(name + ".pool", make_avg_pool(2, 2, 0), {x});
    net_.alias(name, x);
    return x;
  }

  Node torchvision_head(Node x) {
    x = net_.batch_norm("features.norm5", x, channels_);
    net_.alias("features", x);
    if (spec_.classes == 0) return x;
    x = net_.activation("", x, Activation::relu);
    x = net_.add("", make_adaptive_avg_pool(1), {x});
    x = net_.add("", make_flatten(), {x});
    return net_.linear("classifier", x, channels_, spec_.classes);
  }

  Node timm_head(Node x) {
    x = norm_relu("features", "5", x);
    net_.alias("features", x);
    x = net_.add("", make_adaptive_avg_pool(1), {x});
    x = net_.add("global_pool", make_flatten(), {x});
    net_.alias("head_drop", x);
    if (spec_.classes == 0) return x;
    return net_.linear("classifier", x, channels_, spec_.classes);
  }

  const DenseNetSpec& spec_;
  NetworkBuilder net_;
  std::int64_t channels_ = 3;
};

}  // namespace

DenseNetSpec densenet_spec(const std::string& arch, const std::string& names,
                           const StateDict& given) {
  const StateDict weights = find_densenet(given);
  DenseNetSpec spec;
  spec.depths = read_depths(weights);
  if (spec.depths.empty())
    throw foreign_weights(weights, "a DenseNet", "features.denseblock1.denselayer1.conv2.weight");
  spec.deep = weights.has("features.conv2.weight");
  spec.timm = called_as_timm(names, weights) || (spec.deep && names == "auto");
  spec.classes = head_classes(weights, "classifier");
  spec.arch = "densenet";
  const std::int64_t growth = weights.size(layer_name(0, 0) + ".conv2.weight", 0);
  for (const Known& known : known_networks())
    if (known.depths == spec.depths && known.growth == growth && known.deep == spec.deep)
      spec.arch = known.arch;
  if (arch != "auto" && arch != spec.arch)
    throw input_error(weights.source + ": the weights do not fit " + arch + ": they are those of " +
                      (spec.arch == "densenet" ? "another size" : spec.arch) +
                      "; check model.arch (auto infers it)");
  return spec;
}

BuiltNetwork build_densenet(const DenseNetSpec& spec, StateDict weights) {
  return DenseNetBuilder(spec, find_densenet(std::move(weights))).build();
}

}  // namespace linex
