// A TorchScript file as a network: layers, batches in pieces, splitting.
#pragma once

#include <torch/types.h>

#include <filesystem>
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "linex/model.hpp"
#include "toolkit/net/execution.hpp"

namespace linex {

/// What a file does not say of itself.
struct ScriptOptions {
  ExecutionOptions execution;
  std::string layout = "auto";                    ///< auto|nchw|nhwc|ntd|nd, of layers of that rank
  std::function<void(const std::string&)> tell;   ///< what was found out; from any thread
  std::function<void(const std::string&)> doubt;  ///< what was assumed
};

/// A module saved by torch.jit.save, on ExecutionOptions::device. Used by one thread at a time.
/// Results are float32 on the CPU, their axes (n, C, H, W), (n, T, D) or (n, D) whatever the
/// layer's own order is, which is found from the operators around it.
class ScriptNetwork {
 public:
  /// Throws Error(input) naming the file: missing, damaged, no TorchScript (a checkpoint of
  /// torch.save), or code that touches files.
  ScriptNetwork(const std::filesystem::path& path, const ScriptOptions& options);
  ~ScriptNetwork();
  ScriptNetwork(const ScriptNetwork&) = delete;
  ScriptNetwork& operator=(const ScriptNetwork&) = delete;

  /// Half and bfloat16 weights were converted to float32.
  bool converted() const;
  /// Paths of the submodules whose output is a tensor, in order of computation.
  const std::vector<std::string>& layers() const;
  ForwardResult forward(const torch::Tensor& images, const std::vector<std::string>& layers,
                        bool logits);
  std::unique_ptr<ModelTail> split(const torch::Tensor& images, const std::string& layer);
  /// SHA-256 of the file and the layout asked for.
  const std::string& fingerprint() const;

 private:
  struct Impl;
  std::shared_ptr<Impl> impl_;
};

}  // namespace linex
