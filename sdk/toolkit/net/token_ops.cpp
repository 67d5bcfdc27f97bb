#include "toolkit/net/token_ops.hpp"

#include <utility>

#include "toolkit/net/transformer.hpp"

namespace linex {
namespace {

using torch::Tensor;
using Inputs = std::vector<Tensor>;

void move(Tensor& tensor, const Placement& place) { tensor = placed(tensor, place); }

Tensor normalised(const Tensor& heads, const HeadNorm& norm) {
  if (!norm.weight.defined()) return heads;
  return at::layer_norm(heads, norm.weight.sizes(), norm.weight, norm.bias, norm.eps);
}

class Attend final : public Op {
 public:
  Attend(std::int64_t heads, HeadNorm query, HeadNorm key)
      : heads_(heads), query_(std::move(query)), key_(std::move(key)) {}
  Tensor run(const Inputs& in, bool) const override {
    const Inputs parts = in.size() == 1 ? in[0].chunk(3, -1) : in;
    return join_heads(attend(normalised(split_heads(parts[0], heads_), query_),
                             normalised(split_heads(parts[1], heads_), key_),
                             split_heads(parts[2], heads_)));
  }
  void to(const Placement& place) override {
    for (HeadNorm* norm : {&query_, &key_}) {
      move(norm->weight, place);
      move(norm->bias, place);
    }
  }

 private:
  std::int64_t heads_;
  HeadNorm query_, key_;
};

class AttendLatent final : public Op {
 public:
  explicit AttendLatent(Tensor query) : query_(std::move(query)) {}
  Tensor run(const Inputs& in, bool) const override {
    const Inputs parts = in[0].chunk(2, -1);
    const std::int64_t heads = query_.size(1);
    return join_heads(attend(query_.expand({in[0].size(0), -1, -1, -1}),
                             split_heads(parts[0], heads), split_heads(parts[1], heads)));
  }
  void to(const Placement& place) override { move(query_, place); }

 private:
  Tensor query_;
};

class Prepend final : public Op {
 public:
  explicit Prepend(Tensor prefix) : prefix_(std::move(prefix)) {}
  Tensor run(const Inputs& in, bool) const override {
    return at::cat({prefix_.expand({in[0].size(0), -1, -1}), in[0]}, 1);
  }
  void to(const Placement& place) override { move(prefix_, place); }

 private:
  Tensor prefix_;
};

class MeanTokens final : public Op {
 public:
  explicit MeanTokens(std::int64_t first) : first_(first) {}
  Tensor run(const Inputs& in, bool) const override {
    return in[0].slice(1, first_).mean(at::IntArrayRef{1});
  }

 private:
  std::int64_t first_;
};

class Concat final : public Op {
 public:
  Tensor run(const Inputs& in, bool) const override { return at::cat(in, 1); }
};

class Scale final : public Op {
 public:
  explicit Scale(Tensor factor) : factor_(std::move(factor)) {}
  Tensor run(const Inputs& in, bool reuse) const override {
    return own(in[0], reuse).mul_(factor_);
  }
  void to(const Placement& place) override { move(factor_, place); }

 private:
  Tensor factor_;
};

class SiluHalf final : public Op {
 public:
  Tensor run(const Inputs& in, bool) const override { return at::silu(in[0].chunk(2, -1)[0]); }
};

class Gate final : public Op {
 public:
  Tensor run(const Inputs& in, bool reuse) const override {
    const Tensor second = in[1].chunk(2, -1)[1];
    return own(in[0], reuse).mul_(second);
  }
};

}  // namespace

OpPtr make_attend(std::int64_t heads, HeadNorm query, HeadNorm key) {
  return std::make_unique<Attend>(heads, std::move(query), std::move(key));
}
OpPtr make_attend_latent(Tensor query) { return std::make_unique<AttendLatent>(std::move(query)); }
OpPtr make_prepend(Tensor prefix) { return std::make_unique<Prepend>(std::move(prefix)); }
OpPtr make_mean_tokens(std::int64_t first) { return std::make_unique<MeanTokens>(first); }
OpPtr make_concat() { return std::make_unique<Concat>(); }
OpPtr make_scale(Tensor factor) { return std::make_unique<Scale>(std::move(factor)); }
OpPtr make_silu_half() { return std::make_unique<SiluHalf>(); }
OpPtr make_gate() { return std::make_unique<Gate>(); }

}  // namespace linex
