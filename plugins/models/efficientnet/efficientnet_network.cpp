#include "efficientnet_network.hpp"

#include <algorithm>

#include "linex/error.hpp"
#include "toolkit/net/builder.hpp"

namespace linex {
namespace {

constexpr auto kBilinear = Preprocess::Interpolation::bilinear;
constexpr auto kBicubic = Preprocess::Interpolation::bicubic;

/// Evaluation of published weights; no crop: there are none.
struct Pixels {
  std::int64_t crop = 0;
  double share = 1;  ///< of the resized side that the crop keeps
};

struct Known {
  const char* arch;  ///< timm's name without tf_
  std::vector<std::int64_t> depths;
  std::int64_t stem, last;    ///< channels after the stem and after the last stage
  std::int64_t resize, crop;  ///< torchvision's; 0: it has no such network
  Pixels timm, tf;
};

const std::vector<Known>& known_networks() {
  static const std::vector<Known> known{
      {"efficientnet_b0", {1, 2, 2, 3, 3, 4, 1}, 32, 320, 256, 224, {224, 0.875}, {224, 0.875}},
      {"efficientnet_b1", {2, 3, 3, 4, 4, 5, 2}, 32, 320, 256, 240, {224, 1}, {240, 0.882}},
      {"efficientnet_b2", {2, 3, 3, 4, 4, 5, 2}, 32, 352, 288, 288, {256, 1}, {260, 0.89}},
      {"efficientnet_b3", {2, 3, 3, 5, 5, 6, 2}, 40, 384, 320, 300, {288, 1}, {300, 0.904}},
      {"efficientnet_b4", {2, 4, 4, 6, 6, 8, 2}, 48, 448, 384, 380, {320, 1}, {380, 0.922}},
      {"efficientnet_b5", {3, 5, 5, 7, 7, 9, 3}, 48, 512, 456, 456, {448, 1}, {456, 0.934}},
      {"efficientnet_b6", {3, 6, 6, 8, 8, 11, 3}, 56, 576, 528, 528, {528, 0.942}, {528, 0.942}},
      {"efficientnet_b7", {4, 7, 7, 10, 10, 13, 4}, 64, 640, 600, 600, {600, 0.949}, {600, 0.949}},
      {"efficientnet_b8", {4, 8, 8, 11, 11, 15, 4}, 72, 704, 0, 0, {672, 0.954}, {672, 0.954}},
      {"efficientnetv2_s", {2, 4, 4, 6, 9, 15}, 24, 256, 384, 384, {288, 1}, {300, 1}},
      {"efficientnetv2_m", {3, 5, 5, 7, 14, 18, 5}, 24, 512, 480, 480, {320, 1}, {384, 1}},
      {"efficientnetv2_l", {4, 7, 7, 10, 19, 25, 7}, 32, 640, 480, 480, {384, 1}, {384, 1}},
      {"efficientnetv2_xl", {4, 8, 8, 16, 24, 32, 8}, 32, 640, 0, 0, {384, 1}, {384, 1}},
      {"efficientnetv2_b0", {1, 2, 2, 3, 5, 8}, 32, 192, 0, 0, {192, 0.875}, {192, 0.875}},
      {"efficientnetv2_b1", {2, 3, 3, 4, 6, 9}, 32, 192, 0, 0, {192, 0.882}, {192, 0.882}},
      {"efficientnetv2_b2", {2, 3, 3, 4, 6, 10}, 32, 208, 0, 0, {208, 0.89}, {208, 0.89}},
      {"efficientnetv2_b3", {2, 3, 3, 5, 7, 12}, 40, 232, 0, 0, {240, 0.9}, {240, 0.9}},
      {"efficientnetv2_rw_t", {2, 4, 4, 6, 9, 14}, 24, 208, 0, 0, {224, 1}, {}},
      {"efficientnetv2_rw_s", {2, 4, 4, 6, 9, 15}, 24, 272, 0, 0, {288, 1}, {}},
      {"efficientnetv2_rw_m", {3, 5, 5, 8, 15, 24}, 32, 328, 0, 0, {320, 1}, {}}};
  return known;
}

bool begins_with(const std::string& text, const std::string& start) {
  return text.compare(0, start.size(), start) == 0;
}

/// "efficientnet_v2_s" as "efficientnetv2_s", without "tf_".
std::string timm_name(std::string arch) {
  if (begins_with(arch, "tf_")) arch.erase(0, 3);
  if (begins_with(arch, "efficientnet_v2")) arch.erase(std::string("efficientnet").size(), 1);
  return arch;
}

/// The name that the library has which named the weights.
std::string name_of(const std::string& timm, bool torchvision, bool tf) {
  const bool v2 = begins_with(timm, "efficientnetv2");
  if (torchvision && v2) return "efficientnet_" + timm.substr(std::string("efficientnet").size());
  return (tf ? "tf_" : "") + timm;
}

const Known* find_known(const std::string& timm) {
  for (const Known& known : known_networks())
    if (timm == known.arch) return &known;
  return nullptr;
}

/// Channels of the last stage: inputs of the last convolution.
std::int64_t last_channels(const StateDict& weights, const MobileSpec& spec) {
  return weights.size(spec.naming == MobileNaming::timm
                          ? "conv_head.weight"
                          : "features." + std::to_string(spec.depths.size() + 1) + ".0.weight",
                      1);
}

std::int64_t stem_channels(const StateDict& weights, const MobileSpec& spec) {
  return weights.size(
      spec.naming == MobileNaming::timm ? "conv_stem.weight" : "features.0.0.weight", 0);
}

}  // namespace

MobileSpec efficientnet_spec(const std::string& arch, const StateDict& given) {
  const StateDict weights = find_network(given, mobile_anchors());
  MobileSpec spec = read_mobile(weights);
  const bool timm = spec.naming == MobileNaming::timm;
  if (spec.depths.empty() || (!timm && spec.naming != MobileNaming::staged) || !squeezes(weights) ||
      weights.has("conv_head.bias"))
    throw foreign_weights(weights, "an EfficientNet",
                          "squeeze and excitation in features.1.0.block or blocks.0.0");
  const bool tf = timm && (begins_with(arch, "tf_") ||
                           (arch == "auto" && named_after(weights.source, "tf_efficientnet")));
  for (const Known& known : known_networks())
    if (known.depths == spec.depths && known.stem == stem_channels(weights, spec) &&
        known.last == last_channels(weights, spec))
      spec.arch = name_of(known.arch, !timm, tf);
  if (arch != "auto" && arch != spec.arch)
    throw input_error(weights.source + ": the weights do not fit " + arch + ": they are those of " +
                      (spec.arch.empty() ? "another size" : spec.arch) +
                      "; check model.arch (auto infers it)");
  if (spec.arch.empty()) spec.arch = tf ? "tf_efficientnet" : "efficientnet";
  // Of all published sizes, V1 and V2.
  const std::vector<std::int64_t> strides{1, 2, 2, 2, 1, 2, 1};
  if (spec.depths.size() > strides.size())
    throw input_error(weights.source + ": " + std::to_string(spec.depths.size()) +
                      " stages; an EfficientNet has 7 at most");
  spec.strides.assign(strides.begin(),
                      strides.begin() + static_cast<std::ptrdiff_t>(spec.depths.size()));
  spec.activations.assign(spec.depths.size(), Activation::silu);
  spec.same = tf;
  const std::string name = timm_name(spec.arch);
  const bool larger = begins_with(name, "efficientnetv2") || name == "efficientnet_b5" ||
                      name == "efficientnet_b6" || name == "efficientnet_b7";
  spec.eps = tf || (!timm && larger) ? 1e-3 : 1e-5;
  return spec;
}

BuiltNetwork build_efficientnet(const MobileSpec& spec, StateDict given) {
  const std::string source = given.source;
  BuiltNetwork built = build_mobile(spec, find_network(std::move(given), mobile_anchors()));
  const Known* known = find_known(timm_name(spec.arch));
  if (!known)
    built.warnings.push_back(
        "no published EfficientNet has this size; strides, activations and eps are those of "
        "efficientnet_b0");
  const bool tf = begins_with(spec.arch, "tf_");
  if (spec.naming == MobileNaming::timm) {
    if (!tf && !timm_config(source))
      built.notes.push_back(
          "timm's tf_efficientnets have the same names and other padding and eps: for one of them "
          "give model.arch=tf_" +
          (known ? spec.arch : "efficientnet_b0"));
    TimmPixels usual;
    if (known) usual.crop = tf ? known->tf.crop : known->timm.crop;
    if (known) usual.share = tf ? known->tf.share : known->timm.share;
    const std::string name = timm_name(spec.arch);
    if (tf && begins_with(name, "efficientnetv2_") && name != "efficientnetv2_b0" &&
        name != "efficientnetv2_b1" && name != "efficientnetv2_b2")
      usual.mean = usual.std = kHalf;
    timm_preprocess(built, source, usual);
    return built;
  }
  const bool bilinear =
      known && (spec.arch == "efficientnet_v2_s" || spec.arch == "efficientnet_v2_m");
  imagenet_preprocess(built, known && known->crop ? known->resize : 256,
                      known && known->crop ? known->crop : 224, bilinear ? kBilinear : kBicubic);
  if (spec.arch == "efficientnet_v2_l") built.preprocess.mean = built.preprocess.std = kHalf;
  return built;
}

}  // namespace linex
