#include "vit_spec.hpp"

#include <algorithm>

#include "linex/error.hpp"
#include "toolkit/base/text.hpp"
#include "toolkit/checkpoint/config_file.hpp"
#include "toolkit/checkpoint/weight_reader.hpp"
#include "toolkit/net/vision_text_config.hpp"
#include "vit_preprocess.hpp"

namespace linex {
namespace {

using Library = VitNames::Library;
using Pool = VitSpec::Pool;
using Shape = std::vector<std::int64_t>;

struct KnownVit {
  const char* arch;
  std::int64_t patch, layers, heads, width, mlp;
};
constexpr KnownVit kKnown[] = {{"vit_b_16", 16, 12, 12, 768, 3072},
                               {"vit_b_32", 32, 12, 12, 768, 3072},
                               {"vit_l_16", 16, 24, 16, 1024, 4096},
                               {"vit_l_32", 32, 24, 16, 1024, 4096},
                               {"vit_h_14", 14, 32, 16, 1280, 5120}};

/// Heads of the published networks: 64 channels each, but for these.
std::int64_t published_heads(std::int64_t width) {
  for (const std::int64_t wide : {1152, 1280, 1408, 1664})  // SO400M, H, g, bigG
    if (width == wide) return 16;
  return std::max<std::int64_t>(width / 64, 1);
}

class VitInference {
 public:
  VitInference(const NamedVit& vit, const std::filesystem::path& file, const VitChoices& choices)
      : weights_(vit.weights), choices_(choices) {
    spec_.names = vit.names;
    config_ = choices.config.empty()
                  ? ConfigFile::beside(file, {"open_clip_config.json", "config.json"})
                  : ConfigFile::open(choices.config);
    processor_ = ConfigFile::beside(file, {"preprocessor_config.json"});
    // timm keeps what its own library needs under pretrained_cfg; CLIP's its tower's under a
    // section.
    for (const ConfigFile& model : {config_.section("model_cfg"), config_})
      for (const char* key : {"vision_cfg", "vision_config"})
        if (!tower_) tower_ = model.section(key);
    if (!tower_) tower_ = config_;
  }

  VitSpec run() {
    read_patches();
    read_blocks();
    read_details();
    read_tokens();
    read_end();
    name_it();
    if (choices_.image_size > 0) set_image_size(spec_, choices_.image_size);
    set_preprocess(spec_, config_, processor_, choices_.image_size > 0);
    if (choices_.image_size == 0) {
      const Preprocess& preprocess = spec_.preprocess;
      const bool square = preprocess.resize == Preprocess::Resize::squash;
      const std::int64_t side = preprocess.crop ? preprocess.crop : square ? preprocess.size : 0;
      if (side > 0) set_image_size(spec_, side);
    }
    if (config_) spec_.notes.push_back("configuration: " + config_.source());
    if (processor_) spec_.notes.push_back("pixels as " + processor_.source() + " says");
    return spec_;
  }

 private:
  std::string block(const char* part, std::int64_t index = 0) const {
    return spec_.names.block + std::to_string(index) + "." + part;
  }
  bool has(const char* name, const char* ending = "") const {
    return name != nullptr && weights_.has(std::string(name) + ending);
  }

  /// Sizes of a tensor that must be there with that rank.
  Shape shape(const std::string& name, std::size_t rank) const {
    const torch::Tensor found = weights_.get(name);
    if (!found.defined()) {
      const auto unread = weights_.unread.find(name);
      throw input_error(weights_.source + ": a vision transformer under " + spec_.names.title +
                        "'s names without " + name +
                        (unread == weights_.unread.end() ? std::string() : ": " + unread->second) +
                        "; give the whole network, or another model.plugin or model.state");
    }
    const Shape sizes = found.sizes().vec();
    const bool sane = std::all_of(sizes.begin(), sizes.end(),
                                  [](std::int64_t size) { return size >= 1 && size <= 1'000'000; });
    if (sizes.size() != rank || !sane)
      throw input_error(weights_.source + ": " + name + " has shape " + shape_text(sizes) +
                        ", which is none of a vision transformer");
    return sizes;
  }
  /// How many tokens a parameter (1, T, width) or (T, width) is for.
  std::int64_t rows(const std::string& name) const {
    const torch::Tensor found = weights_.get(name);
    const bool flat = found.defined() && found.dim() == 2;
    const Shape sizes = shape(name, flat ? 2 : 3);
    if (sizes.back() != spec_.width)
      throw input_error(weights_.source + ": " + name + " has shape " + shape_text(sizes) +
                        ", and the patches have width " + std::to_string(spec_.width));
    return sizes[flat ? 0 : 1];
  }

  void read_patches() {
    const std::string name = std::string(spec_.names.patches) + ".weight";
    const Shape kernel = shape(name, 4);
    spec_.width = kernel[0];
    spec_.patch = kernel[2];
    if (kernel[1] != 3 || kernel[2] != kernel[3])
      throw input_error(weights_.source + ": " + name + " has shape " + shape_text(kernel) +
                        "; a network of square patches of three colours is taken");
  }

  void read_blocks() {
    VitNames& names = spec_.names;
    if (names.gated_in && (weights_.has(block(names.gated_in) + ".weight") ||
                           weights_.has(block(names.gated_out) + ".weight"))) {
      names.fc1 = names.gated_in;
      names.fc2 = names.gated_out;
      names.activation = nullptr;
    }
    const std::string first = block(names.fc1) + ".weight", second = block(names.fc2) + ".weight";
    const Shape in = shape(first, 2), out = shape(second, 2);
    spec_.mlp = out[1];
    spec_.gated = in[0] == 2 * out[1];
    if (in[0] != out[1] && !spec_.gated)
      throw input_error(weights_.source + ": " + first + " gives " + std::to_string(in[0]) +
                        " values and " + second + " takes " + std::to_string(out[1]));
    spec_.layers = count_blocks(weights_, names.block);
    for (const char** part : {&names.scale1, &names.scale2})
      if (*part && !weights_.has(block(*part) + names.scale_parameter)) *part = nullptr;
    for (const char** part : {&names.query_norm, &names.key_norm})
      if (*part && !weights_.has(block(*part) + ".weight")) *part = nullptr;
    if (!has(names.norm_before, ".weight")) names.norm_before = nullptr;
  }

  void read_details() {
    const VitNames& names = spec_.names;
    const std::int64_t configured = tower_.count("num_attention_heads", tower_.count("heads", 0));
    const std::int64_t head_width = tower_.count("head_width", 0);
    spec_.heads = choices_.heads > 0 ? choices_.heads
                  : configured > 0   ? configured
                  : head_width > 0   ? spec_.width / head_width
                                     : published_heads(spec_.width);
    if (spec_.heads < 1 || spec_.width % spec_.heads != 0) {
      const std::string problem =
          std::to_string(spec_.heads) + " does not divide the width " + std::to_string(spec_.width);
      if (choices_.heads > 0) throw usage_error("model.heads=" + problem);
      throw input_error(weights_.source + ": the number of heads " + problem +
                        (config_ ? " (" + config_.source() + ")" : "") + "; give model.heads");
    }
    const bool siglip = spec_.is_tower() && !has_class_token();
    const bool hugging_face = names.library == Library::hugging_face;
    spec_.eps = 1e-6;
    if ((spec_.is_tower() && !siglip) || names.norm_before) spec_.eps = 1e-5;
    if (hugging_face && !names.scale1) spec_.eps = 1e-12;
    for (const ConfigFile& holder : {tower_, tower_.section("norm_kwargs")})
      for (const char* key : {"layer_norm_eps", "eps"})
        if (const auto eps = holder.number(key); eps && *eps > 0 && *eps < 1) spec_.eps = *eps;
    if (hugging_face && !config_ && !choices_.heads)
      spec_.notes.push_back(
          "no config.json lies beside the weights: " + std::to_string(spec_.heads) +
          " heads and eps " + format_number(spec_.eps) + " are taken, as published");
    read_activation(siglip);
  }

  void read_activation(bool siglip) {
    const ConfigFile model = config_.section("model_cfg") ? config_.section("model_cfg") : config_;
    const std::string architecture = config_.text("architecture");
    if (spec_.names.library == Library::hugging_face_clip)
      spec_.activation = siglip ? Activation::gelu_tanh : Activation::quick_gelu;
    if (spec_.names.library == Library::open_clip && is_openai())
      spec_.activation = Activation::quick_gelu;
    if (architecture.find("quickgelu") != std::string::npos)
      spec_.activation = Activation::quick_gelu;
    if (tower_.section("act_kwargs").text("approximate") == "tanh")
      spec_.activation = Activation::gelu_tanh;
    if (const auto quick = model.flag("quick_gelu"))
      spec_.activation = *quick ? Activation::quick_gelu : Activation::gelu;
    if (const auto named = activation_named(tower_.text("hidden_act"))) spec_.activation = *named;
    if (choices_.activation) spec_.activation = *choices_.activation;
  }

  /// OpenAI's archives hold half-precision weights; open_clip's do not.
  bool is_openai() const {
    return weights_.has("input_resolution") ||
           (!weights_.has("text.token_embedding.weight") &&
            weights_.get("visual.conv1.weight").scalar_type() == torch::kHalf);
  }

  bool has_class_token() const { return has(spec_.names.class_token); }

  void read_tokens() {
    const VitNames& names = spec_.names;
    spec_.class_token = has_class_token();
    spec_.distilled = has(names.distillation);
    if (has(names.registers)) spec_.registers = shape(names.registers, 3)[1];
    spec_.registers_after_positions = names.library == Library::dinov2 ||
                                      (names.library == Library::hugging_face && spec_.registers);
    const std::int64_t positions = rows(names.positions);
    spec_.prefix_positions =
        spec_.prefix() - (spec_.registers_after_positions ? spec_.registers : 0);
    // timm's no_embed_class: patches alone have positions.
    if (names.library == Library::timm && square_side(positions) > 0) spec_.prefix_positions = 0;
    spec_.trained_grid = square_side(positions - spec_.prefix_positions);
    if (spec_.trained_grid < 1)
      throw input_error(weights_.source + ": " + names.positions + " has " +
                        std::to_string(positions) +
                        " positions, which is no square of patches and " +
                        std::to_string(spec_.prefix_positions) + " other tokens");
    spec_.image = spec_.trained_grid * spec_.patch;
    // SO400M/14 was published for 384 pixels, which its patches do not tile.
    if (!spec_.class_token && spec_.patch == 14 && spec_.trained_grid == 27) spec_.image = 384;
    const std::int64_t configured = tower_.count("image_size", spec_.image);
    if (configured / spec_.patch == spec_.trained_grid) spec_.image = configured;
    spec_.positions = position_resize();
  }

  PositionResize position_resize() const {
    switch (spec_.names.library) {
      case Library::torchvision:
        return {true, false, 0};
      case Library::dinov2:
        return spec_.registers ? PositionResize{false, true, 0} : PositionResize{false, false, 0.1};
      case Library::hugging_face:
        return {false, spec_.registers > 0, 0};
      case Library::hugging_face_clip:
        return {false, false, 0};
      case Library::timm:
      case Library::open_clip:
        break;
    }
    return {false, true, 0};
  }

  /// The side of a square of so many patches, 0 where it is none.
  static std::int64_t square_side(std::int64_t patches) {
    std::int64_t side = 0;
    while (side * side < patches) ++side;
    return side * side == patches ? side : 0;
  }

  void read_end() {
    VitNames& names = spec_.names;
    if (has(names.pooled_norm, ".weight") && !has(names.norm, ".weight"))
      names.norm = nullptr;
    else
      names.pooled_norm = nullptr;
    read_pool();
    if (!has(names.head, ".weight") || weights_.get(head_name()).dim() != 2) return read_tower();
    const Shape head = shape(head_name(), 2);
    spec_.has_head = true;
    spec_.classes = head[0];
    if (spec_.pool != Pool::token || spec_.distilled) return;
    if (names.library == Library::torchvision && has("heads.pre_logits", ".weight"))
      spec_.representation = shape("heads.pre_logits.weight", 2)[0];
    if (names.library == Library::hugging_face && head[1] == 2 * spec_.width)
      spec_.pool = Pool::token_and_mean;
    if (names.library == Library::dinov2) {
      spec_.pool = Pool::last_blocks;
      spec_.probed = std::clamp<std::int64_t>(head[1] / spec_.width - 1, 1, spec_.layers);
    }
  }

  std::string head_name() const { return std::string(spec_.names.head) + ".weight"; }

  void read_pool() {
    const VitNames& names = spec_.names;
    const std::string probe =
        names.pool
            ? std::string(names.pool) + (names.library == Library::timm ? ".latent" : ".probe")
            : "";
    if (!probe.empty() && weights_.has(probe)) {
      if (choices_.pool != "auto")
        throw usage_error("model.global_pool=" + choices_.pool + ": the network pools by " + probe +
                          "; leave it out");
      spec_.pool = Pool::learnt;
      spec_.pool_mlp = shape(std::string(names.pool) + ".mlp.fc1.weight", 2)[0];
      return;
    }
    std::string pool = choices_.pool;
    if (pool == "auto" && names.library == Library::timm) pool = config_.text("global_pool");
    if (pool == "avg" || names.pooled_norm || !spec_.class_token) spec_.pool = Pool::mean;
    if (choices_.pool == "token" && !spec_.class_token)
      throw usage_error("model.global_pool=token: the network has no class token");
    if (choices_.pool == "token") spec_.pool = Pool::token;
    if (spec_.distilled || spec_.is_tower()) spec_.pool = Pool::token;
  }

  void read_tower() {
    if (spec_.names.library == Library::open_clip && weights_.has("visual.proj"))
      spec_.embed = shape("visual.proj", 2)[1];
    if (spec_.names.library == Library::hugging_face_clip &&
        weights_.has("visual_projection.weight"))
      spec_.embed = shape("visual_projection.weight", 2)[0];
  }

  void name_it() {
    spec_.arch = "vit-w" + std::to_string(spec_.width) + "-l" + std::to_string(spec_.layers);
    bool known = false;
    for (const KnownVit& vit : kKnown) {
      const bool same = vit.width == spec_.width && vit.mlp == spec_.mlp &&
                        vit.patch == spec_.patch && vit.layers == spec_.layers;
      if (choices_.arch == vit.arch) {
        known = true;
        if (choices_.heads > 0 && choices_.heads != vit.heads)
          throw usage_error("model.heads=" + std::to_string(choices_.heads) + ": " + vit.arch +
                            " has " + std::to_string(vit.heads) + " heads; leave it out");
        if (!same)
          throw input_error(weights_.source + ": the weights do not fit " + vit.arch +
                            ": they are of width " + std::to_string(spec_.width) + ", " +
                            std::to_string(spec_.layers) + " blocks and patches of " +
                            std::to_string(spec_.patch) + "; leave model.arch out");
        spec_.heads = vit.heads;
      }
      if (same && vit.heads == spec_.heads && spec_.names.library == Library::torchvision)
        spec_.arch = vit.arch;
    }
    if (choices_.arch != "auto" && !known)
      throw usage_error("model.arch=" + choices_.arch + ": no vision transformer of that name");
    if (spec_.arch.find('_') != std::string::npos) return;
    spec_.arch += "-h" + std::to_string(spec_.heads);
    if (spec_.names.library != Library::torchvision)
      spec_.arch = std::string(spec_.names.title) + " " + spec_.arch + "-p" +
                   std::to_string(spec_.patch) +
                   (spec_.registers ? "-r" + std::to_string(spec_.registers) : "");
  }

  const StateDict& weights_;
  const VitChoices& choices_;
  ConfigFile config_, processor_, tower_;
  VitSpec spec_;
};

}  // namespace

VitSpec infer_vit(const NamedVit& vit, const std::filesystem::path& file,
                  const VitChoices& choices) {
  return VitInference(vit, file, choices).run();
}

void set_image_size(VitSpec& spec, std::int64_t side) {
  if (side != spec.image && (side < spec.patch || side % spec.patch != 0))
    throw usage_error("model.image_size=" + std::to_string(side) + ": patches of " +
                      std::to_string(spec.patch) + " pixels do not tile it; give a multiple");
  spec.image = side;
}

}  // namespace linex
