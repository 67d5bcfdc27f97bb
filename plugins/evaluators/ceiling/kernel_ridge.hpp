// Ridge regression of all units at once on all concepts, linear and with a Gaussian kernel.
#pragma once

#include <cstdint>
#include <vector>

#include "candidates.hpp"
#include "toolkit/math/column_stats.hpp"
#include "toolkit/math/row_source.hpp"

namespace linex {

struct KernelRidgeInput {
  const RowSource& presence;
  const std::vector<double>& presence_mean;  ///< of the training rows
  const std::vector<double>& presence_std;
  const RowSource& activations;
  const std::vector<double>& unit_mean;
  const Split& split;
};

struct KernelRidgeOptions {
  std::int64_t landmarks = 512;  ///< training rows that the kernels are expanded in
  std::uint64_t seed = 0;        ///< which rows those are
  int threads = 1;
};

/// Fits every unit on the training rows and offers its correlations to `candidates`: linear ridge
/// ("ridge") and kernel ridge by Nyström's approximation ("kernel ridge"), the kernel a Gaussian of
/// the distance of two rows of presence, with the median distance between landmarks, half and twice
/// it as its width, and of standardised presence with the median; each at penalties of 1e-6 … 1 of
/// the features' variance. Same bytes whatever `threads` is.
void offer_kernel_ridge(const KernelRidgeInput& input, const KernelRidgeOptions& options,
                        Candidates& candidates, const Tick& tick = {});

/// Rows that offer_kernel_ridge reports to `tick` in total.
std::int64_t kernel_ridge_ticks(const Split& split);

}  // namespace linex
