#include "toolkit/net/map_ops.hpp"

#include <utility>

namespace linex {

using torch::Tensor;
using Inputs = std::vector<Tensor>;

Tensor positions(const Tensor& map) { return map.permute({0, 2, 3, 1}).reshape({-1, map.size(1)}); }

Tensor as_map(const Tensor& positions, const Tensor& map) {
  return positions.view({map.size(0), map.size(2), map.size(3), positions.size(1)})
      .permute({0, 3, 1, 2});
}

namespace {

class ChannelNorm final : public Op {
 public:
  ChannelNorm(Tensor weight, Tensor bias, double eps)
      : weight_(std::move(weight)), bias_(std::move(bias)), eps_(eps) {}
  Tensor run(const Inputs& in, bool) const override {
    return as_map(at::layer_norm(positions(in[0]), weight_.sizes(), weight_, bias_, eps_), in[0]);
  }
  void to(const Placement& place) override {
    weight_ = placed(weight_, place);
    bias_ = placed(bias_, place);
  }

 private:
  Tensor weight_, bias_;
  double eps_;
};

class ChannelLinear final : public Op {
 public:
  ChannelLinear(Tensor weight, Tensor bias) : weight_(std::move(weight)), bias_(std::move(bias)) {}
  Tensor run(const Inputs& in, bool) const override {
    return as_map(at::linear(positions(in[0]), weight_, bias_), in[0]);
  }
  void to(const Placement& place) override {
    weight_ = placed(weight_, place);
    bias_ = placed(bias_, place);
  }

 private:
  Tensor weight_, bias_;
};

class Scale final : public Op {
 public:
  explicit Scale(const Tensor& scale) : scale_(scale.view({-1, 1, 1})) {}
  Tensor run(const Inputs& in, bool reuse) const override { return own(in[0], reuse).mul_(scale_); }
  void to(const Placement& place) override { scale_ = placed(scale_, place); }

 private:
  Tensor scale_;
};

class Gate final : public Op {
 public:
  Tensor run(const Inputs& in, bool reuse) const override { return own(in[0], reuse).mul_(in[1]); }
};

class BlurPool final : public Op {
 public:
  Tensor run(const Inputs& in, bool) const override {
    const Tensor line = torch::tensor({0.25f, 0.5f, 0.25f}, in[0].options());
    const std::int64_t channels = in[0].size(1);
    const Tensor filter = at::outer(line, line).expand({channels, 1, 3, 3}).contiguous();
    const Tensor padded =
        at::reflection_pad2d(in[0], {1, 1, 1, 1}).contiguous(in[0].suggest_memory_format());
    constexpr std::int64_t kStride = 2, kPadding = 0, kDilation = 1;
    return at::conv2d(padded, filter, {}, kStride, kPadding, kDilation, channels);
  }
};

class ResponseNorm final : public Op {
 public:
  ResponseNorm(Tensor weight, Tensor bias, double eps)
      : weight_(std::move(weight)), bias_(std::move(bias)), eps_(eps) {}
  Tensor run(const Inputs& in, bool) const override {
    const Tensor rows = positions(in[0]);
    const Tensor x = rows.view({in[0].size(0), -1, in[0].size(1)});
    const Tensor norm = at::norm(x, 2, 1, true);
    const Tensor relative = norm / (norm.mean(2, true) + eps_);
    const Tensor response = x * (relative * weight_ + 1.0) + bias_;
    return as_map(response.view_as(rows), in[0]);
  }
  void to(const Placement& place) override {
    weight_ = placed(weight_, place);
    bias_ = placed(bias_, place);
  }

 private:
  Tensor weight_, bias_;
  double eps_;
};

}  // namespace

OpPtr make_channel_norm(Tensor weight, Tensor bias, double eps) {
  return std::make_unique<ChannelNorm>(std::move(weight), std::move(bias), eps);
}
OpPtr make_channel_linear(Tensor weight, Tensor bias) {
  return std::make_unique<ChannelLinear>(std::move(weight), std::move(bias));
}
OpPtr make_channel_scale(Tensor scale) { return std::make_unique<Scale>(scale); }
OpPtr make_channel_gate() { return std::make_unique<Gate>(); }
OpPtr make_blur_pool() { return std::make_unique<BlurPool>(); }
OpPtr make_response_norm(Tensor weight, Tensor bias, double eps) {
  return std::make_unique<ResponseNorm>(std::move(weight), std::move(bias), eps);
}

}  // namespace linex
