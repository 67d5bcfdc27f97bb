#include "vit_network.hpp"

#include <cmath>

#include "linex/error.hpp"
#include "toolkit/net/builder.hpp"

namespace linex {
namespace {

using Node = Network::Node;

VitSpec make_spec(const char* arch, std::int64_t patch, std::int64_t layers, std::int64_t heads,
                  std::int64_t width, std::int64_t mlp) {
  VitSpec spec;
  spec.arch = arch;
  spec.patch = patch;
  spec.layers = layers;
  spec.heads = heads;
  spec.width = width;
  spec.mlp = mlp;
  return spec;
}

std::vector<VitSpec> known_specs() {
  return {
      make_spec("vit_b_16", 16, 12, 12, 768, 3072), make_spec("vit_b_32", 32, 12, 12, 768, 3072),
      make_spec("vit_l_16", 16, 24, 16, 1024, 4096), make_spec("vit_l_32", 32, 24, 16, 1024, 4096),
      make_spec("vit_h_14", 14, 32, 16, 1280, 5120)};
}

const std::vector<std::vector<std::string>> kAnchors{{"conv_proj.weight", "encoder.ln.weight"}};

std::string layer_name(std::int64_t index) {
  return "encoder.layers.encoder_layer_" + std::to_string(index);
}

/// Checkpoints from before torchvision 0.12's MLP block call its linear maps otherwise.
void rename_old_mlp(StateDict& weights) {
  std::map<std::string, torch::Tensor> renamed;
  for (const auto& [name, tensor] : weights.tensors) {
    std::string now = name;
    for (const auto& [old_part, new_part] :
         {std::pair<const char*, const char*>{"mlp.linear_1.", "mlp.0."},
          {"mlp.linear_2.", "mlp.3."}})
      if (const auto at = now.find(old_part); at != std::string::npos)
        now.replace(at, std::string(old_part).size(), new_part);
    renamed[now] = tensor;
  }
  weights.tensors = std::move(renamed);
}

/// Image size and head: they vary within one architecture.
void read_variant(const StateDict& weights, VitSpec& spec) {
  const torch::Tensor positions = weights.get("encoder.pos_embedding");
  if (positions.defined() && positions.dim() == 3) {
    const double patches = static_cast<double>(positions.size(1) - 1);
    const auto side = static_cast<std::int64_t>(std::llround(std::sqrt(std::max(patches, 0.0))));
    if (side * side != positions.size(1) - 1 || side < 1)
      throw input_error(weights.source + ": encoder.pos_embedding has " +
                        std::to_string(positions.size(1)) +
                        " positions, which is no square of patches and a class token");
    spec.image = spec.trained_image = side * spec.patch;
  }
  const torch::Tensor head = weights.get("heads.head.weight");
  spec.has_head = head.defined() && head.dim() == 2;
  if (spec.has_head) spec.classes = head.size(0);
  const torch::Tensor pre_logits = weights.get("heads.pre_logits.weight");
  if (pre_logits.defined() && pre_logits.dim() == 2) spec.representation = pre_logits.size(0);
}

Preprocess preprocess_of(const VitSpec& spec) {
  Preprocess preprocess;
  preprocess.resize = Preprocess::Resize::short_side;
  preprocess.crop = spec.image;
  preprocess.mean = kImageNetMean;
  preprocess.std = kImageNetStd;
  // torchvision's presets: 256 to 224, vit_l_16 242 to 224; larger SWAG weights (384, 518) resize
  // bicubically to the very side they crop.
  if (spec.image == 224)
    preprocess.size = spec.arch == "vit_l_16" ? 242 : 256;
  else
    preprocess.size = spec.image;
  if (spec.image > 224) preprocess.interpolation = Preprocess::Interpolation::bicubic;
  return preprocess;
}

}  // namespace

VitSpec infer_vit(const StateDict& given, std::int64_t heads) {
  StateDict weights = find_network(given, kAnchors);
  rename_old_mlp(weights);
  const torch::Tensor patches = weights.get("conv_proj.weight");
  const torch::Tensor mlp = weights.get(layer_name(0) + ".mlp.0.weight");
  if (!patches.defined() || patches.dim() != 4 || !mlp.defined() || mlp.dim() != 2)
    throw input_error(weights.source +
                      ": not the weights of a torchvision vision transformer (no "
                      "conv_proj.weight and " +
                      layer_name(0) + ".mlp.0.weight); it begins with " + first_name(weights) +
                      "; choose another model.plugin, or model.state");
  VitSpec spec;
  spec.width = patches.size(0);
  spec.patch = patches.size(2);
  spec.mlp = mlp.size(0);
  spec.layers = 0;
  while (weights.has(layer_name(spec.layers) + ".ln_1.weight")) ++spec.layers;
  spec.heads = heads > 0 ? heads : std::max<std::int64_t>(spec.width / 64, 1);
  spec.arch = "vit-w" + std::to_string(spec.width) + "-l" + std::to_string(spec.layers);
  for (const VitSpec& known : known_specs()) {
    if (known.width != spec.width || known.mlp != spec.mlp) continue;
    if (heads == 0) spec.heads = known.heads;
    if (known.patch == spec.patch && known.layers == spec.layers && known.heads == spec.heads)
      spec.arch = known.arch;
  }
  if (spec.width % spec.heads != 0)
    throw usage_error("model.heads=" + std::to_string(spec.heads) + " does not divide the width " +
                      std::to_string(spec.width));
  spec.arch += spec.arch[3] == '_' ? "" : "-h" + std::to_string(spec.heads);
  read_variant(weights, spec);
  return spec;
}

VitSpec vit_spec(const std::string& arch, const StateDict& given, std::int64_t heads) {
  if (arch == "auto") return infer_vit(given, heads);
  const StateDict weights = find_network(given, kAnchors);
  for (VitSpec spec : known_specs()) {
    if (spec.arch != arch) continue;
    if (heads > 0 && heads != spec.heads)
      throw usage_error("model.heads=" + std::to_string(heads) + ": " + arch + " has " +
                        std::to_string(spec.heads) + " heads; leave it out");
    read_variant(weights, spec);
    return spec;
  }
  throw usage_error("model.arch=" + arch + ": no vision transformer of that name");
}

void set_image_size(VitSpec& spec, std::int64_t side) {
  if (side < spec.patch || side % spec.patch != 0)
    throw usage_error("model.image_size=" + std::to_string(side) + ": patches of " +
                      std::to_string(spec.patch) + " pixels do not tile it; give a multiple");
  spec.image = side;
}

torch::Tensor interpolate_positions(const torch::Tensor& positions, std::int64_t side) {
  const std::int64_t width = positions.size(2), patches = positions.size(1) - 1;
  const auto old_side = std::llround(std::sqrt(static_cast<double>(patches)));
  if (old_side == side) return positions;
  const torch::Tensor grid = positions.narrow(1, 1, patches)
                                 .transpose(1, 2)
                                 .reshape({1, width, old_side, old_side})
                                 .to(torch::kFloat);
  const torch::Tensor resized =
      at::upsample_bicubic2d(grid, {side, side}, /*align_corners=*/true, c10::nullopt, c10::nullopt)
          .reshape({1, width, side * side})
          .transpose(1, 2);
  return at::cat({positions.narrow(1, 0, 1), resized}, 1).contiguous();
}

BuiltNetwork build_vit(const VitSpec& spec, StateDict weights) {
  weights = find_network(std::move(weights), kAnchors);
  rename_old_mlp(weights);
  constexpr double kEps = 1e-6;
  const std::int64_t width = spec.width;
  const std::int64_t side = spec.image / spec.patch, trained = spec.trained_image / spec.patch;
  NetworkBuilder net(std::move(weights));
  Node x = net.conv("conv_proj", net.input(), 3, width, spec.patch, {spec.patch, 0, 1}, true);
  x = net.add("", make_tokens(net.parameter("class_token", {1, 1, width})), {x});
  const torch::Tensor positions =
      net.parameter("encoder.pos_embedding", {1, trained * trained + 1, width});
  x = net.add("encoder.dropout", make_add_constant(interpolate_positions(positions, side)), {x});
  for (std::int64_t i = 0; i < spec.layers; ++i) {
    const std::string name = layer_name(i);
    Node y = net.layer_norm(name + ".ln_1", x, width, kEps);
    y = net.self_attention(name + ".self_attention", y, width, spec.heads);
    net.alias(name + ".dropout", y);
    x = net.add("", make_add(), {y, x});
    y = net.layer_norm(name + ".ln_2", x, width, kEps);
    y = net.linear(name + ".mlp.0", y, width, spec.mlp);
    y = net.activation(name + ".mlp.1", y, Activation::gelu);
    net.alias(name + ".mlp.2", y);
    y = net.linear(name + ".mlp.3", y, spec.mlp, width);
    net.alias(name + ".mlp.4", y);
    net.alias(name + ".mlp", y);
    x = net.add(name, make_add(), {x, y});
  }
  net.alias("encoder.layers", x);
  x = net.layer_norm("encoder.ln", x, width, kEps);
  net.alias("encoder", x);
  x = net.add("", make_select_token(0), {x});
  BuiltNetwork built;
  if (spec.has_head) {
    std::int64_t features = width;
    if (spec.representation > 0) {
      x = net.linear("heads.pre_logits", x, width, spec.representation);
      x = net.activation("heads.act", x, Activation::tanh);
      features = spec.representation;
    }
    x = net.linear("heads.head", x, features, spec.classes);
    net.alias("heads", x);
  } else {
    const auto unused = net.skip_if([](const std::string& name) {
      return name.compare(0, 8, "encoder.") != 0 && name.compare(0, 10, "conv_proj.") != 0 &&
             name != "class_token";
    });
    built.has_logits = false;
    built.warnings.push_back(no_logits_note(net.weights(), "heads.head", unused));
  }

  built.network = net.finish(spec.arch, x);
  built.arch = spec.arch;
  built.fingerprint = net.fingerprint();
  built.notes = net.notes();
  built.classes = spec.classes;
  built.only_side = spec.image;
  if (side != trained) {
    built.fingerprint += " side=" + std::to_string(spec.image);
    built.notes.push_back("its position embedding is for " + std::to_string(trained) + "x" +
                          std::to_string(trained) + " patches and is interpolated to " +
                          std::to_string(side) + "x" + std::to_string(side) + " (bicubic)");
  }
  built.preprocess = preprocess_of(spec);
  return built;
}

}  // namespace linex
