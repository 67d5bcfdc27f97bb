#include "toolkit/base/finite.hpp"

#include <algorithm>
#include <cstring>

#include "toolkit/base/wide.hpp"

namespace linex {

namespace {

/// Whether the exponent's bits are all set; compilers take apart what they know of floats.
inline std::uint32_t not_finite(float value) {
  constexpr std::uint32_t kExponent = 0x7f800000U;
  std::uint32_t bits = 0;
  std::memcpy(&bits, &value, sizeof bits);
  return static_cast<std::uint32_t>((bits & kExponent) == kExponent);
}

LINEX_WIDE bool any_not_finite(const float* values, std::int64_t n) {
  std::uint32_t any = 0;
#pragma omp simd reduction(| : any)
  for (std::int64_t i = 0; i < n; ++i) any |= not_finite(values[i]);
  return any != 0;
}

}  // namespace

std::int64_t first_not_finite(const float* values, std::int64_t n) {
  constexpr std::int64_t kAtOnce = 4096;
  for (std::int64_t begin = 0; begin < n; begin += kAtOnce) {
    const std::int64_t count = std::min(kAtOnce, n - begin);
    if (!any_not_finite(values + begin, count)) continue;
    for (std::int64_t i = begin; i < begin + count; ++i)
      if (not_finite(values[i]) != 0) return i;
  }
  return n;
}

}  // namespace linex
