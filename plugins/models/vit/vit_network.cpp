#include "vit_network.hpp"

#include <cmath>

#include "toolkit/net/builder.hpp"
#include "toolkit/net/token_ops.hpp"
#include "toolkit/net/transformer.hpp"

namespace linex {
namespace {

using Node = Network::Node;
using Library = VitNames::Library;
using Pool = VitSpec::Pool;
using torch::Tensor;

bool begins_with(const std::string& text, const std::string& start) {
  return text.compare(0, start.size(), start) == 0;
}

class VitBuilder {
 public:
  VitBuilder(const VitSpec& spec, StateDict weights)
      : spec_(spec), names_(spec.names), net_(std::move(weights)) {}

  BuiltNetwork run() {
    Node x = embed();
    for (std::int64_t i = 0; i < spec_.layers; ++i) x = block(i, x);
    alias(names_.blocks, x);
    x = end(x);
    skip_rest();
    built_.network = net_.finish(spec_.arch, x);
    built_.arch = spec_.arch;
    built_.fingerprint = net_.fingerprint() + settings();
    built_.notes = net_.notes();
    built_.notes.insert(built_.notes.end(), spec_.notes.begin(), spec_.notes.end());
    built_.has_logits = spec_.has_head;
    built_.classes = spec_.classes;
    built_.only_side = spec_.image;
    built_.preprocess = spec_.preprocess;
    built_.guess = spec_.guess;
    if (spec_.grid() != spec_.trained_grid) {
      const auto square = [](std::int64_t side) {
        return std::to_string(side) + "x" + std::to_string(side);
      };
      built_.notes.push_back("its position embedding is for " + square(spec_.trained_grid) +
                             " patches and is interpolated to " + square(spec_.grid()) +
                             " (bicubic" + (spec_.positions.antialias ? ", antialiased)" : ")"));
    }
    return std::move(built_);
  }

 private:
  void alias(const char* name, Node node) {
    if (name) net_.alias(name, node);
  }
  std::string block_name(std::int64_t index) const { return names_.block + std::to_string(index); }

  /// What weights and names do not tell.
  std::string settings() const {
    std::string text;
    if (spec_.grid() != spec_.trained_grid) text += " side=" + std::to_string(spec_.image);
    if (names_.library == Library::torchvision) return text;
    return text + " heads=" + std::to_string(spec_.heads) +
           " eps=" + std::to_string(spec_.eps * 1e9) +
           "e-9 activation=" + std::to_string(static_cast<int>(spec_.activation)) +
           " pool=" + std::to_string(static_cast<int>(spec_.pool));
  }

  /// A token or position parameter as (1, count, width), however many dimensions of 1 it has.
  Tensor tokens(const char* name, std::int64_t count) {
    const Tensor found = net_.weights().get(name);
    std::vector<std::int64_t> shape{1, count, spec_.width};
    if (found.defined() && found.dim() == 2) shape = {count, spec_.width};
    if (found.defined() && found.dim() == 1) shape = {spec_.width};
    return net_.parameter(name, shape).reshape({1, count, spec_.width});
  }

  Node embed() {
    const std::string patches = names_.patches;
    const bool bias = net_.weights().has(patches + ".bias");
    Node x =
        net_.conv(patches, net_.input(), 3, spec_.width, spec_.patch, {spec_.patch, 0, 1}, bias);
    x = net_.add(names_.patch_tokens ? names_.patch_tokens : "", make_tokens({}), {x});

    std::vector<Tensor> prefix;
    if (spec_.class_token) prefix.push_back(tokens(names_.class_token, 1));
    if (spec_.distilled) prefix.push_back(tokens(names_.distillation, 1));
    const Tensor registers = spec_.registers ? tokens(names_.registers, spec_.registers) : Tensor();
    if (spec_.registers && !spec_.registers_after_positions) prefix.push_back(registers);

    const std::int64_t trained = spec_.trained_grid * spec_.trained_grid;
    const Tensor positions = tokens(names_.positions, spec_.prefix_positions + trained);
    net_.check(spec_.arch);
    const Tensor of_patches = positions.narrow(1, spec_.prefix_positions, trained);
    x = net_.add(
        "", make_add_constant(interpolate_positions(of_patches, spec_.grid(), spec_.positions)),
        {x});
    if (!prefix.empty()) {
      Tensor first = at::cat(prefix, 1);
      if (spec_.prefix_positions > 0)
        first = first + positions.narrow(1, 0, spec_.prefix_positions);
      if (spec_.registers_after_positions && spec_.registers)
        first = at::cat({first, registers}, 1);
      x = net_.add("", make_prepend(first.contiguous()), {x});
    }
    alias(names_.embedded, x);
    if (names_.norm_before) x = net_.layer_norm(names_.norm_before, x, spec_.width, spec_.eps);
    return x;
  }

  HeadNorm head_norm(const std::string& block, const char* name) {
    if (!name) return {};
    const std::int64_t width = spec_.width / spec_.heads;
    return {net_.parameter(block + name + ".weight", {width}),
            net_.parameter(block + name + ".bias", {width}), spec_.eps};
  }

  /// A linear map that has a bias where the file has one.
  Node linear(const std::string& name, Node x, std::int64_t in, std::int64_t out) {
    return net_.linear(name, x, in, out, net_.weights().has(name + ".bias"));
  }

  Node attention(const std::string& block, Node x) {
    const std::int64_t width = spec_.width;
    const std::string name = block + names_.attention;
    if (names_.fused_parameters) {
      x = net_.self_attention(name, x, width, spec_.heads);
    } else {
      std::vector<Node> parts;
      if (names_.qkv) {
        parts = {linear(block + names_.qkv, x, width, 3 * width)};
      } else {
        for (const char* part : {names_.query, names_.key, names_.value})
          parts.push_back(linear(block + part, x, width, width));
      }
      HeadNorm query = head_norm(block, names_.query_norm);
      x = net_.add(names_.mixed ? block + names_.mixed : "",
                   make_attend(spec_.heads, std::move(query), head_norm(block, names_.key_norm)),
                   parts);
      x = linear(block + names_.out, x, width, width);
      net_.alias(name, x);
    }
    if (names_.out_module) net_.alias(block + names_.out_module, x);
    return x;
  }

  Node scaled(const std::string& block, const char* name, Node x) {
    if (!name) return x;
    const Tensor factor = net_.parameter(block + name + names_.scale_parameter, {spec_.width});
    return net_.add(block + name, make_scale(factor), {x});
  }

  Node mlp(const std::string& block, Node x) {
    if (spec_.gated) {
      const Node both = linear(block + names_.fc1, x, spec_.width, 2 * spec_.mlp);
      x = net_.add(names_.activation ? block + names_.activation : "", make_silu_half(), {both});
      x = net_.add("", make_gate(), {x, both});
    } else {
      x = linear(block + names_.fc1, x, spec_.width, spec_.mlp);
      x = net_.activation(block + names_.activation, x, spec_.activation);
      if (names_.hidden_module) net_.alias(block + names_.hidden_module, x);
    }
    x = linear(block + names_.fc2, x, spec_.mlp, spec_.width);
    if (names_.library == Library::torchvision) net_.alias(block + "mlp.4", x);
    if (names_.mlp) net_.alias(block + names_.mlp, x);
    return x;
  }

  Node block(std::int64_t index, Node x) {
    const std::string name = block_name(index), prefix = name + ".";
    Node y = net_.layer_norm(prefix + names_.norm1, x, spec_.width, spec_.eps);
    y = scaled(prefix, names_.scale1, attention(prefix, y));
    x = net_.add("", make_add(), {y, x});
    y = net_.layer_norm(prefix + names_.norm2, x, spec_.width, spec_.eps);
    y = scaled(prefix, names_.scale2, mlp(prefix, y));
    x = net_.add(name, make_add(), {x, y});
    if (names_.end_module) net_.alias(prefix + names_.end_module, x);
    if (index + spec_.probed >= spec_.layers) last_.push_back(x);
    return x;
  }

  Node end(Node x) {
    // CLIP normalises its class token alone, after it is taken.
    const bool clip = spec_.is_tower() && spec_.class_token;
    if (clip) x = net_.add("", make_select_token(0), {x});
    if (spec_.pool == Pool::last_blocks) return probe();
    if (names_.norm) x = net_.layer_norm(names_.norm, x, spec_.width, spec_.eps);
    alias(names_.norm_module, x);
    if (spec_.is_tower()) return tower(x);
    if (names_.pooler && net_.weights().has(std::string(names_.pooler) + ".dense.weight"))
      pooler(x);
    Node pooled = pool(x);
    if (names_.pooled_norm)
      pooled = net_.layer_norm(names_.pooled_norm, pooled, spec_.width, spec_.eps);
    if (!spec_.has_head) {
      without_head();
      return names_.pooled_norm || spec_.pool == Pool::learnt ? pooled : x;
    }
    return head(x, pooled);
  }

  Node pool(Node x) {
    switch (spec_.pool) {
      case Pool::mean:
        return net_.add("", make_mean_tokens(spec_.prefix()), {x});
      case Pool::learnt:
        return learnt_pool(x);
      case Pool::token_and_mean: {
        const Node token = net_.add("", make_select_token(0), {x});
        // Hugging Face averages the registers with the patches.
        const std::int64_t first = names_.library == Library::hugging_face ? 1 : spec_.prefix();
        const Node mean = net_.add("", make_mean_tokens(first), {x});
        return net_.add("", make_concat(), {token, mean});
      }
      case Pool::token:
      case Pool::last_blocks:
        break;
    }
    return net_.add("", make_select_token(0), {x});
  }

  /// DINOv2's linear probe.
  Node probe() {
    const Tensor weight = net_.parameter(std::string(names_.norm) + ".weight", {spec_.width});
    const Tensor bias = net_.parameter(std::string(names_.norm) + ".bias", {spec_.width});
    std::vector<Node> parts;
    Node normed = 0;
    for (const Node x : last_) {
      normed = net_.add("", make_layer_norm(weight, bias, spec_.eps), {x});
      parts.push_back(net_.add("", make_select_token(0), {normed}));
    }
    alias(names_.norm, normed);
    parts.push_back(net_.add("", make_mean_tokens(spec_.prefix()), {normed}));
    const Node x = net_.add("", make_concat(), parts);
    return net_.linear(names_.head, x, (static_cast<std::int64_t>(last_.size()) + 1) * spec_.width,
                       spec_.classes);
  }

  /// One learnt query attends to all tokens, then an MLP (Zhai et al. 2022).
  Node learnt_pool(Node x) {
    const std::string pool = std::string(names_.pool) + ".";
    const std::int64_t width = spec_.width;
    const bool timm = names_.library == Library::timm;
    Affine query, key_value;
    Tensor probe;
    if (timm) {
      probe = net_.parameter(pool + "latent", {1, 1, width});
      query = {net_.parameter(pool + "q.weight", {width, width}),
               net_.parameter(pool + "q.bias", {width})};
      x = net_.linear(pool + "kv", x, width, 2 * width);
    } else {
      probe = net_.parameter(pool + "probe", {1, 1, width});
      const Tensor weight = net_.parameter(pool + "attention.in_proj_weight", {3 * width, width});
      const Tensor bias = net_.parameter(pool + "attention.in_proj_bias", {3 * width});
      query = {weight.narrow(0, 0, width), bias.narrow(0, 0, width)};
      x = net_.add(
          "", make_linear(weight.narrow(0, width, 2 * width), bias.narrow(0, width, 2 * width)),
          {x});
    }
    net_.check(spec_.arch);
    const Tensor asked = split_heads(apply_linear(query, probe), spec_.heads).contiguous();
    x = net_.add("", make_attend_latent(asked), {x});
    x = net_.linear(timm ? pool + "proj" : pool + "attention.out_proj", x, width, width);
    if (!timm) net_.alias(pool + "attention", x);
    Node y = net_.layer_norm(timm ? pool + "norm" : pool + "layernorm", x, width, spec_.eps);
    y = net_.linear(pool + "mlp.fc1", y, width, spec_.pool_mlp);
    // timm's pooling keeps GELU whatever the blocks have.
    y = net_.activation(pool + (timm ? "mlp.act" : "mlp.activation_fn"), y,
                        timm ? Activation::gelu : spec_.activation);
    y = net_.linear(pool + "mlp.fc2", y, spec_.pool_mlp, width);
    net_.alias(pool + "mlp", y);
    x = net_.add("", make_add(), {x, y});
    return net_.add(names_.pool, make_select_token(0), {x});
  }

  /// Beside the way to the logits: what Hugging Face calls the pooled output.
  void pooler(Node x) {
    const std::string name = names_.pooler;
    Node y = net_.add("", make_select_token(0), {x});
    y = net_.linear(name + ".dense", y, spec_.width, spec_.width);
    y = net_.activation(name + ".activation", y, Activation::tanh);
    net_.alias(name, y);
  }

  Node head(Node x, Node pooled) {
    const std::string name = names_.head;
    if (spec_.distilled && names_.distillation_head &&
        net_.weights().has(std::string(names_.distillation_head) + ".weight")) {
      const Node second = net_.add("", make_select_token(1), {x});
      const Node a = net_.linear(name, pooled, spec_.width, spec_.classes);
      const Node b = net_.linear(names_.distillation_head, second, spec_.width, spec_.classes);
      const Node sum = net_.add("", make_add(), {a, b});
      return net_.add("", make_scale(torch::tensor(0.5f)), {sum});
    }
    std::int64_t features = spec_.pool == Pool::token_and_mean ? 2 * spec_.width : spec_.width;
    if (spec_.representation > 0) {
      pooled = net_.linear("heads.pre_logits", pooled, spec_.width, spec_.representation);
      pooled = net_.activation("heads.act", pooled, Activation::tanh);
      features = spec_.representation;
    }
    pooled = linear(name, pooled, features, spec_.classes);
    if (names_.library == Library::torchvision) net_.alias("heads", pooled);
    return pooled;
  }

  /// CLIP's and SigLIP's image tower ends in an embedding.
  Node tower(Node x) {
    if (!spec_.class_token) x = learnt_pool(x);
    if (spec_.embed > 0 && names_.library == Library::open_clip) {
      const Tensor map = net_.parameter("visual.proj", {spec_.width, spec_.embed});
      x = net_.add("visual", make_linear(map.t().contiguous(), {}), {x});
    } else if (spec_.embed > 0) {
      x = net_.linear("visual_projection", x, spec_.width, spec_.embed, false);
    } else if (names_.library == Library::open_clip) {
      net_.alias("visual", x);
    }
    built_.warnings.push_back(
        "no logits: an image tower of CLIP or SigLIP ends in an embedding; its layers work, and "
        "what needs logits (ablation, accuracy) does not");
    return x;
  }

  void without_head() {
    if (spec_.pool == Pool::learnt) {
      built_.warnings.push_back(
          "no logits: it ends in an embedding (" + std::string(names_.pool) +
          "); its layers work, and what needs logits (ablation, accuracy) does not");
      return;
    }
    const auto unused = net_.skip_if([this](const std::string& name) { return !is_body(name); });
    built_.warnings.push_back(no_logits_note(net_.weights(), names_.head, unused));
  }

  /// Whether a name is of the network before its head.
  bool is_body(const std::string& name) const {
    if (begins_with(name, names_.block)) return true;
    for (const char* part : {names_.patches, names_.class_token, names_.distillation,
                             names_.registers, names_.positions, names_.norm_before, names_.norm,
                             names_.pooled_norm, names_.pool, names_.pooler})
      if (part && (name == part || begins_with(name, std::string(part) + "."))) return true;
    return false;
  }

  /// What is not of the network: the masks of its training, the other tower.
  void skip_rest() {
    for (const char* name :
         {"mask_token", "embeddings.mask_token", "vision_model.embeddings.position_ids"})
      net_.skip(name);
    if (!spec_.is_tower()) return;
    const bool open_clip = names_.library == Library::open_clip;
    net_.skip_if([&](const std::string& name) {
      return open_clip
                 ? !begins_with(name, "visual.")
                 : !begins_with(name, "vision_model.") && !begins_with(name, "visual_projection.");
    });
    if (open_clip) net_.skip("visual.input_resolution");
  }

  const VitSpec& spec_;
  const VitNames& names_;
  NetworkBuilder net_;
  BuiltNetwork built_;
  std::vector<Node> last_;  // of the blocks that the head reads
};

}  // namespace

Tensor interpolate_positions(const Tensor& positions, std::int64_t side,
                             const PositionResize& how) {
  const std::int64_t width = positions.size(2), patches = positions.size(1);
  const auto old_side = std::llround(std::sqrt(static_cast<double>(patches)));
  if (old_side == side) return positions.contiguous();
  const Tensor grid = positions.transpose(1, 2).reshape({1, width, old_side, old_side});
  c10::optional<double> scale;
  if (how.offset > 0)
    scale = (static_cast<double>(side) + how.offset) / static_cast<double>(old_side);
  const Tensor resized =
      how.antialias
          ? at::_upsample_bicubic2d_aa(grid, {side, side}, how.align_corners, scale, scale)
          : at::upsample_bicubic2d(grid, {side, side}, how.align_corners, scale, scale);
  return resized.reshape({1, width, side * side}).transpose(1, 2).contiguous();
}

BuiltNetwork build_vit(const VitSpec& spec, StateDict weights) {
  return VitBuilder(spec, std::move(weights)).run();
}

}  // namespace linex
