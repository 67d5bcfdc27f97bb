#include "recognition.hpp"

#include <algorithm>
#include <cmath>
#include <numeric>

#include "linex/data.hpp"

namespace linex {

ActivationRanks activation_ranks(const std::vector<float>& activations) {
  const std::size_t n = activations.size();
  std::vector<std::size_t> order(n);
  std::iota(order.begin(), order.end(), std::size_t{0});
  std::sort(order.begin(), order.end(),
            [&](std::size_t a, std::size_t b) { return activations[a] < activations[b]; });
  ActivationRanks ranks;
  ranks.rank.resize(n);
  for (std::size_t begin = 0; begin < n;) {
    std::size_t end = begin + 1;
    while (end < n && activations[order[end]] == activations[order[begin]]) ++end;
    const double size = static_cast<double>(end - begin),
                 middle = static_cast<double>(begin) + (size + 1) / 2;
    for (std::size_t i = begin; i < end; ++i) ranks.rank[order[i]] = middle;
    ranks.ties += size * size * size - size;
    begin = end;
  }
  ranks.varies = n > 0 && activations[order.front()] != activations[order.back()];
  return ranks;
}

double auroc(const SetTally& tally, double images) {
  const double inside = tally.count, outside = images - inside;
  if (!(inside > 0) || !(outside > 0)) return kNone;
  return (tally.weight - inside * (inside + 1) / 2) / (inside * outside);
}

double mann_whitney_p(const SetTally& tally, double images, double ties) {
  const double inside = tally.count, outside = images - inside, area = auroc(tally, images);
  if (std::isnan(area)) return kNone;
  const double variance = inside * outside / 12 * (images + 1 - ties / (images * (images - 1)));
  if (!(variance > 0)) return 1;
  const double distance = std::fabs(area - 0.5) * inside * outside - 0.5;
  return std::min(1.0, std::erfc(std::max(distance, 0.0) / std::sqrt(2 * variance)));
}

FoundFormula invert_formula(const std::vector<PlaceSet>& concepts, std::int64_t images,
                            const ActivationRanks& ranks, const InvertOptions& options) {
  using Joint = FormulaStep::Joint;
  const auto n = static_cast<double>(images);
  const FormulaProblem problem{concepts, images, nullptr, &ranks.rank};
  FormulaBeam beam;
  beam.beam = options.beam;
  beam.length = options.length;
  beam.skip_unchanged = true;
  // Concepts and their negations, best first, whatever their share of the images.
  const double all = n * (n + 1) / 2;
  std::vector<std::pair<double, FormulaStep>> atoms;
  for (const bool negated : {false, true})
    for (std::size_t c = 0; c < concepts.size(); ++c) {
      const SetTally tally = problem.tally(concepts[c]);
      const double area = auroc(negated ? SetTally{n - tally.count, all - tally.weight} : tally, n);
      if (!std::isnan(area))
        atoms.push_back({area, {Joint::start, static_cast<std::int64_t>(c), negated}});
    }
  std::stable_sort(atoms.begin(), atoms.end(),
                   [](const auto& a, const auto& b) { return a.first > b.first; });
  for (std::size_t i = 0; i < atoms.size(); ++i) {
    FormulaStep step = atoms[i].second;
    beam.starts.push_back(step);
    if (options.limit > 0 && static_cast<std::int64_t>(i) >= options.limit) continue;
    for (const Joint joint : {Joint::conjunction, Joint::disjunction}) {
      step.joint = joint;
      beam.joins.push_back(step);
    }
  }
  const auto formulas = beam_formulas(
      problem,
      [&](const SetTally& tally, std::int64_t) {
        const double share = tally.count / n;
        return share < options.least || share > options.most ? kNone : auroc(tally, n);
      },
      beam);
  return formulas.empty() ? FoundFormula() : formulas.front();
}

}  // namespace linex
