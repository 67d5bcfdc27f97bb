// Weights of networks, whatever file they come in.
#pragma once

#include <torch/types.h>

#include <cstdint>
#include <filesystem>
#include <map>
#include <string>
#include <vector>

namespace linex {

/// Tensors of a network by the name torchvision gives them.
struct StateDict {
  std::map<std::string, torch::Tensor> tensors;  ///< may view the mapped file: do not write to them
  std::string source;                            ///< the file, for messages
  /// What was chosen or set aside on the way here, one line each, for the log.
  std::vector<std::string> notes;
  /// Parameters that the file has in a form that is not read, and which form: "quantised", ...
  std::map<std::string, std::string> unread;

  bool has(const std::string& name) const { return tensors.count(name) != 0; }
  /// Tensor of that name, or undefined.
  torch::Tensor get(const std::string& name) const;
  /// Size of a dimension of a tensor; 0 where it has no such dimension, or there is none.
  std::int64_t size(const std::string& name, std::int64_t dimension) const;
};

/// Reads named weights from
///  * a PyTorch checkpoint, zip or legacy: a state dict, one nested in a training script's
///    dictionary, or a whole pickled module;
///  * a TorchScript archive (its parameters and buffers);
///  * a .safetensors file;
///  * an index of shards, `*.index.json` (of .safetensors or pytorch_model.bin), or a folder that
///    holds one of these under Hugging Face's names.
/// No pickle is executed. A checkpoint with several states gives the first of: state_dict,
/// model_state_dict, model_state, model, net, network, module, weights, params, teacher, student,
/// state_dict_ema, model_ema, ema, params_ema; `state` names another: a key ("model_ema", or a path
/// of keys, "ema.model") or the beginning of its tensors' names ("encoder_k"). A note tells what
/// was taken.
///
/// `module.` (DataParallel) goes where all names have it, `_orig_mod.` (torch.compile) and the
/// wrappers of FSDP everywhere; a pruned weight becomes weight_orig · weight_mask. Other prefixes:
/// find_network(). Throws Error(input): one line naming the file and what to do.
StateDict load_weights(const std::filesystem::path& path, const std::string& state = "");

/// The tensors of one network among all those of a checkpoint: those whose names begin with the
/// prefix (`model.`, `net.backbone.`, `module.encoder_q.`, whatever it is) under which all names of
/// one set of `anchors` are found, without it. Of several such prefixes the first: none at all,
/// then those without a component that means an average or a copy (ema, teacher, momentum, key
/// encoder, target), then the shortest. Notes tell the prefix, what else was there, and tensors
/// outside. `weights` itself where no prefix fits.
StateDict find_network(StateDict weights, const std::vector<std::vector<std::string>>& anchors);

/// The first name of the weights, and what is unread of them, for messages.
std::string first_name(const StateDict& weights);

/// Reads a file that holds one tensor (torch.save(tensor)), e.g. the published split ids.
torch::Tensor load_tensor(const std::filesystem::path& path);

}  // namespace linex
