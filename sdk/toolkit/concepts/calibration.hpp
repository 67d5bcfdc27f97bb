// Fits presence σ(a·(cos + b)) to labelled images (docs/methods.md §1.10).
#pragma once

#include <cstdint>
#include <functional>
#include <vector>

#include "linex/data.hpp"
#include "linex/labeler.hpp"
#include "toolkit/concepts/sigmoid.hpp"

namespace linex::concepts {

struct CalibrationOptions {
  int threads = 1;
  std::int64_t tile_rows = 256;      ///< images a task
  std::int64_t max_iterations = 50;  ///< passes over the data
  double tolerance = 1e-9;           ///< on the predicted decrease of the loss, relative to it
  std::int64_t bins = 4096;          ///< cosine bins for the start and the grid
};

struct Calibration {
  Sigmoid sigmoid;
  double loss = 0;  ///< mean binary cross-entropy over rows and concepts, nats
  std::int64_t iterations = 0;
  bool converged = false;
  std::int64_t pairs = 0, positives = 0;

  Sigmoid grid_sigmoid;  ///< best of the published grid: a in {.1, .25, .5, .75, 1, 2, 4, ...,
                         ///< 150}, b in {-1, -.99, ..., 1}
  double grid_loss = 0;  ///< its loss, to within the width of a bin
};

/// Minimises the mean binary cross-entropy of σ(a·(cos + b)) against 0/1 truth over `rows` (train
/// rows only, so that what is scored later was not looked at). Newton's method with step halving
/// on (a, a·b), in which the problem is convex; sums are float64 and the same for any thread count.
/// `cosines` and `truth` have the same columns. Perfectly separable data has no finite optimum:
/// then converged is false. Throws Error(input) when there are no rows, or all pairs have the same
/// truth. `tick` is called with the number of passes done; may throw to stop.
Calibration calibrate(const Presence& cosines, const Presence& truth, const Rows& rows,
                      const CalibrationOptions& options = {},
                      const std::function<void(std::int64_t)>& tick = {});

}  // namespace linex::concepts
