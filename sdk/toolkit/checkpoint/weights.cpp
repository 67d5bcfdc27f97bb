#include "toolkit/checkpoint/weights.hpp"

#include <algorithm>
#include <cstring>
#include <nlohmann/json.hpp>
#include <set>
#include <tuple>

#include "linex/error.hpp"
#include "toolkit/base/budget.hpp"
#include "toolkit/base/files.hpp"
#include "toolkit/base/text.hpp"
#include "toolkit/checkpoint/checkpoint.hpp"
#include "toolkit/checkpoint/safetensors.hpp"

namespace linex {
namespace {

using Kind = PickleValue::Kind;
using Json = nlohmann::json;

constexpr int kMaxDepth = 64;
constexpr int kMaxVisits = 1'000'000;
constexpr std::size_t kMaxName = 512;
constexpr std::uint64_t kMaxIndex = 64ULL << 20;

/// Where training scripts put the state dict, in the order tried: weights as trained before
/// averages of them. (DINO evaluates its teacher.)
const char* const kNestedKeys[] = {
    "state_dict", "model_state_dict", "model_state", "model",  "net",
    "network",    "module",           "weights",     "params", "teacher",
    "student",    "state_dict_ema",   "model_ema",   "ema",    "params_ema"};

/// Modules that wrap another under the same name wherever it stands.
const char* const kTransparent[] = {"_orig_mod.", "_fsdp_wrapped_module.",
                                    "_checkpoint_wrapped_module."};

bool ends_with(const std::string& text, std::string_view end) {
  return text.size() >= end.size() && text.compare(text.size() - end.size(), end.size(), end) == 0;
}
bool begins_with(const std::string& text, std::string_view start) {
  return text.compare(0, start.size(), start) == 0;
}

/// Names go into messages and layer lists: one that is no line of text is damage.
void check_name(const std::string& name, const std::string& source) {
  if (name.size() <= kMaxName && printable(name, kMaxName) == name) return;
  throw input_error(source + ": '" + printable(name) +
                    "' is no name for a tensor; the file is damaged, fetch or save it again");
}

/// What kind of tensor an object is that the pickle reader left as it was.
std::string unread_form(const PickleValue& value) {
  const std::string& made_by = value.text;
  if (made_by.find("_rebuild_qtensor") != std::string::npos) return "quantised";
  if (made_by.find("sparse") != std::string::npos) return "sparse";
  if (made_by.find("meta_tensor") != std::string::npos) return "without values (meta)";
  return "a " + printable(made_by, 60);
}

/// Collects named tensors from state dicts and pickled modules. A hostile file may share or nest
/// values so that a walk would never end: visits, depth and names are bounded.
class Collector {
 public:
  Collector(StateDict& into, MemoryBudget& budget) : into_(into), budget_(budget) {}

  /// Entries of a dict whose values are tensors. Returns whether there were any.
  bool add_entries(const PickleValue* dict, const std::string& prefix) {
    if (!dict || !dict->is(Kind::dict)) return false;
    bool any = false;
    for (std::size_t i = 0; i + 1 < dict->items.size(); i += 2) {
      count();
      const PickleValue* key = dict->items[i];
      const PickleValue* value = dict->items[i + 1];
      if (!key->is(Kind::text)) continue;
      if (value->is(Kind::tensor) && value->tensor.defined()) {
        into_.tensors[path(prefix, key->text)] = value->tensor;
        any = true;
      } else if (is_unread_parameter(key->text, *value)) {
        into_.unread[path(prefix, key->text)] = unread_form(*value);
        any = true;
      }
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
      if (key->is(Kind::text) && dict->items[i + 1]->is(Kind::opaque))
        any |= add_module(dict->items[i + 1], path(prefix, key->text) + ".", depth + 1);
    }
    return any;
  }
  static bool is_unread_parameter(const std::string& key, const PickleValue& value) {
    if (!value.is(Kind::opaque)) return false;
    const std::size_t dot = key.rfind('.');
    const std::string last = dot == std::string::npos ? key : key.substr(dot + 1);
    return last == "weight" || last == "bias" || last == "_packed_params";
  }
  std::string path(const std::string& prefix, const std::string& key) {
    if (key.size() > kMaxName) check_name(key, into_.source);
    budget_.take(prefix.size() + key.size() + kNodeBytes);
    std::string name = prefix + key;
    check_name(name, into_.source);
    return name;
  }
  void count() {
    if (++visits_ > kMaxVisits)
      throw input_error(into_.source +
                        ": its values are nested or shared without end; save a "
                        "plain state_dict() instead");
  }

  static constexpr std::size_t kNodeBytes = 160;  // of the map, its string and its tensor
  StateDict& into_;
  MemoryBudget& budget_;
  int visits_ = 0;
};

/// Whether collect() would find something, one level down at most.
bool holds_weights(const PickleValue& value, int depth = 0) {
  if (value.is(Kind::opaque))
    return value.state && (value.state->get("_modules") || holds_weights(*value.state, 1));
  if (!value.is(Kind::dict)) return false;
  for (std::size_t i = 0; i + 1 < value.items.size(); i += 2)
    if (value.items[i]->is(Kind::text) && value.items[i + 1]->is(Kind::tensor)) return true;
  for (const char* key : kNestedKeys)
    if (const PickleValue* nested = value.get(key);
        nested && depth < 1 && holds_weights(*nested, depth + 1))
      return true;
  return false;
}

/// Keys of a dict under which there are weights, those of kNestedKeys first and in that order.
std::vector<std::string> states_of(const PickleValue& root) {
  std::vector<std::string> known, others;
  if (!root.is(Kind::dict)) return known;
  for (const char* key : kNestedKeys)
    if (const PickleValue* value = root.get(key); value && holds_weights(*value))
      known.emplace_back(key);
  for (std::size_t i = 0; i + 1 < root.items.size(); i += 2) {
    const PickleValue& key = *root.items[i];
    if (!key.is(Kind::text) || !holds_weights(*root.items[i + 1])) continue;
    if (std::find(known.begin(), known.end(), key.text) == known.end() && others.size() < 16)
      others.push_back(printable(key.text, 40));
  }
  known.insert(known.end(), others.begin(), others.end());
  return known;
}

bool is_known(const std::string& key) {
  return std::find(std::begin(kNestedKeys), std::end(kNestedKeys), key) != std::end(kNestedKeys);
}

bool collect(const PickleValue& value, StateDict& into, MemoryBudget& budget, int depth = 0) {
  if (depth > 4) return false;
  Collector collector(into, budget);
  if (collector.add_module(&value, "")) return true;
  const auto states = states_of(value);
  for (const std::string& key : states) {
    if (!is_known(key) || !collect(*value.get(key), into, budget, depth + 1)) continue;
    if (states.size() > 1)
      into.notes.push_back("it holds several states (" + join(states, ", ") + "): '" + key +
                           "' is taken; the option state chooses another");
    return true;
  }
  if (collector.add_entries(&value, "")) return true;
  if (states.size() > 1)
    throw input_error(into.source + ": it holds several states (" + join(states, ", ") +
                      "); name one with the option state");
  const PickleValue* only = states.empty() ? nullptr : value.get(states.front());
  return only && collect(*only, into, budget, depth + 1);
}

/// The value at `state`, a key or a path of keys, or null.
const PickleValue* find_state(const PickleValue& root, const std::string& state) {
  if (const PickleValue* whole = root.get(state)) return whole;
  for (std::size_t dot = state.find('.'); dot != std::string::npos; dot = state.find('.', dot + 1))
    if (const PickleValue* outer = root.get(state.substr(0, dot)))
      if (const PickleValue* inner = find_state(*outer, state.substr(dot + 1))) return inner;
  return nullptr;
}

std::string describe_keys(const PickleValue& root) {
  std::string keys;
  int shown = 0;
  for (std::size_t i = 0; root.is(Kind::dict) && i + 1 < root.items.size() && shown < 6; i += 2)
    if (root.items[i]->is(Kind::text))
      keys += (shown++ ? ", '" : " '") + printable(root.items[i]->text, 40) + "'";
  return keys.empty() ? "" : "; it has" + keys;
}

/// Counters of averaging and training, which stand outside the averaged module.
bool is_counter(const std::string& name) {
  return name == "n_averaged" || name == "num_updates" || name == "decay" || name == "step";
}

/// Renames all tensors by `rename`; nothing where two would get one name.
template <class Rename>
void rename_all(StateDict& weights, const Rename& rename) {
  std::map<std::string, torch::Tensor> renamed;
  for (const auto& [name, tensor] : weights.tensors) renamed[rename(name)] = tensor;
  if (renamed.size() != weights.tensors.size()) return;
  std::map<std::string, std::string> unread;
  for (const auto& [name, form] : weights.unread) unread[rename(name)] = form;
  weights.tensors = std::move(renamed);
  weights.unread = std::move(unread);
}

void strip_prefix(StateDict& weights, const std::string& prefix) {
  bool any = false;
  for (const auto& [name, tensor] : weights.tensors) {
    if (is_counter(name)) continue;
    if (!begins_with(name, prefix) || name.size() == prefix.size()) return;
    any = true;
  }
  if (!any) return;
  rename_all(weights, [&](const std::string& name) {
    return begins_with(name, prefix) ? name.substr(prefix.size()) : name;
  });
}

void strip_transparent(StateDict& weights) {
  rename_all(weights, [](std::string name) {
    for (const char* wrapper : kTransparent)
      for (std::size_t at = name.find(wrapper); at != std::string::npos;
           at = name.find(wrapper, at))
        if (at == 0 || name[at - 1] == '.')
          name.erase(at, std::string_view(wrapper).size());
        else
          ++at;
    return name;
  });
}

/// torch.nn.utils.prune keeps a weight as weight_orig and weight_mask; the other
/// reparametrisations are only named.
void undo_reparametrisation(StateDict& weights) {
  std::size_t pruned = 0;
  std::vector<std::string> names;
  for (const auto& [name, tensor] : weights.tensors) names.push_back(name);
  for (const std::string& name : names) {
    constexpr std::string_view kOriginal = "_orig";
    if (ends_with(name, kOriginal)) {
      const std::string base = name.substr(0, name.size() - kOriginal.size());
      const torch::Tensor original = weights.get(name), mask = weights.get(base + "_mask");
      if (mask.defined() && mask.sizes() == original.sizes() && !weights.has(base)) {
        weights.tensors[base] = original * mask.to(original.scalar_type());
        weights.tensors.erase(name);
        weights.tensors.erase(base + "_mask");
        ++pruned;
      } else if (weights.has(base + "_u")) {
        weights.unread[base] = "under spectral_norm; save after remove_spectral_norm";
      }
    } else if (ends_with(name, "weight_g") && weights.has(name.substr(0, name.size() - 1) + "v")) {
      weights.unread[name.substr(0, name.size() - 2)] =
          "under weight_norm; save after remove_weight_norm";
    } else if (const auto at = name.find("parametrizations."); at != std::string::npos) {
      const std::size_t begin = at + std::string_view("parametrizations.").size();
      weights.unread[name.substr(0, at) + name.substr(begin, name.find('.', begin) - begin)] =
          "parametrised; save after remove_parametrizations";
    } else if (ends_with(name, ".base_layer.weight")) {
      weights.unread[name.substr(0, name.rfind(".base_layer.")) + ".weight"] =
          "under an adapter (LoRA); save after merge_and_unload()";
    }
  }
  if (pruned > 0)
    weights.notes.push_back(std::to_string(pruned) +
                            " pruned weights are weight_orig times weight_mask");
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

std::int64_t StateDict::size(const std::string& name, std::int64_t dimension) const {
  const auto found = tensors.find(name);
  return found == tensors.end() || dimension >= found->second.dim() ? 0
                                                                    : found->second.size(dimension);
}

namespace {

/// Tensors of one file, all of them; what is in `into` already stays.
void read_weights_file(const std::filesystem::path& path, const std::string& state,
                       StateDict& into) {
  const std::string source = path.string();
  const auto file = std::make_shared<MappedFile>(path);
  constexpr std::string_view kLfs = "version https://git-lfs";
  const bool lfs =
      file->size() > kLfs.size() && std::memcmp(file->data(), kLfs.data(), kLfs.size()) == 0;
  MemoryBudget budget(file->size(), source);
  StateDict read;
  read.source = source;
  if (looks_like_checkpoint(*file)) {
    const Checkpoint checkpoint = load_checkpoint(file, source);
    const PickleValue* root = &checkpoint.root();
    if (!state.empty())
      if (const PickleValue* chosen = find_state(*root, state)) root = chosen;
    if (!collect(*root, read, budget))
      throw input_error(source +
                        ": no weights found in it (expected a state dict, or "
                        "one under 'state_dict' or 'model')" +
                        describe_keys(*root));
    if (root != &checkpoint.root()) read.notes.push_back("state '" + state + "' is taken");
  } else if (!lfs && (looks_like_safetensors(*file) || path.extension() == ".safetensors")) {
    read_safetensors(file, source, read);
  } else {
    throw input_error(source + ": no weights file linex can read; " + guess(*file));
  }
  for (auto& [name, tensor] : read.tensors) {
    check_name(name, source);
    // Whoever takes a tensor takes a float32 copy of it, however little of the file it views.
    budget.take(static_cast<std::uint64_t>(tensor.numel()) * sizeof(float));
    into.tensors[name] = tensor;
  }
  into.unread.merge(read.unread);
  into.notes.insert(into.notes.end(), read.notes.begin(), read.notes.end());
}

/// The tensors of all shards an index file names; they must lie beside it.
void read_shards(const std::filesystem::path& index, StateDict& into) {
  const std::string text = read_file(index, kMaxIndex);
  const Json json = json_nests_at_most(text) ? Json::parse(text, nullptr, false) : Json();
  if (!json.is_object() || !json.contains("weight_map") || !json["weight_map"].is_object())
    throw input_error(index.string() + ": no index of shards (no weight_map)");
  std::set<std::string> shards;
  for (const auto& [name, shard] : json["weight_map"].items()) {
    const std::string file = shard.is_string() ? shard.get<std::string>() : "";
    // A shard lies beside its index; anything else would let an index read any file.
    if (file.empty() || file.find('/') != std::string::npos || file == "." || file == "..")
      throw input_error(index.string() + ": shard of '" + printable(name) +
                        "' is no plain file name");
    shards.insert(file);
  }
  for (const std::string& shard : shards) read_weights_file(index.parent_path() / shard, "", into);
}

/// The weights in a folder as Hugging Face's libraries name them.
std::filesystem::path weights_in(const std::filesystem::path& folder) {
  for (const char* name : {"model.safetensors", "model.safetensors.index.json", "pytorch_model.bin",
                           "pytorch_model.bin.index.json", "open_clip_model.safetensors",
                           "open_clip_pytorch_model.bin"})
    if (std::filesystem::exists(folder / name)) return folder / name;
  throw input_error(folder.string() +
                    ": a folder without model.safetensors or pytorch_model.bin (or their index of "
                    "shards); name the weights file");
}

/// Keeps the tensors under `prefix`, without it.
void keep_prefix(StateDict& weights, const std::string& prefix) {
  StateDict kept;
  for (const auto& [name, tensor] : weights.tensors)
    if (begins_with(name, prefix)) kept.tensors[name.substr(prefix.size())] = tensor;
  for (const auto& [name, form] : weights.unread)
    if (begins_with(name, prefix)) kept.unread[name.substr(prefix.size())] = form;
  weights.tensors = std::move(kept.tensors);
  weights.unread = std::move(kept.unread);
}

/// `state` as the beginning of names, where it was no key of the file.
void keep_state(StateDict& weights, const std::string& state) {
  const std::string ending = state.back() == '.' ? state : state + ".";
  for (const std::string& wrapper : {std::string(), std::string("module.")}) {
    const std::string prefix = wrapper + ending;
    const bool any =
        std::any_of(weights.tensors.begin(), weights.tensors.end(),
                    [&](const auto& entry) { return begins_with(entry.first, prefix); });
    if (!any) continue;
    keep_prefix(weights, prefix);
    weights.notes.push_back("the tensors under '" + prefix + "' are taken");
    return;
  }
  std::set<std::string> starts;
  for (const auto& [name, tensor] : weights.tensors)
    if (const auto dot = name.find('.'); dot != std::string::npos && starts.size() < 8)
      starts.insert(name.substr(0, dot));
  throw input_error(weights.source + ": state=" + printable(state) +
                    " is no state of it and no beginning of its tensors' names; these begin with " +
                    join({starts.begin(), starts.end()}, ", "));
}

/// How late a prefix is taken: copies and averages after what was trained.
int rank_of(const std::string& prefix) {
  for (const std::string& part : split(prefix, '.'))
    if (part == "ema" || begins_with(part, "ema_") || ends_with(part, "_ema") || part == "target" ||
        begins_with(part, "target_") || ends_with(part, "_k") ||
        part.find("teacher") != std::string::npos || part.find("momentum") != std::string::npos)
      return 1;
  return 0;
}

}  // namespace

StateDict load_weights(const std::filesystem::path& given, const std::string& state) {
  StateDict weights;
  std::filesystem::path path = given;
  std::error_code ignored;
  if (std::filesystem::is_directory(path, ignored)) path = weights_in(path);
  weights.source = path.string();
  if (path.extension() == ".json")
    read_shards(path, weights);
  else
    read_weights_file(path, state, weights);
  if (weights.tensors.empty() && weights.unread.empty())
    throw input_error(weights.source + ": holds no tensor");
  const std::string found = "state '" + state + "' is taken";
  const bool by_key =
      std::find(weights.notes.begin(), weights.notes.end(), found) != weights.notes.end();
  strip_transparent(weights);
  if (!state.empty() && !by_key) keep_state(weights, state);
  strip_prefix(weights, "module.");
  undo_reparametrisation(weights);
  return weights;
}

StateDict find_network(StateDict weights, const std::vector<std::vector<std::string>>& anchors) {
  std::set<std::string> found;
  for (const auto& names : anchors) {
    const auto there = [&](const std::string& name) {
      return weights.has(name) || weights.unread.count(name) != 0;
    };
    const auto look_at = [&](const std::string& name) {
      if (!ends_with(name, names.front())) return;
      const std::string prefix = name.substr(0, name.size() - names.front().size());
      if (!prefix.empty() && prefix.back() != '.') return;
      if (std::all_of(names.begin(), names.end(),
                      [&](const std::string& anchor) { return there(prefix + anchor); }))
        found.insert(prefix);
    };
    for (const auto& entry : weights.tensors) look_at(entry.first);
    for (const auto& entry : weights.unread) look_at(entry.first);
    if (!found.empty()) break;
  }
  if (found.empty()) return weights;
  std::vector<std::string> prefixes(found.begin(), found.end());
  std::stable_sort(
      prefixes.begin(), prefixes.end(), [](const std::string& a, const std::string& b) {
        return std::make_tuple(rank_of(a), a.size()) < std::make_tuple(rank_of(b), b.size());
      });
  const std::string& prefix = prefixes.front();
  if (prefixes.size() > 1) {
    constexpr std::size_t kShown = 4;
    const std::vector<std::string> shown(
        prefixes.begin(),
        prefixes.begin() + static_cast<std::ptrdiff_t>(std::min(kShown, prefixes.size())));
    weights.notes.push_back("it holds " + std::to_string(prefixes.size()) + " networks, under '" +
                            join(shown, "', '") + "': '" + prefix +
                            "' is taken; the option state chooses another");
  }
  if (prefix.empty()) return weights;
  std::vector<std::string> outside;
  for (const auto& [name, tensor] : weights.tensors)
    if (!begins_with(name, prefix) && !is_counter(name)) outside.push_back(name);
  std::string note = "its names begin with '" + prefix + "'";
  if (!outside.empty() && prefixes.size() == 1)
    note += "; " + std::to_string(outside.size()) +
            (outside.size() > 1 ? " tensors outside are" : " tensor outside is") + " not used (" +
            outside.front() + (outside.size() > 1 ? ", ...)" : ")");
  weights.notes.push_back(note);
  keep_prefix(weights, prefix);
  return weights;
}

std::string first_name(const StateDict& weights) {
  std::string text = weights.tensors.empty() ? "no tensor" : weights.tensors.begin()->first;
  if (!weights.unread.empty())
    text += " (and " + std::to_string(weights.unread.size()) +
            " parameters are in a form that is not read: " + weights.unread.begin()->first +
            " is " + weights.unread.begin()->second + ")";
  return text;
}

torch::Tensor load_tensor(const std::filesystem::path& path) {
  const Checkpoint checkpoint = load_checkpoint(path);
  if (!checkpoint.root().is(Kind::tensor) || !checkpoint.root().tensor.defined())
    throw input_error(path.string() + ": expected a file of one tensor (torch.save(tensor, ...))");
  return checkpoint.root().tensor;
}

}  // namespace linex
