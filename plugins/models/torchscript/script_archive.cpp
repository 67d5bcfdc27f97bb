#include "script_archive.hpp"

#include <caffe2/serialize/inline_container.h>
#include <torch/csrc/jit/api/compilation_unit.h>
#include <torch/csrc/jit/api/function_impl.h>
#include <torch/csrc/jit/frontend/lexer.h>
#include <torch/csrc/jit/frontend/parser.h>
#include <torch/csrc/jit/frontend/tree_views.h>
#include <torch/csrc/jit/ir/ir.h>
#include <torch/csrc/jit/runtime/graph_executor.h>
#include <torch/csrc/jit/serialization/import_read.h>
#include <torch/csrc/jit/serialization/import_source.h>
#include <torch/version.h>

#include <algorithm>
#include <fstream>
#include <unordered_set>
#include <utility>
#include <vector>

#include "linex/error.hpp"
#include "script_operators.hpp"
#include "script_runtime.hpp"
#include "toolkit/base/text.hpp"
#include "toolkit/checkpoint/checkpoint.hpp"

namespace linex {
namespace {

using c10::IValue;
using torch::jit::Block;
using torch::jit::Graph;
using torch::jit::Node;
using torch::jit::TreeRef;

const char* const kRemedy =
    "; linex runs only code that computes (README, Limits). Save a module without it, or record "
    "activations in Python and use model.plugin=recorded";

/// Classes of C++ that an archive can name: what they do is in no graph.
constexpr std::string_view kNativeClasses = "__torch__.torch.classes.";

bool is_native_class(const std::string& name) {
  return name.compare(0, kNativeClasses.size(), kNativeClasses) == 0;
}

/// "__torch__.net.Net.forward" as its author knows it.
std::string author_name(const std::string& qualified) {
  constexpr std::string_view kRoot = "__torch__.";
  return qualified.compare(0, kRoot.size(), kRoot) == 0 ? qualified.substr(kRoot.size())
                                                        : qualified;
}

// What LibTorch evaluates while it compiles: default values and constants of classes.

bool is_name(const TreeRef& tree, const char* name) {
  return tree->kind() == torch::jit::TK_VAR &&
         torch::jit::Var(tree).name().name() == std::string(name);
}

/// A dotted name below `__torch__` (an enum's member), or one step below CONSTANTS or torch.
bool is_dotted_name(const TreeRef& tree) {
  if (tree->kind() != '.') return false;
  TreeRef root = torch::jit::Select(tree).value();
  if (is_name(root, "CONSTANTS") || is_name(root, "torch")) return true;
  while (root->kind() == '.') root = torch::jit::Select(root).value();
  return is_name(root, "__torch__");
}

bool is_literal(const TreeRef& tree);

/// annotate(TYPE, literal), float("inf"), torch.device("cpu").
bool is_literal_call(const TreeRef& tree) {
  const torch::jit::Apply call(tree);
  const TreeRef callee = call.callee();
  const bool annotated = is_name(callee, "annotate");
  const bool device = callee->kind() == '.' &&
                      is_name(torch::jit::Select(callee).value(), "torch") &&
                      torch::jit::Select(callee).selector().name() == "device";
  if (!annotated && !device && !is_name(callee, "float") && !is_name(callee, "int")) return false;
  if (!call.attributes().empty()) return false;
  std::size_t position = 0;
  for (const auto& input : call.inputs())
    if (!(annotated && position++ == 0) && !is_literal(input)) return false;
  return true;
}

/// Whether evaluating an expression can do nothing but give a value.
bool is_literal(const TreeRef& tree) {
  switch (tree->kind()) {
    case torch::jit::TK_CONST:
    case torch::jit::TK_STRINGLITERAL:
    case torch::jit::TK_TRUE:
    case torch::jit::TK_FALSE:
    case torch::jit::TK_NONE:
    case torch::jit::TK_NONE_TYPE:
    case torch::jit::TK_ELLIPSIS:
    case torch::jit::TK_DOTS:
    case torch::jit::TK_VAR:
      return true;
    case '.':
      return is_dotted_name(tree);
    case torch::jit::TK_APPLY:
      return is_literal_call(tree);
    case torch::jit::TK_UNARY_MINUS:
    case torch::jit::TK_LIST_LITERAL:
    case torch::jit::TK_TUPLE_LITERAL:
    case torch::jit::TK_DICT_LITERAL:
    case torch::jit::TK_LIST:
    case torch::jit::TK_OPTION:
      return std::all_of(tree->trees().begin(), tree->trees().end(), is_literal);
    default:
      return false;
  }
}

/// Throws Error(input) where `tree` holds a default value, or (in a class) a constant, to compute.
void check_evaluated(const TreeRef& tree, const std::string& where, bool class_body = false) {
  const auto refuse = [&] {
    throw input_error(
        where + " computes a default value or a constant (line " +
        std::to_string(tree->range().source()->lineno_for_offset(tree->range().start()) + 1) + ")" +
        kRemedy);
  };
  if (tree->kind() == torch::jit::TK_PARAM) {
    const auto value = torch::jit::Param(tree).defaultValue();
    if (value.present() && !is_literal(value.get())) refuse();
  }
  if (class_body && tree->kind() == torch::jit::TK_ASSIGN) {
    const auto value = torch::jit::Assign(tree).rhs();
    if (value.present() && !is_literal(value.get())) refuse();
  }
  const bool in_class = tree->kind() == torch::jit::TK_CLASS_DEF ||
                        (class_body && tree->kind() != torch::jit::TK_DEF);
  for (const TreeRef& part : tree->trees()) check_evaluated(part, where, in_class);
}

/// Brackets deeper than people or torch.jit.save write them would end the parser's stack.
void check_nesting(const std::string& text, const std::string& where) {
  constexpr std::size_t kMaxDepth = 200;
  std::size_t depth = 0, indent = 0;
  bool line_start = true;
  for (const char c : text) {
    if (c == '\n') {
      line_start = true;
      indent = 0;
    } else if (line_start && (c == ' ' || c == '\t')) {
      if (++indent > 4 * kMaxDepth) depth = kMaxDepth;
    } else {
      line_start = false;
    }
    if (c == '(' || c == '[' || c == '{') ++depth;
    if ((c == ')' || c == ']' || c == '}') && depth) --depth;
    if (depth > kMaxDepth || indent > 4 * kMaxDepth)
      throw input_error(where + " is nested too deeply");
  }
}

void skip_line(torch::jit::Lexer& lexer) {
  while (lexer.cur().kind != torch::jit::TK_NEWLINE && lexer.cur().kind != torch::jit::TK_EOF)
    lexer.next();
  if (lexer.cur().kind == torch::jit::TK_NEWLINE) lexer.next();
}

/// Reads a source as LibTorch's importer does, without compiling it.
void check_source(const std::shared_ptr<torch::jit::Source>& source, const std::string& where) {
  torch::jit::Parser parser(source);
  auto& lexer = parser.lexer();
  if (lexer.cur().kind == torch::jit::TK_IDENT && lexer.cur().text() == "op_version_set")
    skip_line(lexer);
  while (lexer.cur().kind != torch::jit::TK_EOF) {
    if (lexer.cur().kind == torch::jit::TK_IMPORT) {
      skip_line(lexer);
      continue;
    }
    const bool class_next = lexer.cur().kind == torch::jit::TK_CLASS_DEF;
    if (!class_next && lexer.cur().kind != torch::jit::TK_DEF)
      throw input_error(where + " holds something that is neither a class nor a function");
    check_evaluated(class_next ? parser.parseClass() : parser.parseFunction(false), where);
  }
}

// What compiled code does.

/// The first node of `block` or what is inside that must not run.
const Node* find_impure(const Block* block);

const Node* find_impure(const Graph& graph) { return find_impure(graph.block()); }

const Node* find_impure(const Block* block) {
  for (const Node* node : block->nodes()) {
    const std::string name = node->kind().toQualString();
    if (!is_pure_operator(name) && !is_message_operator(name)) return node;
    for (const torch::jit::Value* output : node->outputs()) {
      const auto type = output->type()->cast<c10::ClassType>();
      if (type && type->name() && is_native_class(type->name()->qualifiedName())) return node;
    }
    // No pure operator carries code of its own (fork, closures, fused groups do).
    for (const c10::Symbol& attribute : node->attributeNames())
      if (node->kindOf(attribute) == torch::jit::AttributeKind::g ||
          node->kindOf(attribute) == torch::jit::AttributeKind::gs)
        return node;
    for (const Block* inner : node->blocks())
      if (const Node* found = find_impure(inner)) return found;
  }
  return nullptr;
}

void drop_messages(Block* block) {
  std::vector<Node*> found;
  for (Node* node : block->nodes()) {
    if (is_message_operator(node->kind().toQualString()) && node->outputs().empty())
      found.push_back(node);
    for (Block* inner : node->blocks()) drop_messages(inner);
  }
  for (Node* node : found) node->destroy();
}

/// Whether a stored value is what the code compiled for `type` takes it for.
bool fits(const IValue& value, const c10::TypePtr& type) {
  const auto all_fit = [](const auto& values, const c10::TypePtr& element) {
    return std::all_of(values.begin(), values.end(),
                       [&](const IValue& one) { return fits(one, element); });
  };
  switch (type->kind()) {
    case c10::TypeKind::OptionalType:
      return value.isNone() || fits(value, type->containedType(0));
    case c10::TypeKind::TensorType:
      return value.isTensor();
    case c10::TypeKind::IntType:
      return value.isInt();
    case c10::TypeKind::FloatType:
      return value.isDouble();
    case c10::TypeKind::BoolType:
      return value.isBool();
    case c10::TypeKind::StringType:
      return value.isString();
    case c10::TypeKind::NoneType:
      return value.isNone();
    case c10::TypeKind::ClassType:
      return value.isObject() && *value.toObjectRef().type() == *type;
    case c10::TypeKind::InterfaceType:
      return value.isObject() && value.toObjectRef().type()->isSubtypeOf(*type);
    case c10::TypeKind::ListType:
      return value.isList() && all_fit(value.toListRef(), type->containedType(0));
    case c10::TypeKind::DictType:
      if (!value.isGenericDict()) return false;
      for (const auto& entry : value.toGenericDict())
        if (!fits(entry.key(), type->containedType(0)) ||
            !fits(entry.value(), type->containedType(1)))
          return false;
      return true;
    case c10::TypeKind::TupleType: {
      if (!value.isTuple()) return false;
      const auto& elements = value.toTupleRef().elements();
      const auto types = type->containedTypes();
      if (elements.size() != types.size()) return false;
      for (std::size_t i = 0; i < types.size(); ++i)
        if (!fits(elements[i], types[i])) return false;
      return true;
    }
    default:
      return true;
  }
}

/// LibTorch's own rule: a class with both methods restores itself.
bool restores_itself(const c10::ClassType& type) {
  return type.findMethod("__getstate__") && type.findMethod("__setstate__");
}

/// One archive being read.
class Archive {
 public:
  Archive(const std::string& path, const torch::Device& device)
      : path_(path),
        device_(device),
        reader_(path),
        unit_(std::make_shared<torch::jit::CompilationUnit>()),
        importer_(
            unit_, &constants_, [this](const std::string& qualifier) { return source(qualifier); },
            reader_.version()) {}

  torch::jit::Module load() {
    check_kind();
    const IValue constants = read("constants");
    if (!constants.isTuple()) throw input_error(path_ + ": its constants are no tuple");
    for (const IValue& constant : constants.toTupleRef().elements()) constants_.push_back(constant);
    const IValue data = read("data");
    if (!data.isObject() || !data.toObjectRef().type()->is_module())
      throw input_error(path_ + ": it holds no module");
    check_functions();
    restore_states();
    torch::jit::Module module(data.toObject());
    module.eval();
    return module;
  }

 private:
  void check_kind() {
    if (reader_.hasRecord("model.json"))
      throw input_error(path_ + ": TorchScript of a LibTorch before 1.2; save it again");
    if (!reader_.hasRecord("constants.pkl") || !reader_.hasRecord("data.pkl"))
      throw input_error(
          path_ +
          ": a checkpoint of torch.save, not a TorchScript module; save the model with "
          "torch.jit.save(torch.jit.script(model), FILE), or read the checkpoint with "
          "model.plugin=resnet, vgg or vit");
  }

  std::shared_ptr<torch::jit::Source> source(const std::string& qualifier) {
    std::string name = qualifier;
    std::replace(name.begin(), name.end(), '.', '/');
    name = "code/" + name + ".py";
    if (!reader_.hasRecord(name)) return nullptr;
    const auto [data, size] = reader_.getRecord(name);
    const std::string text(static_cast<const char*>(data.get()), size);
    const std::string where = path_ + ": its code (" + name + ")";
    check_nesting(text, where);
    const auto made = std::make_shared<torch::jit::Source>(text, name, 1);
    check_source(made, where);
    return made;
  }

  /// Unpickles without running anything: objects that restore themselves wait in states_.
  IValue read(const std::string& name) {
    return torch::jit::readArchiveAndTensors(
        name, "", "",
        [this](const c10::QualifiedName& type) {
          if (is_native_class(type.qualifiedName() + ".") || is_native_class(type.qualifiedName()))
            throw input_error(path_ + ": it holds a " + author_name(type.qualifiedName()) +
                              ", an object implemented in C++" + kRemedy);
          return c10::StrongTypePtr(unit_, importer_.loadType(type));
        },
        [this](const c10::StrongTypePtr& type, IValue state) {
          return make_object(type, std::move(state));
        },
        device_, reader_);
  }

  c10::intrusive_ptr<c10::ivalue::Object> make_object(const c10::StrongTypePtr& strong,
                                                      IValue state) {
    const auto type = strong.type_->cast<c10::ClassType>();
    if (!type) throw input_error(path_ + ": an object of it has no class");
    auto object = c10::ivalue::Object::create(strong, type->numAttributes());
    if (restores_itself(*type)) {
      states_.emplace_back(object, std::move(state));
      return object;
    }
    if (!state.isGenericDict()) throw input_error(path_ + ": an object of it has no attributes");
    const auto values = state.toGenericDict();
    for (std::size_t i = 0; i < type->numAttributes(); ++i) {
      const IValue value = values.at(type->getAttributeName(i));
      check_fit(value, type->getAttribute(i), *type, type->getAttributeName(i));
      object->setSlot(i, value);
    }
    return object;
  }

  void check_fit(const IValue& value, const c10::TypePtr& wanted, const c10::ClassType& type,
                 const std::string& attribute) const {
    if (!fits(value, wanted))
      throw input_error(path_ + ": attribute '" + attribute + "' of " +
                        author_name(type.name()->qualifiedName()) + " is no " + wanted->repr_str());
  }

  void check_functions() {
    std::unordered_set<torch::jit::Function*> functions;
    for (torch::jit::Function* function : unit_->get_functions())
      if (function) functions.insert(function);
    for (torch::jit::Function* function : functions) check_function(*function);
    for (torch::jit::Function* function : functions)
      drop_messages(torch::jit::toGraphFunction(*function).graph()->block());
  }

  void check_function(torch::jit::Function& function) const {
    const std::string name = author_name(function.qualname().qualifiedName());
    if (!function.isGraphFunction())
      throw input_error(path_ + ": its " + name + "() is implemented in C++" + kRemedy);
    const Node* node = find_impure(*torch::jit::toGraphFunction(function).graph());
    if (node)
      throw input_error(path_ + ": its " + name + "() uses " + node->kind().toQualString() +
                        kRemedy);
  }

  /// Runs the __setstate__ of objects, in the order they were made, inner ones first.
  void restore_states() {
    const torch::jit::GraphOptimizerEnabledGuard off(false);
    const at::NoGradGuard no_grad;
    for (auto& [object, state] : states_) {
      const auto type = object->type();
      torch::jit::Function& restore = type->getMethod("__setstate__");
      const auto& arguments = restore.getSchema().arguments();
      if (arguments.size() != 2) throw input_error(path_ + ": a __setstate__ takes no state");
      check_fit(state, arguments[1].type(), *type, "__setstate__");
      restore({object, std::move(state)});
      for (std::size_t i = 0; i < type->numAttributes(); ++i)
        check_fit(object->getSlot(i), type->getAttribute(i), *type, type->getAttributeName(i));
    }
  }

  std::string path_;
  torch::Device device_;
  caffe2::serialize::PyTorchStreamReader reader_;
  std::shared_ptr<torch::jit::CompilationUnit> unit_;
  std::vector<IValue> constants_;
  torch::jit::SourceImporter importer_;
  std::vector<std::pair<c10::intrusive_ptr<c10::ivalue::Object>, IValue>> states_;
};

}  // namespace

namespace {

/// Whether the directory of a zip file names the parts of a torch.export archive.
bool is_exported_program(const std::filesystem::path& path) {
  constexpr std::streamoff kTail = 1 << 20;
  std::ifstream file(path, std::ios::binary | std::ios::ate);
  const std::streamoff size = file ? static_cast<std::streamoff>(file.tellg()) : 0;
  const std::streamoff begin = std::max<std::streamoff>(0, size - kTail);
  std::string tail(static_cast<std::size_t>(size - begin), '\0');
  file.seekg(begin);
  if (!file.read(tail.data(), size - begin)) return false;
  return tail.find("serialized_exported_program.json") != std::string::npos ||
         (tail.find("archive_format") != std::string::npos &&
          tail.find("models/") != std::string::npos);
}

}  // namespace

torch::jit::Module load_module(const std::filesystem::path& path, const torch::Device& device) {
  const std::string source = path.string();
  if (is_exported_program(path))
    throw input_error(
        source +
        ": a program of torch.export, which LibTorch cannot take apart; save the model "
        "by torch.jit.trace, or record activations in Python (numpy.save) and use "
        "model.plugin=recorded");
  // The checked reader finds damage on which LibTorch's own may crash.
  const Checkpoint checked = load_checkpoint(path);
  return guarded(source, std::string("LibTorch ") + TORCH_VERSION + " cannot load it",
                 [&] { return Archive(source, device).load(); });
}

}  // namespace linex
