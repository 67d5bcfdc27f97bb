#include "convnext_network.hpp"

#include <regex>

#include "linex/error.hpp"
#include "toolkit/net/builder.hpp"
#include "toolkit/net/families.hpp"
#include "toolkit/net/map_ops.hpp"
#include "toolkit/net/transformer.hpp"

namespace linex {
namespace {

using Node = Network::Node;

struct Known {
  const char* arch;
  std::vector<std::int64_t> depths, widths;
};

/// V2 has the same sizes; its names have "v2".
const std::vector<Known>& known_sizes() {
  static const std::vector<Known> sizes{
      {"convnext_atto", {2, 2, 6, 2}, {40, 80, 160, 320}},
      {"convnext_femto", {2, 2, 6, 2}, {48, 96, 192, 384}},
      {"convnext_pico", {2, 2, 6, 2}, {64, 128, 256, 512}},
      {"convnext_nano", {2, 2, 8, 2}, {80, 160, 320, 640}},
      {"convnext_tiny", {3, 3, 9, 3}, {96, 192, 384, 768}},
      {"convnext_small", {3, 3, 27, 3}, {96, 192, 384, 768}},
      {"convnext_base", {3, 3, 27, 3}, {128, 256, 512, 1024}},
      {"convnext_large", {3, 3, 27, 3}, {192, 384, 768, 1536}},
      {"convnext_xlarge", {3, 3, 27, 3}, {256, 512, 1024, 2048}},
      {"convnext_huge", {3, 3, 27, 3}, {352, 704, 1408, 2816}},
      {"convnext_xxlarge", {3, 4, 30, 3}, {384, 768, 1536, 3072}}};
  return sizes;
}

/// The authors' names as timm's.
void rename_authors(StateDict& weights) {
  if (!weights.has("downsample_layers.0.0.weight")) return;
  static const std::vector<std::pair<std::regex, std::string>> kRules{
      {std::regex("^downsample_layers\\.0\\."), "stem."},
      {std::regex("^downsample_layers\\."), "stages."},
      {std::regex("^stages\\.(\\d+)\\.(\\d+)\\.(weight|bias)$"), "stages.$1.downsample.$2.$3"},
      {std::regex("^stages\\.(\\d+)\\.(\\d+)\\."), "stages.$1.blocks.$2."},
      {std::regex("dwconv"), "conv_dw"},
      {std::regex("pwconv"), "mlp.fc"},
      {std::regex("grn\\.gamma"), "mlp.grn.weight"},
      {std::regex("grn\\.beta"), "mlp.grn.bias"},
      {std::regex("^head\\."), "head.fc."},
      {std::regex("^norm\\."), "head.norm."}};
  std::map<std::string, torch::Tensor> renamed;
  for (const auto& [name, tensor] : weights.tensors) {
    std::string now = name;
    for (const auto& [rule, with] : kRules) now = std::regex_replace(now, rule, with);
    renamed[now] = now.find(".grn.") == std::string::npos ? tensor : tensor.flatten();
  }
  weights.tensors = std::move(renamed);
  weights.notes.push_back("names are those of the authors' code; layers are called as timm does");
}

StateDict network_of(StateDict weights) {
  weights = find_network(std::move(weights), family_anchors("convnext"));
  rename_authors(weights);
  return weights;
}

std::string stage_name(const ConvNextSpec& spec, std::size_t stage) {
  return spec.timm ? "stages." + std::to_string(stage) + ".blocks"
                   : "features." + std::to_string(2 * stage + 1);
}

std::string head_name(const ConvNextSpec& spec) { return spec.timm ? "head.fc" : "classifier.2"; }

/// What varies within one architecture.
void read_variant(const StateDict& weights, ConvNextSpec& spec) {
  spec.timm = weights.has("stages.0.blocks.0.conv_dw.weight");
  const std::string stem = spec.timm ? "stem." : "features.0.", first = stage_name(spec, 0) + ".0.";
  spec.patch = weights.size(stem + "0.weight", 2);
  spec.kernel = weights.size(first + (spec.timm ? "conv_dw.weight" : "block.0.weight"), 2);
  if (spec.timm) {
    if (weights.has("stem.2.weight")) {
      spec.patch = 0;
      spec.stem_width = weights.size("stem.0.weight", 0);
    }
    spec.response_norm = weights.has(first + "mlp.grn.weight");
    spec.layer_scale = weights.has(first + "gamma");
    spec.conv_bias = weights.has("stem.0.bias");
    spec.norm_first = weights.has("norm_pre.weight");
    spec.hidden = weights.size("head.pre_logits.fc.weight", 0);
  }
  const std::int64_t classes = weights.size(head_name(spec) + ".weight", 0);
  spec.has_head = classes > 0 && weights.size(head_name(spec) + ".weight", 1) > 0;
  if (spec.has_head) spec.classes = classes;
}

class ConvNextBuilder {
 public:
  ConvNextBuilder(const ConvNextSpec& spec, StateDict weights)
      : spec_(spec), net_(std::move(weights)) {}

  BuiltNetwork build() {
    Node x = stem();
    for (std::size_t stage = 0; stage < spec_.depths.size(); ++stage) {
      const std::int64_t width = spec_.widths[stage];
      x = downsample(stage, x);
      const std::string name = stage_name(spec_, stage);
      for (std::int64_t block = 0; block < spec_.depths[stage]; ++block)
        x = spec_.timm ? timm_block(name + "." + std::to_string(block), x, width)
                       : torchvision_block(name + "." + std::to_string(block), x, width);
      net_.alias(name, x);
      if (spec_.timm) net_.alias("stages." + std::to_string(stage), x);
    }
    net_.alias(spec_.timm ? "stages" : "features", x);
    BuiltNetwork built;
    x = spec_.timm ? timm_head(x) : torchvision_head(x);
    if (!spec_.has_head) {
      const auto unused = net_.skip_if([&](const std::string& name) {
        const std::string module = name.substr(0, name.find('.'));
        return module != "features" && module != "stem" && module != "stages" &&
               module != "norm_pre" && name.compare(0, norm_.size(), norm_) != 0;
      });
      built.has_logits = false;
      built.warnings.push_back(no_logits_note(net_.weights(), head_name(spec_), unused));
    }
    built.network = net_.finish(spec_.arch, x);
    built.arch = spec_.arch;
    built.fingerprint = net_.fingerprint();
    if (spec_.eps != 1e-6) built.fingerprint += " eps=" + std::to_string(spec_.eps);
    built.notes = net_.notes();
    built.classes = spec_.classes;
    preprocess(built);
    return built;
  }

 private:
  Node stem() {
    const std::int64_t width = spec_.widths[0];
    if (!spec_.timm) {
      Node x =
          net_.conv("features.0.0", net_.input(), 3, width, spec_.patch, {spec_.patch, 0, 1}, true);
      x = net_.channel_norm("features.0.1", x, width, spec_.eps);
      net_.alias("features.0", x);
      return x;
    }
    Node x = net_.input();
    if (spec_.patch > 0) {
      x = net_.conv("stem.0", x, 3, width, spec_.patch, {spec_.patch, 0, 1}, spec_.conv_bias);
    } else {
      x = net_.conv("stem.0", x, 3, spec_.stem_width, 3, {2, 1, 1}, spec_.conv_bias);
      x = net_.conv("stem.1", x, spec_.stem_width, width, 3, {2, 1, 1}, spec_.conv_bias);
    }
    x = net_.channel_norm(spec_.patch > 0 ? "stem.1" : "stem.2", x, width, spec_.eps);
    net_.alias("stem", x);
    return x;
  }

  Node downsample(std::size_t stage, Node x) {
    const std::string name = spec_.timm ? "stages." + std::to_string(stage) + ".downsample"
                                        : "features." + std::to_string(2 * stage);
    if (stage == 0) {
      if (spec_.timm) net_.alias(name, x);
      return x;
    }
    const std::int64_t in = spec_.widths[stage - 1], out = spec_.widths[stage];
    x = net_.channel_norm(name + ".0", x, in, spec_.eps);
    x = net_.conv(name + ".1", x, in, out, 2, {2, 0, 1}, spec_.conv_bias);
    net_.alias(name, x);
    return x;
  }

  Node depthwise(const std::string& name, Node x, std::int64_t width) {
    return net_.conv(name, x, width, width, spec_.kernel, {1, spec_.kernel / 2, width},
                     spec_.conv_bias);
  }

  Node torchvision_block(const std::string& name, Node x, std::int64_t width) {
    const std::string block = name + ".block";
    Node y = depthwise(block + ".0", x, width);
    net_.alias(block + ".1", y);
    y = net_.channel_norm(block + ".2", y, width, spec_.eps);
    y = net_.channel_linear(block + ".3", y, width, 4 * width);
    y = net_.activation(block + ".4", y, Activation::gelu);
    y = net_.channel_linear(block + ".5", y, 4 * width, width);
    net_.aliases({block + ".6", block}, y);
    const auto scale = net_.parameter(name + ".layer_scale", {width, 1, 1});
    y = net_.add(name + ".stochastic_depth", make_channel_scale(scale.flatten()), {y});
    return net_.add(name, make_add(), {y, x});
  }

  Node timm_block(const std::string& name, Node x, std::int64_t width) {
    const std::string mlp = name + ".mlp.";
    net_.alias(name + ".shortcut", x);
    Node y = depthwise(name + ".conv_dw", x, width);
    y = net_.channel_norm(name + ".norm", y, width, spec_.eps);
    y = net_.channel_linear(mlp + "fc1", y, width, 4 * width);
    y = net_.activation(mlp + "act", y, Activation::gelu);
    net_.alias(mlp + "drop1", y);
    if (spec_.response_norm) {
      const auto weight = net_.parameter(mlp + "grn.weight", {4 * width});
      y = net_.add(mlp + "grn",
                   make_response_norm(weight, net_.parameter(mlp + "grn.bias", {4 * width}), 1e-6),
                   {y});
    } else {
      net_.alias(mlp + "norm", y);
    }
    y = net_.channel_linear(mlp + "fc2", y, 4 * width, width);
    net_.aliases({mlp + "drop2", name + ".mlp"}, y);
    if (spec_.layer_scale)
      y = net_.add("", make_channel_scale(net_.parameter(name + ".gamma", {width})), {y});
    net_.alias(name + ".drop_path", y);
    return net_.add(name, make_add(), {y, x});
  }

  Node torchvision_head(Node x) {
    const std::int64_t width = spec_.widths.back();
    x = net_.add("avgpool", make_adaptive_avg_pool(1), {x});
    x = head_norm("classifier.0", x);
    if (!spec_.has_head) return x;
    x = net_.add("classifier.1", make_flatten(), {x});
    x = net_.linear("classifier.2", x, width, spec_.classes);
    net_.alias("classifier", x);
    return x;
  }

  Node timm_head(Node x) {
    std::int64_t width = spec_.widths.back();
    if (spec_.norm_first)
      x = net_.channel_norm("norm_pre", x, width, spec_.eps);
    else
      net_.alias("norm_pre", x);
    x = net_.add("head.global_pool", make_adaptive_avg_pool(1), {x});
    if (!spec_.norm_first) x = head_norm("head.norm", x);
    if (!spec_.has_head) return x;
    x = net_.add(spec_.norm_first ? "" : "head.flatten", make_flatten(), {x});
    if (spec_.hidden > 0) {
      x = net_.linear("head.pre_logits.fc", x, width, spec_.hidden);
      x = net_.activation("head.pre_logits.act", x, Activation::gelu);
      width = spec_.hidden;
    }
    if (!spec_.norm_first) net_.alias("head.pre_logits", x);
    net_.alias("head.drop", x);
    x = net_.linear("head.fc", x, width, spec_.classes);
    if (spec_.norm_first) net_.alias("head.flatten", x);
    net_.alias("head", x);
    return x;
  }

  /// Weights without a head may have its normalisation.
  Node head_norm(const std::string& name, Node x) {
    if (!spec_.has_head && !net_.weights().has(name + ".weight")) return x;
    norm_ = name + ".";
    return net_.channel_norm(name, x, spec_.widths.back(), spec_.eps);
  }

  void preprocess(BuiltNetwork& built) const {
    if (spec_.timm) {
      timm_preprocess(built, net_.weights().source, {});
      return;
    }
    imagenet_preprocess(built, spec_.arch == "convnext_tiny"    ? 236
                               : spec_.arch == "convnext_small" ? 230
                                                                : 232);
  }

  const ConvNextSpec& spec_;
  NetworkBuilder net_;
  std::string norm_ = "none";  ///< prefix of a norm that is read although there is no head
};

}  // namespace

ConvNextSpec infer_convnext(const StateDict& given) {
  const StateDict weights = network_of(given);
  ConvNextSpec spec;
  read_variant(weights, spec);
  const std::string convolution = spec.timm ? "conv_dw.weight" : "block.0.weight";
  for (std::size_t stage = 0; stage < 8; ++stage) {
    const std::string name = stage_name(spec, stage) + ".";
    const std::int64_t width = weights.size(name + "0." + convolution, 0);
    if (width == 0) break;
    spec.depths.push_back(count_blocks(weights, name));
    spec.widths.push_back(width);
  }
  if (spec.depths.empty())
    throw foreign_weights(weights, "a ConvNeXt",
                          "features.1.0.block.0.weight or stages.0.blocks.0.conv_dw.weight");
  for (const Known& known : known_sizes())
    if (known.depths == spec.depths && known.widths == spec.widths) spec.arch = known.arch;
  if (spec.arch.empty()) {
    spec.arch = "convnext";
    for (const std::int64_t depth : spec.depths) spec.arch += "-" + std::to_string(depth);
    spec.arch += "-w" + std::to_string(spec.widths[0]);
  }
  if (spec.arch == "convnext_xxlarge") spec.eps = 1e-5;
  if (spec.response_norm) spec.arch.insert(std::string("convnext").size(), "v2");
  return spec;
}

ConvNextSpec convnext_spec(const std::string& arch, const StateDict& given) {
  if (arch == "auto") return infer_convnext(given);
  for (const Known& known : known_sizes())
    for (const bool v2 : {false, true}) {
      std::string name = known.arch;
      if (v2) name.insert(std::string("convnext").size(), "v2");
      if (name != arch) continue;
      ConvNextSpec spec;
      read_variant(network_of(given), spec);
      spec.arch = arch;
      spec.depths = known.depths;
      spec.widths = known.widths;
      spec.response_norm = v2;
      if (arch == "convnext_xxlarge") spec.eps = 1e-5;
      return spec;
    }
  throw usage_error("model.arch=" + arch + ": no ConvNeXt of that name");
}

BuiltNetwork build_convnext(const ConvNextSpec& spec, StateDict weights) {
  return ConvNextBuilder(spec, network_of(std::move(weights))).build();
}

}  // namespace linex
