// Whether values are numbers.
#pragma once

#include <cstdint>

namespace linex {

/// Place of the first of `n` values that is NaN or infinite; `n` where none is. As fast as the
/// memory is read.
std::int64_t first_not_finite(const float* values, std::int64_t n);

}  // namespace linex
