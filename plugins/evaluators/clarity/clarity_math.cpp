#include "clarity_math.hpp"

#include <algorithm>
#include <cmath>
#include <map>
#include <string>

#include "toolkit/base/parallel.hpp"

namespace linex_clarity {
namespace {

constexpr std::int64_t kUnits = 256;

/// Columns [begin, begin + n) of a matrix in float64.
torch::Tensor columns(const torch::Tensor& matrix, std::int64_t begin, std::int64_t n) {
  return matrix.narrow(1, begin, n).to(torch::kFloat64);
}

/// An explanation as concepts and weights of unit length.
using Sparse = std::vector<std::pair<std::int64_t, double>>;

std::vector<Sparse> sparse_explanations(const std::vector<linex::Explanation>& explanations) {
  std::map<std::string, std::int64_t> ids;
  const auto id_of = [&](const std::string& name) {
    return ids.emplace(name, static_cast<std::int64_t>(ids.size())).first->second;
  };
  std::vector<Sparse> all;
  for (const auto& explanation : explanations) {
    std::map<std::int64_t, double> weights;
    if (explanation.terms.empty() && !explanation.text.empty())
      weights[id_of(explanation.text)] = 1;
    for (const auto& term : explanation.terms) weights[id_of(term.concept_name)] += term.weight;
    double square = 0;
    for (const auto& [id, weight] : weights) square += weight * weight;
    Sparse sparse;
    if (square > 0)
      for (const auto& [id, weight] : weights) sparse.emplace_back(id, weight / std::sqrt(square));
    all.push_back(std::move(sparse));
  }
  return all;
}

}  // namespace

std::vector<double> clarity(const torch::Tensor& activations, const torch::Tensor& embeddings,
                            int threads) {
  const std::int64_t units = activations.size(1);
  const auto e = embeddings.to(torch::kFloat64);
  const auto length = e.square().sum(1);
  std::vector<double> result(static_cast<std::size_t>(units), linex::kNone);
  linex::parallel_for((units + kUnits - 1) / kUnits, threads, [&](std::int64_t block) {
    const torch::NoGradGuard no_gradients;
    const std::int64_t begin = block * kUnits, n = std::min(kUnits, units - begin);
    auto w = columns(activations, begin, n);
    const auto low = w.amin(0), range = w.amax(0) - low;
    w = (w - low) / torch::where(range > 0, range, torch::ones_like(range));
    const auto sum = w.t().matmul(e).square().sum(1);
    const auto same = w.square().t().matmul(length);
    const auto pairs = w.sum(0).square() - w.square().sum(0);
    for (std::int64_t i = 0; i < n; ++i) {
      const double weight = pairs[i].item<double>();
      // One image alone has no pair; what is left of the difference is rounding.
      const bool defined = range[i].item<double>() > 0 &&
                           weight > 1e-9 * w.select(1, i).sum().square().item<double>();
      if (defined)
        result[static_cast<std::size_t>(begin + i)] =
            (sum[i].item<double>() - same[i].item<double>()) / weight;
    }
  });
  return result;
}

double mean_cosine(const torch::Tensor& embeddings) {
  const auto n = static_cast<double>(embeddings.size(0));
  if (n < 2) return linex::kNone;
  const auto e = embeddings.to(torch::kFloat64);
  return (e.sum(0).square().sum().item<double>() - e.square().sum().item<double>()) / (n * (n - 1));
}

std::vector<Twin> twins(const torch::Tensor& activations,
                        const std::vector<linex::Explanation>& explanations,
                        std::int64_t memory_bytes, int threads) {
  const std::int64_t units = activations.size(1), rows = activations.size(0);
  auto z = activations.to(torch::kFloat64);
  z = z - z.mean(0);
  const auto length = z.square().sum(0).sqrt();
  z = (z / torch::where(length > 0, length, torch::ones_like(length))).to(torch::kFloat32);
  const auto explained = sparse_explanations(explanations);
  std::map<std::int64_t, std::vector<std::pair<std::int64_t, double>>> holders;  // by concept
  std::vector<char> counts(static_cast<std::size_t>(units));
  for (std::int64_t i = 0; i < units; ++i) {
    const auto at = static_cast<std::size_t>(i);
    counts[at] = length[i].item<double>() > 0 && !explained[at].empty() && rows > 1;
    if (!counts[at]) continue;
    for (const auto& [id, weight] : explained[at]) holders[id].emplace_back(i, weight);
  }
  std::vector<Twin> result(static_cast<std::size_t>(units));
  const std::int64_t block =
      std::clamp<std::int64_t>(memory_bytes / 64 / std::max<std::int64_t>(units * 4, 1), 1, kUnits);
  linex::parallel_for((units + block - 1) / block, threads, [&](std::int64_t b) {
    const torch::NoGradGuard no_gradients;
    const std::int64_t begin = b * block, n = std::min(block, units - begin);
    const auto product = z.narrow(1, begin, n).t().matmul(z).contiguous();
    const auto* r = product.data_ptr<float>();
    std::vector<double> cosine(static_cast<std::size_t>(units));
    for (std::int64_t i = begin; i < begin + n; ++i, r += units) {
      const auto at = static_cast<std::size_t>(i);
      if (!counts[at]) continue;
      std::fill(cosine.begin(), cosine.end(), 0.0);
      for (const auto& [id, weight] : explained[at])
        for (const auto& [other, its] : holders.at(id))
          cosine[static_cast<std::size_t>(other)] += weight * its;
      double best = -1;
      for (std::int64_t j = 0; j < units; ++j) {
        const auto other = static_cast<std::size_t>(j);
        if (j == i || !counts[other]) continue;
        const double alike = 0.5 * (std::max<double>(r[j], 0) + std::max(cosine[other], 0.0));
        if (alike <= best) continue;
        best = alike;
        result[at] = {j, static_cast<double>(r[j]), cosine[other]};
      }
    }
  });
  return result;
}

}  // namespace linex_clarity
