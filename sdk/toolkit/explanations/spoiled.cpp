#include "toolkit/explanations/spoiled.hpp"

#include <algorithm>

#include "toolkit/base/random.hpp"
#include "toolkit/explanations/simulate.hpp"

namespace linex {

std::vector<float> presence_behind(const Explanation& explanation, const float* simulated,
                                   std::int64_t n) {
  std::vector<float> presence(static_cast<std::size_t>(n));
  if (n == 0) return presence;
  const bool single = explanation.terms.size() == 1 && explanation.terms[0].weight > 0 &&
                      link_of(explanation).kind == Link::Kind::identity;
  const auto [least, most] = std::minmax_element(simulated, simulated + n);
  double offset = single ? explanation.bias : static_cast<double>(*least);
  double scale = single ? explanation.terms[0].weight
                        : static_cast<double>(*most) - static_cast<double>(*least);
  if (explanation.terms.empty()) offset = 0, scale = 1;  // a text's presence itself
  if (!(scale > 0)) scale = 1;
  for (std::size_t i = 0; i < presence.size(); ++i)
    presence[i] = static_cast<float>(
        std::clamp((static_cast<double>(simulated[i]) - offset) / scale, 0.0, 1.0));
  return presence;
}

std::vector<float> missing_labels(const float* presence, std::int64_t n, double threshold,
                                  std::uint64_t seed) {
  std::vector<float> spoiled(presence, presence + n);
  Random random(seed);
  for (float& value : spoiled)
    if (value >= threshold && random.uniform() < 0.5) value = 0;
  return spoiled;
}

std::vector<float> extra_labels(const float* presence, std::int64_t n, double threshold,
                                std::uint64_t seed) {
  std::vector<float> spoiled(presence, presence + n);
  const auto positives = static_cast<double>(std::count_if(
      spoiled.begin(), spoiled.end(), [threshold](float value) { return value >= threshold; }));
  const double negatives = static_cast<double>(n) - positives;
  const double share = negatives > 0 ? positives / negatives : 0;
  Random random(seed);
  for (float& value : spoiled)
    if (value < threshold && random.uniform() < share) value = 1;
  return spoiled;
}

}  // namespace linex
