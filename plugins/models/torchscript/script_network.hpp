// A TorchScript module whose submodules can be tapped and replaced without exporting it again.
#pragma once

#include <torch/types.h>

#include <filesystem>
#include <memory>
#include <string>
#include <vector>

#include "core/net/execution.hpp"

namespace linex {

class ScriptCut;

/// A scripted or traced module. Its forward graph is flattened at loading: every call of a
/// submodule is inlined and its output remembered under the submodule's path, so that taps, early
/// stops and cuts are edits of a graph (facts.md §3). Submodules called under run-time control flow
/// cannot be tapped; of several calls of one submodule the last counts.
class ScriptNetwork {
 public:
  /// Throws Error(input) when the file is no TorchScript module of one image batch. A TorchScript
  /// file is a program: what it computes runs with the rights of this process.
  ScriptNetwork(const std::filesystem::path& path, const ExecutionOptions& options);
  ~ScriptNetwork();

  /// Paths of tappable submodules in order of computation.
  const std::vector<std::string>& layers() const { return layers_; }
  /// Outputs of `layers`, then the module's own where `logits`, for images (n, C, H, W).
  std::vector<torch::Tensor> run(const torch::Tensor& images,
                                 const std::vector<std::string>& layers, bool logits) const;

 private:
  friend class ScriptCut;
  struct Module;
  struct Program;
  struct Cut;
  std::size_t index_of(const std::string& layer) const;

  std::unique_ptr<Module> module_;
  std::vector<std::string> layers_;
  ExecutionOptions options_;
};

/// The rest of a script after one submodule, for one batch; nothing before it is computed again.
class ScriptCut {
 public:
  /// Runs `network` (lent) up to `layer`.
  ScriptCut(const ScriptNetwork& network, const std::string& layer, const torch::Tensor& images);
  ~ScriptCut();
  torch::Tensor activation() const;
  torch::Tensor logits(const torch::Tensor& replaced) const;

 private:
  struct State;
  std::unique_ptr<State> state_;
};

}  // namespace linex
