#include "toolkit/net/transformer.hpp"

namespace linex {

using torch::Tensor;

namespace {

struct BlockNames {
  const char *norm1, *qkv_weight, *qkv_bias, *out, *norm2, *fc1, *fc2;
};

/// Hugging Face keeps queries, keys and values apart: no qkv there.
BlockNames block_names(Naming naming) {
  switch (naming) {
    case Naming::open_clip:
      return {"ln_1",     "attn.in_proj_weight", "attn.in_proj_bias", "attn.out_proj", "ln_2",
              "mlp.c_fc", "mlp.c_proj"};
    case Naming::timm:
      return {"norm1", "attn.qkv.weight", "attn.qkv.bias", "attn.proj",
              "norm2", "mlp.fc1",         "mlp.fc2"};
    case Naming::hugging_face:
      break;
  }
  return {"layer_norm1", nullptr,   nullptr,  "self_attn.out_proj",
          "layer_norm2", "mlp.fc1", "mlp.fc2"};
}

Affine read_qkv(WeightReader& reader, const std::string& block, const BlockNames& names,
                std::int64_t width) {
  if (names.qkv_weight)
    return {reader.parameter(block + names.qkv_weight, {3 * width, width}),
            reader.parameter(block + names.qkv_bias, {3 * width})};
  std::vector<Tensor> weights, biases;
  for (const char* part : {"q", "k", "v"}) {
    const Affine map = read_linear(reader, block + "self_attn." + part + "_proj", width, width);
    weights.push_back(map.weight);
    biases.push_back(map.bias);
  }
  return {at::cat(weights), at::cat(biases)};
}

}  // namespace

void Affine::visit(const TensorVisitor& visitor) {
  visitor(weight);
  visitor(bias);
}

Affine read_linear(WeightReader& reader, const std::string& name, std::int64_t in,
                   std::int64_t out) {
  return {reader.parameter(name + ".weight", {out, in}), reader.parameter(name + ".bias", {out})};
}

Affine read_norm(WeightReader& reader, const std::string& name, std::int64_t width) {
  return {reader.parameter(name + ".weight", {width}), reader.parameter(name + ".bias", {width})};
}

Tensor apply_linear(const Affine& map, const Tensor& x) {
  return at::linear(x, map.weight, map.bias);
}

Tensor apply_norm(const Affine& norm, const Tensor& x, double eps) {
  return at::layer_norm(x, norm.weight.sizes(), norm.weight, norm.bias, eps);
}

Tensor split_heads(const Tensor& x, std::int64_t heads) {
  return x.view({x.size(0), x.size(1), heads, x.size(2) / heads}).transpose(1, 2);
}

Tensor join_heads(const Tensor& x) { return x.transpose(1, 2).flatten(2); }

Transformer::Transformer(WeightReader& reader, const std::string& prefix, Naming naming,
                         const TransformerSize& size)
    : size_(size), activation_(make_activation(size.activation)) {
  const BlockNames names = block_names(naming);
  for (std::int64_t i = 0; i < size.layers; ++i) {
    const std::string block = prefix + std::to_string(i) + ".";
    Block read;
    read.norm1 = read_norm(reader, block + names.norm1, size.width);
    read.qkv = read_qkv(reader, block, names, size.width);
    read.out = read_linear(reader, block + names.out, size.width, size.width);
    read.norm2 = read_norm(reader, block + names.norm2, size.width);
    read.fc1 = read_linear(reader, block + names.fc1, size.width, size.mlp);
    read.fc2 = read_linear(reader, block + names.fc2, size.mlp, size.width);
    blocks_.push_back(std::move(read));
  }
}

Tensor Transformer::forward(Tensor x, const Tensor& mask) const {
  for (const Block& block : blocks_) {
    const auto qkv = apply_linear(block.qkv, apply_norm(block.norm1, x, size_.eps)).chunk(3, -1);
    const Tensor mixed = attend(split_heads(qkv[0], size_.heads), split_heads(qkv[1], size_.heads),
                                split_heads(qkv[2], size_.heads), mask);
    x = x + apply_linear(block.out, join_heads(mixed));
    const Tensor hidden = apply_linear(block.fc1, apply_norm(block.norm2, x, size_.eps));
    x = x + apply_linear(block.fc2, activation_->run({hidden}, false));
  }
  return x;
}

void Transformer::visit(const TensorVisitor& visitor) {
  for (Block& block : blocks_)
    for (Affine* map : {&block.norm1, &block.qkv, &block.out, &block.norm2, &block.fc1, &block.fc2})
      map->visit(visitor);
}

std::int64_t count_blocks(const StateDict& weights, const std::string& prefix) {
  constexpr std::int64_t kMost = 1000;
  std::int64_t count = 0;
  for (; count < kMost; ++count) {
    const std::string block = prefix + std::to_string(count) + ".";
    const auto found = weights.tensors.lower_bound(block);
    if (found == weights.tensors.end() || found->first.compare(0, block.size(), block) != 0) break;
  }
  return count;
}

}  // namespace linex
