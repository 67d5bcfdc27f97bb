// The machine's own float32 matrix-product rate: best of a few large products, in GFLOP/s.
// usage: sgemm_rate [THREADS]
#include <ATen/ATen.h>
#include <ATen/Parallel.h>

#include <algorithm>
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <thread>

#include "host/launcher/blas_core.hpp"

int main(int argc, char** argv) {
  linex::restart_with_known_blas_core(argv);  // as bin/linex does
  const int threads =
      argc > 1 ? std::atoi(argv[1]) : static_cast<int>(std::thread::hardware_concurrency());
  at::set_num_threads(std::max(1, threads));
  constexpr std::int64_t kSide = 4096;
  const at::Tensor a = at::rand({kSide, kSide}), b = at::rand({kSide, kSide});
  at::Tensor c = at::mm(a, b);
  double best = 0;
  for (int repeat = 0; repeat < 5; ++repeat) {
    const auto start = std::chrono::steady_clock::now();
    at::mm_out(c, a, b);
    const std::chrono::duration<double> seconds = std::chrono::steady_clock::now() - start;
    best = std::max(best, 2.0 * kSide * kSide * kSide / seconds.count() / 1e9);
  }
  std::printf("%.1f\n", best);
  return 0;
}
