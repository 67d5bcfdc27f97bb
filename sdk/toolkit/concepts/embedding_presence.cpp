#include "toolkit/concepts/embedding_presence.hpp"

#include <algorithm>

#include "linex/error.hpp"

namespace linex {

using torch::Tensor;

EmbeddingPresence::EmbeddingPresence(Tensor images, Tensor texts, std::optional<Sigmoid> sigmoid)
    : images_(std::move(images)), texts_(std::move(texts)) {
  if (!sigmoid) return;
  texts_ = texts_ * sigmoid->a;
  offset_ = static_cast<float>(sigmoid->a * sigmoid->b);
}

Tensor EmbeddingPresence::texts_of(const std::int64_t* cols, std::int64_t n) const {
  if (!cols) return texts_.t();
  {
    const std::lock_guard<std::mutex> guard(lock_);
    if (last_ && static_cast<std::int64_t>(last_->cols.size()) == n &&
        std::equal(last_->cols.begin(), last_->cols.end(), cols))
      return last_->texts;
  }
  auto selection = std::make_shared<Selection>();
  selection->cols.assign(cols, cols + n);
  selection->texts = texts_.index_select(0, torch::tensor(selection->cols, torch::kInt64)).t();
  const std::lock_guard<std::mutex> guard(lock_);
  last_ = selection;
  return selection->texts;
}

void EmbeddingPresence::read(const std::int64_t* rows, std::int64_t n_rows,
                             const std::int64_t* cols, std::int64_t n_cols, float* out) const {
  const std::int64_t width = cols ? n_cols : this->cols();
  if (n_rows == 0 || width == 0) return;
  const at::NoGradGuard no_grad;
  bool block = true;
  for (std::int64_t i = 1; i < n_rows && block; ++i) block = rows[i] == rows[0] + i;
  const Tensor images =
      block ? images_.narrow(0, rows[0], n_rows)
            : images_.index_select(
                  0, torch::from_blob(const_cast<std::int64_t*>(rows), {n_rows}, torch::kInt64));
  Tensor tile = torch::from_blob(out, {n_rows, width}, torch::kFloat);
  at::mm_out(tile, images, texts_of(cols, n_cols));
  if (offset_) tile.add_(*offset_).sigmoid_();
}

Tensor normalized_rows(const Tensor& embeddings,
                       const std::function<std::string(std::int64_t)>& name) {
  const Tensor values = embeddings.to(torch::kFloat);
  const Tensor length = values.norm(2, {1}, true);
  const Tensor good = (length > 0).logical_and(length.isfinite()).contiguous();
  const bool* is_good = good.data_ptr<bool>();
  for (std::int64_t i = 0; i < values.size(0); ++i)
    if (!is_good[i])
      throw input_error("the embedding of " + name(i) +
                        " is zero or not finite; check the checkpoint");
  return values / length;
}

}  // namespace linex
