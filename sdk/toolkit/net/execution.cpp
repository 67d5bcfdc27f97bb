#include "toolkit/net/execution.hpp"

#include <algorithm>

namespace linex {
namespace {

constexpr std::int64_t kSmallSide = 64;

}  // namespace

std::vector<ImageRange> split_pieces(const torch::Tensor& images, const ExecutionOptions& options) {
  const std::int64_t n = images.size(0);
  std::int64_t size = options.piece;
  // Small images come in larger pieces, so that a step's overhead stays small beside its work.
  if (size == 0) size = images.size(2) * images.size(3) <= kSmallSide * kSmallSide ? 16 : 4;
  if (!options.device.is_cpu()) size = std::max<std::int64_t>(n, 1);
  std::vector<ImageRange> ranges;
  for (std::int64_t first = 0; first < n; first += size)
    ranges.push_back({first, std::min(size, n - first)});
  return ranges;
}

int piece_workers(const ExecutionOptions& options) {
  return options.device.is_cpu() ? options.threads : 1;
}

std::int64_t preferred_batch(std::int64_t side, const ExecutionOptions& options) {
  const bool small = side > 0 && side <= kSmallSide;
  if (!options.device.is_cpu()) return small ? 1024 : 128;
  return (small ? 128 : 8) * std::max<std::int64_t>(2, options.threads);
}

torch::Tensor to_result(const torch::Tensor& value) {
  const torch::Tensor moved = value.to(torch::kCPU, torch::kFloat);
  return moved.is_non_overlapping_and_dense() ? moved : moved.contiguous();
}

torch::Tensor join_pieces(const std::vector<torch::Tensor>& parts) {
  return parts.size() == 1 ? parts[0] : at::cat(parts, 0);
}

torch::Tensor in_layout_of(const torch::Tensor& like, const torch::Tensor& values) {
  torch::Tensor copy = at::empty_strided(like.sizes(), like.strides(), like.options());
  return copy.copy_(values);
}

}  // namespace linex
