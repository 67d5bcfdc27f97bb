#include "toolkit/net/families.hpp"

#include <algorithm>
#include <stdexcept>

#include "linex/error.hpp"
#include "toolkit/base/files.hpp"
#include "toolkit/base/text.hpp"
#include "toolkit/checkpoint/zip.hpp"
#include "toolkit/net/mobile_network.hpp"

namespace linex {
namespace {

using Anchors = std::vector<std::vector<std::string>>;

const Anchors kTowers{{"visual.conv1.weight", "visual.ln_post.weight"}};

Anchors vit_anchors() {
  Anchors all{{"conv_proj.weight", "encoder.ln.weight"},
              kTowers.front(),
              {"vision_model.embeddings.patch_embedding.weight"},
              {"patch_embed.proj.weight", "pos_embed"}};
  // Hugging Face's models with a head hold the transformer under its kind's name.
  for (const std::string inner : {"vit.", "deit.", "dinov2.", "dinov2_with_registers.", ""})
    all.push_back(
        {inner + "embeddings.patch_embeddings.projection.weight", inner + "embeddings.cls_token"});
  return all;
}

bool holds_network(const StateDict& weights, const Anchors& anchors,
                   const std::vector<std::string>& absent = {}) {
  const StateDict found = find_network(weights, anchors);
  const auto there = [&](const std::string& name) {
    return found.has(name) || found.unread.count(name) != 0;
  };
  return std::none_of(absent.begin(), absent.end(), there) &&
         std::any_of(anchors.begin(), anchors.end(), [&](const auto& names) {
           return std::all_of(names.begin(), names.end(), there);
         });
}

/// Whether the file is a zip with the code of torch.jit.save.
bool is_torchscript(const std::filesystem::path& path) {
  std::error_code ignored;
  if (std::filesystem::is_directory(path, ignored)) return false;
  const MappedFile file(path);
  const std::string start = "PK\x03\x04";
  if (file.size() < start.size() || !std::equal(start.begin(), start.end(), file.data()))
    return false;
  const ZipArchive archive(file.data(), file.size(), path.string());
  const auto& entries = archive.entries();
  return std::any_of(entries.begin(), entries.end(), [](const ZipArchive::Entry& entry) {
    return entry.name.find("/code/") != std::string::npos;
  });
}

}  // namespace

const std::vector<NetworkFamily>& network_families() {
  static const std::vector<NetworkFamily> families{
      {"vit", vit_anchors()},
      {"swin",
       {{"features.1.0.attn.qkv.weight", "features.0.0.weight"},
        {"layers.0.blocks.0.attn.qkv.weight", "patch_embed.proj.weight"}}},
      {"convnext",
       {{"features.1.0.block.0.weight", "features.0.0.weight"},
        {"stages.0.blocks.0.conv_dw.weight", "stem.0.weight"},
        {"stages.0.0.dwconv.weight", "downsample_layers.0.0.weight"}}},
      {"efficientnet",
       {{"features.1.0.block.0.0.weight", "features.0.0.weight"},
        {"conv_stem.weight", "blocks.0.0.se.conv_reduce.weight"},
        {"conv_stem.weight", "blocks.0.0.conv.weight"}},  // V2
       {"conv_head.bias"}},                               // of MobileNet V3
      {"mobilenet", mobile_anchors()},
      {"densenet",
       {{"features.conv0.weight", "features.denseblock1.denselayer1.norm1.weight"},
        {"features.conv0.weight", "features.denseblock1.denselayer1.norm.1.weight"}}},
      {"regnet",
       {{"stem.0.weight", "trunk_output.block1.block1-0.f.a.0.weight"},
        {"stem.conv.weight", "s1.b1.conv1.conv.weight"}}},
      {"inception", {{"Conv2d_1a_3x3.conv.weight", "Mixed_5b.branch1x1.conv.weight"}}},
      {"resnet", {{"layer1.0.conv1.weight", "conv1.weight"}}},
      {"vgg", {{"features.0.weight"}}},
  };
  return families;
}

const Anchors& family_anchors(const std::string& plugin) {
  for (const NetworkFamily& family : network_families())
    if (family.plugin == plugin) return family.anchors;
  throw std::logic_error("no family of networks is read by " + plugin);
}

std::string find_model_plugin(const std::filesystem::path& path, const std::string& state) {
  const bool archive = is_torchscript(path);
  const StateDict weights = load_weights(path, state);
  if (archive) return holds_network(weights, kTowers) ? "vit" : "torchscript";
  std::vector<std::string> plugins;
  for (const NetworkFamily& family : network_families()) {
    if (holds_network(weights, family.anchors, family.absent)) return family.plugin;
    plugins.push_back(family.plugin);
  }
  throw input_error(weights.source + ": model.plugin=auto finds no network that it knows (" +
                    join(plugins, ", ") + ") by the names of its tensors, which begin with " +
                    first_name(weights) +
                    "; name model.plugin, choose model.state, or save the network with "
                    "torch.jit.save");
}

}  // namespace linex
