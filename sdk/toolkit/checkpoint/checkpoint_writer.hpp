// Checkpoints in torch.save's format, for Python's torch.load and our own reader.
#pragma once

#include <torch/types.h>

#include <filesystem>
#include <map>
#include <string>
#include <utility>
#include <variant>
#include <vector>

namespace linex {

/// A tree of what a checkpoint may hold: text, numbers, lists, dicts and float32 tensors.
struct CheckpointNode {
  using Dict = std::vector<std::pair<std::string, CheckpointNode>>;  ///< in order
  using List = std::vector<CheckpointNode>;
  std::variant<std::monostate, bool, std::int64_t, double, std::string, torch::Tensor, List, Dict>
      value;  ///< monostate: None

  CheckpointNode() = default;
  template <class T>
  CheckpointNode(T v) : value(std::move(v)) {}                    // NOLINT: a node is its value
  CheckpointNode(const char* text) : value(std::string(text)) {}  // NOLINT
};

/// Writes a zip of stored members with a protocol-2 pickle, as PyTorch since 1.6. Tensors are
/// written as contiguous float32 on the CPU. Atomic.
void save_checkpoint(const std::filesystem::path& path, const CheckpointNode& root);

}  // namespace linex
