#include "swin_network.hpp"

#include <cmath>

#include "linex/error.hpp"
#include "toolkit/net/builder.hpp"
#include "toolkit/net/families.hpp"
#include "toolkit/net/map_ops.hpp"
#include "toolkit/net/transformer.hpp"
#include "window_attention.hpp"

namespace linex {
namespace {

using Node = Network::Node;
using torch::Tensor;

constexpr double kEps = 1e-5;
constexpr std::int64_t kDistanceHidden = 512;  // of V2's map from distances to biases
constexpr std::int64_t kLargestWindow = 32;
constexpr std::int64_t kUsualWindowV2 = 8, kUsualImageV2 = 256;

struct Known {
  const char* arch;
  std::vector<std::int64_t> depths;
  std::int64_t width;
};

/// Of both versions; V2's names have "v2" in them.
const std::vector<Known>& known_sizes() {
  static const std::vector<Known> sizes{{"swin_t", {2, 2, 6, 2}, 96},
                                        {"swin_s", {2, 2, 18, 2}, 96},
                                        {"swin_b", {2, 2, 18, 2}, 128},
                                        {"swin_l", {2, 2, 18, 2}, 192}};
  return sizes;
}

std::string arch_name(const Known& known, bool v2) {
  std::string name = known.arch;
  if (v2) name.insert(std::string("swin").size(), "_v2");
  return name;
}

bool is_torchvision(const SwinSpec& spec) { return spec.naming == SwinNaming::torchvision; }

/// The module that holds the blocks of a stage.
std::string stage_name(const SwinSpec& spec, std::size_t stage) {
  return is_torchvision(spec) ? "features." + std::to_string(2 * stage + 1)
                              : "layers." + std::to_string(stage) + ".blocks";
}

/// The merging before a stage.
std::string merge_name(const SwinSpec& spec, std::size_t stage) {
  if (is_torchvision(spec)) return "features." + std::to_string(2 * stage);
  const std::size_t owner = spec.naming == SwinNaming::timm ? stage : stage - 1;
  return "layers." + std::to_string(owner) + ".downsample";
}

std::string head_name(const SwinSpec& spec) {
  return spec.naming == SwinNaming::timm ? "head.fc" : "head";
}

/// Side of the windows that a table of (2·window - 1)² relative positions is for, 0 if it is none.
std::int64_t window_of_table(std::int64_t entries) {
  const auto side = std::llround(std::sqrt(static_cast<double>(entries)));
  return side % 2 == 1 && side * side == entries ? (side + 1) / 2 : 0;
}

void read_variant(const StateDict& weights, SwinSpec& spec) {
  if (weights.has("layers.0.blocks.0.attn.qkv.weight"))
    spec.naming = weights.has("layers.0.downsample.reduction.weight") ? SwinNaming::authors
                                                                      : SwinNaming::timm;
  const std::string embedding = is_torchvision(spec) ? "features.0.0" : "patch_embed.proj";
  spec.patch = weights.size(embedding + ".weight", 2);
  const std::string first = stage_name(spec, 0) + ".0.";
  spec.v2 = weights.has(first + "attn.logit_scale");
  if (const std::int64_t width = weights.size(first + "attn.proj.weight", 0); width > 0)
    spec.mlp =
        weights.size(first + (is_torchvision(spec) ? "mlp.0" : "mlp.fc1") + ".weight", 0) / width;
  spec.windows.clear();
  spec.heads.clear();
  for (std::size_t stage = 0; stage < spec.depths.size(); ++stage) {
    const std::string attention = stage_name(spec, stage) + ".0.attn.";
    if (spec.v2) {
      spec.heads.push_back(weights.size(attention + "logit_scale", 0));
      spec.windows.push_back((weights.size(attention + "relative_coords_table", 1) + 1) / 2);
    } else {
      const std::string table = attention + "relative_position_bias_table";
      spec.heads.push_back(weights.size(table, 1));
      spec.windows.push_back(window_of_table(weights.size(table, 0)));
    }
  }
  const std::int64_t classes = weights.size(head_name(spec) + ".weight", 0);
  spec.has_head = classes > 0 && weights.size(head_name(spec) + ".weight", 1) > 0;
  if (spec.has_head) spec.classes = classes;
}

class SwinBuilder {
 public:
  SwinBuilder(const SwinSpec& spec, StateDict weights) : spec_(spec), net_(std::move(weights)) {}

  BuiltNetwork build() {
    for (std::size_t stage = 0; stage < spec_.depths.size(); ++stage)
      if (const std::int64_t width = spec_.width << stage;
          spec_.heads[stage] < 1 || width % spec_.heads[stage] != 0 || spec_.windows[stage] < 1 ||
          spec_.windows[stage] > kLargestWindow)
        throw input_error(net_.weights().source + ": " + stage_name(spec_, stage) +
                          ".0.attn: no table of relative positions or scale of logits that fits " +
                          std::to_string(width) + " channels; the file is damaged or no Swin " +
                          "transformer");
    Node x = stem();
    for (std::size_t stage = 0; stage < spec_.depths.size(); ++stage) {
      if (stage > 0) x = merge(merge_name(spec_, stage), x, spec_.width << (stage - 1));
      if (stage > 0 && spec_.naming == SwinNaming::authors)
        net_.alias("layers." + std::to_string(stage - 1), x);
      const std::string name = stage_name(spec_, stage);
      for (std::int64_t block = 0; block < spec_.depths[stage]; ++block)
        x = swin_block(name + "." + std::to_string(block), x, stage, block % 2 == 1);
      net_.alias(name, x);
      if (spec_.naming == SwinNaming::timm) net_.alias("layers." + std::to_string(stage), x);
    }
    if (spec_.naming == SwinNaming::authors)
      net_.alias("layers." + std::to_string(spec_.depths.size() - 1), x);
    net_.alias(is_torchvision(spec_) ? "features" : "layers", x);
    BuiltNetwork built;
    x = head(x, built);
    net_.skip_if([](const std::string& name) {
      const std::string last = name.substr(name.rfind('.') + 1);
      return last == "relative_position_index" || last == "attn_mask" ||
             last == "relative_coords_table";
    });
    built.network = net_.finish(spec_.arch, x);
    built.arch = spec_.arch;
    built.fingerprint = net_.fingerprint() + geometry();
    const auto notes = net_.notes();
    built.notes.insert(built.notes.end(), notes.begin(), notes.end());
    built.classes = spec_.classes;
    preprocess(built);
    return built;
  }

 private:
  Node stem() {
    const bool torchvision = is_torchvision(spec_);
    const std::string name = torchvision ? "features.0" : "patch_embed";
    Node x = net_.conv(name + (torchvision ? ".0" : ".proj"), net_.input(), 3, spec_.width,
                       spec_.patch, {spec_.patch, 0, 1}, true);
    if (torchvision) net_.alias(name + ".1", x);
    x = net_.channel_norm(name + (torchvision ? ".2" : ".norm"), x, spec_.width, kEps);
    net_.alias(name, x);
    if (spec_.naming == SwinNaming::timm) net_.alias("layers.0.downsample", x);
    return x;
  }

  Node merge(const std::string& name, Node x, std::int64_t width) {
    x = net_.add("", make_merge_patches(), {x});
    if (!spec_.v2) x = net_.channel_norm(name + ".norm", x, 4 * width, kEps);
    x = net_.channel_linear(name + ".reduction", x, 4 * width, 2 * width, false);
    if (spec_.v2) x = net_.channel_norm(name + ".norm", x, 2 * width, kEps);
    net_.alias(name, x);
    return x;
  }

  Node swin_block(const std::string& name, Node x, std::size_t stage, bool shifted) {
    const std::int64_t width = spec_.width << stage;
    const auto norm = [&](int index, Node y) {
      return net_.channel_norm(name + ".norm" + std::to_string(index), y, width, kEps);
    };
    const auto drop = [&](int index, Node y) {
      if (!is_torchvision(spec_))
        net_.alias(name + ".drop_path" + std::to_string(index), y);
      else if (index == 2)  // torchvision calls one module twice: its last output
        net_.alias(name + ".stochastic_depth", y);
      return y;
    };
    Node y = spec_.v2 ? x : norm(1, x);
    y = attention(name + ".attn", y, stage, shifted);
    if (spec_.v2) y = norm(1, y);
    x = net_.add("", make_add(), {drop(1, y), x});
    y = mlp(name + ".mlp", spec_.v2 ? x : norm(2, x), width);
    if (spec_.v2) y = norm(2, y);
    return net_.add(name, make_add(), {drop(2, y), x});
  }

  Node mlp(const std::string& name, Node x, std::int64_t width) {
    const std::int64_t hidden = spec_.mlp * width;
    const bool torchvision = is_torchvision(spec_);
    x = net_.channel_linear(name + (torchvision ? ".0" : ".fc1"), x, width, hidden);
    x = net_.activation(name + (torchvision ? ".1" : ".act"), x, Activation::gelu);
    if (torchvision)
      net_.alias(name + ".2", x);
    else
      net_.aliases({name + ".drop1", name + ".norm"}, x);
    x = net_.channel_linear(name + (torchvision ? ".3" : ".fc2"), x, hidden, width);
    net_.aliases({name + (torchvision ? ".4" : ".drop2"), name}, x);
    return x;
  }

  Node attention(const std::string& name, Node x, std::size_t stage, bool shifted) {
    const std::int64_t width = spec_.width << stage, window = spec_.windows[stage];
    WindowAttentionOptions options;
    options.window = window;
    options.shift = shifted ? window / 2 : 0;
    options.heads = spec_.heads[stage];
    options.shift_first = !is_torchvision(spec_);
    const Tensor weight = net_.parameter(name + ".qkv.weight", {3 * width, width});
    const Tensor bias = qkv_bias(name, width);
    x = net_.add(name + ".qkv", make_channel_linear(weight, bias), {x});
    Tensor scale;
    if (spec_.v2)
      scale = net_.parameter(name + ".logit_scale", {options.heads, 1, 1})
                  .clamp_max(std::log(100.0))
                  .exp();
    const Tensor table = position_table(name, options.heads, window);
    x = net_.add("", make_window_attention(options, table, index_of(window), scale, bias), {x});
    x = net_.channel_linear(name + ".proj", x, width, width);
    if (!is_torchvision(spec_)) net_.alias(name + ".proj_drop", x);
    net_.alias(name, x);
    return x;
  }

  /// V2 has no bias of keys: timm leaves it out, torchvision passes over it.
  Tensor qkv_bias(const std::string& name, std::int64_t width) {
    if (!spec_.v2 || is_torchvision(spec_)) {
      Tensor bias = net_.parameter(name + ".qkv.bias", {3 * width});
      if (spec_.v2) bias.narrow(0, width, width).zero_();
      return bias;
    }
    const Tensor queries = net_.parameter(name + ".q_bias", {width});
    return at::cat({queries, at::zeros({width}), net_.parameter(name + ".v_bias", {width})});
  }

  /// Biases of the (2·window - 1)² relative positions, (…, heads).
  Tensor position_table(const std::string& name, std::int64_t heads, std::int64_t window) {
    const std::int64_t side = 2 * window - 1;
    if (!spec_.v2)
      return net_.parameter(name + ".relative_position_bias_table", {side * side, heads});
    const Tensor first = net_.parameter(name + ".cpb_mlp.0.weight", {kDistanceHidden, 2});
    const Tensor first_bias = net_.parameter(name + ".cpb_mlp.0.bias", {kDistanceHidden});
    const Tensor second = net_.parameter(name + ".cpb_mlp.2.weight", {heads, kDistanceHidden});
    const Tensor table =
        at::linear(at::linear(distances(window), first, first_bias).relu(), second);
    return 16 * at::sigmoid(table);
  }

  /// One index for all windows of a size.
  Tensor index_of(std::int64_t window) {
    Tensor& index = indices_[window];
    if (!index.defined()) index = relative_positions(window);
    return index;
  }

  /// Log-spaced relative positions, ((2·window - 1)², 2).
  Tensor distances(std::int64_t window) const {
    const std::int64_t reference = spec_.pretrained_window > 0 ? spec_.pretrained_window : window;
    const Tensor steps = at::arange(-(window - 1), window, at::kFloat) /
                         static_cast<double>(std::max<std::int64_t>(reference - 1, 1)) * 8;
    const Tensor axis = at::sign(steps) * at::log2(at::abs(steps) + 1.0) / 3.0;
    const std::int64_t side = 2 * window - 1;
    return at::stack({axis.repeat_interleave(side), axis.repeat({side})}, 1);
  }

  Node head(Node x, BuiltNetwork& built) {
    const std::int64_t width = spec_.width << (spec_.depths.size() - 1);
    x = net_.channel_norm("norm", x, width, kEps);
    const bool timm = spec_.naming == SwinNaming::timm;
    if (is_torchvision(spec_)) net_.alias("permute", x);
    x = net_.add(timm ? "head.global_pool" : "avgpool", make_adaptive_avg_pool(1), {x});
    if (!spec_.has_head) {
      const auto unused = net_.skip_if([](const std::string& name) {
        const std::string module = name.substr(0, name.find('.'));
        return module != "features" && module != "layers" && module != "patch_embed" &&
               module != "norm";
      });
      built.has_logits = false;
      built.warnings.push_back(no_logits_note(net_.weights(), head_name(spec_), unused));
      return x;
    }
    x = net_.add(is_torchvision(spec_) ? "flatten" : "", make_flatten(), {x});
    if (timm) net_.alias("head.drop", x);
    x = net_.linear(head_name(spec_), x, width, spec_.classes);
    if (timm) net_.aliases({"head.flatten", "head"}, x);
    return x;
  }

  /// What changes activations and is in no weight.
  std::string geometry() const {
    std::string text;
    for (const std::int64_t window : spec_.windows) text += " w" + std::to_string(window);
    if (spec_.pretrained_window > 0) text += " from " + std::to_string(spec_.pretrained_window);
    return text;
  }

  void preprocess(BuiltNetwork& built) const {
    constexpr auto kBicubic = Preprocess::Interpolation::bicubic;
    if (!is_torchvision(spec_)) {
      TimmPixels usual;
      usual.fixed = spec_.image > 0;
      usual.crop = usual.fixed ? spec_.image : 32 * spec_.windows[0];
      usual.share = usual.crop >= 384 ? 1.0 : 0.9;
      timm_preprocess(built, net_.weights().source, usual);
      return;
    }
    const auto is = [&](const char* arch) { return spec_.arch == arch; };
    if (spec_.v2)
      imagenet_preprocess(built, is("swin_v2_b") ? 272 : 260, 256, kBicubic);
    else
      imagenet_preprocess(built, is("swin_s") ? 246 : is("swin_b") ? 238 : 232, 224, kBicubic);
  }

  const SwinSpec& spec_;
  NetworkBuilder net_;
  std::map<std::int64_t, Tensor> indices_;
};

}  // namespace

SwinSpec infer_swin(const StateDict& given) {
  const StateDict weights = find_network(given, family_anchors("swin"));
  SwinSpec spec;
  read_variant(weights, spec);
  for (std::size_t stage = 0; stage < 8; ++stage) {
    const std::string name = stage_name(spec, stage) + ".";
    if (!weights.has(name + "0.attn.qkv.weight")) break;
    spec.depths.push_back(count_blocks(weights, name));
  }
  if (spec.depths.empty())
    throw foreign_weights(weights, "a Swin transformer",
                          "features.1.0.attn.qkv.weight or layers.0.blocks.0.attn.qkv.weight");
  read_variant(weights, spec);
  spec.width = weights.size(stage_name(spec, 0) + ".0.attn.proj.weight", 0);
  for (const Known& known : known_sizes())
    if (known.depths == spec.depths && known.width == spec.width)
      spec.arch = arch_name(known, spec.v2);
  if (spec.arch.empty()) {
    spec.arch = spec.v2 ? "swin_v2" : "swin";
    for (const std::int64_t depth : spec.depths) spec.arch += "-" + std::to_string(depth);
    spec.arch += "-w" + std::to_string(spec.width);
  }
  return spec;
}

SwinSpec swin_spec(const std::string& arch, const StateDict& given) {
  if (arch == "auto") return infer_swin(given);
  const StateDict weights = find_network(given, family_anchors("swin"));
  for (const Known& known : known_sizes())
    for (const bool v2 : {false, true}) {
      if (arch_name(known, v2) != arch) continue;
      SwinSpec spec;
      spec.arch = arch;
      spec.depths = known.depths;
      spec.width = known.width;
      read_variant(weights, spec);
      if (spec.v2 != v2)
        throw input_error(weights.source + ": the weights do not fit " + arch + ": they " +
                          (spec.v2 ? "have" : "lack") + " attn.logit_scale; check model.arch " +
                          "(auto infers it)");
      return spec;
    }
  throw usage_error("model.arch=" + arch + ": no Swin transformer of that name");
}

void set_windows(SwinSpec& spec, std::int64_t window, std::int64_t image) {
  spec.image = image;
  for (std::size_t stage = 0; stage < spec.windows.size(); ++stage) {
    if (spec.windows[stage] > 0 || !spec.v2) continue;
    const std::int64_t side =
        (image > 0 ? image : kUsualImageV2) / std::max<std::int64_t>(spec.patch, 1) >> stage;
    spec.windows[stage] =
        std::max<std::int64_t>(1, std::min(window > 0 ? window : kUsualWindowV2, side));
    if (image == 0) spec.image = kUsualImageV2;
  }
}

BuiltNetwork build_swin(const SwinSpec& spec, StateDict weights) {
  return SwinBuilder(spec, find_network(std::move(weights), family_anchors("swin"))).build();
}

}  // namespace linex
