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

Tensor EmbeddingPresence::texts_of(const Columns& cols) const {
  if (cols.is_all()) return texts_.t();
  const Ids ids = cols.ids();
  {
    const std::lock_guard<std::mutex> guard(lock_);
    if (last_ && std::equal(last_->cols.begin(), last_->cols.end(), ids.begin(), ids.end()))
      return last_->texts;
  }
  auto selection = std::make_shared<Selection>();
  selection->cols.assign(ids.begin(), ids.end());
  selection->texts = texts_.index_select(0, torch::tensor(selection->cols, torch::kInt64)).t();
  const std::lock_guard<std::mutex> guard(lock_);
  last_ = selection;
  return selection->texts;
}

void EmbeddingPresence::do_read(Ids rows, const Columns& cols, float* out) const {
  const std::int64_t n_rows = rows.size(), width = cols.count(this->cols());
  const at::NoGradGuard no_grad;
  bool block = true;
  for (std::int64_t i = 1; i < n_rows && block; ++i) block = rows[i] == rows[0] + i;
  const Tensor images =
      block ? images_.narrow(0, rows[0], n_rows)
            : images_.index_select(0, torch::from_blob(const_cast<std::int64_t*>(rows.data()),
                                                       {n_rows}, torch::kInt64));
  Tensor tile = torch::from_blob(out, {n_rows, width}, torch::kFloat);
  at::mm_out(tile, images, texts_of(cols));
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
