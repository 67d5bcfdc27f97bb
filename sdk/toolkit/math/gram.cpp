#include "toolkit/math/gram.hpp"

namespace linex {

Gram::Gram(torch::Tensor full) : rows_(static_cast<std::size_t>(full.size(0))) {
  const float* const values = full.data_ptr<float>();
  for (std::size_t j = 0; j < rows_.size(); ++j) rows_[j] = values + j * rows_.size();
  there_ = size();
  parts_.push_back(std::move(full));
}

Gram::Gram(std::int64_t concepts, Fetch fetch)
    : rows_(static_cast<std::size_t>(concepts), nullptr), fetch_(std::move(fetch)) {}

void Gram::require(std::vector<std::int64_t> wanted) {
  std::sort(wanted.begin(), wanted.end());
  wanted.erase(std::unique(wanted.begin(), wanted.end()), wanted.end());
  wanted.erase(std::remove_if(wanted.begin(), wanted.end(), [&](std::int64_t j) { return row(j); }),
               wanted.end());
  if (wanted.empty()) return;
  parts_.push_back(fetch_(wanted));
  const float* values = parts_.back().data_ptr<float>();
  for (const std::int64_t j : wanted) {
    rows_[static_cast<std::size_t>(j)] = values;
    values += size();
  }
  there_ += static_cast<std::int64_t>(wanted.size());
}

}  // namespace linex
