#include "vit_names.hpp"

#include <cctype>

#include "linex/error.hpp"
#include "toolkit/net/families.hpp"

namespace linex {
namespace {

using Library = VitNames::Library;

VitNames torchvision() {
  VitNames n;
  n.library = Library::torchvision;
  n.title = "torchvision";
  n.patches = "conv_proj";
  n.class_token = "class_token";
  n.positions = "encoder.pos_embedding";
  n.embedded = "encoder.dropout";
  n.block = "encoder.layers.encoder_layer_";
  n.norm1 = "ln_1";
  n.attention = "self_attention";
  n.fused_parameters = true;
  n.out = "self_attention.out_proj";
  n.out_module = "dropout";
  n.norm2 = "ln_2";
  n.fc1 = "mlp.0";
  n.activation = "mlp.1";
  n.hidden_module = "mlp.2";
  n.fc2 = "mlp.3";
  n.mlp = "mlp";
  n.blocks = "encoder.layers";
  n.norm = "encoder.ln";
  n.norm_module = "encoder";
  n.head = "heads.head";
  return n;
}

VitNames timm() {
  VitNames n;
  n.library = Library::timm;
  n.title = "timm";
  n.patches = "patch_embed.proj";
  n.patch_tokens = "patch_embed";
  n.class_token = "cls_token";
  n.distillation = "dist_token";
  n.registers = "reg_token";
  n.positions = "pos_embed";
  n.embedded = "pos_drop";
  n.norm_before = "norm_pre";
  n.block = "blocks.";
  n.norm1 = "norm1";
  n.attention = "attn";
  n.qkv = "attn.qkv";
  n.query_norm = "attn.q_norm";
  n.key_norm = "attn.k_norm";
  n.out = "attn.proj";
  n.scale1 = "ls1";
  n.scale2 = "ls2";
  n.scale_parameter = ".gamma";
  n.norm2 = "norm2";
  n.fc1 = "mlp.fc1";
  n.activation = "mlp.act";
  n.fc2 = "mlp.fc2";
  n.mlp = "mlp";
  n.blocks = "blocks";
  n.norm = "norm";
  n.pooled_norm = "fc_norm";
  n.pool = "attn_pool";
  n.head = "head";
  n.distillation_head = "head_dist";
  return n;
}

/// Facebook's own: timm's but for registers, SwiGLU and the linear probe.
VitNames dinov2() {
  VitNames n = timm();
  n.library = Library::dinov2;
  n.title = "DINOv2";
  n.registers = "register_tokens";
  n.gated_in = "mlp.w12";
  n.gated_out = "mlp.w3";
  n.head = "linear_head";
  return n;
}

VitNames hugging_face(bool dinov2) {
  VitNames n;
  n.library = Library::hugging_face;
  n.title = "Hugging Face";
  n.patches = "embeddings.patch_embeddings.projection";
  n.patch_tokens = "embeddings.patch_embeddings";
  n.class_token = "embeddings.cls_token";
  n.distillation = "embeddings.distillation_token";
  n.registers = "embeddings.register_tokens";
  n.positions = "embeddings.position_embeddings";
  n.embedded = "embeddings";
  n.block = "encoder.layer.";
  n.attention = "attention";
  n.query = "attention.attention.query";
  n.key = "attention.attention.key";
  n.value = "attention.attention.value";
  n.mixed = "attention.attention";
  n.out = "attention.output.dense";
  n.out_module = "attention.output";
  if (dinov2) {
    n.norm1 = "norm1";
    n.norm2 = "norm2";
    n.scale1 = "layer_scale1";
    n.scale2 = "layer_scale2";
    n.scale_parameter = ".lambda1";
    n.fc1 = "mlp.fc1";
    n.activation = "mlp.activation";
    n.fc2 = "mlp.fc2";
    n.mlp = "mlp";
    n.gated_in = "mlp.weights_in";
    n.gated_out = "mlp.weights_out";
  } else {
    n.norm1 = "layernorm_before";
    n.norm2 = "layernorm_after";
    n.fc1 = "intermediate.dense";
    n.activation = "intermediate.intermediate_act_fn";
    n.hidden_module = "intermediate";
    n.fc2 = "output.dense";
    n.end_module = "output";
  }
  n.blocks = "encoder";
  n.norm = "layernorm";
  n.pooler = "pooler";
  n.head = "classifier";
  return n;
}

VitNames open_clip() {
  VitNames n;
  n.library = Library::open_clip;
  n.title = "CLIP";
  n.patches = "visual.conv1";
  n.class_token = "visual.class_embedding";
  n.positions = "visual.positional_embedding";
  n.norm_before = "visual.ln_pre";
  n.block = "visual.transformer.resblocks.";
  n.norm1 = "ln_1";
  n.attention = "attn";
  n.fused_parameters = true;
  n.out = "attn.out_proj";
  n.scale1 = "ls_1";
  n.scale2 = "ls_2";
  n.scale_parameter = ".gamma";
  n.norm2 = "ln_2";
  n.fc1 = "mlp.c_fc";
  n.activation = "mlp.gelu";
  n.fc2 = "mlp.c_proj";
  n.mlp = "mlp";
  n.blocks = "visual.transformer";
  n.norm = "visual.ln_post";
  return n;
}

VitNames hugging_face_clip() {
  VitNames n;
  n.library = Library::hugging_face_clip;
  n.title = "Hugging Face CLIP";
  n.patches = "vision_model.embeddings.patch_embedding";
  n.class_token = "vision_model.embeddings.class_embedding";
  n.positions = "vision_model.embeddings.position_embedding.weight";
  n.embedded = "vision_model.embeddings";
  n.norm_before = "vision_model.pre_layrnorm";  // (sic)
  n.block = "vision_model.encoder.layers.";
  n.norm1 = "layer_norm1";
  n.attention = "self_attn";
  n.query = "self_attn.q_proj";
  n.key = "self_attn.k_proj";
  n.value = "self_attn.v_proj";
  n.out = "self_attn.out_proj";
  n.norm2 = "layer_norm2";
  n.fc1 = "mlp.fc1";
  n.activation = "mlp.activation_fn";
  n.fc2 = "mlp.fc2";
  n.mlp = "mlp";
  n.blocks = "vision_model.encoder";
  n.norm = "vision_model.post_layernorm";
  n.pool = "vision_model.head";
  return n;
}

/// Hugging Face's names of a transformer inside a model with a head.
const char* const kInner[] = {"vit.", "deit.", "dinov2.", "dinov2_with_registers."};

bool begins_with(const std::string& text, const std::string& start) {
  return text.compare(0, start.size(), start) == 0;
}

template <class Rename>
void rename_all(StateDict& weights, const Rename& rename) {
  std::map<std::string, torch::Tensor> renamed;
  for (const auto& [name, tensor] : weights.tensors) renamed[rename(name)] = tensor;
  std::map<std::string, std::string> unread;
  for (const auto& [name, form] : weights.unread) unread[rename(name)] = form;
  if (renamed.size() != weights.tensors.size()) return;
  weights.tensors = std::move(renamed);
  weights.unread = std::move(unread);
}

std::string replaced(std::string name, const std::string& part, const std::string& by) {
  if (const auto at = name.find(part); at != std::string::npos) name.replace(at, part.size(), by);
  return name;
}

/// "blocks.3.11.norm1" of DINOv2's training, which groups its blocks, is "blocks.11.norm1".
std::string ungrouped(const std::string& name) {
  const std::string start = "blocks.";
  if (!begins_with(name, start)) return name;
  const auto digits_end = [&](std::size_t at) {
    while (at < name.size() && std::isdigit(static_cast<unsigned char>(name[at]))) ++at;
    return at;
  };
  const std::size_t group = digits_end(start.size());
  if (group == start.size() || group >= name.size() || name[group] != '.') return name;
  const std::size_t index = digits_end(group + 1);
  if (index == group + 1 || index >= name.size() || name[index] != '.') return name;
  return start + name.substr(group + 1);
}

/// Checkpoints of other versions and authors call some parts otherwise.
void use_present_names(StateDict& weights, Library library) {
  if (library == Library::torchvision)  // before 0.12's MLP block
    rename_all(weights, [](const std::string& name) {
      return replaced(replaced(name, "mlp.linear_1.", "mlp.0."), "mlp.linear_2.", "mlp.3.");
    });
  if (library == Library::timm) {
    rename_all(weights, ungrouped);
    rename_all(weights, [](std::string name) {  // DeiT III's own
      for (const char* scale : {"1", "2"}) {
        const std::string end = std::string(".gamma_") + scale;
        if (begins_with(name, "blocks.") && name.size() > end.size() &&
            name.compare(name.size() - end.size(), end.size(), end) == 0)
          name.replace(name.size() - end.size(), end.size(), std::string(".ls") + scale + ".gamma");
      }
      return name;
    });
  }
}

/// DINOv2's classifiers hold the network as `backbone` beside their linear head.
void join_linear_head(StateDict& weights) {
  const std::string head = "linear_head.weight";
  for (const auto& entry : weights.tensors) {
    const std::string& name = entry.first;
    if (name.size() < head.size() || name.substr(name.size() - head.size()) != head) continue;
    const std::string prefix = name.substr(0, name.size() - head.size());
    const std::string inner = prefix + "backbone.";
    if (!weights.has(inner + "patch_embed.proj.weight")) continue;
    return rename_all(weights, [&](const std::string& other) {
      return begins_with(other, inner) ? prefix + other.substr(inner.size()) : other;
    });
  }
}

bool is_dinov2(const StateDict& weights) {
  return weights.has("register_tokens") || weights.has("blocks.0.mlp.w12.weight") ||
         weights.has("linear_head.weight") ||
         (weights.has("mask_token") && weights.has("blocks.0.ls1.gamma"));
}

}  // namespace

NamedVit find_vit(StateDict given) {
  NamedVit found;
  join_linear_head(given);
  StateDict& weights = found.weights = find_network(std::move(given), family_anchors("vit"));
  const auto has = [&](const std::string& name) {
    return weights.has(name) || weights.unread.count(name) != 0;
  };
  for (const std::string inner : kInner)
    if (has(inner + "embeddings.patch_embeddings.projection.weight"))
      rename_all(weights, [&](const std::string& name) {
        return begins_with(name, inner) ? name.substr(inner.size()) : name;
      });
  if (has("conv_proj.weight")) {
    found.names = torchvision();
  } else if (has("visual.conv1.weight") && has("visual.ln_post.weight")) {
    found.names = open_clip();
  } else if (has("vision_model.embeddings.patch_embedding.weight")) {
    found.names = hugging_face_clip();
  } else if (has("patch_embed.proj.weight")) {
    use_present_names(weights, Library::timm);
    found.names = is_dinov2(weights) ? dinov2() : timm();
    return found;
  } else if (has("embeddings.patch_embeddings.projection.weight")) {
    found.names = hugging_face(has("encoder.layer.0.norm1.weight") ||
                               has("encoder.layer.0.layer_scale1.lambda1"));
    if (has("cls_classifier.weight")) {
      found.names.head = "cls_classifier";
      found.names.distillation_head = "distillation_classifier";
    }
  } else {
    throw input_error(
        weights.source +
        ": not the weights of a vision transformer (no conv_proj, patch_embed.proj, "
        "embeddings.patch_embeddings, visual.conv1 or vision_model); it begins with " +
        first_name(weights) + "; choose another model.plugin, or model.state");
  }
  use_present_names(weights, found.names.library);
  return found;
}

}  // namespace linex
