#include "toolkit/net/ops.hpp"

#include <algorithm>
#include <cmath>
#include <utility>

namespace linex {

using torch::Tensor;
using Inputs = std::vector<Tensor>;

Op::~Op() = default;
void Op::to(const Placement&) {}

Tensor placed(const Tensor& tensor, const Placement& place) {
  if (!tensor.defined()) return tensor;
  return tensor.is_floating_point() ? tensor.to(place.device, place.type) : tensor.to(place.device);
}

namespace {

void move(Tensor& tensor, const Placement& place) { tensor = placed(tensor, place); }

class Conv final : public Op {
 public:
  Conv(Tensor weight, Tensor bias, ConvOptions options)
      : weight_(weight.contiguous(at::MemoryFormat::ChannelsLast)),
        bias_(std::move(bias)),
        options_(options) {}
  Tensor run(const Inputs& in, bool) const override {
    if (options_.same) return run_same(in[0]);
    const std::int64_t sides =
        options_.padding_width < 0 ? options_.padding : options_.padding_width;
    return at::conv2d(in[0], weight_, bias_, options_.stride, {options_.padding, sides},
                      options_.dilation, options_.groups);
  }
  void to(const Placement& place) override {
    move(weight_, place);
    move(bias_, place);
  }

 private:
  Tensor run_same(const Tensor& x) const {
    const auto rest = [&](std::int64_t axis) {
      const std::int64_t side = x.size(axis), stride = options_.stride;
      return std::max<std::int64_t>((side + stride - 1) / stride * stride - stride - side + 1 +
                                        options_.dilation * (weight_.size(axis) - 1),
                                    0);
    };
    const std::int64_t rows = rest(2), columns = rest(3);
    const Tensor padded = rows % 2 == 0 && columns % 2 == 0
                              ? x
                              : at::constant_pad_nd(x, {columns / 2, columns - columns / 2,
                                                        rows / 2, rows - rows / 2})
                                    .contiguous(at::MemoryFormat::ChannelsLast);
    std::vector<std::int64_t> padding{0, 0};
    if (padded.is_same(x)) padding = {rows / 2, columns / 2};
    return at::conv2d(padded, weight_, bias_, options_.stride, padding, options_.dilation,
                      options_.groups);
  }

  Tensor weight_, bias_;
  ConvOptions options_;
};

class BatchNorm final : public Op {
 public:
  BatchNorm(Tensor weight, Tensor bias, Tensor mean, Tensor variance, double eps)
      : weight_(std::move(weight)),
        bias_(std::move(bias)),
        mean_(std::move(mean)),
        variance_(std::move(variance)),
        eps_(eps) {}
  Tensor run(const Inputs& in, bool) const override {
    return at::batch_norm(in[0], weight_, bias_, mean_, variance_, false, 0, eps_, false);
  }
  void to(const Placement& place) override {
    for (Tensor* tensor : {&weight_, &bias_, &mean_, &variance_}) move(*tensor, place);
  }

 private:
  Tensor weight_, bias_, mean_, variance_;
  double eps_;
};

class LayerNorm final : public Op {
 public:
  LayerNorm(Tensor weight, Tensor bias, double eps)
      : weight_(std::move(weight)), bias_(std::move(bias)), eps_(eps) {}
  Tensor run(const Inputs& in, bool) const override {
    return at::layer_norm(in[0], weight_.sizes(), weight_, bias_, eps_);
  }
  void to(const Placement& place) override {
    move(weight_, place);
    move(bias_, place);
  }

 private:
  Tensor weight_, bias_;
  double eps_;
};

class GroupNorm final : public Op {
 public:
  GroupNorm(std::int64_t groups, Tensor weight, Tensor bias, double eps)
      : groups_(groups), weight_(std::move(weight)), bias_(std::move(bias)), eps_(eps) {}
  Tensor run(const Inputs& in, bool) const override {
    return at::group_norm(in[0], groups_, weight_, bias_, eps_);
  }
  void to(const Placement& place) override {
    move(weight_, place);
    move(bias_, place);
  }

 private:
  std::int64_t groups_;
  Tensor weight_, bias_;
  double eps_;
};

class Linear final : public Op {
 public:
  Linear(Tensor weight, Tensor bias) : weight_(std::move(weight)), bias_(std::move(bias)) {}
  Tensor run(const Inputs& in, bool) const override { return at::linear(in[0], weight_, bias_); }
  void to(const Placement& place) override {
    move(weight_, place);
    move(bias_, place);
  }
  LinearWeights weights() const { return {weight_, bias_}; }

 private:
  Tensor weight_, bias_;
};

class ActivationOp final : public Op {
 public:
  explicit ActivationOp(Activation kind) : kind_(kind) {}
  Tensor run(const Inputs& in, bool reuse) const override {
    switch (kind_) {
      case Activation::relu:
        return own(in[0], reuse).relu_();
      case Activation::relu6:
        return own(in[0], reuse).clamp_(0, 6);
      case Activation::silu: {
        Tensor x = own(in[0], reuse);
        return at::silu_(x);
      }
      case Activation::hard_swish: {
        Tensor x = own(in[0], reuse);
        return at::hardswish_(x);
      }
      case Activation::sigmoid:
        return own(in[0], reuse).sigmoid_();
      case Activation::hard_sigmoid: {
        Tensor x = own(in[0], reuse);
        return at::hardsigmoid_(x);
      }
      case Activation::gelu:
        return at::gelu(in[0]);
      case Activation::gelu_tanh:
        return at::gelu(in[0], "tanh");
      case Activation::quick_gelu:
        return in[0] * at::sigmoid(in[0] * 1.702);
      case Activation::tanh:
        return at::tanh(in[0]);
    }
    return in[0];
  }

 private:
  Activation kind_;
};

class MaxPool final : public Op {
 public:
  MaxPool(std::int64_t kernel, std::int64_t stride, std::int64_t padding)
      : kernel_(kernel), stride_(stride), padding_(padding) {}
  Tensor run(const Inputs& in, bool) const override {
    return at::max_pool2d(in[0], kernel_, stride_, padding_);
  }

 private:
  std::int64_t kernel_, stride_, padding_;
};

class AvgPool final : public Op {
 public:
  AvgPool(std::int64_t kernel, std::int64_t stride, std::int64_t padding)
      : kernel_(kernel), stride_(stride), padding_(padding) {}
  Tensor run(const Inputs& in, bool) const override {
    return at::avg_pool2d(in[0], kernel_, stride_, padding_);
  }

 private:
  std::int64_t kernel_, stride_, padding_;
};

class AdaptiveAvgPool final : public Op {
 public:
  explicit AdaptiveAvgPool(std::int64_t side) : side_(side) {}
  Tensor run(const Inputs& in, bool) const override {
    return at::adaptive_avg_pool2d(in[0], {side_, side_});
  }
  std::int64_t side() const { return side_; }

 private:
  std::int64_t side_;
};

class Add final : public Op {
 public:
  Tensor run(const Inputs& in, bool reuse) const override { return own(in[0], reuse).add_(in[1]); }
};

class AddConstant final : public Op {
 public:
  explicit AddConstant(Tensor value) : value_(std::move(value)) {}
  Tensor run(const Inputs& in, bool reuse) const override { return own(in[0], reuse).add_(value_); }
  void to(const Placement& place) override { move(value_, place); }

 private:
  Tensor value_;
};

class Flatten final : public Op {
 public:
  Tensor run(const Inputs& in, bool) const override { return in[0].flatten(1); }
  bool aliases() const override { return true; }
};

class Identity final : public Op {
 public:
  Tensor run(const Inputs& in, bool) const override { return in[0]; }
  bool aliases() const override { return true; }
};

class PaddedShortcut final : public Op {
 public:
  explicit PaddedShortcut(std::int64_t channels) : channels_(channels) {}
  Tensor run(const Inputs& in, bool) const override {
    const Tensor half = in[0].slice(2, 0, INT64_MAX, 2).slice(3, 0, INT64_MAX, 2);
    const std::int64_t before = (channels_ - half.size(1)) / 2;
    const std::int64_t after = channels_ - half.size(1) - before;
    return at::constant_pad_nd(half, {0, 0, 0, 0, before, after})
        .contiguous(in[0].suggest_memory_format());
  }

 private:
  std::int64_t channels_;
};

class Tokens final : public Op {
 public:
  explicit Tokens(Tensor class_token) : class_token_(std::move(class_token)) {}
  Tensor run(const Inputs& in, bool) const override {
    const Tensor patches = in[0].flatten(2).transpose(1, 2);
    if (!class_token_.defined()) return patches.contiguous();
    return at::cat({class_token_.expand({patches.size(0), -1, -1}), patches}, 1);
  }
  bool aliases() const override { return !class_token_.defined(); }
  void to(const Placement& place) override { move(class_token_, place); }

 private:
  Tensor class_token_;
};

class SelectToken final : public Op {
 public:
  explicit SelectToken(std::int64_t index) : index_(index) {}
  Tensor run(const Inputs& in, bool) const override { return in[0].select(1, index_); }
  bool aliases() const override { return true; }

 private:
  std::int64_t index_;
};

class Attention final : public Op {
 public:
  Attention(std::int64_t heads, Tensor in_weight, Tensor in_bias, Tensor out_weight,
            Tensor out_bias, Tensor mask)
      : heads_(heads),
        in_weight_(std::move(in_weight)),
        in_bias_(std::move(in_bias)),
        out_weight_(std::move(out_weight)),
        out_bias_(std::move(out_bias)),
        mask_(std::move(mask)) {}

  Tensor run(const Inputs& in, bool) const override {
    const Tensor& x = in[0];
    const std::int64_t width = x.size(2);
    Tensor mixed;
    if (in.size() == 1) {
      const Tensor qkv = at::linear(x, in_weight_, in_bias_)
                             .view({x.size(0), x.size(1), 3, heads_, width / heads_})
                             .permute({2, 0, 3, 1, 4});
      mixed = attend(qkv[0], qkv[1], qkv[2], mask_);
    } else {
      mixed =
          attend(project(x, 0, width), project(in[1], 1, width), project(in[1], 2, width), mask_);
    }
    return at::linear(mixed.transpose(1, 2).reshape({x.size(0), x.size(1), width}), out_weight_,
                      out_bias_);
  }
  void to(const Placement& place) override {
    for (Tensor* tensor : {&in_weight_, &in_bias_, &out_weight_, &out_bias_, &mask_})
      move(*tensor, place);
  }

 private:
  /// Query, key or value (part 0, 1, 2) of x as (n, heads, T, d).
  Tensor project(const Tensor& x, std::int64_t part, std::int64_t width) const {
    const Tensor bias = in_bias_.defined() ? in_bias_.narrow(0, part * width, width) : Tensor();
    return at::linear(x, in_weight_.narrow(0, part * width, width), bias)
        .view({x.size(0), x.size(1), heads_, width / heads_})
        .transpose(1, 2);
  }

  std::int64_t heads_;
  Tensor in_weight_, in_bias_, out_weight_, out_bias_, mask_;
};

}  // namespace

Tensor attend(const Tensor& q, const Tensor& k, const Tensor& v, const Tensor& mask) {
  Tensor scores = at::matmul(q / std::sqrt(static_cast<double>(q.size(3))), k.transpose(2, 3));
  if (mask.defined()) scores.add_(mask);
  return at::matmul(at::softmax(scores, -1), v);
}

OpPtr make_conv(Tensor weight, Tensor bias, ConvOptions options) {
  return std::make_unique<Conv>(std::move(weight), std::move(bias), options);
}
OpPtr make_batch_norm(const Tensor& weight, const Tensor& bias, const Tensor& mean,
                      const Tensor& variance, double eps) {
  return std::make_unique<BatchNorm>(weight, bias, mean, variance, eps);
}
OpPtr make_layer_norm(Tensor weight, Tensor bias, double eps) {
  return std::make_unique<LayerNorm>(std::move(weight), std::move(bias), eps);
}
OpPtr make_group_norm(std::int64_t groups, Tensor weight, Tensor bias, double eps) {
  return std::make_unique<GroupNorm>(groups, std::move(weight), std::move(bias), eps);
}
OpPtr make_linear(Tensor weight, Tensor bias) {
  return std::make_unique<Linear>(std::move(weight), std::move(bias));
}
OpPtr make_activation(Activation kind) { return std::make_unique<ActivationOp>(kind); }
OpPtr make_max_pool(std::int64_t kernel, std::int64_t stride, std::int64_t padding) {
  return std::make_unique<MaxPool>(kernel, stride, padding);
}
OpPtr make_avg_pool(std::int64_t kernel, std::int64_t stride, std::int64_t padding) {
  return std::make_unique<AvgPool>(kernel, stride, padding);
}
OpPtr make_adaptive_avg_pool(std::int64_t side) { return std::make_unique<AdaptiveAvgPool>(side); }
OpPtr make_add() { return std::make_unique<Add>(); }
OpPtr make_add_constant(Tensor value) { return std::make_unique<AddConstant>(std::move(value)); }
OpPtr make_flatten() { return std::make_unique<Flatten>(); }
OpPtr make_identity() { return std::make_unique<Identity>(); }
OpPtr make_padded_shortcut(std::int64_t channels) {
  return std::make_unique<PaddedShortcut>(channels);
}
OpPtr make_tokens(Tensor class_token) { return std::make_unique<Tokens>(std::move(class_token)); }
OpPtr make_select_token(std::int64_t index) { return std::make_unique<SelectToken>(index); }
OpPtr make_attention(std::int64_t heads, Tensor in_weight, Tensor in_bias, Tensor out_weight,
                     Tensor out_bias, Tensor mask) {
  return std::make_unique<Attention>(heads, std::move(in_weight), std::move(in_bias),
                                     std::move(out_weight), std::move(out_bias), std::move(mask));
}

LinearWeights linear_weights(const Op& op) {
  const auto* linear = dynamic_cast<const Linear*>(&op);
  return linear ? linear->weights() : LinearWeights{};
}
bool is_global_avg_pool(const Op& op) {
  const auto* pool = dynamic_cast<const AdaptiveAvgPool*>(&op);
  return pool && pool->side() == 1;
}
bool is_flatten(const Op& op) { return dynamic_cast<const Flatten*>(&op) != nullptr; }
bool is_identity(const Op& op) { return dynamic_cast<const Identity*>(&op) != nullptr; }

}  // namespace linex
