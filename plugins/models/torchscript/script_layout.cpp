#include "script_layout.hpp"

#include <torch/csrc/jit/ir/constants.h>
#include <torch/csrc/jit/ir/ir.h>

#include <algorithm>
#include <set>
#include <unordered_set>

namespace linex {
namespace {

using torch::jit::Node;
using torch::jit::Value;

/// Name of a tensor operator without namespace and the mark of working in place.
std::string operator_name(const Node* node) {
  if (!node->kind().is_aten()) return "";
  std::string name = node->kind().toUnqualString();
  if (name.size() > 1 && name.back() == '_') name.pop_back();
  return name;
}

bool is_channels_first(const std::string& name) {
  static const std::unordered_set<std::string> exact{
      "_convolution", "_convolution_mode", "batch_norm",    "native_batch_norm", "instance_norm",
      "group_norm",   "native_group_norm", "pixel_shuffle", "pixel_unshuffle",   "channel_shuffle",
      "prelu",        "feature_dropout",   "grid_sampler"};
  if (exact.count(name)) return true;
  for (const char* prefix : {"conv", "max_pool", "avg_pool", "adaptive_", "upsample_", "_upsample_",
                             "reflection_pad", "replication_pad"})
    if (name.compare(0, std::char_traits<char>::length(prefix), prefix) == 0) return true;
  return false;
}

bool is_transparent(const std::string& name) {
  static const std::unordered_set<std::string> names{"relu",
                                                     "relu6",
                                                     "gelu",
                                                     "silu",
                                                     "sigmoid",
                                                     "tanh",
                                                     "hardtanh",
                                                     "hardswish",
                                                     "softplus",
                                                     "elu",
                                                     "selu",
                                                     "celu",
                                                     "mish",
                                                     "hardsigmoid",
                                                     "dropout",
                                                     "clone",
                                                     "detach",
                                                     "alias",
                                                     "to",
                                                     "contiguous",
                                                     "leaky_relu",
                                                     "add",
                                                     "sub",
                                                     "mul",
                                                     "div",
                                                     "rsub",
                                                     "clamp",
                                                     "clamp_min",
                                                     "clamp_max",
                                                     "roll",
                                                     "pow",
                                                     "sqrt",
                                                     "rsqrt",
                                                     "neg",
                                                     "exp",
                                                     "abs",
                                                     "square",
                                                     "pad",
                                                     "flip",
                                                     "lerp",
                                                     "maximum",
                                                     "minimum",
                                                     "slice",
                                                     "type_as",
                                                     "cpu",
                                                     "cuda",
                                                     "where",
                                                     "type",
                                                     "masked_fill",
                                                     "softshrink",
                                                     "hardshrink",
                                                     "threshold",
                                                     "constant_pad_nd",
                                                     "alpha_dropout",
                                                     "feature_alpha_dropout"};
  return names.count(name) != 0;
}

bool makes_pairs(const std::string& name) {
  return name == "matmul" || name == "bmm" || name == "baddbmm" || name == "softmax" ||
         name == "_softmax" || name == "einsum";
}

bool is_tensor(const Value* value) { return value->type()->kind() == c10::TypeKind::TensorType; }

/// Constant integers of an argument, a list or a number.
std::optional<std::vector<std::int64_t>> constant_integers(Value* value) {
  if (const auto constant = torch::jit::toIValue(value)) {
    if (constant->isInt()) return std::vector<std::int64_t>{constant->toInt()};
    if (constant->isIntList()) return constant->toIntVector();
    return std::nullopt;
  }
  if (value->node()->kind() != c10::prim::ListConstruct) return std::nullopt;
  std::vector<std::int64_t> numbers;
  for (Value* element : value->node()->inputs()) {
    const auto number = torch::jit::toIValue(element);
    if (!number || !number->isInt()) return std::nullopt;
    numbers.push_back(number->toInt());
  }
  return numbers;
}

class LayoutSearch {
 public:
  LayoutEvidence find(Value* output, int rank) {
    LayoutEvidence evidence;
    evidence.axis = backward(output, rank);
    if (!evidence.axis && !pairs_) evidence.axis = forward(output, rank);
    evidence.by = by_;
    evidence.attention = pairs_ && !evidence.axis;
    return evidence;
  }

 private:
  /// Channels as the operator itself has them; nothing where it says nothing.
  std::optional<int> told_by(const Node* node, const std::string& name, int rank) {
    std::optional<int> axis;
    if (is_channels_first(name)) axis = 1;
    if (name == "linear" || name == "rms_norm") axis = rank - 1;
    if (name == "layer_norm" || name == "native_layer_norm") {
      const auto shape = constant_integers(const_cast<Node*>(node)->input(1));
      if (shape && shape->size() == 1) axis = rank - 1;
    }
    if (axis) by_ = name;
    return axis;
  }

  /// The order of axes that a transposition makes: output axis i is input axis order[i].
  static std::optional<std::vector<std::int64_t>> order_of(Node* node, const std::string& name,
                                                           int rank) {
    const auto wrap = [rank](std::int64_t axis) { return axis < 0 ? axis + rank : axis; };
    std::vector<std::int64_t> order;
    if (name == "permute") {
      const auto given = constant_integers(node->input(1));
      if (!given || static_cast<int>(given->size()) != rank) return std::nullopt;
      for (const std::int64_t axis : *given) order.push_back(wrap(axis));
    } else if (name == "transpose" || name == "swapaxes" || name == "swapdims") {
      const auto a = constant_integers(node->input(1)), b = constant_integers(node->input(2));
      if (!a || !b || a->size() != 1 || b->size() != 1) return std::nullopt;
      for (int axis = 0; axis < rank; ++axis) order.push_back(axis);
      const std::int64_t first = wrap((*a)[0]), second = wrap((*b)[0]);
      if (std::min(first, second) < 0 || std::max(first, second) >= rank) return std::nullopt;
      std::swap(order[first], order[second]);
    } else {
      return std::nullopt;
    }
    for (const std::int64_t axis : order)
      if (axis < 0 || axis >= rank) return std::nullopt;
    return order;
  }

  bool visit(Value* value, int rank, bool back) {
    return seen_.size() < kMaxVisits && seen_.insert({value, rank * 2 + back}).second;
  }

  /// From what made `value`.
  std::optional<int> backward(Value* value, int rank) {
    if (!is_tensor(value) || !visit(value, rank, true)) return std::nullopt;
    Node* node = value->node();
    const std::string name = operator_name(node);
    if (const auto axis = told_by(node, name, rank)) return axis;
    if (makes_pairs(name)) pairs_ = true;
    if (const auto order = order_of(node, name, rank)) {
      const auto axis = backward(node->input(0), rank);
      if (!axis) return std::nullopt;
      return static_cast<int>(std::find(order->begin(), order->end(), *axis) - order->begin());
    }
    if (name == "flatten" && rank == 3) {
      const auto start = constant_integers(node->input(1));
      if (!start) return std::nullopt;
      const auto axis = backward(node->input(0), 4);
      if (axis == 1 && (*start)[0] == 2) return 1;
      if (axis == 3 && (*start)[0] == 1) return 2;
      return std::nullopt;
    }
    if (name == "cat") return backward_list(node->input(0), rank);
    if (is_transparent(name)) {
      for (Value* input : node->inputs())
        if (const auto axis = backward(input, rank)) return axis;
    }
    if (node->kind() == c10::prim::If) {
      for (torch::jit::Block* block : node->blocks())
        if (const auto axis = backward(block->outputs()[value->offset()], rank)) return axis;
    }
    return std::nullopt;
  }

  std::optional<int> backward_list(Value* list, int rank) {
    if (list->node()->kind() != c10::prim::ListConstruct) return std::nullopt;
    for (Value* element : list->node()->inputs())
      if (const auto axis = backward(element, rank)) return axis;
    return std::nullopt;
  }

  /// From what reads `value`.
  std::optional<int> forward(Value* value, int rank) {
    if (!visit(value, rank, false)) return std::nullopt;
    for (const torch::jit::Use& use : value->uses()) {
      Node* node = use.user;
      const std::string name = operator_name(node);
      if (use.offset == 0)
        if (const auto axis = told_by(node, name, rank)) return axis;
      if (use.offset == 0)
        if (const auto axis = kept_by_mean(node, name, rank)) return axis;
      if (const auto axis = through(node, name, rank)) return axis;
    }
    return std::nullopt;
  }

  std::optional<int> through(Node* node, const std::string& name, int rank) {
    if (const auto order = order_of(node, name, rank)) {
      const auto axis = forward(node->output(), rank);
      return axis ? std::optional<int>(static_cast<int>((*order)[*axis])) : std::nullopt;
    }
    if (is_transparent(name)) {
      // The other term of a residual sum has the same axes.
      for (Value* input : node->inputs())
        if (const auto axis = other_term(input, rank)) return axis;
      return forward(node->output(), rank);
    }
    if (node->kind() == c10::prim::ListConstruct) {
      for (const torch::jit::Use& use : node->output()->uses())
        if (operator_name(use.user) == "cat")
          if (const auto axis = forward(use.user->output(), rank)) return axis;
    }
    return std::nullopt;
  }

  std::optional<int> other_term(Value* input, int rank) {
    const bool pairs = pairs_;
    const auto axis = backward(input, rank);
    if (!axis) pairs_ = pairs;
    return axis;
  }

  /// A mean over all axes of places keeps the units.
  std::optional<int> kept_by_mean(Node* node, const std::string& name, int rank) {
    if (name != "mean" && name != "amax" && name != "sum") return std::nullopt;
    if (node->inputs().size() < 2) return std::nullopt;
    auto axes = constant_integers(node->input(1));
    if (!axes || static_cast<int>(axes->size()) != rank - 2) return std::nullopt;
    std::set<std::int64_t> left;
    for (int axis = 1; axis < rank; ++axis) left.insert(axis);
    for (const std::int64_t axis : *axes) left.erase(axis < 0 ? axis + rank : axis);
    if (left.size() != 1) return std::nullopt;
    by_ = name;
    return static_cast<int>(*left.begin());
  }

  static constexpr std::size_t kMaxVisits = 2000;
  std::set<std::pair<Value*, int>> seen_;
  std::string by_;
  bool pairs_ = false;
};

}  // namespace

std::string to_string(ScriptLayout layout) {
  switch (layout) {
    case ScriptLayout::nchw:
      return "(n, C, H, W)";
    case ScriptLayout::nhwc:
      return "(n, H, W, C)";
    case ScriptLayout::ntd:
      return "(n, T, D)";
    case ScriptLayout::ndt:
      return "(n, D, T)";
    default:
      return "(n, D)";
  }
}

std::vector<std::int64_t> axes_of(ScriptLayout layout) {
  switch (layout) {
    case ScriptLayout::nchw:
      return {0, 1, 2, 3};
    case ScriptLayout::nhwc:
      return {0, 3, 1, 2};
    case ScriptLayout::ntd:
      return {0, 1, 2};
    case ScriptLayout::ndt:
      return {0, 2, 1};
    default:
      return {0, 1};
  }
}

std::vector<std::int64_t> inverse_axes(const std::vector<std::int64_t>& axes) {
  std::vector<std::int64_t> inverse(axes.size());
  for (std::size_t i = 0; i < axes.size(); ++i) inverse[axes[i]] = static_cast<std::int64_t>(i);
  return inverse;
}

LayoutEvidence find_layout(Value* output, int rank) { return LayoutSearch().find(output, rank); }

}  // namespace linex
