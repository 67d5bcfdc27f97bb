// The computations networks are made of.
#pragma once

#include <torch/types.h>

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

namespace linex {

/// Where a network computes, and in which floating-point type.
struct Placement {
  torch::Device device = torch::kCPU;
  torch::Dtype type = torch::kFloat;
};

/// `tensor` there; one of integers keeps its type, an undefined one stays undefined.
torch::Tensor placed(const torch::Tensor& tensor, const Placement& place);

/// One step of a network: a pure function of tensors and its weights. [any thread]
class Op {
 public:
  virtual ~Op();
  /// `reuse` allows overwriting inputs[0] and returning it; values and strides are the same either
  /// way.
  virtual torch::Tensor run(const std::vector<torch::Tensor>& inputs, bool reuse) const = 0;
  /// Whether the output may share memory with an input although `reuse` was false.
  virtual bool aliases() const { return false; }
  virtual void to(const Placement& place);

 protected:
  /// `x` to be overwritten. Strides are those of `x` also where another order of them would do, as
  /// for maps of one pixel: they choose the kernels of what follows.
  static torch::Tensor own(const torch::Tensor& x, bool reuse) { return reuse ? x : x.clone(); }
};
using OpPtr = std::unique_ptr<Op>;

struct ConvOptions {
  std::int64_t stride = 1, padding = 0, groups = 1, dilation = 1;
  std::int64_t padding_width = -1;  ///< left and right; -1: as `padding`
  /// TensorFlow's padding instead: outputs ⌈side/stride⌉, an odd rest after the map.
  bool same = false;
};

enum class Activation {
  relu,
  relu6,
  gelu,
  gelu_tanh,
  quick_gelu,
  silu,
  hard_swish,
  sigmoid,
  hard_sigmoid,
  tanh
};

/// y = softmax(q·kᵀ/√d + mask)·v for q (n, h, T, d), k and v (n, h, S, d); mask (T, S) is added
/// where defined. Returns (n, h, T, d).
torch::Tensor attend(const torch::Tensor& q, const torch::Tensor& k, const torch::Tensor& v,
                     const torch::Tensor& mask = {});

// Makers; undefined biases are left out. Shapes as in torch.nn.
OpPtr make_conv(torch::Tensor weight, torch::Tensor bias, ConvOptions options);
OpPtr make_batch_norm(const torch::Tensor& weight, const torch::Tensor& bias,
                      const torch::Tensor& mean, const torch::Tensor& variance, double eps);
OpPtr make_layer_norm(torch::Tensor weight, torch::Tensor bias, double eps);
OpPtr make_group_norm(std::int64_t groups, torch::Tensor weight, torch::Tensor bias, double eps);
OpPtr make_linear(torch::Tensor weight, torch::Tensor bias);
OpPtr make_activation(Activation kind);
OpPtr make_max_pool(std::int64_t kernel, std::int64_t stride, std::int64_t padding);
/// Averages over kernel², zeros around the map included.
OpPtr make_avg_pool(std::int64_t kernel, std::int64_t stride, std::int64_t padding);
OpPtr make_adaptive_avg_pool(std::int64_t side);
OpPtr make_add();  ///< inputs[0] + inputs[1]
OpPtr make_add_constant(torch::Tensor value);
OpPtr make_flatten();   ///< (n, ...) -> (n, D)
OpPtr make_identity();  ///< dropout in evaluation
/// Option A of He et al. (2015): every second pixel, channels padded with zeros on both sides.
OpPtr make_padded_shortcut(std::int64_t channels);
/// (n, D, h, w) -> (n, h·w, D), after the class token (1, 1, D) where it is defined.
OpPtr make_tokens(torch::Tensor class_token);
OpPtr make_select_token(std::int64_t index);  ///< (n, T, D) -> (n, D)
/// torch.nn.MultiheadAttention (batch_first) of inputs[0] over inputs[1] (itself where there is
/// one input): in_proj (3D, D), out_proj (D, D); mask (T, T) is added where defined.
OpPtr make_attention(std::int64_t heads, torch::Tensor in_weight, torch::Tensor in_bias,
                     torch::Tensor out_weight, torch::Tensor out_bias, torch::Tensor mask = {});

/// Weight and bias of an op of make_linear(), undefined for any other.
struct LinearWeights {
  torch::Tensor weight, bias;
};
LinearWeights linear_weights(const Op& op);
bool is_global_avg_pool(const Op& op);
bool is_flatten(const Op& op);
bool is_identity(const Op& op);

}  // namespace linex
