#include "toolkit/net/resnet_network.hpp"

#include "linex/error.hpp"
#include "toolkit/base/text.hpp"
#include "toolkit/net/builder.hpp"
#include "toolkit/net/families.hpp"

namespace linex {
namespace {

using Node = Network::Node;

std::vector<ResNetSpec> known_specs() {
  std::vector<ResNetSpec> specs;
  const auto imagenet = [&](const char* arch, bool bottleneck, std::vector<std::int64_t> blocks,
                            std::int64_t groups = 1, std::int64_t group_width = 64) {
    ResNetSpec spec;
    spec.arch = arch;
    spec.bottleneck = bottleneck;
    spec.blocks = std::move(blocks);
    spec.groups = groups;
    spec.group_width = group_width;
    spec.shortcut = "downsample";
    specs.push_back(spec);
  };
  imagenet("resnet18", false, {2, 2, 2, 2});
  imagenet("resnet34", false, {3, 4, 6, 3});
  imagenet("resnet50", true, {3, 4, 6, 3});
  imagenet("resnet101", true, {3, 4, 23, 3});
  imagenet("resnet152", true, {3, 8, 36, 3});
  imagenet("resnext50_32x4d", true, {3, 4, 6, 3}, 32, 4);
  imagenet("resnext101_32x8d", true, {3, 4, 23, 3}, 32, 8);
  imagenet("wide_resnet50_2", true, {3, 4, 6, 3}, 1, 128);
  imagenet("wide_resnet101_2", true, {3, 4, 23, 3}, 1, 128);
  for (const std::int64_t depth : {20, 32, 44, 56, 110}) {
    ResNetSpec spec;
    spec.arch = "cifar_resnet" + std::to_string(depth);
    spec.blocks.assign(3, (depth - 2) / 6);
    spec.width = 16;
    spec.small_stem = true;
    spec.classes = 10;
    specs.push_back(spec);
  }
  return specs;
}

std::string block_name(std::size_t stage, std::int64_t block) {
  return "layer" + std::to_string(stage + 1) + "." + std::to_string(block);
}

/// The published weights of which the preprocessing is known: chenyaofo's (fc) and akamaster's
/// (linear) of CIFAR.
bool is_published_cifar(const ResNetSpec& spec) {
  return spec.arch.compare(0, 6, "cifar_") == 0 && (spec.classes == 10 || spec.classes == 100);
}

/// Class count, head, stem and shortcuts: they vary within one architecture.
void read_variant(const StateDict& weights, ResNetSpec& spec) {
  if (weights.has("linear.weight")) spec.head = "linear";
  const torch::Tensor head = weights.get(spec.head + ".weight");
  spec.has_head = head.defined() && head.dim() == 2;
  if (spec.has_head) {
    spec.classes = head.size(0);
    spec.head_bias = weights.has(spec.head + ".bias");
  }
  const torch::Tensor stem = weights.get("conv1.weight");
  if (stem.defined() && stem.dim() == 4) spec.stem_kernel = stem.size(2);
  if (!spec.small_stem) return;
  spec.shortcut.clear();
  for (const char* name : {"downsample", "shortcut"})
    if (weights.has(block_name(1, 0) + "." + name + ".0.weight")) spec.shortcut = name;
}

/// Whether a tensor belongs to what build() makes of stem and stages.
bool in_body(const std::string& name) {
  const std::string module = name.substr(0, name.find('.'));
  return module == "conv1" || module == "bn1" || module.compare(0, 5, "layer") == 0;
}

class ResNetBuilder {
 public:
  ResNetBuilder(const ResNetSpec& spec, StateDict weights)
      : spec_(spec), net_(std::move(weights)), has_modules_(spec.head == "fc") {}

  BuiltNetwork build() {
    Node x = stem();
    std::int64_t dilation = 1;
    for (std::size_t stage = 0; stage < spec_.blocks.size(); ++stage) {
      const std::int64_t planes = spec_.width << stage;
      const std::int64_t first_dilation = dilation;
      if (stage < spec_.dilations.size()) dilation = spec_.dilations[stage];
      std::int64_t stride = stage > 0 ? 2 : 1;
      if (stage < spec_.strides.size()) stride = spec_.strides[stage];
      for (std::int64_t block = 0; block < spec_.blocks[stage]; ++block)
        x = residual_block(block_name(stage, block), x, planes, block == 0 ? stride : 1,
                           block == 0 ? first_dilation : dilation);
      net_.alias("layer" + std::to_string(stage + 1), x);
    }
    x = net_.add(has_modules_ ? "avgpool" : "", make_adaptive_avg_pool(1), {x});
    BuiltNetwork built;
    if (spec_.has_head) {
      x = net_.add("", make_flatten(), {x});
      x = net_.linear(spec_.head, x, channels_, spec_.classes, spec_.head_bias);
    } else {
      const auto unused = net_.skip_if([](const std::string& name) { return !in_body(name); });
      built.has_logits = false;
      built.warnings.push_back(no_logits_note(net_.weights(), spec_.head, unused));
    }

    built.network = net_.finish(spec_.arch, x);
    built.arch = spec_.arch;
    built.fingerprint = net_.fingerprint() + geometry();
    built.preprocess = preprocess();
    built.side = spec_.small_stem ? 32 : 0;
    built.classes = spec_.classes;
    const auto notes = net_.notes();
    built.notes.insert(built.notes.end(), notes.begin(), notes.end());
    if (spec_.small_stem && !is_published_cifar(spec_))
      built.guess = "networks with a 3x3 stem are trained in many ways";
    return built;
  }

 private:
  Node stem() {
    const std::int64_t kernel = spec_.stem_kernel;
    const bool small = kernel == 3;
    ConvOptions options;
    options.stride = spec_.stem_stride > 0 ? spec_.stem_stride : small ? 1 : 2;
    options.padding = kernel / 2;
    Node x = net_.conv("conv1", net_.input(), 3, spec_.width, kernel, options, false);
    x = net_.batch_norm("bn1", x, spec_.width);
    x = net_.activation(has_modules_ ? "relu" : "", x, Activation::relu);
    channels_ = spec_.width;
    const bool pool = spec_.stem_pool < 0 ? !small : spec_.stem_pool == 1;
    return pool ? net_.add("maxpool", make_max_pool(3, 2, 1), {x}) : x;
  }

  /// What changes activations and is in no weight: "" for the usual.
  std::string geometry() const {
    std::string text;
    if (spec_.stem_stride > 0) text += " stem/" + std::to_string(spec_.stem_stride);
    if (spec_.stem_pool >= 0) text += spec_.stem_pool ? " pooled" : " unpooled";
    for (const std::int64_t stride : spec_.strides) text += " s" + std::to_string(stride);
    for (const std::int64_t dilation : spec_.dilations) text += " d" + std::to_string(dilation);
    return text;
  }

  Node conv_bn(const std::string& name, int index, Node x, std::int64_t in, std::int64_t out,
               std::int64_t kernel, std::int64_t stride, std::int64_t groups = 1,
               std::int64_t dilation = 1) {
    const std::string number = std::to_string(index);
    x = net_.conv(name + ".conv" + number, x, in, out, kernel,
                  {stride, kernel / 2 * dilation, groups, dilation}, false);
    return net_.batch_norm(name + ".bn" + number, x, out);
  }

  Node residual_block(const std::string& name, Node x, std::int64_t planes, std::int64_t stride,
                      std::int64_t dilation) {
    const auto relu = [&](Node y) { return net_.activation("", y, Activation::relu); };
    const std::int64_t out = planes * (spec_.bottleneck ? 4 : 1);
    Node y = 0;
    if (spec_.bottleneck) {
      const std::int64_t inner = planes * spec_.group_width / 64 * spec_.groups;
      y = relu(conv_bn(name, 1, x, channels_, inner, 1, 1));
      y = relu(conv_bn(name, 2, y, inner, inner, 3, stride, spec_.groups, dilation));
      y = conv_bn(name, 3, y, inner, out, 1, 1);
    } else {
      y = relu(conv_bn(name, 1, x, channels_, planes, 3, stride, 1, dilation));
      y = conv_bn(name, 2, y, planes, out, 3, 1, 1, dilation);
    }
    const Node skip = shortcut(name, x, out, stride);
    channels_ = out;
    y = net_.add("", make_add(), {y, skip});
    y = net_.activation(name, y, Activation::relu);
    // torchvision's block calls one ReLU module several times; its last output is the block's.
    if (has_modules_) net_.alias(name + ".relu", y);
    return y;
  }

  Node shortcut(const std::string& block, Node x, std::int64_t out, std::int64_t stride) {
    if (stride == 1 && channels_ == out) return x;
    if (spec_.shortcut.empty())
      return net_.add(block + ".shortcut", make_padded_shortcut(out), {x});
    const std::string name = block + "." + spec_.shortcut;
    x = net_.conv(name + ".0", x, channels_, out, 1, {stride, 0, 1}, false);
    x = net_.batch_norm(name + ".1", x, out);
    net_.alias(name, x);
    return x;
  }

  Preprocess preprocess() const {
    Preprocess result;
    result.mean = kImageNetMean;
    result.std = kImageNetStd;
    if (!spec_.small_stem) {
      result.resize = Preprocess::Resize::short_side;
      result.size = 256;
      result.crop = 224;
    } else if (spec_.head == "fc" && (spec_.classes == 10 || spec_.classes == 100)) {
      // chenyaofo's; akamaster's take the pixels as they are.
      result.resize = Preprocess::Resize::short_side;
      result.size = 32;
      result.mean = spec_.classes == 10 ? kCifar10Mean : kCifar100Mean;
      result.std = spec_.classes == 10 ? kCifar10Std : kCifar100Std;
    }
    return result;
  }

  const ResNetSpec& spec_;
  NetworkBuilder net_;
  bool has_modules_;  ///< relu, avgpool are modules (torchvision, chenyaofo), not function calls
  std::int64_t channels_ = 0;
};

}  // namespace

void replace_stride_with_dilation(ResNetSpec& spec, const std::vector<bool>& replace) {
  std::int64_t dilation = 1;
  spec.strides.clear();
  spec.dilations.clear();
  for (std::size_t stage = 0; stage < spec.blocks.size(); ++stage) {
    const bool dilate = stage > 0 && stage - 1 < replace.size() && replace[stage - 1];
    if (dilate) dilation *= 2;
    spec.strides.push_back(stage == 0 || dilate ? 1 : 2);
    spec.dilations.push_back(dilation);
  }
}

ResNetSpec infer_resnet(const StateDict& given) {
  const StateDict weights = find_network(given, family_anchors("resnet"));
  const torch::Tensor stem = weights.get("conv1.weight");
  if (!stem.defined() || stem.dim() != 4 || !weights.has("layer1.0.conv1.weight"))
    throw input_error(weights.source +
                      ": not the weights of a ResNet (no conv1.weight and "
                      "layer1.0.conv1.weight); it begins with " +
                      first_name(weights) + "; choose another model.plugin, or model.state");
  ResNetSpec spec;
  spec.width = stem.size(0);
  spec.small_stem = stem.size(2) == 3;
  spec.shortcut = spec.small_stem ? "" : "downsample";
  for (std::size_t stage = 0; stage < 8; ++stage) {
    std::int64_t blocks = 0;
    while (weights.has(block_name(stage, blocks) + ".conv1.weight")) ++blocks;
    if (blocks == 0) break;
    spec.blocks.push_back(blocks);
  }
  spec.bottleneck = weights.has("layer1.0.conv3.weight");
  const torch::Tensor middle = weights.get("layer1.0.conv2.weight");
  if (spec.bottleneck && middle.defined() && middle.dim() == 4 && middle.size(1) > 0 &&
      spec.width > 0) {
    spec.groups = std::max<std::int64_t>(middle.size(0) / middle.size(1), 1);
    spec.group_width = middle.size(0) * 64 / spec.groups / spec.width;
  }
  read_variant(weights, spec);
  for (const ResNetSpec& known : known_specs())
    if (known.blocks == spec.blocks && known.bottleneck == spec.bottleneck &&
        known.width == spec.width && known.groups == spec.groups &&
        known.group_width == spec.group_width && known.small_stem == spec.small_stem)
      spec.arch = known.arch;
  if (spec.arch.empty()) {
    spec.arch = "resnet";
    for (const std::int64_t blocks : spec.blocks) spec.arch += "-" + std::to_string(blocks);
    spec.arch += "-w" + std::to_string(spec.width);
  }
  return spec;
}

ResNetSpec resnet_spec(const std::string& arch, const StateDict& given) {
  if (arch == "auto") return infer_resnet(given);
  const StateDict weights = find_network(given, family_anchors("resnet"));
  for (ResNetSpec spec : known_specs()) {
    if (spec.arch != arch) continue;
    read_variant(weights, spec);
    return spec;
  }
  throw usage_error("model.arch=" + arch + ": no ResNet of that name");
}

BuiltNetwork build_resnet(const ResNetSpec& spec, StateDict weights) {
  return ResNetBuilder(spec, find_network(std::move(weights), family_anchors("resnet"))).build();
}

}  // namespace linex
