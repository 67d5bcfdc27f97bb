// Pooling: from a unit's map or tokens to one number.
#pragma once

#include <string>

#include "linex/export.hpp"

namespace linex {

/// `first` takes the first of several tokens (a class token).
enum class Pool : int { avg, max, first };

/// "avg", "max" or "first".
LINEX_API const char* to_string(Pool pool) noexcept;
/// Inverse of to_string; throws Error(usage) for another word.
LINEX_API Pool pool_from_string(const std::string& word);

}  // namespace linex
