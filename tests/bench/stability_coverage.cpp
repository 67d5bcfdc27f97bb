// Do the intervals of stability hold the planted weights as often as they say, and do planted terms
// come back?
// usage: stability_coverage [replicates = 500]
#include <cstdio>
#include <cstdlib>

#include "tests/planted_regression.hpp"
#include "toolkit/math/stability.hpp"

int main(int argc, char** argv) {
  using namespace linex;
  const int replicates = argc > 1 ? std::atoi(argv[1]) : 500;
  long covered = 0, all = 0, steady = 0, units = 0;
  for (int replicate = 0; replicate < replicates; ++replicate) {
    PlantedRegression planted(2000, 40, 8, 0.5, 10000 + static_cast<std::uint64_t>(replicate));
    StabilityOptions options;
    options.seed = static_cast<std::uint64_t>(replicate);
    std::vector<std::int64_t> of;
    for (std::int64_t k = 0; k < 8; ++k) of.push_back(k);
    const auto found = stability(*planted.regression, of, planted.selections, options);
    for (std::size_t k = 0; k < found.size(); ++k) {
      std::size_t known = 0, back = 0;
      for (std::size_t t = 0; t < found[k].terms.size(); ++t) {
        const auto truth = planted.truth[k].find(
            planted.regression->concepts[static_cast<std::size_t>(planted.selections[k].terms[t])]);
        if (truth == planted.truth[k].end()) continue;
        ++known;
        back += found[k].terms[t].frequency >= 0.95;
      }
      ++units;
      steady += back == planted.truth[k].size();
      if (known < planted.truth[k].size()) continue;
      for (std::size_t t = 0; t < found[k].terms.size(); ++t) {
        const auto truth = planted.truth[k].find(
            planted.regression->concepts[static_cast<std::size_t>(planted.selections[k].terms[t])]);
        if (truth == planted.truth[k].end()) continue;
        covered +=
            found[k].terms[t].low <= truth->second && truth->second <= found[k].terms[t].high;
        ++all;
      }
    }
  }
  std::printf(
      "coverage %.4f of %ld weights at nominal .95; planted terms all at frequency >= .95 in "
      "%.4f of %ld units\n",
      static_cast<double>(covered) / static_cast<double>(all), all,
      static_cast<double>(steady) / static_cast<double>(units), units);
  return 0;
}
