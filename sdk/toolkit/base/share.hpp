// Which part of some work is a rank's.
#pragma once

#include <algorithm>
#include <cstdint>

#include "linex/cluster.hpp"

namespace linex {

struct Share {
  std::int64_t begin = 0, end = 0;
  std::int64_t size() const { return end - begin; }
};

/// Ranks of a cluster; 1 where there is none.
inline int ranks_of(const Cluster* cluster) { return cluster ? cluster->size() : 1; }

/// The share of `rank` in [0, n): together all shares are all of it, in order of rank, and they
/// begin at multiples of `grain`. Shares may be empty.
inline Share share_of(std::int64_t n, std::int64_t grain, int rank, int ranks) {
  const std::int64_t grains = (n + grain - 1) / grain;
  return {std::min(n, grains * rank / ranks * grain),
          std::min(n, grains * (rank + 1) / ranks * grain)};
}
/// That of this process; all of it where there is no cluster.
inline Share share_of(std::int64_t n, std::int64_t grain, const Cluster* cluster) {
  return share_of(n, grain, cluster ? cluster->rank() : 0, ranks_of(cluster));
}

}  // namespace linex
