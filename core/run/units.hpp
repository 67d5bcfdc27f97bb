// run.units: which units of a layer to explain.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

namespace linex {

/// "" = all; otherwise a comma list of unit numbers and half-open ranges, e.g. "0:64,100".
/// Ascending, without repeats. Throws Error(usage) for bad syntax or a unit outside [0, count).
std::vector<std::int64_t> parse_units(const std::string& text, std::int64_t count);

}  // namespace linex
