// Arrays as people have them: .npy, .npz, .pt and .safetensors.
#pragma once

#include <torch/types.h>

#include <filesystem>
#include <string>

namespace linex {

/// The array at `place`, dense, of any rank and dtype, mapped from its file where it lies there as
/// a tensor has it. `place` is a file or FILE:NAME:
///  * .npy (map_npy());
///  * .npz, compressed or not: one array, or NAME of several;
///  * a PyTorch file: one tensor, or NAME in its dictionary (nothing in it is executed);
///  * .safetensors: one tensor, or NAME of several.
/// The format is told by the content. Throws Error(input) naming the file, and the names in it
/// where one has to be chosen.
torch::Tensor read_array(const std::string& place);

/// read_array() for a matrix (N, K) of real numbers with at least one value; a vector is one
/// column. Throws Error(input) for another rank.
torch::Tensor read_matrix(const std::string& place);

/// `array` as dense float32. Throws Error(input) beginning with `place` for the first value that is
/// NaN, infinite or finite but beyond float32, naming row and column; where it already is float32,
/// pages of a mapped file are let go as they are checked.
torch::Tensor finite_float32(const torch::Tensor& array, const std::string& place);

/// Digest of the file's content and of the name in it.
std::string fingerprint_of_array(const std::string& place);

}  // namespace linex
