#include "regnet_network.hpp"

#include "linex/error.hpp"
#include "toolkit/net/conv_blocks.hpp"
#include "toolkit/net/families.hpp"

namespace linex {
namespace {

using Node = Network::Node;
using Depths = std::vector<std::int64_t>;

/// A published size: what tells it from the others.
struct Known {
  const char *torchvision, *timm;  ///< null: the library has no such network
  bool squeezes;
  Depths depths;
  std::int64_t last;  ///< channels of the last stage
};

const std::vector<Known>& known_networks() {
  static const std::vector<Known> known{
      {nullptr, "regnetx_002", false, {1, 1, 4, 7}, 368},
      {nullptr, "regnetx_004", false, {1, 2, 7, 12}, 384},
      {"regnet_x_400mf", "regnetx_004_tv", false, {1, 2, 7, 12}, 400},
      {nullptr, "regnetx_006", false, {1, 3, 5, 7}, 528},
      {"regnet_x_800mf", "regnetx_008", false, {1, 3, 7, 5}, 672},
      {"regnet_x_1_6gf", "regnetx_016", false, {2, 4, 10, 2}, 912},
      {"regnet_x_3_2gf", "regnetx_032", false, {2, 6, 15, 2}, 1008},
      {nullptr, "regnetx_040", false, {2, 5, 14, 2}, 1360},
      {nullptr, "regnetx_064", false, {2, 4, 10, 1}, 1624},
      {"regnet_x_8gf", "regnetx_080", false, {2, 5, 15, 1}, 1920},
      {nullptr, "regnetx_120", false, {2, 5, 11, 1}, 2240},
      {"regnet_x_16gf", "regnetx_160", false, {2, 6, 13, 1}, 2048},
      {"regnet_x_32gf", "regnetx_320", false, {2, 7, 13, 1}, 2520},
      {nullptr, "regnety_002", true, {1, 1, 4, 7}, 368},
      {"regnet_y_400mf", "regnety_004", true, {1, 3, 6, 6}, 440},
      {nullptr, "regnety_006", true, {1, 3, 7, 4}, 608},
      {nullptr, "regnety_008", true, {1, 3, 8, 2}, 768},
      {"regnet_y_800mf", "regnety_008_tv", true, {1, 3, 8, 2}, 784},
      {"regnet_y_1_6gf", "regnety_016", true, {2, 6, 17, 2}, 888},
      {"regnet_y_3_2gf", "regnety_032", true, {2, 5, 13, 1}, 1512},
      {nullptr, "regnety_040", true, {2, 6, 12, 2}, 1088},
      {nullptr, "regnety_064", true, {2, 7, 14, 2}, 1296},
      {"regnet_y_8gf", "regnety_080", true, {2, 4, 10, 1}, 2016},
      {nullptr, "regnety_120", true, {2, 5, 11, 1}, 2240},
      {"regnet_y_16gf", "regnety_160", true, {2, 4, 11, 1}, 3024},
      {"regnet_y_32gf", "regnety_320", true, {2, 5, 12, 1}, 3712},
      {nullptr, "regnety_640", true, {2, 5, 12, 1}, 4920},
      {"regnet_y_128gf", "regnety_1280", true, {2, 7, 17, 1}, 7392},
      {nullptr, "regnety_2560", true, {2, 7, 17, 1}, 10444},
      {nullptr, "regnetz_005", true, {1, 4, 9, 7}, 256},
      {nullptr, "regnetz_040", true, {2, 6, 14, 6}, 528}};
  return known;
}

std::string stage_name(bool timm, std::size_t stage) {
  return timm ? "s" + std::to_string(stage + 1) : "trunk_output.block" + std::to_string(stage + 1);
}

std::string block_name(bool timm, std::size_t stage, std::int64_t block) {
  return stage_name(timm, stage) +
         (timm ? ".b" + std::to_string(block + 1)
               : ".block" + std::to_string(stage + 1) + "-" + std::to_string(block));
}

std::string first_conv(bool timm, const std::string& block) {
  return block + (timm ? ".conv1.conv" : ".f.a.0");
}

std::string head_name(bool timm) { return timm ? "head.fc" : "fc"; }

Depths read_depths(const StateDict& weights, bool timm) {
  constexpr std::size_t kMostStages = 16;
  constexpr std::int64_t kMostBlocks = 1000;
  Depths depths;
  for (std::size_t stage = 0; stage < kMostStages; ++stage) {
    std::int64_t block = 0;
    while (block < kMostBlocks &&
           weights.has(first_conv(timm, block_name(timm, stage, block)) + ".weight"))
      ++block;
    if (block == 0) break;
    depths.push_back(block);
  }
  return depths;
}

/// The published name, or what is known of one.
std::string infer_arch(const StateDict& weights, const RegNetSpec& spec, bool squeezes) {
  const std::size_t stages = spec.depths.size();
  const std::string last = block_name(spec.timm, stages - 1, spec.depths.back() - 1);
  const std::int64_t width =
      weights.size(last + (spec.timm ? ".conv3.conv.weight" : ".f.c.0.weight"), 0);
  for (const Known& known : known_networks()) {
    const char* name = spec.timm ? known.timm : known.torchvision;
    if (!name || known.depths != spec.depths || known.last != width || known.squeezes != squeezes)
      continue;
    return name;
  }
  return spec.linear ? "regnetz" : squeezes ? "regnety" : "regnetx";
}

class RegNetBuilder {
 public:
  RegNetBuilder(const RegNetSpec& spec, StateDict weights)
      : spec_(spec), net_(std::move(weights)) {}

  BuiltNetwork build() {
    Node x = conv("stem", net_.input(), 2, spec_.activation);
    for (std::size_t stage = 0; stage < spec_.depths.size(); ++stage) {
      for (std::int64_t index = 0; index < spec_.depths[stage]; ++index)
        x = block(block_name(spec_.timm, stage, index), x, index == 0 ? 2 : 1);
      net_.alias(stage_name(spec_.timm, stage), x);
    }
    x = spec_.timm ? timm_head(x) : torchvision_head(x);
    BuiltNetwork built = finish_network(
        net_, spec_.arch, x, head_name(spec_.timm), spec_.classes,
        spec_.timm ? std::vector<std::string>{"stem.", "s1.", "s2.", "s3.", "s4.", "final_conv."}
                   : std::vector<std::string>{"stem.", "trunk_output."});
    if (spec_.activation == Activation::silu) built.fingerprint += " silu";
    if (!spec_.timm) {
      imagenet_preprocess(built, 256);
      return built;
    }
    timm_preprocess(built, net_.weights().source, {});
    return built;
  }

 private:
  bool has(const std::string& name) const { return net_.weights().has(name + ".weight"); }

  /// A convolution and its normalisation; `channels_` are those after it.
  Node conv(const std::string& name, Node x, std::int64_t stride,
            std::optional<Activation> activation) {
    ConvNorm spec = read_conv(net_.weights(), name + (spec_.timm ? ".conv" : ".0"), channels_);
    spec.options.stride = stride;
    spec.activation = activation;
    channels_ = spec.out;
    return spec_.timm ? conv_bn(net_, name, x, spec, true) : conv_norm(net_, name, x, spec);
  }

  Node block(const std::string& name, Node x, std::int64_t stride) {
    const bool timm = spec_.timm;
    const std::string path = timm ? name : name + ".f";
    const std::int64_t in = channels_;
    Node y = conv(path + (timm ? ".conv1" : ".a"), x, 1, spec_.activation);
    y = conv(path + (timm ? ".conv2" : ".b"), y, stride, spec_.activation);
    if (has(path + ".se.fc1"))
      y = squeeze_excite(net_, path + ".se", y, channels_,
                         timm ? kTimmSqueezeModule : kTorchvisionSqueeze, spec_.activation,
                         Activation::sigmoid);
    else if (timm)
      net_.alias(path + ".se", y);
    y = conv(path + (timm ? ".conv3" : ".c"), y, 1, {});
    net_.alias(timm ? name + ".drop_path" : path, y);
    const std::int64_t out = channels_;
    const std::string shortcut = name + (timm ? ".downsample" : ".proj");
    if (has(shortcut + (timm ? ".conv" : ".0"))) {
      channels_ = in;
      x = conv(shortcut, x, stride, {});
      channels_ = out;
      y = net_.add("", make_add(), {y, x});
    } else if (stride == 1 && in == out) {
      if (timm) x = net_.add(shortcut, make_identity(), {x});
      y = net_.add("", make_add(), {y, x});
    } else if (!spec_.linear) {
      net_.parameter(shortcut + (timm ? ".conv" : ".0") + ".weight", {out, in, 1, 1});
    }
    const std::string act = name + (timm ? ".act3" : ".activation");
    if (spec_.linear)
      net_.alias(act, y);
    else
      y = net_.activation(act, y, spec_.activation);
    net_.alias(name, y);
    return y;
  }

  Node torchvision_head(Node x) {
    net_.alias("trunk_output", x);
    x = net_.add("avgpool", make_adaptive_avg_pool(1), {x});
    if (spec_.classes == 0) return x;
    x = net_.add("", make_flatten(), {x});
    return net_.linear("fc", x, channels_, spec_.classes);
  }

  Node timm_head(Node x) {
    if (has("final_conv.conv"))
      x = conv("final_conv", x, 1, spec_.activation);
    else if (spec_.linear)
      x = net_.activation("final_conv", x, spec_.activation);
    else
      net_.alias("final_conv", x);
    x = net_.add("", make_adaptive_avg_pool(1), {x});
    x = net_.add("head.global_pool", make_flatten(), {x});
    net_.alias("head.drop", x);
    if (spec_.classes == 0) return x;
    x = net_.linear("head.fc", x, channels_, spec_.classes);
    net_.aliases({"head.flatten", "head"}, x);
    return x;
  }

  const RegNetSpec& spec_;
  NetworkBuilder net_;
  std::int64_t channels_ = 3;
};

}  // namespace

RegNetSpec regnet_spec(const std::string& arch, const StateDict& given) {
  const StateDict weights = find_network(given, family_anchors("regnet"));
  RegNetSpec spec;
  spec.timm = weights.has("s1.b1.conv1.conv.weight");
  spec.depths = read_depths(weights, spec.timm);
  if (spec.depths.empty())
    throw foreign_weights(weights, "a RegNet X, Y or Z",
                          "trunk_output.block1.block1-0.f.a.0.weight or s1.b1.conv1.conv.weight");
  const std::string first = block_name(spec.timm, 0, 0);
  spec.linear = spec.timm && !weights.has(first + ".downsample.conv.weight") &&
                !weights.has(first + ".downsample.bn.weight");
  if (spec.linear) spec.activation = Activation::silu;
  spec.classes = head_classes(weights, head_name(spec.timm));
  spec.arch = infer_arch(weights, spec,
                         weights.has(first + (spec.timm ? ".se.fc1.weight" : ".f.se.fc1.weight")));
  if (arch != "auto" && arch != spec.arch)
    throw input_error(weights.source + ": the weights do not fit " + arch + ": they are those of " +
                      spec.arch + "; check model.arch (auto infers it)");
  return spec;
}

BuiltNetwork build_regnet(const RegNetSpec& spec, StateDict weights) {
  return RegNetBuilder(spec, find_network(std::move(weights), family_anchors("regnet"))).build();
}

}  // namespace linex
