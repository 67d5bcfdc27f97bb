// Python pickles as inert trees: parsed, never executed.
#pragma once

#include <torch/types.h>

#include <cstddef>
#include <cstdint>
#include <deque>
#include <string>
#include <string_view>
#include <vector>

namespace linex {

/// One value of a pickle. Values are shared and may form cycles; walk them with a depth bound.
struct PickleValue {
  enum class Kind : std::uint8_t {
    none,
    boolean,
    integer,
    real,
    text,
    bytes,
    list,   ///< sets too
    tuple,  ///< frozen sets and torch.Size too
    dict,   ///< OrderedDict and defaultdict too
    global,
    storage,
    tensor,
    opaque  ///< an object of any other class; its constructor was not called
  };

  Kind kind = Kind::none;
  std::int64_t integer = 0;  ///< integer, boolean; storage: its index
  double real = 0;
  /// text and bytes: the content (also integers beyond 64 bits, as little-endian bytes); global:
  /// "module.name"; opaque: the name of what would have made it.
  std::string text;
  /// list, tuple: elements; dict: key, value, key, value, ...; opaque: constructor arguments.
  std::vector<PickleValue*> items;
  /// What the object was to restore itself from (usually its __dict__), or null.
  PickleValue* state = nullptr;
  torch::Tensor tensor;  ///< defined once the checkpoint reader has found the bytes

  bool is(Kind wanted) const { return kind == wanted; }
  /// Value of a text key in a dict, or null (also for anything but a dict).
  const PickleValue* get(std::string_view key) const;
};

/// What a tensor of a pickle is made of.
struct TensorRecipe {
  PickleValue* target = nullptr;
  std::size_t storage = 0;  ///< index into PickleTree::storages
  torch::ScalarType dtype = torch::kFloat;
  std::int64_t offset = 0;  ///< elements of dtype
  std::vector<std::int64_t> sizes, strides;
};

/// A block of elements kept outside the pickle.
struct StorageRecipe {
  std::string key;
  torch::ScalarType dtype = torch::kFloat;
  std::int64_t numel = 0;
  bool untyped = false;  ///< numel counts bytes
};

/// A parsed pickle; owns its values.
class PickleTree {
 public:
  /// Parses one pickle (protocols 0 to 5) at the start of `bytes`. Names of classes and functions
  /// stay names, whatever they are; only PyTorch's tensor recipes and plain containers are
  /// understood. Throws Error(input) beginning with `source` for a malformed or truncated pickle.
  PickleTree(std::string_view bytes, const std::string& source);
  PickleTree(const PickleTree&) = delete;
  PickleTree& operator=(const PickleTree&) = delete;

  const PickleValue& root() const { return *root_; }
  /// Bytes the pickle took; legacy checkpoints hold several in a row.
  std::size_t consumed() const { return consumed_; }
  const std::vector<TensorRecipe>& tensors() const { return tensors_; }
  const std::vector<StorageRecipe>& storages() const { return storages_; }

 private:
  friend class Unpickler;
  std::deque<PickleValue> values_;
  std::vector<TensorRecipe> tensors_;
  std::vector<StorageRecipe> storages_;
  PickleValue* root_ = nullptr;
  std::size_t consumed_ = 0;
};

}  // namespace linex
