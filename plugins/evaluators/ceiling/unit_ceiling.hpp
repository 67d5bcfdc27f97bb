// How well could any function of the concepts predict each unit?
#pragma once

#include <torch/types.h>

#include <cstdint>
#include <vector>

#include "candidates.hpp"
#include "linex/presence.hpp"
#include "toolkit/math/column_stats.hpp"
#include "toolkit/math/moments.hpp"

namespace linex {

struct CeilingInput {
  const Presence& presence;
  torch::Tensor activations;        ///< float32 (N, all units)
  std::vector<std::int64_t> units;  ///< columns of activations, each once
  const Split& split;
};

struct CeilingOptions {
  std::int64_t landmarks = 512;  ///< of kernel ridge
  std::uint64_t seed = 0;
  MomentOptions moments;
};

struct UnitCeilings {
  std::vector<double> correlation;  ///< on the test rows, one a unit; 0 where no function helps
  std::vector<Status> status;       ///< ok, or why the correlation is kNone
  std::vector<std::string> by;      ///< what reached it: "cells", "sparse", "ridge", "kernel ridge"
  /// Whether every function was considered (few distinct rows of presence); else an estimate.
  bool exact = false;
  std::int64_t cells = 0;  ///< distinct rows of presence where those are few
};

/// The ceiling of docs/methods.md §5.3. Throws Error(input) as Regression does.
UnitCeilings unit_ceilings(const CeilingInput& input, const CeilingOptions& options,
                           const Tick& tick = {});

}  // namespace linex
