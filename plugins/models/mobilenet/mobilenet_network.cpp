#include "mobilenet_network.hpp"

#include <algorithm>

#include "linex/error.hpp"
#include "toolkit/net/builder.hpp"

namespace linex {
namespace {

using Strides = std::vector<std::int64_t>;

/// One network of MobileNet's kind: strides of its blocks, and how many of them use ReLU.
struct Layout {
  const char* arch;
  Strides depths;   ///< blocks of each stage, as timm has them; another depth is no error in V2
  Strides strides;  ///< of each stage's first block
  std::size_t relu_stages;
};

/// Without timm's last stage of V3, which torchvision counts as its last convolution.
const Layout kV2{"mobilenet_v2", {1, 2, 3, 4, 3, 3, 1}, {1, 2, 2, 2, 1, 2, 1}, 0};
const Layout kV3Large{"mobilenet_v3_large", {1, 2, 3, 4, 2, 3}, {1, 2, 2, 2, 1, 2}, 3};
const Layout kV3Small{"mobilenet_v3_small", {1, 2, 3, 2, 3}, {2, 2, 2, 1, 2}, 2};

/// Which of the networks it is, or null.
const Layout* layout_of(const MobileSpec& spec, bool v3) {
  switch (spec.naming) {
    case MobileNaming::flat_unlabelled:
      return spec.depths.size() == 17 ? &kV2 : nullptr;
    case MobileNaming::flat:
      return spec.depths.size() == 15 ? &kV3Large : spec.depths.size() == 11 ? &kV3Small : nullptr;
    case MobileNaming::timm:
      for (const Layout* layout : {&kV3Large, &kV3Small}) {
        Strides depths = layout->depths;
        depths.push_back(1);
        if (v3 && depths == spec.depths) return layout;
      }
      return !v3 && spec.depths.size() == kV2.depths.size() ? &kV2 : nullptr;
    case MobileNaming::staged:
      break;
  }
  return nullptr;
}

void set_blocks(MobileSpec& spec, const Layout& layout, bool minimal) {
  const bool v3 = layout.relu_stages > 0;
  const auto activation_of = [&](std::size_t stage) {
    if (!v3) return Activation::relu6;
    return minimal || stage < layout.relu_stages ? Activation::relu : Activation::hard_swish;
  };
  for (std::size_t stage = 0; stage < layout.depths.size(); ++stage)
    for (std::int64_t block = 0; block < layout.depths[stage]; ++block) {
      if (spec.naming == MobileNaming::timm && block > 0) continue;
      spec.strides.push_back(block == 0 ? layout.strides[stage] : 1);
      spec.activations.push_back(activation_of(stage));
    }
  if (v3 && spec.naming == MobileNaming::timm) {
    spec.strides.push_back(1);
    spec.activations.push_back(activation_of(layout.depths.size()));
  }
  spec.activation = activation_of(layout.depths.size());
  spec.squeeze = Activation::relu;
  spec.gate = Activation::hard_sigmoid;
}

}  // namespace

MobileSpec mobilenet_spec(const std::string& arch, const StateDict& given) {
  const StateDict weights = find_network(given, mobile_anchors());
  MobileSpec spec = read_mobile(weights);
  const bool timm = spec.naming == MobileNaming::timm;
  const bool v3 = spec.naming == MobileNaming::flat || weights.has("conv_head.bias");
  const Layout* layout = layout_of(spec, v3);
  if (!layout || (!v3 && squeezes(weights)))
    throw foreign_weights(weights, "a MobileNet V2 or V3",
                          "17, 15 or 11 blocks from features.1 on, or their stages under blocks.");
  const bool tf = timm && v3 &&
                  (arch.compare(0, 3, "tf_") == 0 ||
                   (arch == "auto" && named_after(weights.source, "tf_mobilenet")));
  spec.arch = (tf ? "tf_" : "") + std::string(layout->arch);
  if (arch != "auto" && arch != spec.arch)
    throw input_error(weights.source + ": the weights do not fit " + arch + ": they are those of " +
                      spec.arch + "; check model.arch (auto infers it)");
  set_blocks(spec, *layout, v3 && !squeezes(weights));
  spec.same = tf;
  spec.eps = tf || spec.naming == MobileNaming::flat ? 1e-3 : 1e-5;
  return spec;
}

BuiltNetwork build_mobilenet(const MobileSpec& spec, StateDict given) {
  const std::string source = given.source;
  BuiltNetwork built = build_mobile(spec, find_network(std::move(given), mobile_anchors()));
  if (spec.naming != MobileNaming::timm) {
    imagenet_preprocess(built, 256);
    return built;
  }
  const bool tf = spec.arch.compare(0, 3, "tf_") == 0;
  if (!tf && spec.arch != kV2.arch && !timm_config(source))
    built.notes.push_back(
        "timm's tf_mobilenetv3 have the same names and other padding and eps: for one of them give "
        "model.arch=tf_" +
        spec.arch);
  TimmPixels usual;
  if (tf) usual.interpolation = Preprocess::Interpolation::bilinear;
  if (tf) usual.mean = usual.std = kHalf;
  timm_preprocess(built, source, usual);
  return built;
}

}  // namespace linex
