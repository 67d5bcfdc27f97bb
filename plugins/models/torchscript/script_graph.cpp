#include "script_graph.hpp"

#include <torch/csrc/jit/api/module.h>
#include <torch/csrc/jit/ir/alias_analysis.h>
#include <torch/csrc/jit/ir/constants.h>
#include <torch/csrc/jit/ir/ir.h>
#include <torch/csrc/jit/passes/constant_propagation.h>
#include <torch/csrc/jit/passes/dead_code_elimination.h>
#include <torch/csrc/jit/passes/inliner.h>
#include <torch/csrc/jit/passes/loop_unrolling.h>
#include <torch/csrc/jit/passes/lower_tuples.h>
#include <torch/csrc/jit/passes/shape_analysis.h>

#include <algorithm>
#include <optional>
#include <unordered_map>
#include <unordered_set>

#include "linex/error.hpp"
#include "script_portable.hpp"
#include "toolkit/base/text.hpp"

namespace linex {
namespace {

using torch::jit::Block;
using torch::jit::Graph;
using torch::jit::Node;
using torch::jit::Value;

/// Calls inlined into one graph; a module that calls itself twice at every level would never end.
constexpr std::size_t kMaxCalls = 200000;

/// The attribute of a marker that holds its layer's path.
const c10::Symbol& marker_attribute() {
  static const c10::Symbol symbol = c10::Symbol::attr("linex_layer");
  return symbol;
}

bool is_marker(const Node* node) {
  return node->kind() == c10::aten::alias && node->hasAttribute(marker_attribute());
}

bool is_tensor(const Value* value) { return value->type()->kind() == c10::TypeKind::TensorType; }

/// Visits every node of `block` and of the blocks inside.
template <class Visit>
void for_each_node(Block* block, const Visit& visit) {
  for (Node* node : block->nodes()) {
    visit(node);
    for (Block* inner : node->blocks()) for_each_node(inner, visit);
  }
}

/// Path of the submodule that `value` is, "" for the module itself; nothing where it is chosen
/// while running.
std::optional<std::string> module_path(const Value* value) {
  std::string path;
  const Node* node = value->node();
  while (node->kind() == c10::prim::GetAttr) {
    const std::string name = node->s(c10::attr::name);
    path = path.empty() ? name : name + "." + path;
    value = node->input(0);
    node = value->node();
  }
  if (node->kind() != c10::prim::Param || value->type()->kind() != c10::TypeKind::ClassType ||
      value->offset() != 0)
    return std::nullopt;
  return path;
}

/// Lets everything after `call` read its output through a marker, which keeps the place findable
/// after any pass. Of a tuple (nn.MultiheadAttention) the first element counts.
void mark_output(Node* call, const std::string& path) {
  if (call->outputs().size() != 1) return;
  Graph* graph = call->owningGraph();
  Value* whole = call->output();
  const auto tuple = whole->type()->cast<c10::TupleType>();
  if (tuple) {
    if (tuple->elements().empty() || tuple->elements()[0]->kind() != c10::TypeKind::TensorType)
      return;
  } else if (!is_tensor(whole)) {
    return;
  }
  const torch::jit::WithInsertPoint guard(call->next());
  Node* unpack = nullptr;
  Value* value = whole;
  if (tuple) {
    unpack = graph->insertNode(graph->createTupleUnpack(whole));
    value = unpack->output(0);
  }
  Node* marker = graph->insertNode(graph->create(c10::aten::alias, {value}));
  marker->s_(marker_attribute(), path);
  marker->output()->setType(value->type());
  if (!tuple) {
    whole->replaceAllUsesAfterNodeWith(marker, marker->output());
    return;
  }
  std::vector<Value*> elements(unpack->outputs().begin(), unpack->outputs().end());
  elements[0] = marker->output();
  Node* pack = graph->insertNode(
      graph->createTuple(elements, tuple->schema() ? tuple : c10::TupleTypePtr()));
  whole->replaceAllUsesAfterNodeWith(pack, pack->output());
}

/// Whether a module's method is what a hook on the module sees. A trace calls the runs of a module
/// that runs several times forward, forward1, forward2, ..., a script overloads forward__0, ...
bool is_forward(const std::string& method) {
  constexpr std::string_view kForward = "forward";
  return method.compare(0, kForward.size(), kForward) == 0 &&
         method.find_first_not_of("_0123456789", kForward.size()) == std::string::npos;
}

/// Inlines every call whose code is known, marking where a layer's forward() returns. An interface
/// chosen while running stays a call.
void inline_calls(Block* block, std::size_t& calls, const std::string& source) {
  const Node* end = block->return_node();
  for (Node* node = block->param_node()->next(); node != end;) {
    for (Block* inner : node->blocks()) inline_calls(inner, calls, source);
    torch::jit::GraphFunction* callee = nullptr;
    std::string layer;
    if (node->kind() == c10::prim::CallMethod) {
      const auto type = node->input(0)->type()->cast<c10::ClassType>();
      callee = type ? torch::jit::tryToGraphFunction(node) : nullptr;
      if (callee && type->is_module() && is_forward(node->s(c10::attr::name)))
        layer = module_path(node->input(0)).value_or("");
    } else if (node->kind() == c10::prim::CallFunction) {
      callee = torch::jit::tryToGraphFunction(node);
    }
    if (!callee) {
      node = node->next();
      continue;
    }
    if (++calls > kMaxCalls)
      throw input_error(source + ": its modules call each other more than " +
                        std::to_string(kMaxCalls) + " times; trace the model instead");
    if (!layer.empty()) mark_output(node, layer);
    // The first input of a function's call is the function.
    if (node->kind() == c10::prim::CallFunction) node->removeInput(0);
    Node* before = node->prev();
    torch::jit::inlineCallTo(node, callee, callee->graph().get());
    node = before->next();
  }
}

/// The value of the attribute a node reads from a module whose path is known: a number, a flag or
/// a word; nothing for anything else.
std::optional<c10::IValue> plain_attribute(const Node* node, const torch::jit::Module& root) {
  const auto path = module_path(node->input(0));
  if (!path) return std::nullopt;
  torch::jit::Module module = root;
  for (const std::string& name : split(*path, '.'))
    if (!name.empty()) module = module.attr(name).toModule();
  c10::IValue value = module.attr(node->s(c10::attr::name));
  const bool plain =
      value.isBool() || value.isInt() || value.isDouble() || value.isString() || value.isNone();
  return plain ? std::optional<c10::IValue>(value) : std::nullopt;
}

/// Attributes that choose between branches (`self.training`, `self.stride == 1`) become constants,
/// unless something may change them.
void fold_attributes(Graph& graph, const torch::jit::Module& module) {
  std::vector<Node*> found;
  std::unordered_set<std::string> changed;
  for_each_node(graph.block(), [&](Node* node) {
    if (node->kind() == c10::prim::GetAttr) found.push_back(node);
    if (node->kind() == c10::prim::SetAttr) changed.insert(node->s(c10::attr::name));
  });
  for (Node* node : found) {
    if (changed.count(node->s(c10::attr::name))) continue;
    const auto value = plain_attribute(node, module);
    if (!value) continue;
    const torch::jit::WithInsertPoint guard(node);
    node->output()->replaceAllUsesWith(graph.insertConstant(*value));
    node->destroy();
  }
}

/// The graph takes the module and images; other arguments of forward() get their defaults.
void keep_image_input(Graph& graph, const torch::jit::Method& forward, const std::string& source) {
  const auto& arguments = forward.function().getSchema().arguments();
  if (graph.inputs().size() < 2 || arguments.size() != graph.inputs().size())
    throw input_error(source + ": its forward() takes no images");
  if (!is_tensor(graph.inputs()[1]))
    throw input_error(source + ": its forward() takes a " + graph.inputs()[1]->type()->repr_str() +
                      " where a batch of images is given; save a module that takes one tensor");
  const torch::jit::WithInsertPoint guard(graph.block()->param_node()->next());
  for (std::size_t i = graph.inputs().size(); i-- > 2;) {
    if (!arguments[i].default_value())
      throw input_error(source + ": its forward() needs '" + arguments[i].name() +
                        "' besides images; save a module that takes one tensor");
    graph.inputs()[i]->replaceAllUsesWith(graph.insertConstant(*arguments[i].default_value()));
    graph.eraseInput(i);
  }
}

/// The element of a literal list or dictionary that holds logits; null where it has none.
Value* literal_logits(Value* output) {
  Node* node = output->node();
  if (output->uses().size() != 1) return nullptr;  // something may have changed it since
  if (node->kind() == c10::prim::ListConstruct)
    return node->inputs().size() > 0 ? node->inputs()[0] : nullptr;
  if (node->kind() != c10::prim::DictConstruct) return nullptr;
  for (std::size_t i = 0; i + 1 < node->inputs().size(); i += 2) {
    const auto key = torch::jit::toIValue(node->inputs()[i]);
    if (key && key->isString() && key->toStringRef() == "logits") return node->inputs()[i + 1];
  }
  return nullptr;
}

/// The output becomes one tensor, the logits. Returns whether there is one.
bool keep_logits(Graph& graph) {
  if (graph.outputs().size() != 1) return false;
  Value* output = graph.outputs()[0];
  if (is_tensor(output)) return true;
  Value* logits = nullptr;
  if (const auto tuple = output->type()->cast<c10::TupleType>()) {
    if (tuple->elements().empty() || tuple->elements()[0]->kind() != c10::TypeKind::TensorType)
      return false;
    const torch::jit::WithInsertPoint guard(graph.block()->return_node());
    logits = graph.insertNode(graph.createTupleUnpack(output))->output(0);
  } else {
    logits = literal_logits(output);
  }
  if (!logits || !is_tensor(logits)) return false;
  graph.eraseOutput(0);
  graph.registerOutput(logits);
  return true;
}

/// Of a module without submodules every operator is a layer: conv2d_1, relu_1, conv2d_2, ...
void mark_operators(Graph& graph) {
  std::unordered_map<std::string, int> count;
  std::vector<Node*> nodes(graph.nodes().begin(), graph.nodes().end());
  for (Node* node : nodes) {
    if (!node->kind().is_aten() || node->outputs().size() != 1 || !is_tensor(node->output()))
      continue;
    std::string name = node->kind().toUnqualString();
    name.erase(0, name.find_first_not_of('_'));
    while (!name.empty() && name.back() == '_') name.pop_back();
    mark_output(node, name + "_" + std::to_string(++count[name]));
  }
}

std::optional<bool> constant_flag(const Node* node, std::size_t input) {
  if (input >= node->inputs().size()) return std::nullopt;
  const auto value = torch::jit::toIValue(node->input(input));
  return value && value->isBool() ? std::optional<bool>(value->toBool()) : std::nullopt;
}

/// What would make two equal runs differ.
void refuse_changes(Graph& graph, const std::string& source) {
  static const c10::Symbol batch_norm = c10::Symbol::fromQualString("aten::batch_norm");
  static const c10::Symbol dropout = c10::Symbol::fromQualString("aten::dropout");
  const std::string remedy = "; call eval() before torch.jit.trace or torch.jit.script";
  for_each_node(graph.block(), [&](Node* node) {
    if (node->kind() == c10::prim::SetAttr)
      throw input_error(source + ": it changes its own '" + node->s(c10::attr::name) +
                        "' while it runs; save a module that does not");
    if (node->kind() == batch_norm && constant_flag(node, 5).value_or(false) &&
        !node->input(3)->mustBeNone())
      throw input_error(source + ": a batch norm was saved in training mode" + remedy);
    if (node->kind() == dropout && constant_flag(node, 2).value_or(false)) {
      const auto rate = torch::jit::toIValue(node->input(1));
      if (!rate || !rate->isDouble() || rate->toDouble() > 0)
        throw input_error(source + ": a dropout was saved in training mode" + remedy);
    }
  });
}

/// Removes what the outputs do not need, assertions and warnings too.
void drop_unused(const std::shared_ptr<Graph>& graph) {
  torch::jit::EliminateDeadCode(
      graph, torch::jit::DCESideEffectPolicy::ALLOW_DELETING_NODES_WITH_SIDE_EFFECTS);
}

/// Copies nodes of one graph into another, values mapped along.
class Transplant {
 public:
  explicit Transplant(Graph& into) : into_(into) {}

  void map(const Value* from, Value* to) { values_[from] = to; }
  bool has(const Value* from) const { return values_.count(from) != 0; }
  Value* operator()(const Value* from) const { return values_.at(from); }

  void copy(Node* node) {
    Node* made = into_.createClone(node, [this](Value* value) { return values_.at(value); });
    into_.appendNode(made);
    for (std::size_t i = 0; i < node->outputs().size(); ++i)
      values_[node->outputs()[i]] = made->outputs()[i];
  }

 private:
  Graph& into_;
  std::unordered_map<const Value*, Value*> values_;
};

/// The last marker of `layer` outside control flow.
Node* find_marker(Graph& graph, const std::string& layer) {
  Node* found = nullptr;
  for (Node* node : graph.nodes())
    if (is_marker(node) && node->s(marker_attribute()) == layer) found = node;
  return found;
}

/// Takes away all markers but `kept`.
void remove_markers(Graph& graph, const Node* kept = nullptr) {
  std::vector<Node*> markers;
  for_each_node(graph.block(), [&](Node* node) {
    if (is_marker(node) && node != kept) markers.push_back(node);
  });
  for (Node* marker : markers) {
    marker->output()->replaceAllUsesWith(marker->input(0));
    marker->destroy();
  }
}

/// Whether a value is cheaper to have again than to carry: constants, the module and its parts.
bool is_static(const Value* value) {
  const Node* node = value->node();
  if (node->kind() == c10::prim::Constant) return true;
  return node->kind() == c10::prim::GetAttr && module_path(node->input(0)).has_value();
}

/// Copies the static `value` of `graph` with what it is made from.
void copy_static(Transplant& transplant, Value* value) {
  if (transplant.has(value)) return;
  for (Value* input : value->node()->inputs()) copy_static(transplant, input);
  transplant.copy(value->node());
}

/// Values of outside that `node` and the blocks inside it read.
void collect_reads(Node* node, std::vector<Value*>& reads) {
  for (Value* input : node->inputs()) reads.push_back(input);
  for (Block* block : node->blocks()) {
    for (Node* inner : block->nodes()) collect_reads(inner, reads);
    for (Value* output : block->outputs()) reads.push_back(output);
  }
}

/// The parts of a graph around a marker.
struct Parts {
  std::vector<Node*> head, tail;  ///< the marker ends the head
  std::vector<Value*> shared;     ///< static values the tail reads
  std::vector<Value*> carried;    ///< other values of the head that the tail reads
};

Parts part_at(Graph& graph, Node* marker) {
  Parts parts;
  bool before = true;
  std::unordered_set<const Value*> known;
  for (Value* input : graph.inputs()) known.insert(input);
  for (Node* node : graph.nodes()) {
    (before ? parts.head : parts.tail).push_back(node);
    if (before)
      for (Value* output : node->outputs()) known.insert(output);
    if (node == marker) before = false;
  }
  std::vector<Value*> reads;
  for (Node* node : parts.tail) collect_reads(node, reads);
  reads.push_back(graph.outputs()[0]);
  std::unordered_set<const Value*> seen{marker->output(), graph.inputs()[0]};
  for (Value* value : reads) {
    if (!known.count(value) || !seen.insert(value).second) continue;
    (is_static(value) ? parts.shared : parts.carried).push_back(value);
  }
  return parts;
}

}  // namespace

ScriptGraph flatten_forward(const torch::jit::Module& module, const std::string& source,
                            const torch::Device& device) {
  const auto forward = module.find_method("forward");
  if (!forward) throw input_error(source + ": the module has no forward()");
  ScriptGraph script;
  script.graph = forward->graph()->copy();
  auto& graph = script.graph;
  keep_image_input(*graph, *forward, source);
  std::size_t calls = 0;
  inline_calls(graph->block(), calls, source);
  // A trace notes the shapes of its example, which must not be taken for those of every batch.
  torch::jit::EraseShapeInformation(graph);
  fold_attributes(*graph, module);
  torch::jit::LowerSimpleTuples(graph);
  torch::jit::ConstantPropagation(graph);
  if (torch::jit::UnrollConstantLoops(graph)) torch::jit::ConstantPropagation(graph);
  torch::jit::LowerSimpleTuples(graph);
  use_device(*graph, device);
  script.has_logits = keep_logits(*graph);
  torch::jit::LowerSimpleTuples(graph);
  drop_unused(graph);
  refuse_changes(*graph, source);

  bool marked = false;
  for_each_node(graph->block(), [&](const Node* node) { marked |= is_marker(node); });
  if (!marked) mark_operators(*graph);
  for (Node* node : graph->nodes())
    if (is_marker(node)) script.layers.push_back(node->s(marker_attribute()));
  // Of a module that runs several times the last run counts.
  std::unordered_set<std::string> seen;
  std::vector<std::string> last;
  for (auto name = script.layers.rbegin(); name != script.layers.rend(); ++name)
    if (seen.insert(*name).second) last.push_back(*name);
  script.layers.assign(last.rbegin(), last.rend());
  for_each_node(graph->block(), [&](Node* node) {
    if (is_marker(node) && seen.insert(node->s(marker_attribute())).second)
      script.hidden.push_back(node->s(marker_attribute()));
  });
  return script;
}

Value* layer_output(const ScriptGraph& script, const std::string& layer) {
  return find_marker(*script.graph, layer)->output();
}

std::shared_ptr<Graph> tap_graph(const ScriptGraph& script, const std::vector<std::string>& layers,
                                 bool logits) {
  auto graph = script.graph->copy();
  std::unordered_set<const Node*> copies;
  for (const std::string& layer : layers) {
    // A copy: later steps may work in place.
    Node* marker = find_marker(*graph, layer);
    const torch::jit::WithInsertPoint guard(marker);
    Value* none = graph->insertConstant(c10::IValue());
    Node* copy = graph->insertNode(graph->create(c10::aten::clone, {marker->input(0), none}));
    copies.insert(copy);
    graph->registerOutput(copy->output());
  }
  if (logits) graph->registerOutput(graph->outputs()[0]);
  graph->eraseOutput(0);
  remove_markers(*graph);
  if (!logits) {
    // An in-place step after the last tap would count as a use of all it reads.
    Node* end = graph->block()->return_node();
    while (!copies.empty() && !copies.count(end->prev())) end->prev()->destroy();
  }
  drop_unused(graph);
  return graph;
}

SplitGraph split_graph(const ScriptGraph& script, const std::string& layer) {
  const auto graph = script.graph->copy();
  Node* marker = find_marker(*graph, layer);
  remove_markers(*graph, marker);
  graph->registerOutput(marker->output());
  drop_unused(graph);
  graph->eraseOutput(1);
  const Parts parts = part_at(*graph, marker);

  SplitGraph split;
  split.carried = parts.carried.size();
  split.head = std::make_shared<Graph>();
  Transplant head(*split.head);
  for (Value* input : graph->inputs())
    head.map(input, split.head->addInput()->setType(input->type()));
  for (Node* node : parts.head) head.copy(node);
  split.head->registerOutput(head(marker->output()));
  for (Value* value : parts.carried) split.head->registerOutput(head(value));
  drop_unused(split.head);

  split.tail = std::make_shared<Graph>();
  Transplant tail(*split.tail);
  tail.map(graph->inputs()[0], split.tail->addInput()->setType(graph->inputs()[0]->type()));
  tail.map(marker->output(), split.tail->addInput()->setType(marker->output()->type()));
  for (Value* value : parts.carried)
    tail.map(value, split.tail->addInput()->setType(value->type()));
  for (Value* value : parts.shared) copy_static(tail, value);
  for (Node* node : parts.tail) tail.copy(node);
  split.tail->registerOutput(tail(graph->outputs()[0]));
  drop_unused(split.tail);
  const torch::jit::AliasDb aliases(split.tail);
  for (std::size_t i = 0; i < split.carried; ++i)
    split.tail_writes |= aliases.hasWriters(split.tail->inputs()[i + 2]);
  return split;
}

}  // namespace linex
