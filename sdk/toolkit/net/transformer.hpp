// Pre-norm transformers under the names of three libraries.
#pragma once

#include <torch/types.h>

#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "toolkit/checkpoint/weight_reader.hpp"
#include "toolkit/net/ops.hpp"

namespace linex {

/// Who named the parameters of a checkpoint.
enum class Naming {
  open_clip,    ///< `resblocks.0.attn.in_proj_weight` (OpenAI's, too)
  timm,         ///< `blocks.0.attn.qkv.weight`
  hugging_face  ///< `layers.0.self_attn.q_proj.weight`
};

/// Called on every parameter, e.g. to move or cast it.
using TensorVisitor = std::function<void(torch::Tensor&)>;

/// y = x·weightᵀ + bias, or the scale and shift of a normalisation.
struct Affine {
  torch::Tensor weight, bias;
  void visit(const TensorVisitor& visitor);
};
/// `name`.weight (out, in) and `name`.bias (out).
Affine read_linear(WeightReader& reader, const std::string& name, std::int64_t in,
                   std::int64_t out);
/// `name`.weight and `name`.bias (width).
Affine read_norm(WeightReader& reader, const std::string& name, std::int64_t width);
torch::Tensor apply_linear(const Affine& map, const torch::Tensor& x);
torch::Tensor apply_norm(const Affine& norm, const torch::Tensor& x, double eps);

struct TransformerSize {
  std::int64_t width = 0, layers = 0, heads = 0, mlp = 0;
  double eps = 1e-5;  ///< of layer normalisation
  Activation activation = Activation::gelu;
};

/// x += attention(norm1(x)); x += mlp(norm2(x)), `layers` times. [any thread]
class Transformer {
 public:
  Transformer() = default;
  /// Reads blocks `prefix`0, `prefix`1, ... e.g. prefix "visual.transformer.resblocks.".
  Transformer(WeightReader& reader, const std::string& prefix, Naming naming,
              const TransformerSize& size);
  /// x (n, T, width); mask (T, T) is added to the scores where defined.
  torch::Tensor forward(torch::Tensor x, const torch::Tensor& mask = {}) const;
  void visit(const TensorVisitor& visitor);

 private:
  struct Block {
    Affine norm1, qkv, out, norm2, fc1, fc2;
  };
  TransformerSize size_;
  std::vector<Block> blocks_;
  std::shared_ptr<const Op> activation_;
};

/// How many blocks a state dict has under `prefix`0., `prefix`1., ...
std::int64_t count_blocks(const StateDict& weights, const std::string& prefix);

/// (n, T, heads·d) as (n, heads, T, d), and back.
torch::Tensor split_heads(const torch::Tensor& x, std::int64_t heads);
torch::Tensor join_heads(const torch::Tensor& x);

}  // namespace linex
