#include "plugins/models/torchscript/script_network.hpp"

#include <torch/csrc/jit/api/function_impl.h>
#include <torch/csrc/jit/ir/ir.h>
#include <torch/csrc/jit/runtime/interpreter.h>
#include <torch/csrc/jit/serialization/import.h>

#include <map>
#include <mutex>
#include <optional>
#include <unordered_map>

#include "core/base/parallel.hpp"
#include "core/base/text.hpp"
#include "linex/error.hpp"

namespace linex {

using torch::Tensor;
namespace jit = torch::jit;
namespace prim = c10::prim;
using GraphPtr = std::shared_ptr<jit::Graph>;
using jit::Node;
using jit::Value;

namespace {

/// Of LibTorch's many lines, the one that says what happened.
std::string reason(const std::string& message) {
  const auto lines = split_lines(message);
  for (const std::string& line : lines)
    for (const char* start : {"RuntimeError: ", "Error: "})
      if (const auto at = line.find(start); at != std::string::npos)
        return line.substr(at + std::string(start).size());
  return lines.empty() ? "unknown" : lines[0];
}

/// Calls `body`; LibTorch's exceptions become one line after `what`.
template <class Body>
auto guarded(const std::string& what, const std::string& advice, const Body& body) {
  try {
    return body();
  } catch (const Error&) {
    throw;
  } catch (const c10::Error& error) {
    throw input_error(what + ": " + reason(error.what_without_backtrace()) + advice);
  } catch (const std::exception& error) {
    throw input_error(what + ": " + reason(error.what()) + advice);
  }
}

/// "layer1.0" for self.layer1.0, "" for self; nothing for any other value.
std::optional<std::string> module_path(const Value* value, const Value* self) {
  if (value == self) return "";
  const Node* node = value->node();
  if (node->kind() != prim::GetAttr) return std::nullopt;
  const auto parent = module_path(node->input(0), self);
  if (!parent) return std::nullopt;
  const std::string& name = node->s(c10::attr::name);
  return parent->empty() ? name : *parent + "." + name;
}

jit::GraphFunction* called_method(const Node* node) {
  const auto type = node->input(0)->type()->cast<c10::ClassType>();
  if (!type) return nullptr;  // an interface: known at run time only
  jit::Function* method = type->findMethod(node->s(c10::attr::name));
  return method ? jit::tryToGraphFunction(*method) : nullptr;
}

bool is_tensor(const Value* value) { return value->type()->isSubtypeOf(*c10::TensorType::get()); }

/// `value`, or the first element of a tuple (MultiheadAttention returns two), where it is a tensor.
Value* tensor_of(jit::Graph& graph, Value* value) {
  if (is_tensor(value)) return value;
  const auto tuple = value->type()->cast<c10::TupleType>();
  if (!tuple || tuple->elements().empty()) return nullptr;
  if (!tuple->elements()[0]->isSubtypeOf(*c10::TensorType::get())) return nullptr;
  Node* unpack = graph.createTupleUnpack(value);
  unpack->insertAfter(value->node());
  return unpack->outputs()[0];
}

/// Inlines every method call at the top level of `graph`. The output of each submodule's call
/// becomes an output of the graph, which keeps hold of it through later edits; `paths` has the
/// names of these outputs, from output 1 on.
void flatten_calls(jit::Graph& graph, std::vector<std::string>& paths) {
  const Value* self = graph.inputs()[0];
  for (Node* node = *graph.nodes().begin(); node->kind() != prim::Return;) {
    jit::GraphFunction* callee = node->kind() == prim::CallMethod ? called_method(node) : nullptr;
    if (!callee) {
      node = node->next();
      continue;
    }
    const auto path = module_path(node->input(0), self);
    Node* before = node->prev();
    if (path && !path->empty() && node->s(c10::attr::name) == "forward") {
      if (Value* output = tensor_of(graph, node->output())) {
        graph.registerOutput(output);
        paths.push_back(*path);
      }
    }
    jit::inlineCallTo(node, callee, callee->graph().get());
    node = before->next();
  }
}

/// Whether nodes of a block may write into their inputs.
bool may_write(const Node* node) {
  if (const auto* schema = node->maybeSchema()) {
    if (schema->is_mutable()) return true;
  } else if (node->kind() == prim::CallFunction || node->kind() == prim::CallMethod) {
    return true;
  }
  for (const jit::Block* block : node->blocks())
    for (const Node* inner : block->nodes())
      if (may_write(inner)) return true;
  return false;
}

/// Where a value exists: its node, or the first node for a graph input.
Node* defined_at(jit::Graph& graph, Value* value) {
  return value->node()->kind() == prim::Param ? *graph.nodes().begin() : value->node();
}

void erase_outputs(jit::Graph& graph) {
  while (!graph.outputs().empty()) graph.eraseOutput(graph.outputs().size() - 1);
}

/// A copy of `value` made right after it exists: later steps may overwrite it (ReLU in place).
Value* clone_after(jit::Graph& graph, Value* value, Node* none) {
  Node* clone = graph.create(c10::aten::clone, {value, none->output()}, 1);
  clone->insertAfter(value->node()->kind() == prim::Param ? none : value->node());
  return clone->output();
}

Node* prepend_none(jit::Graph& graph) {
  Node* none = graph.createNone();
  graph.prependNode(none);
  return none;
}

/// Ends the graph with the values as one tuple; steps after the last of them go.
void finish(jit::Graph& graph, const std::vector<Value*>& values) {
  Node* last = *graph.nodes().begin();
  for (Value* value : values)
    if (last->isBefore(defined_at(graph, value))) last = defined_at(graph, value);
  erase_outputs(graph);
  for (Node* node = graph.return_node()->prev(); node != last;) {
    Node* before = node->prev();
    node->destroy();
    node = before;
  }
  graph.registerOutput(graph.insertNode(graph.createTuple(values))->output());
}

/// A flat graph cut in two after one value.
struct CutGraphs {
  GraphPtr head;        ///< (self, images) -> (value, carried...)
  GraphPtr tail;        ///< (self, value, carried...) -> (logits)
  bool writes = false;  ///< whether the tail may write into what was carried
};

/// Copies the steps after `value` into a graph of its own. What they read from before becomes an
/// input, except constants and attributes, which are read again.
class TailBuilder {
 public:
  TailBuilder(jit::Graph& flat, Value* value) : flat_(flat), tail_(std::make_shared<jit::Graph>()) {
    map_[flat.inputs()[0]] = add_input(flat.inputs()[0]);
    map_[value] = add_input(value);
  }

  void add_step(Node* node) {
    writes_ = writes_ || may_write(node);
    Node* clone = tail_->createClone(node, [this](Value* value) { return mapped(value); });
    tail_->insertNode(clone);
    for (std::size_t i = 0; i < node->outputs().size(); ++i)
      map_[node->outputs()[i]] = clone->outputs()[i];
  }
  Value* mapped(Value* value) {
    const auto found = map_.find(value);
    if (found != map_.end()) return found->second;
    Node* node = value->node();
    if (node->kind() == prim::Constant || node->kind() == prim::GetAttr) {
      Node* clone = tail_->createClone(node, [this](Value* input) { return mapped(input); });
      tail_->insertNode(clone);
      return map_[value] = clone->output();
    }
    carried_.push_back(value);
    return map_[value] = add_input(value);
  }
  const GraphPtr& graph() const { return tail_; }
  const std::vector<Value*>& carried() const { return carried_; }
  bool writes() const { return writes_; }

 private:
  Value* add_input(Value* like) {
    Value* input = tail_->addInput();
    input->setType(like->type());
    return input;
  }

  jit::Graph& flat_;
  GraphPtr tail_;
  std::unordered_map<Value*, Value*> map_;
  std::vector<Value*> carried_;
  bool writes_ = false;
};

CutGraphs cut_graph(const jit::Graph& flat, std::size_t output) {
  CutGraphs cut;
  cut.head = const_cast<jit::Graph&>(flat).copy();
  Node* none = prepend_none(*cut.head);
  Value* value = cut.head->outputs()[output];
  Value* logits = cut.head->outputs()[0];
  Value* clone = clone_after(*cut.head, value, none);

  TailBuilder tail(*cut.head, value);
  for (Node* node = clone->node()->next(); node->kind() != prim::Return; node = node->next())
    tail.add_step(node);
  cut.tail = tail.graph();
  cut.tail->registerOutput(
      cut.tail->insertNode(cut.tail->createTuple({tail.mapped(logits)}))->output());
  cut.writes = tail.writes();

  std::vector<Value*> values{clone};
  values.insert(values.end(), tail.carried().begin(), tail.carried().end());
  finish(*cut.head, values);
  return cut;
}

}  // namespace

struct ScriptNetwork::Program {
  explicit Program(const GraphPtr& graph) : code(graph, "linex") {}

  std::vector<jit::IValue> operator()(jit::Stack stack) const {
    jit::InterpreterState(code).run(stack);
    return stack.back().toTupleRef().elements().vec();
  }
  jit::Code code;
};

/// The programs before and after one layer.
struct ScriptNetwork::Cut {
  Program head, tail;
  bool writes = false;
};

struct ScriptNetwork::Module {
  jit::Module module;
  GraphPtr graph;  ///< flat; outputs: the module's own, then one for each of layers_
  std::string source;
  bool has_logits = false;
  mutable std::mutex lock;
  mutable std::map<std::string, std::shared_ptr<const Program>> programs;  ///< by outputs
  mutable std::map<std::size_t, std::shared_ptr<const Cut>> cuts;          ///< by output

  std::shared_ptr<const Program> program(const std::vector<std::size_t>& outputs) const {
    std::string key;
    for (const std::size_t output : outputs) key += std::to_string(output) + ",";
    const std::lock_guard<std::mutex> guard(lock);
    auto& program = programs[key];
    if (program) return program;
    const GraphPtr copy = graph->copy();
    Node* none = prepend_none(*copy);
    std::vector<Value*> values;
    for (const std::size_t output : outputs)
      values.push_back(clone_after(*copy, copy->outputs()[output], none));
    finish(*copy, values);
    return program = std::make_shared<Program>(copy);
  }

  std::shared_ptr<const Cut> cut(std::size_t output) const {
    const std::lock_guard<std::mutex> guard(lock);
    auto& cut = cuts[output];
    if (!cut) {
      const CutGraphs graphs = cut_graph(*graph, output);
      cut = std::make_shared<Cut>(Cut{Program(graphs.head), Program(graphs.tail), graphs.writes});
    }
    return cut;
  }

  std::string advice() const { return "; check the file, model.resize and model.crop"; }
};

ScriptNetwork::ScriptNetwork(const std::filesystem::path& path, const ExecutionOptions& options)
    : module_(std::make_unique<Module>()), options_(options) {
  Module& m = *module_;
  m.source = path.string();
  if (!std::filesystem::is_regular_file(path)) throw input_error("cannot read " + m.source);
  m.module = guarded(m.source + ": no TorchScript module",
                     "; save one with torch.jit.save, or use model.plugin=resnet, vgg or vit for "
                     "a checkpoint of weights",
                     [&] { return jit::load(path.string(), options.device); });
  m.module.eval();
  const auto method = m.module.find_method("forward");
  if (!method) throw input_error(m.source + ": the module has no forward method");
  guarded(m.source + ": cannot analyse the module", "; export it again with torch.jit.trace", [&] {
    m.graph = jit::toGraphFunction(method->function()).graph()->copy();
    if (m.graph->inputs().size() != 2 || m.graph->outputs().size() != 1)
      throw input_error(m.source + ": forward must take one argument, the images; wrap the module");
    std::vector<std::string> paths;
    flatten_calls(*m.graph, paths);
    if (Value* logits = tensor_of(*m.graph, m.graph->outputs()[0])) {
      m.has_logits = true;
      m.graph->return_node()->replaceInput(0, logits);
    }
    // A module called again, or one whose last child gives its output: the later call counts, and
    // order is that of computation.
    std::map<std::string, std::size_t> last;
    for (std::size_t i = 0; i < paths.size(); ++i) last[paths[i]] = i + 1;
    std::vector<std::pair<std::string, Value*>> taps;
    for (std::size_t i = 0; i < paths.size(); ++i)
      if (last[paths[i]] == i + 1) taps.emplace_back(paths[i], m.graph->outputs()[i + 1]);
    std::stable_sort(taps.begin(), taps.end(), [&](const auto& a, const auto& b) {
      return defined_at(*m.graph, a.second)->isBefore(defined_at(*m.graph, b.second));
    });
    while (m.graph->outputs().size() > 1) m.graph->eraseOutput(m.graph->outputs().size() - 1);
    for (const auto& [name, value] : taps) {
      layers_.push_back(name);
      m.graph->registerOutput(value);
    }
  });
}

ScriptNetwork::~ScriptNetwork() = default;

std::size_t ScriptNetwork::index_of(const std::string& layer) const {
  std::string path = layer;
  path.erase(std::remove(path.begin(), path.end(), ']'), path.end());
  std::replace(path.begin(), path.end(), '[', '.');
  const auto found = std::find(layers_.begin(), layers_.end(), path);
  if (found == layers_.end())
    throw input_error(
        module_->source + ": no submodule '" + layer + "' that can be tapped" +
        (layers_.empty() ? "; the module is frozen or has none" : did_you_mean(path, layers_)));
  return static_cast<std::size_t>(found - layers_.begin()) + 1;
}

std::vector<Tensor> ScriptNetwork::run(const Tensor& images, const std::vector<std::string>& layers,
                                       bool logits) const {
  std::vector<std::size_t> outputs;
  for (const std::string& layer : layers) outputs.push_back(index_of(layer));
  if (logits) {
    if (!module_->has_logits)
      throw input_error(module_->source + ": the module does not return a tensor of logits");
    outputs.push_back(0);
  }
  if (outputs.empty()) return {};
  return guarded(module_->source, module_->advice(), [&] {
    const auto program = module_->program(outputs);
    const auto ranges = split_pieces(images, options_);
    std::vector<std::vector<Tensor>> parts(outputs.size(), std::vector<Tensor>(ranges.size()));
    parallel_for(static_cast<std::int64_t>(ranges.size()), piece_workers(options_),
                 [&](std::int64_t p) {
                   const at::NoGradGuard no_grad;
                   const Tensor piece = images.narrow(0, ranges[p].first, ranges[p].count)
                                            .to(options_.device, torch::kFloat)
                                            .contiguous();
                   const auto values = (*program)({module_->module._ivalue(), piece});
                   for (std::size_t i = 0; i < values.size(); ++i)
                     parts[i][p] = to_result(values[i].toTensor());
                 });
    const at::NoGradGuard no_grad;
    std::vector<Tensor> joined;
    for (const auto& values : parts) joined.push_back(join_pieces(values));
    return joined;
  });
}

struct ScriptCut::State {
  struct Piece {
    ImageRange range;
    Tensor activation;
    std::vector<jit::IValue> carried;
  };
  const ScriptNetwork& network;
  std::shared_ptr<const ScriptNetwork::Cut> cut;
  std::vector<Piece> pieces;
  std::int64_t images = 0;
};

ScriptCut::ScriptCut(const ScriptNetwork& network, const std::string& layer, const Tensor& images)
    : state_(new State{network, nullptr, {}, images.size(0)}) {
  const std::size_t output = network.index_of(layer);
  const auto& module = *network.module_;
  if (!module.has_logits)
    throw input_error(module.source + ": the module does not return a tensor of logits");
  guarded(module.source, module.advice(), [&] {
    state_->cut = module.cut(output);
    const auto ranges = split_pieces(images, network.options_);
    state_->pieces.resize(ranges.size());
    parallel_for(static_cast<std::int64_t>(ranges.size()), piece_workers(network.options_),
                 [&](std::int64_t p) {
                   const at::NoGradGuard no_grad;
                   const Tensor piece = images.narrow(0, ranges[p].first, ranges[p].count)
                                            .to(network.options_.device, torch::kFloat)
                                            .contiguous();
                   auto values = state_->cut->head({module.module._ivalue(), piece});
                   State::Piece& kept = state_->pieces[p];
                   kept.range = ranges[p];
                   kept.activation = values[0].toTensor();
                   kept.carried.assign(values.begin() + 1, values.end());
                 });
  });
}

ScriptCut::~ScriptCut() = default;

Tensor ScriptCut::activation() const {
  const at::NoGradGuard no_grad;
  std::vector<Tensor> parts;
  for (const auto& piece : state_->pieces) parts.push_back(to_result(piece.activation));
  return join_pieces(parts);
}

Tensor ScriptCut::logits(const Tensor& replaced) const {
  const State& s = *state_;
  if (s.images == 0 || replaced.size(0) % s.images != 0 ||
      replaced.sizes().slice(1) != s.pieces[0].activation.sizes().slice(1))
    throw std::logic_error("replaced must stack whole variants of the layer's output");
  const auto& module = *s.network.module_;
  return guarded(module.source, module.advice(), [&] {
    const auto count = static_cast<std::int64_t>(s.pieces.size());
    std::vector<Tensor> parts(static_cast<std::size_t>(replaced.size(0) / s.images * count));
    parallel_for(static_cast<std::int64_t>(parts.size()), piece_workers(s.network.options_),
                 [&](std::int64_t task) {
                   const at::NoGradGuard no_grad;
                   const State::Piece& piece = s.pieces[task % count];
                   const std::int64_t first = task / count * s.images + piece.range.first;
                   jit::Stack stack{module.module._ivalue(),
                                    in_layout_of(piece.activation,
                                                 replaced.narrow(0, first, piece.range.count))};
                   for (const jit::IValue& value : piece.carried)
                     stack.push_back(s.cut->writes ? value.deepcopy() : value);
                   parts[task] = to_result(s.cut->tail(std::move(stack))[0].toTensor());
                 });
    const at::NoGradGuard no_grad;
    return join_pieces(parts);
  });
}

}  // namespace linex
