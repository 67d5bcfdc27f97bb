// NumPy arrays in pickles.
#pragma once

#include <torch/types.h>

#include <string>

#include "toolkit/checkpoint/pickle.hpp"

namespace linex {

/// The array, or scalar of rank 0, that `value` is: as NumPy pickles them with protocols 0 to 5,
/// Fortran order and big-endian numbers too. A copy, dense, of a dtype that map_npy() gives.
/// Undefined where `value` is no array of NumPy. Throws Error(input) beginning with `source` for
/// one of objects or of damaged shape.
torch::Tensor numpy_array(const PickleValue& value, const std::string& source);

}  // namespace linex
