// Presence of texts in images, generated tile by tile from their embeddings.
#pragma once

#include <torch/types.h>

#include <functional>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <vector>

#include "linex/labeler.hpp"
#include "toolkit/concepts/sigmoid.hpp"

namespace linex {

/// P(i, j) = σ(a·(cos(image i, text j) + b)), or the cosine itself where no sigmoid is given. Holds
/// N·E + C·E floats; a tile is one matrix product. [any thread]
class EmbeddingPresence final : public Presence {
 public:
  /// float32 (N, E) and (C, E), rows of length one.
  EmbeddingPresence(torch::Tensor images, torch::Tensor texts, std::optional<Sigmoid> sigmoid);

  std::int64_t rows() const override { return images_.size(0); }
  std::int64_t cols() const override { return texts_.size(0); }

 private:
  void do_read(Ids rows, const Columns& cols, float* out) const override;
  /// Texts of some columns. Solvers ask for the same columns tile after tile.
  struct Selection {
    std::vector<std::int64_t> cols;
    torch::Tensor texts;  // (E, n)
  };
  torch::Tensor texts_of(const Columns& cols) const;

  torch::Tensor images_;         // (N, E)
  torch::Tensor texts_;          // (C, E), times a
  std::optional<float> offset_;  // a·b; undefined for cosines
  mutable std::mutex lock_;
  mutable std::shared_ptr<const Selection> last_;
};

/// Rows divided by their length, float32. Throws Error(input), naming the row by `name`, where one
/// is zero or not finite.
torch::Tensor normalized_rows(const torch::Tensor& embeddings,
                              const std::function<std::string(std::int64_t)>& name);

}  // namespace linex
