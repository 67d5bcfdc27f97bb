// Modules saved on another device or in another precision, made to run here.
#pragma once

#include <torch/types.h>

#include <memory>

namespace torch::jit {
struct Graph;
struct Module;
}  // namespace torch::jit

namespace linex {

/// Devices named in the code (a trace keeps those of its example) become `device`.
void use_device(torch::jit::Graph& graph, const torch::Device& device);

/// Half and bfloat16 parameters, buffers, constants and casts become float32, in which every
/// operator exists on every device. Returns whether there were any among the tensors; casts are
/// left alone where there were none.
bool use_float(torch::jit::Module& module, torch::jit::Graph& graph);

}  // namespace linex
