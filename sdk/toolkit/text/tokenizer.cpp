#include "toolkit/text/tokenizer.hpp"

#include <algorithm>

namespace linex {

Tokenizer::~Tokenizer() = default;

torch::Tensor Tokenizer::encode_batch(const std::vector<std::string>& texts,
                                      std::int64_t context) const {
  const auto n = static_cast<std::int64_t>(texts.size());
  torch::Tensor ids = torch::full({n, context}, padding_, torch::kInt64);
  for (std::int64_t i = 0; i < n; ++i) {
    std::vector<std::int64_t> row = encode(texts[static_cast<std::size_t>(i)]);
    if (start_ >= 0) row.insert(row.begin(), start_);
    row.push_back(end_);
    if (static_cast<std::int64_t>(row.size()) > context) {
      row.resize(static_cast<std::size_t>(context));
      row.back() = end_;
    }
    std::copy(row.begin(), row.end(), ids.data_ptr<std::int64_t>() + i * context);
  }
  return ids;
}

bool Tokenizer::is_cut(const std::string& text, std::int64_t context) const {
  return static_cast<std::int64_t>(encode(text).size()) + (start_ >= 0 ? 2 : 1) > context;
}

}  // namespace linex
