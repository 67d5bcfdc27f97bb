// An explanation as people read it.
#pragma once

#include <string>

#include "linex/data.hpp"

namespace linex {

/// "2.1·striped + 1.4·red - 0.03·sky + 0.5": three significant digits at any scale, in
/// "relu(…)" or "softplus(…)" where it has a link. The text of a
/// sentence as it is; "" without either.
std::string in_words(const Explanation& explanation);

}  // namespace linex
