#include "toolkit/net/adamw.hpp"

#include <cmath>

namespace linex {

AdamW::AdamW(std::vector<torch::Tensor> parameters, const AdamWOptions& options)
    : parameters_(std::move(parameters)), options_(options) {
  for (const torch::Tensor& parameter : parameters_) {
    first_.push_back(torch::zeros_like(parameter));
    second_.push_back(torch::zeros_like(parameter));
  }
}

void AdamW::step(const std::vector<torch::Tensor>& gradients, double rate) {
  const torch::NoGradGuard no_gradients;
  ++steps_;
  const double correct_first = 1 - std::pow(options_.beta1, steps_);
  const double correct_second = 1 - std::pow(options_.beta2, steps_);
  for (std::size_t p = 0; p < parameters_.size(); ++p) {
    const torch::Tensor& gradient = gradients[p];
    if (!gradient.defined()) continue;
    torch::Tensor& value = parameters_[p];
    first_[p].mul_(options_.beta1).add_(gradient, 1 - options_.beta1);
    second_[p].mul_(options_.beta2).addcmul_(gradient, gradient, 1 - options_.beta2);
    if (options_.decay_vectors || value.dim() > 1) value.mul_(1 - rate * options_.decay);
    value.addcdiv_(first_[p], (second_[p] / correct_second).sqrt_().add_(options_.epsilon),
                   -rate / correct_first);
  }
}

}  // namespace linex
