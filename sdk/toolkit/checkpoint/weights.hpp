// Weights of networks, whatever file they come in.
#pragma once

#include <torch/types.h>

#include <filesystem>
#include <map>
#include <string>

namespace linex {

/// Tensors of a network by the name torchvision gives them.
struct StateDict {
  std::map<std::string, torch::Tensor> tensors;  ///< may view the mapped file: do not write to them
  std::string source;                            ///< the file, for messages

  bool has(const std::string& name) const { return tensors.count(name) != 0; }
  /// Tensor of that name, or undefined.
  torch::Tensor get(const std::string& name) const;
};

/// Reads named weights from
///  * a PyTorch checkpoint, zip or legacy: a state dict, one nested under `state_dict`,
///    `model_state_dict`, `model`, `net`, ..., or a whole pickled module;
///  * a TorchScript archive (its parameters and buffers);
///  * a .safetensors file, or a `.safetensors.index.json` beside its shards.
/// Prefixes `module.` (DataParallel; docs/methods.md §1.1, Places365) and `_orig_mod.`
/// (torch.compile) go where all names have them; other content is ignored. No pickle is executed.
/// Throws Error(input): one line naming the file and what to do.
StateDict load_weights(const std::filesystem::path& path);

/// Reads a file that holds one tensor (torch.save(tensor)), e.g. the published split ids.
torch::Tensor load_tensor(const std::filesystem::path& path);

}  // namespace linex
