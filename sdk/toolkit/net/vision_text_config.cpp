#include "toolkit/net/vision_text_config.hpp"

#include "linex/error.hpp"
#include "toolkit/checkpoint/config_file.hpp"
#include "toolkit/net/image_model.hpp"

namespace linex {
namespace {

using Family = VisionTextConfig::Family;

/// The model's own object of a configuration: open_clip keeps it under `model_cfg`.
ConfigFile model_section(const ConfigFile& file) {
  const ConfigFile inner = file.section("model_cfg");
  return inner ? inner : file;
}

class Inference {
 public:
  Inference(const StateDict& weights, const std::filesystem::path& file,
            const VisionTextOverrides& overrides)
      : weights_(weights), overrides_(overrides) {
    json_ = overrides.config.empty()
                ? ConfigFile::beside(file, {"open_clip_config.json", "config.json"})
                : ConfigFile::open(overrides.config);
    model_ = model_section(json_);
  }

  VisionTextConfig run(bool vision_only) {
    vision_only_ = vision_only;
    find_kind();
    const bool siglip = config_.family == Family::siglip;
    config_.mean = siglip ? kHalf : kClipMean;
    config_.std = siglip ? kHalf : kClipStd;
    if (!vision_only) read_text();
    if (config_.resnet)
      read_resnet();
    else
      read_vision();
    read_details(config_.vision, "vision");
    if (!vision_only) read_details(config_.text, "text");
    read_preprocessing();
    return config_;
  }

 private:
  /// Sizes of a tensor that must be there with that rank.
  std::vector<std::int64_t> shape(const std::string& name, std::size_t rank,
                                  const std::string& what) const {
    const torch::Tensor found = weights_.get(name);
    if (!found.defined())
      throw input_error(weights_.source + ": no " + what + " (" + name +
                        " is missing); give a complete checkpoint of both towers");
    if (found.sizes().size() != rank || found.numel() == 0)
      throw input_error(weights_.source + ": " + name + " has shape " +
                        shape_text(found.sizes().vec()) + ", which is no " + what);
    return found.sizes().vec();
  }

  void find_kind() {
    const auto has = [&](const char* name) { return weights_.has(name); };
    if (has("visual.trunk.patch_embed.proj.weight")) {
      config_.family = Family::siglip;
      config_.vision_naming = Naming::timm;
    } else if (has("vision_model.embeddings.patch_embedding.weight")) {
      config_.vision_naming = config_.text_naming = Naming::hugging_face;
      config_.family =
          has("vision_model.embeddings.class_embedding") ? Family::clip : Family::siglip;
    } else if (has("visual.layer1.0.conv1.weight")) {
      config_.resnet = true;
    } else if (!has("visual.conv1.weight")) {
      throw input_error(weights_.source +
                        ": neither CLIP nor SigLIP (no visual.conv1, visual.trunk or "
                        "vision_model); give both towers, under open_clip's, OpenAI's or "
                        "Hugging Face's names");
    }
    if (has("text.token_embedding.weight")) config_.text_prefix = "text.";
  }

  void read_text() {
    TransformerSize& size = config_.text;
    const bool hugging_face = config_.text_naming == Naming::hugging_face;
    const std::string& prefix = config_.text_prefix;
    const std::string tokens = hugging_face ? "text_model.embeddings.token_embedding.weight"
                                            : prefix + "token_embedding.weight";
    const auto table = shape(tokens, 2, "text tower");
    config_.vocabulary = table[0];
    size.width = table[1];
    const std::string positions = hugging_face ? "text_model.embeddings.position_embedding.weight"
                                               : prefix + "positional_embedding";
    config_.context = shape(positions, 2, "text tower")[0];
    const std::string blocks =
        hugging_face ? "text_model.encoder.layers." : prefix + "transformer.resblocks.";
    size.layers = count_blocks(weights_, blocks);
    const std::string first = blocks + (hugging_face ? "0.mlp.fc1.weight" : "0.mlp.c_fc.weight");
    size.mlp = shape(first, 2, "text tower")[0];
    if (config_.family == Family::siglip)
      config_.embed = hugging_face
                          ? shape("text_model.head.weight", 2, "text projection")[0]
                          : shape(prefix + "text_projection.weight", 2, "text projection")[0];
    else
      config_.embed = hugging_face ? shape("text_projection.weight", 2, "text projection")[0]
                                   : shape(prefix + "text_projection", 2, "text projection")[1];
  }

  void read_vision() {
    TransformerSize& size = config_.vision;
    std::string patches, positions, blocks, first;
    switch (config_.vision_naming) {
      case Naming::open_clip:
        patches = "visual.conv1.weight";
        positions = "visual.positional_embedding";
        blocks = "visual.transformer.resblocks.";
        first = "mlp.c_fc.weight";
        break;
      case Naming::timm:
        patches = "visual.trunk.patch_embed.proj.weight";
        positions = "visual.trunk.pos_embed";
        blocks = "visual.trunk.blocks.";
        first = "mlp.fc1.weight";
        break;
      case Naming::hugging_face:
        patches = "vision_model.embeddings.patch_embedding.weight";
        positions = "vision_model.embeddings.position_embedding.weight";
        blocks = "vision_model.encoder.layers.";
        first = "mlp.fc1.weight";
        break;
    }
    const auto kernel = shape(patches, 4, "image tower");
    size.width = kernel[0];
    config_.patch = kernel[2];
    const bool timm = config_.vision_naming == Naming::timm;
    const std::int64_t tokens = shape(positions, timm ? 3 : 2, "image tower")[timm ? 1 : 0];
    config_.grid = square_side(tokens - (config_.family == Family::clip ? 1 : 0));
    size.layers = count_blocks(weights_, blocks);
    size.mlp = shape(blocks + "0." + first, 2, "image tower")[0];
    config_.image_size = config_.grid * config_.patch;
    // SO400M/14 was published for 384 pixels, which its patches do not tile.
    if (config_.family == Family::siglip && config_.patch == 14 && config_.grid == 27)
      config_.image_size = 384;
  }

  void read_resnet() {
    ClipResnetSize& size = config_.resnet_size;
    size.width = shape("visual.conv3.weight", 4, "image tower")[0];
    for (std::size_t stage = 0; stage < 4; ++stage)
      size.blocks[stage] = count_blocks(weights_, "visual.layer" + std::to_string(stage + 1) + ".");
    size.embed = config_.embed;
    const auto positions = shape("visual.attnpool.positional_embedding", 2, "attention pool");
    size.grid = config_.grid = square_side(positions[0] - 1);
    if (size.width < 2 || positions[1] % 64 != 0)
      throw input_error(weights_.source + ": a CLIP ResNet has 64 channels a head, not " +
                        std::to_string(positions[1]) + " in all");
    config_.vision.width = positions[1];
    constexpr std::int64_t kStride = 32;
    config_.image_size = kStride * size.grid;
  }

  std::int64_t square_side(std::int64_t tokens) const {
    std::int64_t side = 0;
    while (side * side < tokens) ++side;
    if (tokens < 1 || side * side != tokens)
      throw input_error(weights_.source + ": " + std::to_string(tokens) +
                        " patch positions are no square grid");
    return side;
  }

  /// What shapes do not tell about a tower.
  void read_details(TransformerSize& size, const std::string& tower) const {
    const ConfigFile section = tower_section(tower);
    const bool siglip = config_.family == Family::siglip;
    size.eps = siglip ? 1e-6 : 1e-5;
    constexpr std::int64_t kSo400mWidth = 1152;
    size.heads = size.width == kSo400mWidth ? 16 : std::max<std::int64_t>(1, size.width / 64);
    size.heads = section.count("num_attention_heads", size.heads);
    size.heads = section.count("heads", size.heads);
    const std::int64_t head_width = section.count("head_width", 0);
    if (head_width > 0) size.heads = size.width / head_width;
    if (size.heads < 1 || size.width % size.heads != 0)
      throw input_error(weights_.source + ": width " + std::to_string(size.width) + " of the " +
                        tower + " tower is no multiple of its " + std::to_string(size.heads) +
                        " heads" + (json_.source().empty() ? "" : " of " + json_.source()));
    size.activation = find_activation(section);
    for (const ConfigFile& holder : {section, section.section("norm_kwargs")})
      for (const char* key : {"layer_norm_eps", "eps"})
        if (const auto eps = holder.number(key); eps && *eps > 0 && *eps < 1) size.eps = *eps;
  }

  /// Section of a tower: open_clip's `vision_cfg` or Hugging Face's `vision_config`; the whole
  /// configuration where the checkpoint is that tower alone.
  ConfigFile tower_section(const std::string& tower) const {
    for (const char* ending : {"_cfg", "_config"})
      if (const ConfigFile section = model_.section(tower + ending)) return section;
    return vision_only_ && tower == "vision" ? model_ : ConfigFile();
  }

  Activation find_activation(const ConfigFile& section) const {
    if (overrides_.activation) return *overrides_.activation;
    if (const auto named = activation_named(section.text("hidden_act"))) return *named;
    if (const auto quick = model_.flag("quick_gelu"))
      return *quick ? Activation::quick_gelu : Activation::gelu;
    if (section.section("act_kwargs").text("approximate") == "tanh") return Activation::gelu_tanh;
    const bool hugging_face = config_.text_naming == Naming::hugging_face;
    if (config_.family == Family::siglip)
      return hugging_face ? Activation::gelu_tanh : Activation::gelu;
    if (hugging_face || is_openai()) return Activation::quick_gelu;
    return Activation::gelu;
  }

  /// OpenAI's archives hold half-precision weights; open_clip's do not.
  bool is_openai() const {
    if (weights_.has("input_resolution")) return true;
    const torch::Tensor kernel = weights_.get("visual.conv1.weight");
    return config_.text_prefix.empty() && kernel.defined() && kernel.scalar_type() == torch::kHalf;
  }

  void read_preprocessing() {
    config_.image_size = tower_section("vision").count("image_size", config_.image_size);
    if (overrides_.image_size > 0) config_.image_size = overrides_.image_size;
    const std::int64_t stride = config_.resnet ? 32 : config_.patch;
    if (stride < 1 || config_.image_size / stride != config_.grid)
      throw input_error(weights_.source + ": images of " + std::to_string(config_.image_size) +
                        " pixels do not give the checkpoint's " + std::to_string(config_.grid) +
                        "x" + std::to_string(config_.grid) + " patches of " +
                        std::to_string(stride) + "; check image_size");
    const ConfigFile section = json_.section("preprocess_cfg");
    config_.mean = section.triple("mean").value_or(config_.mean);
    config_.std = section.triple("std").value_or(config_.std);
  }

  const StateDict& weights_;
  ConfigFile json_, model_;
  bool vision_only_ = false;
  const VisionTextOverrides& overrides_;
  VisionTextConfig config_;
};

}  // namespace

std::optional<Activation> activation_named(const std::string& word) {
  if (word == "quick_gelu") return Activation::quick_gelu;
  if (word == "gelu") return Activation::gelu;
  if (word == "gelu_pytorch_tanh" || word == "gelu_tanh" || word == "gelu_new")
    return Activation::gelu_tanh;
  return std::nullopt;
}

std::string VisionTextConfig::name() const {
  constexpr std::int64_t kGemma = 256000;
  const std::string family_name = family == Family::clip ? "CLIP "
                                  : vocabulary == kGemma ? "SigLIP 2 "
                                                         : "SigLIP ";
  if (resnet) {
    std::int64_t layers = 2;
    for (const std::int64_t blocks : resnet_size.blocks) layers += 3 * blocks;
    return family_name + "RN" + std::to_string(layers) + "-" + std::to_string(image_size);
  }
  const std::string size = vision.width == 768    ? "B"
                           : vision.width == 1024 ? "L"
                           : vision.width == 1152 ? "SO400M"
                           : vision.width == 1280 ? "H"
                                                  : std::to_string(vision.width);
  return family_name + "ViT-" + size + "/" + std::to_string(patch) + "-" +
         std::to_string(image_size);
}

StateDict find_vision_text(StateDict weights) {
  return find_network(std::move(weights), {{"visual.trunk.patch_embed.proj.weight"},
                                           {"vision_model.embeddings.patch_embedding.weight"},
                                           {"visual.layer1.0.conv1.weight"},
                                           {"visual.conv1.weight"}});
}

VisionTextConfig infer_config(const StateDict& weights, const std::filesystem::path& file,
                              const VisionTextOverrides& overrides) {
  return Inference(weights, file, overrides).run(false);
}

VisionTextConfig infer_vision_config(const StateDict& weights, const std::filesystem::path& file,
                                     const VisionTextOverrides& overrides) {
  return Inference(weights, file, overrides).run(true);
}

}  // namespace linex
