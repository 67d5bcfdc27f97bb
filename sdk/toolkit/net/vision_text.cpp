#include "toolkit/net/vision_text.hpp"

#include <limits>

#include "linex/error.hpp"
#include "toolkit/base/parallel.hpp"
#include "toolkit/base/text.hpp"

namespace linex {

using torch::Tensor;
using Family = VisionTextConfig::Family;

namespace {

/// Parts of what was one fused map.
Affine rows(const Affine& map, std::int64_t begin, std::int64_t count) {
  return {map.weight.narrow(0, begin, count), map.bias.narrow(0, begin, count)};
}

}  // namespace

MapHead::MapHead(WeightReader& reader, Naming naming, const TransformerSize& size)
    : size_(size), activation_(make_activation(size.activation)) {
  const std::int64_t width = size.width;
  if (naming == Naming::timm) {
    const std::string pool = "visual.trunk.attn_pool.";
    probe_ = reader.parameter(pool + "latent", {1, 1, width});
    query_ = read_linear(reader, pool + "q", width, width);
    key_value_ = read_linear(reader, pool + "kv", width, 2 * width);
    out_ = read_linear(reader, pool + "proj", width, width);
    norm_ = read_norm(reader, pool + "norm", width);
    fc1_ = read_linear(reader, pool + "mlp.fc1", width, size.mlp);
    fc2_ = read_linear(reader, pool + "mlp.fc2", size.mlp, width);
    return;
  }
  const std::string pool = "vision_model.head.";
  probe_ = reader.parameter(pool + "probe", {1, 1, width});
  const Affine fused{reader.parameter(pool + "attention.in_proj_weight", {3 * width, width}),
                     reader.parameter(pool + "attention.in_proj_bias", {3 * width})};
  query_ = rows(fused, 0, width);
  key_value_ = rows(fused, width, 2 * width);
  out_ = read_linear(reader, pool + "attention.out_proj", width, width);
  norm_ = read_norm(reader, pool + "layernorm", width);
  fc1_ = read_linear(reader, pool + "mlp.fc1", width, size.mlp);
  fc2_ = read_linear(reader, pool + "mlp.fc2", size.mlp, width);
}

Tensor MapHead::forward(const Tensor& x) const {
  const Tensor query = apply_linear(query_, probe_).expand({x.size(0), 1, size_.width});
  const auto key_value = apply_linear(key_value_, x).chunk(2, -1);
  const Tensor mixed =
      attend(split_heads(query, size_.heads), split_heads(key_value[0], size_.heads),
             split_heads(key_value[1], size_.heads));
  const Tensor pooled = apply_linear(out_, join_heads(mixed)).select(1, 0);
  const Tensor hidden = apply_linear(fc1_, apply_norm(norm_, pooled, size_.eps));
  return pooled + apply_linear(fc2_, activation_->run({hidden}, false));
}

void MapHead::visit(const TensorVisitor& visitor) {
  visitor(probe_);
  for (Affine* map : {&query_, &key_value_, &out_, &norm_, &fc1_, &fc2_}) map->visit(visitor);
}

VisionTower::VisionTower(WeightReader& reader, const VisionTextConfig& config) : config_(config) {
  if (config.resnet) {
    resnet_ = ClipResnet(reader, "visual.", config.resnet_size);
    return;
  }
  const TransformerSize& size = config.vision;
  const std::int64_t width = size.width, patches = config.grid * config.grid;
  const std::vector<std::int64_t> kernel = {width, 3, config.patch, config.patch};
  std::string blocks;
  switch (config.vision_naming) {
    case Naming::open_clip: {
      kernel_ = reader.parameter("visual.conv1.weight", kernel);
      class_token_ = reader.parameter("visual.class_embedding", {width});
      positions_ = reader.parameter("visual.positional_embedding", {patches + 1, width});
      norm_before_ = read_norm(reader, "visual.ln_pre", width);
      norm_after_ = read_norm(reader, "visual.ln_post", width);
      projection_ = reader.parameter("visual.proj", {width, config.embed});
      blocks = "visual.transformer.resblocks.";
      break;
    }
    case Naming::timm: {
      const std::string trunk = "visual.trunk.";
      kernel_ = reader.parameter(trunk + "patch_embed.proj.weight", kernel);
      kernel_bias_ = reader.parameter(trunk + "patch_embed.proj.bias", {width});
      positions_ = reader.parameter(trunk + "pos_embed", {1, patches, width});
      norm_after_ = read_norm(reader, trunk + "norm", width);
      head_ = MapHead(reader, Naming::timm, size);
      blocks = trunk + "blocks.";
      break;
    }
    case Naming::hugging_face: {
      const std::string model = "vision_model.";
      kernel_ = reader.parameter(model + "embeddings.patch_embedding.weight", kernel);
      const bool clip = config.family == Family::clip;
      positions_ = reader.parameter(model + "embeddings.position_embedding.weight",
                                    {patches + (clip ? 1 : 0), width});
      norm_after_ = read_norm(reader, model + "post_layernorm", width);
      if (clip) {
        class_token_ = reader.parameter(model + "embeddings.class_embedding", {width});
        norm_before_ = read_norm(reader, model + "pre_layrnorm", width);  // (sic)
        projection_ = reader.parameter("visual_projection.weight", {config.embed, width}).t();
      } else {
        kernel_bias_ = reader.parameter(model + "embeddings.patch_embedding.bias", {width});
        head_ = MapHead(reader, Naming::hugging_face, size);
      }
      blocks = model + "encoder.layers.";
      break;
    }
  }
  transformer_ = Transformer(reader, blocks, config.vision_naming, size);
}

Tensor VisionTower::forward(const Tensor& images) const {
  if (config_.resnet) return resnet_.forward(images);
  const double eps = config_.vision.eps;
  Tensor x = at::conv2d(images, kernel_, kernel_bias_, config_.patch).flatten(2).transpose(1, 2);
  if (class_token_.defined())
    x = at::cat({class_token_.expand({x.size(0), 1, config_.vision.width}), x}, 1);
  x = x + positions_;
  if (norm_before_.weight.defined()) x = apply_norm(norm_before_, x, eps);
  x = transformer_.forward(x);
  if (config_.family == Family::siglip) return head_.forward(apply_norm(norm_after_, x, eps));
  return at::matmul(apply_norm(norm_after_, x.select(1, 0), eps), projection_);
}

void VisionTower::visit(const TensorVisitor& visitor) {
  if (config_.resnet) return resnet_.visit(visitor);
  for (Tensor* tensor : {&kernel_, &kernel_bias_, &class_token_, &positions_, &projection_})
    if (tensor->defined()) visitor(*tensor);
  if (norm_before_.weight.defined()) norm_before_.visit(visitor);
  norm_after_.visit(visitor);
  transformer_.visit(visitor);
  if (config_.family == Family::siglip) head_.visit(visitor);
}

TextTower::TextTower(WeightReader& reader, const VisionTextConfig& config) : config_(config) {
  const std::int64_t width = config.text.width, embed = config.embed;
  const bool siglip = config.family == Family::siglip;
  std::string blocks;
  if (config.text_naming == Naming::hugging_face) {
    const std::string model = "text_model.";
    tokens_ =
        reader.parameter(model + "embeddings.token_embedding.weight", {config.vocabulary, width});
    positions_ =
        reader.parameter(model + "embeddings.position_embedding.weight", {config.context, width});
    norm_ = read_norm(reader, model + "final_layer_norm", width);
    if (siglip)
      projection_ = read_linear(reader, model + "head", width, embed);
    else
      projection_.weight = reader.parameter("text_projection.weight", {embed, width});
    blocks = model + "encoder.layers.";
  } else {
    const std::string& prefix = config.text_prefix;
    tokens_ = reader.parameter(prefix + "token_embedding.weight", {config.vocabulary, width});
    positions_ = reader.parameter(prefix + "positional_embedding", {config.context, width});
    norm_ = read_norm(reader, prefix + "ln_final", width);
    if (siglip)
      projection_ = read_linear(reader, prefix + "text_projection", width, embed);
    else
      projection_.weight = reader.parameter(prefix + "text_projection", {width, embed}).t();
    blocks = prefix + "transformer.resblocks.";
  }
  transformer_ = Transformer(reader, blocks, config.text_naming, config.text);
  if (!siglip)
    mask_ = torch::full({config.context, config.context}, -std::numeric_limits<float>::infinity())
                .triu_(1);
}

Tensor TextTower::forward(const Tensor& ids) const {
  Tensor x = at::embedding(tokens_, ids) + positions_;
  x = apply_norm(norm_, transformer_.forward(x, mask_), config_.text.eps);
  if (config_.family == Family::siglip)
    x = x.select(1, config_.context - 1);
  else
    x = x.index({at::arange(ids.size(0), ids.options()), ids.argmax(1)});
  return at::linear(x, projection_.weight, projection_.bias);
}

void TextTower::visit(const TensorVisitor& visitor) {
  for (Tensor* tensor : {&tokens_, &positions_, &mask_, &projection_.weight, &projection_.bias})
    if (tensor->defined()) visitor(*tensor);
  norm_.visit(visitor);
  transformer_.visit(visitor);
}

VisionText::VisionText(StateDict weights, const VisionTextConfig& config, bool share)
    : config_(config) {
  WeightReader reader(std::move(weights), share);
  vision_ = VisionTower(reader, config);
  text_ = TextTower(reader, config);
  // Learnt temperature and offset of the training loss: presence has its own (docs/methods.md
  // §1.3).
  for (const char* name :
       {"logit_scale", "logit_bias", "input_resolution", "context_length", "vocab_size",
        "attn_mask", "text.attn_mask", "vision_model.embeddings.position_ids",
        "text_model.embeddings.position_ids", "visual.input_resolution"})
    reader.skip(name);
  reader.finish(config.name(), "give the complete checkpoint of one CLIP or SigLIP model");
  fingerprint_ =
      Sha256()
          .add(reader.fingerprint())
          .add(config.name())
          .add(std::to_string(config.vision.heads) + "/" + std::to_string(config.text.heads) + "/" +
               std::to_string(static_cast<int>(config.vision.activation)) + "/" +
               std::to_string(static_cast<int>(config.text.activation)) + "/" +
               format_number(config.vision.eps) + "/" + format_number(config.text.eps))
          .hex();
}

VisionText VisionText::load(const std::filesystem::path& file,
                            const VisionTextOverrides& overrides) {
  StateDict weights = find_vision_text(load_weights(file, overrides.state));
  const VisionTextConfig config = infer_config(weights, file, overrides);
  return {std::move(weights), config};
}

Preprocess VisionText::preprocess() const {
  Preprocess preprocess;
  preprocess.interpolation = Preprocess::Interpolation::bicubic;
  preprocess.size = config_.image_size;
  const bool siglip = config_.family == Family::siglip;
  preprocess.resize = siglip ? Preprocess::Resize::squash : Preprocess::Resize::short_side;
  preprocess.crop = siglip ? 0 : config_.image_size;
  preprocess.mean = config_.mean;
  preprocess.std = config_.std;
  return preprocess;
}

void VisionText::prepare(const RunSettings& run, torch::Dtype type) {
  device_ = torch::Device(run.device);
  threads_ = run.threads;
  type_ = type;
  // On a CPU half precision is this type, and told apart from float32 by who stores embeddings.
  if (type == torch::kBFloat16 && !device_.is_cpu()) fingerprint_ += " bf16";
  const auto move = [&](Tensor& tensor) { tensor = tensor.to(device_, type_).contiguous(); };
  vision_.visit(move);
  text_.visit(move);
}

namespace {

/// Embeds rows piece by piece, so that results do not depend on the number of threads.
template <class Embed>
Tensor in_pieces(const Tensor& input, std::int64_t piece, int threads, const Embed& embed) {
  const std::int64_t n = input.size(0), pieces = (n + piece - 1) / piece;
  std::vector<Tensor> parts(static_cast<std::size_t>(pieces));
  parallel_for(pieces, threads, [&](std::int64_t p) {
    const at::NoGradGuard no_grad;
    const std::int64_t begin = p * piece;
    parts[static_cast<std::size_t>(p)] = embed(input.narrow(0, begin, std::min(piece, n - begin)));
  });
  return at::cat(parts);
}

}  // namespace

Tensor VisionText::embed_images(const Tensor& images) const {
  if (images.dim() != 4 || images.size(1) != 3 || images.size(2) != config_.image_size ||
      images.size(3) != config_.image_size || images.size(0) < 1)
    throw input_error(
        config_.name() + " takes images (n, 3, " + std::to_string(config_.image_size) + ", " +
        std::to_string(config_.image_size) + "), got " + shape_text(images.sizes().vec()));
  const std::int64_t piece = device_.is_cpu() ? 4 : 256;
  return in_pieces(images, piece, device_.is_cpu() ? threads_ : 1, [&](const Tensor& part) {
    return vision_.forward(part.to(device_, type_)).to(torch::kCPU, torch::kFloat);
  });
}

Tensor VisionText::embed_texts(const Tensor& ids) const {
  if (ids.dim() != 2 || ids.size(1) != config_.context || ids.size(0) < 1)
    throw input_error(config_.name() + " takes token ids (n, " + std::to_string(config_.context) +
                      "), got " + shape_text(ids.sizes().vec()));
  const std::int64_t piece = device_.is_cpu() ? 16 : 1024;
  return in_pieces(ids, piece, device_.is_cpu() ? threads_ : 1, [&](const Tensor& part) {
    return text_.forward(part.to(device_)).to(torch::kCPU, torch::kFloat);
  });
}

}  // namespace linex
