// Times moments and elastic-net fits of recorded matrices: seconds and the largest relative gap.
// usage: rank_recorded FOLDER [THREADS]   (FOLDER as generate_problem writes it)
#include <chrono>
#include <cstdio>
#include <cstdlib>

#include "tests/bench/split.hpp"
#include "toolkit/base/npy.hpp"
#include "toolkit/concepts/matrix_presence.hpp"
#include "toolkit/math/linear_explanations.hpp"

int main(int argc, char** argv) {
  using namespace linex;
  if (argc < 2) return 2;
  const std::string folder = argv[1];
  const MatrixPresence presence(map_npy(folder + "/concepts.npy"));
  const torch::Tensor activations = map_npy(folder + "/activations.npy");
  const Split split = bench::read_split(folder);
  RegressionOptions how;
  how.moments.threads = argc > 2 ? std::atoi(argv[2]) : 1;
  how.moments.memory_bytes = std::int64_t{4} << 30;
  const std::vector<std::int64_t> units = all_columns(activations.size(1));
  double best = 1e30, gap = 0;
  for (int repeat = 0; repeat < 3; ++repeat) {
    const auto start = std::chrono::steady_clock::now();
    Regression regression({presence, activations, units, split}, how);
    const std::vector<SparseFit> fits =
        fit_elastic_net(*regression.gram, regression.all_moments(),
                        ElasticNetOptions::published(0.05, 0.99), how.moments.threads);
    best = std::min(
        best, std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count());
    for (std::size_t k = 0; k < fits.size(); ++k)
      gap = std::max(gap, fits[k].gap / (0.5 * regression.mean_square[k]));
  }
  std::printf("%.4f %.3g\n", best, gap);
  return 0;
}
