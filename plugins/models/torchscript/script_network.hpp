// A TorchScript file as a network: layers, batches in pieces, splitting.
#pragma once

#include <torch/types.h>

#include <filesystem>
#include <memory>
#include <string>
#include <vector>

#include "linex/model.hpp"
#include "toolkit/net/execution.hpp"

namespace linex {

/// A module saved by torch.jit.save, on ExecutionOptions::device. Used by one thread at a time.
/// Results are float32 on the CPU.
class ScriptNetwork {
 public:
  /// Throws Error(input) naming the file: missing, damaged, no TorchScript (a checkpoint of
  /// torch.save), or code that touches files.
  ScriptNetwork(const std::filesystem::path& path, const ExecutionOptions& options);
  ~ScriptNetwork();
  ScriptNetwork(const ScriptNetwork&) = delete;
  ScriptNetwork& operator=(const ScriptNetwork&) = delete;

  /// Paths of the submodules whose output is a tensor, in order of computation.
  const std::vector<std::string>& layers() const;
  ForwardResult forward(const torch::Tensor& images, const std::vector<std::string>& layers,
                        bool logits);
  std::unique_ptr<ModelTail> split(const torch::Tensor& images, const std::string& layer);
  /// SHA-256 of the file.
  const std::string& fingerprint() const;

 private:
  struct Impl;
  std::shared_ptr<Impl> impl_;
};

}  // namespace linex
