// Reads a TorchScript archive whose code is checked before any of it runs.
#pragma once

#include <torch/csrc/jit/api/module.h>
#include <torch/types.h>

#include <filesystem>

namespace linex {

/// The module of an archive of torch.jit.save, its tensors on `device`, in evaluation mode.
///
/// Code of an archive may run while it loads (__setstate__, default values) and in every pass. All
/// of it is compiled first, whether called or not, and refused unless every operator is a pure one
/// (script_operators.hpp) and every default value a literal; print and warnings are taken out.
/// Objects implemented in C++ (quantised weights, other libraries) are refused, too.
///
/// Throws Error(input) naming the file: missing, damaged, no TorchScript, code as above.
torch::jit::Module load_module(const std::filesystem::path& path, const torch::Device& device);

}  // namespace linex
