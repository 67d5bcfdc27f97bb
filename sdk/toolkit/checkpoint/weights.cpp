#include "toolkit/checkpoint/weights.hpp"

#include <cstring>

#include "linex/error.hpp"
#include "toolkit/base/files.hpp"
#include "toolkit/base/text.hpp"
#include "toolkit/checkpoint/checkpoint.hpp"
#include "toolkit/checkpoint/safetensors.hpp"

namespace linex {
namespace {

using Kind = PickleValue::Kind;

constexpr int kMaxDepth = 64;
constexpr int kMaxVisits = 1'000'000;

/// Where training scripts put the state dict, in the order tried.
const char* const kNestedKeys[] = {"state_dict", "model_state_dict", "model_state", "model",
                                   "net",        "network",          "module",      "weights",
                                   "params",     "model_ema",        "ema"};

/// Collects named tensors from state dicts and pickled modules. A hostile file may share or nest
/// values so that a walk would never end: visits and depth are bounded.
class Collector {
 public:
  Collector(StateDict& into) : into_(into) {}

  /// Entries of a dict whose values are tensors. Returns whether there were any.
  bool add_entries(const PickleValue* dict, const std::string& prefix) {
    if (!dict || !dict->is(Kind::dict)) return false;
    bool any = false;
    for (std::size_t i = 0; i + 1 < dict->items.size(); i += 2) {
      count();
      const PickleValue* key = dict->items[i];
      const PickleValue* value = dict->items[i + 1];
      if (!key->is(Kind::text) || !value->is(Kind::tensor) || !value->tensor.defined()) continue;
      into_.tensors[prefix + key->text] = value->tensor;
      any = true;
    }
    return any;
  }

  /// A pickled nn.Module (_parameters, _buffers, _modules) or an object of a TorchScript archive
  /// (tensors and submodules are plain attributes).
  bool add_module(const PickleValue* object, const std::string& prefix, int depth = 0) {
    count();
    if (depth > kMaxDepth || !object->is(Kind::opaque) || !object->state) return false;
    const PickleValue* state = object->state;
    bool any = false;
    if (const PickleValue* children = state->get("_modules")) {
      any |= add_entries(state->get("_parameters"), prefix);
      any |= add_entries(state->get("_buffers"), prefix);
      return add_children(children, prefix, depth) || any;
    }
    any |= add_entries(state, prefix);
    return add_children(state, prefix, depth) || any;
  }

 private:
  bool add_children(const PickleValue* dict, const std::string& prefix, int depth) {
    if (!dict->is(Kind::dict)) return false;
    bool any = false;
    for (std::size_t i = 0; i + 1 < dict->items.size(); i += 2) {
      const PickleValue* key = dict->items[i];
      if (key->is(Kind::text))
        any |= add_module(dict->items[i + 1], prefix + key->text + ".", depth + 1);
    }
    return any;
  }
  void count() {
    if (++visits_ > kMaxVisits)
      throw input_error(into_.source +
                        ": its values are nested or shared without end; save a "
                        "plain state_dict() instead");
  }

  StateDict& into_;
  int visits_ = 0;
};

bool collect(const PickleValue& value, StateDict& into, int depth = 0) {
  if (depth > 4) return false;
  Collector collector(into);
  if (collector.add_module(&value, "")) return true;
  for (const char* key : kNestedKeys) {
    const PickleValue* nested = value.get(key);
    if (nested && (nested->is(Kind::dict) || nested->is(Kind::opaque)) &&
        collect(*nested, into, depth + 1))
      return true;
  }
  return collector.add_entries(&value, "");
}

std::string describe_keys(const PickleValue& root) {
  std::string keys;
  int shown = 0;
  for (std::size_t i = 0; root.is(Kind::dict) && i + 1 < root.items.size() && shown < 6; i += 2)
    if (root.items[i]->is(Kind::text))
      keys += (shown++ ? ", '" : " '") + printable(root.items[i]->text, 40) + "'";
  return keys.empty() ? "" : "; it has" + keys;
}

void strip_prefix(StateDict& weights, const std::string& prefix) {
  for (const auto& [name, tensor] : weights.tensors)
    if (name.compare(0, prefix.size(), prefix) != 0 || name.size() == prefix.size()) return;
  std::map<std::string, torch::Tensor> stripped;
  for (auto& [name, tensor] : weights.tensors) stripped[name.substr(prefix.size())] = tensor;
  weights.tensors = std::move(stripped);
}

/// What an unreadable file most likely is, as advice.
std::string guess(const MappedFile& file) {
  const std::string_view start(reinterpret_cast<const char*>(file.data()),
                               std::min<std::size_t>(file.size(), 64));
  const auto begins = [&](std::string_view with) { return start.substr(0, with.size()) == with; };
  if (begins("version https://git-lfs")) return "it is a Git LFS pointer; run git lfs pull";
  if (begins("<")) return "it looks like a web page; the download failed";
  if (begins("\x89HDF")) return "it is HDF5 (Keras); convert it to a PyTorch state dict";
  if (begins("\x1f\x8b")) return "it is gzip-compressed; unpack it first";
  if (begins("\x93NUMPY")) return "it is a .npy array, not a network's weights";
  return "give a file of torch.save, torch.jit.save or safetensors, or fetch it again";
}

}  // namespace

torch::Tensor StateDict::get(const std::string& name) const {
  const auto found = tensors.find(name);
  return found == tensors.end() ? torch::Tensor() : found->second;
}

StateDict load_weights(const std::filesystem::path& path) {
  StateDict weights;
  weights.source = path.string();
  if (path.extension() == ".json") {
    read_safetensors_index(path, weights);
  } else {
    const auto file = std::make_shared<MappedFile>(path);
    if (looks_like_checkpoint(*file)) {
      const Checkpoint checkpoint = load_checkpoint(file, weights.source);
      if (!collect(checkpoint.root(), weights))
        throw input_error(weights.source +
                          ": no weights found in it (expected a state dict, or "
                          "one under 'state_dict' or 'model')" +
                          describe_keys(checkpoint.root()));
    } else if (looks_like_safetensors(*file) || path.extension() == ".safetensors") {
      read_safetensors(file, weights.source, weights);
    } else {
      throw input_error(weights.source + ": no weights file linex can read; " + guess(*file));
    }
  }
  // Names go into messages and layer lists: one that is no line of text is damage.
  for (const auto& [name, tensor] : weights.tensors)
    if (printable(name, 512) != name)
      throw input_error(weights.source + ": '" + printable(name) +
                        "' is no name for a tensor; the file is damaged, fetch or save it again");
  if (weights.tensors.empty()) throw input_error(weights.source + ": holds no tensor");
  strip_prefix(weights, "_orig_mod.");
  strip_prefix(weights, "module.");
  strip_prefix(weights, "_orig_mod.");
  return weights;
}

torch::Tensor load_tensor(const std::filesystem::path& path) {
  const Checkpoint checkpoint = load_checkpoint(path);
  if (!checkpoint.root().is(Kind::tensor) || !checkpoint.root().tensor.defined())
    throw input_error(path.string() + ": expected a file of one tensor (torch.save(tensor, ...))");
  return checkpoint.root().tensor;
}

}  // namespace linex
