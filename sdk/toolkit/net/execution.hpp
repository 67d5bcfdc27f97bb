// Running images through a network piece by piece.
#pragma once

#include <torch/types.h>

#include <cstdint>
#include <vector>

namespace linex {

/// How and where a network runs.
struct ExecutionOptions {
  torch::Device device = torch::kCPU;
  torch::Dtype type = torch::kFloat;  ///< of weights and values inside; results are float32
  int threads = 1;
  /// Images one thread takes at a time on a CPU; 0 = by image size. Results do not depend on the
  /// number of threads because these pieces do not.
  std::int64_t piece = 0;
};

/// Images [first, first + count) of a batch.
struct ImageRange {
  std::int64_t first = 0, count = 0;
};

/// The pieces of a batch (n, C, H, W). A GPU takes the batch as one piece.
std::vector<ImageRange> split_pieces(const torch::Tensor& images, const ExecutionOptions& options);
/// Threads to give to parallel_for over pieces: a GPU takes them one after another.
int piece_workers(const ExecutionOptions& options);
/// Batch size that keeps every thread busy for images of `side` pixels (0 = unknown).
std::int64_t preferred_batch(std::int64_t side, const ExecutionOptions& options);

/// A value as the results of a pass are: float32, on the CPU and dense.
torch::Tensor to_result(const torch::Tensor& value);
/// Results of all pieces as one batch.
torch::Tensor join_pieces(const std::vector<torch::Tensor>& parts);
/// `values` copied into the layout of `like`, of equal shape: the layout decides which kernel runs.
torch::Tensor in_layout_of(const torch::Tensor& like, const torch::Tensor& values);

}  // namespace linex
