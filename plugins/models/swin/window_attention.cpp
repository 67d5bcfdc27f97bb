#include "window_attention.hpp"

#include <cmath>
#include <utility>

namespace linex {
namespace {

using torch::Tensor;
using Inputs = std::vector<Tensor>;

/// 0, 1, 2 for positions of a shifted axis: only those of one part see each other.
Tensor parts_of_axis(std::int64_t side, std::int64_t window, std::int64_t shift,
                     const torch::Device& device) {
  Tensor parts = at::zeros({side}, at::TensorOptions().device(device).dtype(at::kFloat));
  if (shift == 0) return parts;
  parts.slice(0, side - window, side - shift).fill_(1);
  parts.slice(0, side - shift, side).fill_(2);
  return parts;
}

class WindowAttention final : public Op {
 public:
  WindowAttention(WindowAttentionOptions options, Tensor table, Tensor index, Tensor scale,
                  Tensor padding)
      : options_(options),
        table_(std::move(table)),
        index_(std::move(index)),
        scale_(std::move(scale)),
        padding_(std::move(padding)) {}

  Tensor run(const Inputs& in, bool) const override {
    const std::int64_t window = options_.window, heads = options_.heads;
    const std::int64_t n = in[0].size(0), height = in[0].size(2), width = in[0].size(3);
    const std::int64_t rows = (height + window - 1) / window,
                       columns = (width + window - 1) / window;
    const std::int64_t channels = in[0].size(1) / 3, depth = channels / heads;
    const std::int64_t shift_rows = rows > 1 ? options_.shift : 0;
    const std::int64_t shift_columns = columns > 1 ? options_.shift : 0;
    const bool shifted = shift_rows + shift_columns > 0;

    Tensor x = in[0].permute({0, 2, 3, 1});
    if (options_.shift_first && shifted) x = x.roll({-shift_rows, -shift_columns}, {1, 2});
    x = padded(x, rows * window, columns * window);
    if (!options_.shift_first && shifted) x = x.roll({-shift_rows, -shift_columns}, {1, 2});
    const Tensor qkv = x.reshape({n, rows, window, columns, window, 3, heads, depth})
                           .permute({5, 0, 1, 3, 6, 2, 4, 7})
                           .reshape({3, n * rows * columns, heads, window * window, depth});
    Tensor scores = score(qkv[0], qkv[1]).add_(position_bias());
    if (shifted) {
      const Tensor mask = mask_of(rows, columns, shift_rows, shift_columns, x.device());
      scores.view({n, rows * columns, heads, window * window, window * window}).add_(mask);
    }
    x = at::matmul(at::softmax(scores, -1), qkv[2])
            .view({n, rows, columns, heads, window, window, depth})
            .permute({0, 1, 4, 2, 5, 3, 6})
            .reshape({n, rows * window, columns * window, channels});
    if (!options_.shift_first && shifted) x = x.roll({shift_rows, shift_columns}, {1, 2});
    x = x.narrow(1, 0, height).narrow(2, 0, width);
    if (options_.shift_first && shifted) x = x.roll({shift_rows, shift_columns}, {1, 2});
    return x.contiguous().permute({0, 3, 1, 2});
  }
  void to(const Placement& place) override {
    for (Tensor* tensor : {&table_, &index_, &scale_, &padding_}) *tensor = placed(*tensor, place);
  }

 private:
  Tensor padded(const Tensor& x, std::int64_t height, std::int64_t width) const {
    if (x.size(1) == height && x.size(2) == width) return x;
    Tensor whole = at::zeros({x.size(0), height, width, x.size(3)}, x.options());
    if (padding_.defined()) whole.copy_(padding_);
    whole.narrow(1, 0, x.size(1)).narrow(2, 0, x.size(2)).copy_(x);
    return whole;
  }

  Tensor score(const Tensor& q, const Tensor& k) const {
    if (!scale_.defined())
      return at::matmul(q / std::sqrt(static_cast<double>(q.size(3))), k.transpose(2, 3));
    constexpr double kEps = 1e-12;  // of torch.nn.functional.normalize
    const auto normal = [&](const Tensor& t) {
      return t / at::norm(t, 2, -1, true).clamp_min(kEps);
    };
    return at::matmul(normal(q), normal(k).transpose(2, 3)).mul_(scale_);
  }

  /// (heads, window², window²).
  Tensor position_bias() const {
    const std::int64_t area = options_.window * options_.window;
    return table_.index_select(0, index_).view({area, area, options_.heads}).permute({2, 0, 1});
  }

  /// (windows, 1, window², window²): -100 between positions that are neighbours only by the shift.
  Tensor mask_of(std::int64_t rows, std::int64_t columns, std::int64_t shift_rows,
                 std::int64_t shift_columns, const torch::Device& device) const {
    const std::int64_t window = options_.window;
    const Tensor parts =
        3 * parts_of_axis(rows * window, window, shift_rows, device).unsqueeze(1) +
        parts_of_axis(columns * window, window, shift_columns, device).unsqueeze(0);
    const Tensor windows = parts.view({rows, window, columns, window})
                               .permute({0, 2, 1, 3})
                               .reshape({rows * columns, window * window});
    constexpr double kApart = -100;
    return (windows.unsqueeze(1) != windows.unsqueeze(2)).to(at::kFloat).mul_(kApart).unsqueeze(1);
  }

  WindowAttentionOptions options_;
  Tensor table_, index_, scale_, padding_;
};

class MergePatches final : public Op {
 public:
  Tensor run(const Inputs& in, bool) const override {
    Tensor x = in[0].permute({0, 2, 3, 1});
    if (x.size(1) % 2 != 0 || x.size(2) % 2 != 0)
      x = at::constant_pad_nd(x, {0, 0, 0, x.size(2) % 2, 0, x.size(1) % 2});
    return x.reshape({x.size(0), x.size(1) / 2, 2, x.size(2) / 2, 2, x.size(3)})
        .permute({0, 1, 3, 4, 2, 5})
        .reshape({x.size(0), x.size(1) / 2, x.size(2) / 2, 4 * x.size(3)})
        .permute({0, 3, 1, 2});
  }
};

}  // namespace

OpPtr make_window_attention(WindowAttentionOptions options, Tensor table, Tensor index,
                            Tensor scale, Tensor padding) {
  return std::make_unique<WindowAttention>(options, std::move(table), std::move(index),
                                           std::move(scale), std::move(padding));
}
OpPtr make_merge_patches() { return std::make_unique<MergePatches>(); }

Tensor relative_positions(std::int64_t window) {
  const Tensor side = at::arange(window, at::kLong);
  const Tensor rows = side.repeat_interleave(window), columns = side.repeat({window});
  const auto differences = [&](const Tensor& axis) {
    return axis.unsqueeze(1) - axis.unsqueeze(0) + (window - 1);
  };
  return (differences(rows) * (2 * window - 1) + differences(columns)).flatten();
}

}  // namespace linex
