// A scripted or traced module as one flat graph whose layers can be tapped and cut.
#pragma once

#include <torch/types.h>

#include <cstddef>
#include <memory>
#include <string>
#include <vector>

namespace torch::jit {
struct Graph;
struct Module;
struct Value;
}  // namespace torch::jit

namespace linex {

/// The forward computation of a module, all calls of other modules inlined, for evaluation mode.
/// Where a layer (a submodule, named by its path) has returned, its output passes a marker node.
/// Read-only once made.
struct ScriptGraph {
  std::shared_ptr<torch::jit::Graph> graph;  ///< inputs: the module, images
  std::vector<std::string> layers;           ///< layers with a marker, in order of computation
  std::vector<std::string> hidden;           ///< layers that only run inside an if or a loop
  bool has_logits = false;                   ///< the output is a tensor, or holds logits
};

/// Logits are the output, the first of a tuple or a list, or what a dictionary has under "logits".
/// The layers of a frozen module, which has no submodules left, are its operators: conv2d_1, ...
/// Throws Error(input) beginning with `source` for a module that cannot take a batch of images, was
/// saved in training mode, or changes itself while it runs. Runs on `device`.
ScriptGraph flatten_forward(const torch::jit::Module& module, const std::string& source,
                            const torch::Device& device);

/// The output of a layer of `script`.
torch::jit::Value* layer_output(const ScriptGraph& script, const std::string& layer);

/// (module, images) -> the outputs of `layers`, in that order, then the logits if asked for.
/// Computes nothing that they do not need. A layer that runs several times gives its last output.
std::shared_ptr<torch::jit::Graph> tap_graph(const ScriptGraph& script,
                                             const std::vector<std::string>& layers, bool logits);

/// The computation cut right after a layer. As with a hook that returns another tensor, what shared
/// memory with the layer's output (its input, where it returns that) does not see in-place steps on
/// it any more.
struct SplitGraph {
  std::shared_ptr<torch::jit::Graph> head;  ///< (module, images) -> layer's output, carried...
  std::shared_ptr<torch::jit::Graph> tail;  ///< (module, layer's output, carried...) -> logits
  std::size_t carried = 0;   ///< other values from before the cut that the tail reads
  bool tail_writes = false;  ///< the tail may change carried values in place
};
SplitGraph split_graph(const ScriptGraph& script, const std::string& layer);

}  // namespace linex
