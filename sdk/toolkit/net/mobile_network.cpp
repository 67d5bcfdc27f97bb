#include "toolkit/net/mobile_network.hpp"

#include <algorithm>

#include "linex/error.hpp"
#include "toolkit/net/builder.hpp"
#include "toolkit/net/conv_blocks.hpp"
#include "toolkit/net/transformer.hpp"

namespace linex {
namespace {

using Node = Network::Node;

/// Modules a block of torchvision has at most, with room to spare.
constexpr int kMostModules = 8;

std::string stage_name(const MobileSpec& spec, std::size_t stage) {
  return spec.naming == MobileNaming::timm ? "blocks." + std::to_string(stage)
                                           : "features." + std::to_string(stage + 1);
}

bool is_flat(const MobileSpec& spec) {
  return spec.naming == MobileNaming::flat || spec.naming == MobileNaming::flat_unlabelled;
}

/// Module of the last linear map.
std::string head_name(const MobileSpec& spec) {
  switch (spec.naming) {
    case MobileNaming::timm:
      return "classifier";
    case MobileNaming::flat:
      return "classifier.3";
    case MobileNaming::staged:
    case MobileNaming::flat_unlabelled:
      break;
  }
  return "classifier.1";
}

class MobileBuilder {
 public:
  MobileBuilder(const MobileSpec& spec, StateDict weights)
      : spec_(spec), net_(std::move(weights)) {}

  BuiltNetwork build() {
    const bool timm = spec_.naming == MobileNaming::timm;
    Node x = stem();
    for (std::size_t stage = 0; stage < spec_.depths.size(); ++stage) {
      const std::string name = stage_name(spec_, stage);
      for (std::int64_t index = 0; index < spec_.depths[stage]; ++index)
        x = block(is_flat(spec_) ? name : name + "." + std::to_string(index), x,
                  index == 0 ? spec_.strides[stage] : 1, spec_.activations[stage]);
      if (!is_flat(spec_)) net_.alias(name, x);
    }
    x = timm ? timm_head(x) : torchvision_head(x);
    BuiltNetwork built = finish_network(
        net_, spec_.arch, x, head_name(spec_), spec_.classes,
        timm ? std::vector<std::string>{"conv_stem.", "bn1.", "blocks.", "conv_head.", "bn2."}
             : std::vector<std::string>{"features."});
    built.fingerprint +=
        std::string(spec_.same ? " same" : "") + " eps " + std::to_string(spec_.eps);
    return built;
  }

 private:
  std::int64_t outputs(const std::string& name) const {
    return std::max<std::int64_t>(net_.weights().size(name + ".weight", 0), 1);
  }
  bool has(const std::string& name) const { return net_.weights().has(name); }

  ConvNorm read(const std::string& name, std::int64_t stride,
                std::optional<Activation> activation) const {
    ConvNorm conv = read_conv(net_.weights(), name, channels_);
    conv.options.stride = stride;
    conv.options.same = spec_.same;
    conv.eps = spec_.eps;
    conv.activation = activation;
    return conv;
  }

  Node torchvision_conv(const std::string& name, Node x, std::int64_t stride,
                        std::optional<Activation> activation) {
    const ConvNorm conv = read(name + ".0", stride, activation);
    channels_ = conv.out;
    return conv_norm(net_, name, x, conv);
  }
  Node timm_conv(const std::string& name, const std::string& norm, Node x, std::int64_t stride,
                 std::optional<Activation> activation) {
    const ConvNorm conv = read(name, stride, activation);
    channels_ = conv.out;
    return conv_norm_act(net_, name, norm, x, conv);
  }

  Node stem() {
    if (spec_.naming == MobileNaming::timm)
      return timm_conv("conv_stem", "bn1", net_.input(), 2, spec_.activation);
    return torchvision_conv("features.0", net_.input(), 2, spec_.activation);
  }

  Node block(const std::string& name, Node x, std::int64_t stride, Activation activation) {
    const std::int64_t in = channels_;
    Node y = 0;
    switch (spec_.naming) {
      case MobileNaming::timm:
        y = timm_block(name, x, stride, activation);
        break;
      case MobileNaming::flat_unlabelled:
        y = unlabelled_block(name + ".conv", x, stride, activation);
        break;
      case MobileNaming::staged:
      case MobileNaming::flat:
        y = torchvision_block(name + ".block", x, stride, activation);
        break;
    }
    if (stride == 1 && in == channels_) {
      if (spec_.naming == MobileNaming::timm) net_.alias(name + ".drop_path", y);
      if (spec_.naming == MobileNaming::staged) net_.alias(name + ".stochastic_depth", y);
      return net_.add(name, make_add(), {y, x});
    }
    net_.alias(name, y);
    return y;
  }

  /// [expansion], depthwise, [squeeze and excitation], projection; or a fused one without depthwise
  /// convolution. The first convolution that is not 1x1 has the stride, all but the last of several
  /// are activated.
  Node torchvision_block(const std::string& name, Node x, std::int64_t stride,
                         Activation activation) {
    const auto module = [&](int index) { return name + "." + std::to_string(index); };
    int last = 0;
    for (int i = 0; i < kMostModules; ++i)
      if (has(module(i) + ".0.weight")) last = i;
    for (int i = 0; i < kMostModules; ++i) {
      if (has(module(i) + ".fc1.weight")) {
        x = squeeze_excite(net_, module(i), x, channels_, kTorchvisionSqueeze, spec_.squeeze,
                           spec_.gate);
      } else if (i <= last) {
        const bool wide = net_.weights().size(module(i) + ".0.weight", 2) > 1;
        const bool activated = i < last || last == 0;
        x = torchvision_conv(module(i), x, wide ? stride : 1,
                             activated ? std::optional<Activation>(activation) : std::nullopt);
        if (wide) stride = 1;
      }
    }
    net_.alias(name, x);
    return x;
  }

  /// MobileNet V2's: [expansion], depthwise, then a bare convolution and its normalisation.
  Node unlabelled_block(const std::string& name, Node x, std::int64_t stride,
                        Activation activation) {
    int i = 0;
    for (; i < kMostModules && has(name + "." + std::to_string(i) + ".0.weight"); ++i) {
      const std::string module = name + "." + std::to_string(i);
      const bool wide = net_.weights().size(module + ".0.weight", 2) > 1;
      x = torchvision_conv(module, x, wide ? stride : 1, activation);
    }
    const std::string last = name + "." + std::to_string(i);
    const std::int64_t out = outputs(last);
    x = net_.conv(last, x, channels_, out, 1, {}, false);
    x = net_.batch_norm(name + "." + std::to_string(i + 1), x, out, spec_.eps);
    channels_ = out;
    net_.alias(name, x);
    return x;
  }

  Node timm_block(const std::string& name, Node x, std::int64_t stride, Activation activation) {
    const auto squeeze = [&](Node y) {
      net_.alias(name + ".aa", y);  // of timm 1.0; nothing in all weights that it has
      if (has(name + ".se.conv_reduce.weight"))
        return squeeze_excite(net_, name + ".se", y, channels_, kTimmSqueeze, spec_.squeeze,
                              spec_.gate);
      net_.alias(name + ".se", y);
      return y;
    };
    const auto conv = [&](const char* module, int norm, Node y, std::int64_t step,
                          std::optional<Activation> kind) {
      return timm_conv(name + "." + module, name + ".bn" + std::to_string(norm), y, step, kind);
    };
    if (has(name + ".conv.weight")) {
      x = conv("conv", 1, x, stride, activation);
      net_.alias(name + ".aa", x);
      return x;
    }
    if (has(name + ".conv_exp.weight")) {
      x = squeeze(conv("conv_exp", 1, x, stride, activation));
      return conv("conv_pwl", 2, x, 1, {});
    }
    if (!has(name + ".conv_pwl.weight")) {
      x = squeeze(conv("conv_dw", 1, x, stride, activation));
      return conv("conv_pw", 2, x, 1, {});
    }
    x = conv("conv_pw", 1, x, 1, activation);
    x = squeeze(conv("conv_dw", 2, x, stride, activation));
    return conv("conv_pwl", 3, x, 1, {});
  }

  Node torchvision_head(Node x) {
    x = torchvision_conv(last_conv(), x, 1, spec_.activation);
    net_.alias("features", x);
    const bool module = spec_.naming != MobileNaming::flat_unlabelled;  // else a function
    x = net_.add(module ? "avgpool" : "", make_adaptive_avg_pool(1), {x});
    if (spec_.classes == 0) return x;
    x = net_.add("", make_flatten(), {x});
    if (spec_.naming == MobileNaming::flat) {
      const std::int64_t hidden = outputs("classifier.0");
      x = net_.linear("classifier.0", x, channels_, hidden);
      x = net_.activation("classifier.1", x, Activation::hard_swish);
      x = net_.add("classifier.2", make_identity(), {x});
      channels_ = hidden;
    } else {
      x = net_.add("classifier.0", make_identity(), {x});
    }
    x = net_.linear(head_name(spec_), x, channels_, spec_.classes);
    net_.alias("classifier", x);
    return x;
  }

  Node timm_head(Node x) {
    net_.alias("blocks", x);
    if (has("conv_head.bias")) {  // MobileNet V3 pools first
      x = net_.add("global_pool", make_adaptive_avg_pool(1), {x});
      const std::int64_t out = outputs("conv_head");
      x = net_.conv("conv_head", x, channels_, out, 1, {}, true);
      net_.alias("norm_head", x);  // of timm 1.0, and nothing, as aa
      x = net_.activation("act2", x, spec_.activation);
      channels_ = out;
      x = net_.add("flatten", make_flatten(), {x});
    } else {
      x = timm_conv("conv_head", "bn2", x, 1, spec_.activation);
      x = net_.add("", make_adaptive_avg_pool(1), {x});
      x = net_.add("global_pool", make_flatten(), {x});
    }
    if (spec_.classes == 0) return x;
    return net_.linear("classifier", x, channels_, spec_.classes);
  }

  std::string last_conv() const { return "features." + std::to_string(spec_.depths.size() + 1); }

  const MobileSpec& spec_;
  NetworkBuilder net_;
  std::int64_t channels_ = 3;
};

}  // namespace

std::vector<std::vector<std::string>> mobile_anchors() {
  return {{"features.1.0.block.0.0.weight", "features.0.0.weight"},
          {"features.1.block.0.0.weight", "features.0.0.weight"},
          {"features.1.conv.0.0.weight", "features.0.0.weight"},
          {"conv_stem.weight", "blocks.0.0.bn1.weight"}};
}

MobileSpec read_mobile(const StateDict& weights) {
  MobileSpec spec;
  if (weights.has("features.1.0.block.0.0.weight")) spec.naming = MobileNaming::staged;
  if (weights.has("features.1.block.0.0.weight")) spec.naming = MobileNaming::flat;
  if (weights.has("features.1.conv.0.0.weight")) spec.naming = MobileNaming::flat_unlabelled;
  constexpr std::size_t kMostStages = 256;
  for (std::size_t stage = 0; stage < kMostStages; ++stage) {
    const std::string name = stage_name(spec, stage);
    const bool there = spec.naming == MobileNaming::timm ? weights.has(name + ".0.bn1.weight")
                       : spec.naming == MobileNaming::staged
                           ? weights.has(name + ".0.block.0.0.weight")
                       : spec.naming == MobileNaming::flat ? weights.has(name + ".block.0.0.weight")
                                                           : weights.has(name + ".conv.0.0.weight");
    if (!there) break;
    spec.depths.push_back(is_flat(spec) ? 1 : count_blocks(weights, name + "."));
  }
  spec.classes = head_classes(weights, head_name(spec));
  return spec;
}

bool squeezes(const StateDict& weights) {
  return std::any_of(weights.tensors.begin(), weights.tensors.end(), [](const auto& entry) {
    const std::string& name = entry.first;
    return name.find(".fc1.weight") != std::string::npos ||
           name.find(".se.conv_reduce.weight") != std::string::npos;
  });
}

bool named_after(const std::filesystem::path& weights, const std::string& networks) {
  const ConfigFile config = ConfigFile::beside(weights, {"config.json"});
  for (const std::string& name :
       {weights.filename().string(), weights.parent_path().filename().string(),
        config.text("architecture")})
    if (name.find(networks) != std::string::npos) return true;
  return false;
}

BuiltNetwork build_mobile(const MobileSpec& spec, StateDict weights) {
  if (spec.strides.size() != spec.depths.size() || spec.activations.size() != spec.depths.size())
    throw std::logic_error("every stage has a stride and an activation");
  return MobileBuilder(spec, std::move(weights)).build();
}

}  // namespace linex
