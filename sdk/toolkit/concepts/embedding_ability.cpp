#include "toolkit/concepts/embedding_ability.hpp"

namespace linex {

torch::Tensor text_likeness(const torch::Tensor& text, const torch::Tensor& concepts) {
  const torch::Tensor cosines = concepts.matmul(text).to(torch::kFloat64);
  if (cosines.numel() == 0) return cosines;
  const double mean = cosines.mean().item<double>();
  if (!(mean < 1)) return torch::zeros_like(cosines);
  return ((cosines - mean) / (1 - mean)).clamp(0, 1);
}

}  // namespace linex
