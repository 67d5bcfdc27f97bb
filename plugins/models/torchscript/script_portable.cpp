#include "script_portable.hpp"

#include <torch/csrc/jit/api/module.h>
#include <torch/csrc/jit/ir/constants.h>
#include <torch/csrc/jit/ir/ir.h>

#include <vector>

namespace linex {
namespace {

using torch::jit::Block;
using torch::jit::Graph;
using torch::jit::Node;
using torch::jit::Value;

void collect_nodes(Block* block, std::vector<Node*>& nodes) {
  for (Node* node : block->nodes()) {
    nodes.push_back(node);
    for (Block* inner : node->blocks()) collect_nodes(inner, nodes);
  }
}

std::vector<Node*> nodes_of(Graph& graph) {
  std::vector<Node*> nodes;
  collect_nodes(graph.block(), nodes);
  return nodes;
}

bool is_low(torch::ScalarType type) { return type == torch::kHalf || type == torch::kBFloat16; }

void replace_constant(Graph& graph, Node* before, Value* from, const c10::IValue& value) {
  const torch::jit::WithInsertPoint guard(before);
  from->replaceAllUsesWith(graph.insertConstant(value));
}

bool float_tensors(torch::jit::Module& module) {
  const at::NoGradGuard no_grad;
  bool any = false;
  const auto convert = [&](at::Tensor tensor) {
    if (!tensor.defined() || !is_low(tensor.scalar_type())) return;
    tensor.set_data(tensor.to(torch::kFloat));
    any = true;
  };
  for (const at::Tensor& tensor : module.parameters()) convert(tensor);
  for (const at::Tensor& tensor : module.buffers()) convert(tensor);
  return any;
}

bool float_constants(Graph& graph) {
  bool any = false;
  for (Node* node : nodes_of(graph)) {
    if (node->kind() != c10::prim::Constant) continue;
    const auto value = torch::jit::toIValue(node->output());
    if (!value || !value->isTensor() || !value->toTensor().defined() ||
        !is_low(value->toTensor().scalar_type()))
      continue;
    replace_constant(graph, node, node->output(), value->toTensor().to(torch::kFloat));
    any = true;
  }
  return any;
}

/// Arguments named dtype that ask for half or bfloat16 ask for float32.
void float_casts(Graph& graph) {
  for (Node* node : nodes_of(graph)) {
    const auto* schema = node->maybeSchema();
    if (!schema) continue;
    for (std::size_t i = 0; i < node->inputs().size() && i < schema->arguments().size(); ++i) {
      if (schema->arguments()[i].name() != "dtype") continue;
      const auto value = torch::jit::toIValue(node->input(i));
      if (!value || !value->isInt() || !is_low(static_cast<torch::ScalarType>(value->toInt())))
        continue;
      const torch::jit::WithInsertPoint guard(node);
      node->replaceInput(i,
                         graph.insertConstant(static_cast<std::int64_t>(torch::ScalarType::Float)));
    }
  }
}

}  // namespace

void use_device(Graph& graph, const torch::Device& device) {
  for (Node* node : nodes_of(graph)) {
    if (node->kind() == c10::prim::Constant) {
      const auto value = torch::jit::toIValue(node->output());
      if (value && value->isDevice() && value->toDevice() != device)
        replace_constant(graph, node, node->output(), device);
    }
    const std::string name = node->kind().toQualString();
    const bool moves = name == "aten::cuda" || name == "aten::cpu";
    if (moves) node->output()->replaceAllUsesWith(node->input(0));
  }
}

bool use_float(torch::jit::Module& module, Graph& graph) {
  const bool tensors = float_tensors(module), constants = float_constants(graph);
  if (tensors || constants) float_casts(graph);
  return tensors || constants;
}

}  // namespace linex
