// Which part of some work is a rank's.
#pragma once

#include <algorithm>
#include <cstdint>
#include <cstring>
#include <string>
#include <type_traits>
#include <vector>

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

/// What the ranks found for their shares, in order of rank. All ranks call this.
template <class T>
std::vector<T> gather_shares(const Cluster* cluster, const std::vector<T>& mine) {
  static_assert(std::is_trivially_copyable_v<T>);
  if (ranks_of(cluster) == 1) return mine;
  std::string bytes;
  for (const std::string& part :
       cluster->gather({reinterpret_cast<const char*>(mine.data()), mine.size() * sizeof(T)}))
    bytes += part;
  std::vector<T> all(bytes.size() / sizeof(T));
  std::memcpy(all.data(), bytes.data(), all.size() * sizeof(T));
  return all;
}

}  // namespace linex
