#include "toolkit/checkpoint/pickle.hpp"

#include <cerrno>
#include <cstdlib>
#include <cstring>
#include <map>
#include <optional>
#include <unordered_map>

#include "linex/error.hpp"
#include "toolkit/base/budget.hpp"

namespace linex {
namespace {

using Kind = PickleValue::Kind;

/// What the checkpoint reader makes of one recipe: tensor, storage and what keeps the file mapped.
constexpr std::size_t kTensorBytes = 1024;
/// An entry of an unordered_map and its share of the table.
constexpr std::size_t kMapEntryBytes = 64;
constexpr std::size_t kMaxDimensions = 16;

std::optional<torch::ScalarType> scalar_type(std::string_view name) {
  static const std::unordered_map<std::string_view, torch::ScalarType> kTypes = {
      {"Float", torch::kFloat},       {"float32", torch::kFloat},     {"Double", torch::kDouble},
      {"float64", torch::kDouble},    {"Half", torch::kHalf},         {"float16", torch::kHalf},
      {"BFloat16", torch::kBFloat16}, {"bfloat16", torch::kBFloat16}, {"Long", torch::kLong},
      {"int64", torch::kLong},        {"Int", torch::kInt},           {"int32", torch::kInt},
      {"Short", torch::kShort},       {"int16", torch::kShort},       {"Char", torch::kChar},
      {"int8", torch::kChar},         {"Byte", torch::kByte},         {"uint8", torch::kByte},
      {"Bool", torch::kBool},         {"bool", torch::kBool}};
  const auto found = kTypes.find(name);
  if (found == kTypes.end()) return std::nullopt;
  return found->second;
}

std::string_view after_last_dot(std::string_view name) {
  const auto dot = name.rfind('.');
  return dot == std::string_view::npos ? name : name.substr(dot + 1);
}

bool starts_with(std::string_view text, std::string_view start) {
  return text.substr(0, start.size()) == start;
}

/// Element type of "torch.FloatStorage", "torch.cuda.HalfStorage", ...
std::optional<torch::ScalarType> storage_type(std::string_view global) {
  if (!starts_with(global, "torch.")) return std::nullopt;
  const std::string_view name = after_last_dot(global);
  constexpr std::string_view kSuffix = "Storage";
  if (name.size() <= kSuffix.size() || name.substr(name.size() - kSuffix.size()) != kSuffix)
    return std::nullopt;
  return scalar_type(name.substr(0, name.size() - kSuffix.size()));
}

}  // namespace

const PickleValue* PickleValue::get(std::string_view key) const {
  if (kind != Kind::dict) return nullptr;
  for (std::size_t i = 0; i + 1 < items.size(); i += 2)
    if (items[i]->kind == Kind::text && items[i]->text == key) return items[i + 1];
  return nullptr;
}

/// The pickle stack machine (CPython's Lib/pickletools.py documents every opcode).
class Unpickler {
 public:
  Unpickler(std::string_view bytes, const std::string& source, PickleTree& tree)
      : bytes_(bytes), source_(source), tree_(tree), budget_(bytes.size(), source) {}

  void run() {
    while (step()) {
    }
    tree_.root_ = pop();
    tree_.consumed_ = at_;
  }

 private:
  [[noreturn]] void malformed(const std::string& what) const {
    throw input_error(source_ + ": malformed pickle at byte " + std::to_string(at_) + " (" + what +
                      "); the file is damaged, fetch or save it again");
  }

  // --- bytes -------------------------------------------------------------------------------------
  std::string_view take(std::uint64_t count) {
    if (count > bytes_.size() - at_) malformed("it ends too early");
    const std::string_view part = bytes_.substr(at_, count);
    at_ += count;
    return part;
  }
  template <class T>
  T number() {
    T value;
    std::memcpy(&value, take(sizeof(T)).data(), sizeof(T));
    return value;
  }
  std::string_view line() {
    const auto end = bytes_.find('\n', at_);
    if (end == std::string_view::npos) malformed("a line does not end");
    const std::string_view text = bytes_.substr(at_, end - at_);
    at_ = end + 1;
    return text;
  }

  // --- stack, marks, memo ------------------------------------------------------------------------
  PickleValue* make(Kind kind) {
    budget_.take(sizeof(PickleValue));
    tree_.values_.emplace_back();
    tree_.values_.back().kind = kind;
    return &tree_.values_.back();
  }
  PickleValue* push(PickleValue* value) {
    append_one(stack_, value);
    return value;
  }
  /// Counts the growth of a vector; each doubling keeps the old elements until they have moved.
  template <class T>
  void append_one(std::vector<T>& to, T value) {
    if (to.size() == to.capacity()) budget_.take((2 * to.capacity() + 1) * sizeof(T));
    to.push_back(value);
  }
  void append_all(std::vector<PickleValue*>& to, const std::vector<PickleValue*>& elements) {
    if (to.capacity() - to.size() < elements.size())
      budget_.take((to.capacity() + elements.size()) * sizeof(PickleValue*));
    to.insert(to.end(), elements.begin(), elements.end());
  }
  void set_text(PickleValue* value, std::string_view text) {
    budget_.take(text.size());
    value->text = text;
  }
  /// None, True, False and small numbers are one value each: they take no memory of their own.
  PickleValue* constant(Kind kind, std::int64_t integer) {
    PickleValue*& known = constants_[{kind, integer}];
    if (!known) {
      known = make(kind);
      known->integer = integer;
    }
    return known;
  }
  PickleValue* pop() {
    if (stack_.size() <= floor()) malformed("its stack is empty");
    PickleValue* value = stack_.back();
    stack_.pop_back();
    return value;
  }
  PickleValue* top() {
    if (stack_.size() <= floor()) malformed("its stack is empty");
    return stack_.back();
  }
  std::size_t floor() const { return marks_.empty() ? 0 : marks_.back(); }
  std::vector<PickleValue*> pop_to_mark() {
    if (marks_.empty()) malformed("no mark");
    budget_.take((stack_.size() - marks_.back()) * sizeof(PickleValue*));
    std::vector<PickleValue*> items(stack_.begin() + static_cast<std::ptrdiff_t>(marks_.back()),
                                    stack_.end());
    stack_.resize(marks_.back());
    marks_.pop_back();
    return items;
  }
  void remember(std::uint64_t key) {
    budget_.take(kMapEntryBytes);
    memo_[key] = top();
  }
  void recall(std::uint64_t key) {
    const auto found = memo_.find(key);
    if (found == memo_.end()) malformed("unknown memo entry");
    push(found->second);
  }
  std::uint64_t memo_key(std::string_view text) {
    const std::string digits(text);
    errno = 0;
    char* end = nullptr;
    const std::uint64_t key = std::strtoull(digits.c_str(), &end, 10);
    if (digits.empty() || *end != '\0' || errno != 0) malformed("bad memo entry");
    return key;
  }

  // --- values ------------------------------------------------------------------------------------
  void push_text(Kind kind, std::string_view text) { set_text(push(make(kind)), text); }
  void push_integer(std::int64_t value) {
    constexpr std::int64_t kSmall = 256;
    if (value >= 0 && value < kSmall)
      push(constant(Kind::integer, value));
    else
      push(make(Kind::integer))->integer = value;
  }
  void push_tuple(std::vector<PickleValue*> items) {
    push(make(Kind::tuple))->items = std::move(items);
  }
  /// "module.name".
  PickleValue* make_global(std::string_view module, std::string_view name) {
    PickleValue* value = make(Kind::global);
    budget_.take(module.size() + name.size() + 1);
    value->text.reserve(module.size() + name.size() + 1);
    value->text.append(module).append(".").append(name);
    return value;
  }

  void push_decimal(std::string_view text) {
    if (!text.empty() && text.back() == 'L') text.remove_suffix(1);
    const std::string digits(text);
    errno = 0;
    char* end = nullptr;
    const long long value = std::strtoll(digits.c_str(), &end, 10);
    if (digits.empty() || *end != '\0') malformed("bad integer");
    if (errno == ERANGE) return push_text(Kind::integer, digits);
    if (digits == "00" || digits == "01") {
      push(constant(Kind::boolean, value));
      return;
    }
    push_integer(value);
  }

  void push_long(std::uint64_t size) {
    const std::string_view raw = take(size);
    PickleValue* value = push(make(Kind::integer));
    if (raw.size() > 8) {
      set_text(value, raw);
      return;
    }
    std::uint64_t bits = 0;
    for (std::size_t i = 0; i < raw.size(); ++i)
      bits |= static_cast<std::uint64_t>(static_cast<unsigned char>(raw[i])) << (8 * i);
    const bool negative = !raw.empty() && (raw.back() & 0x80) != 0;
    if (negative && raw.size() < 8) bits |= ~std::uint64_t{0} << (8 * raw.size());
    std::memcpy(&value->integer, &bits, sizeof bits);
  }

  void push_float_text(std::string_view text) {
    const std::string digits(text);
    char* end = nullptr;
    const double value = std::strtod(digits.c_str(), &end);
    if (digits.empty() || *end != '\0') malformed("bad number");
    push(make(Kind::real))->real = value;
  }

  void push_big_endian_float() {
    const std::string_view raw = take(8);
    std::uint64_t bits = 0;
    for (const char byte : raw) bits = bits << 8 | static_cast<unsigned char>(byte);
    std::memcpy(&push(make(Kind::real))->real, &bits, sizeof bits);
  }

  /// A protocol-0 string: Python's repr; the escapes repr writes are undone.
  void push_repr(std::string_view text) {
    if (text.size() < 2 || text.front() != text.back() || (text[0] != '\'' && text[0] != '"'))
      malformed("bad string");
    text = text.substr(1, text.size() - 2);
    std::string plain;
    for (std::size_t i = 0; i < text.size(); ++i) {
      if (text[i] != '\\' || i + 1 == text.size()) {
        plain += text[i];
        continue;
      }
      const char kind = text[++i];
      if (kind == 'n')
        plain += '\n';
      else if (kind == 't')
        plain += '\t';
      else if (kind == 'r')
        plain += '\r';
      else if (kind == 'x' && i + 2 < text.size())
        plain +=
            static_cast<char>(std::strtol(std::string(text.substr(i + 1, 2)).c_str(), nullptr, 16)),
            i += 2;
      else
        plain += kind;
    }
    push_text(Kind::text, plain);
  }

  /// A protocol-0 text: Latin-1 with \uXXXX and \UXXXXXXXX for the rest (raw-unicode-escape).
  void push_raw_unicode(std::string_view text) {
    std::string utf8;
    const auto add = [&](std::uint32_t code) {
      const int more = code < 0x80 ? 0 : code < 0x800 ? 1 : code < 0x10000 ? 2 : 3;
      constexpr unsigned kFirst[] = {0, 0xc0, 0xe0, 0xf0};
      utf8 += static_cast<char>(kFirst[more] | code >> (6 * more));
      for (int i = more - 1; i >= 0; --i)
        utf8 += static_cast<char>(0x80 | (code >> (6 * i) & 0x3f));
    };
    for (std::size_t i = 0; i < text.size(); ++i) {
      const std::size_t digits = text.substr(i, 2) == "\\u"   ? 4
                                 : text.substr(i, 2) == "\\U" ? 8
                                                              : 0;
      if (digits == 0) {
        add(static_cast<unsigned char>(text[i]));
        continue;
      }
      const std::string hex(text.substr(i + 2, digits));
      char* end = nullptr;
      const unsigned long code = std::strtoul(hex.c_str(), &end, 16);
      if (hex.size() != digits || *end != '\0' || code > 0x10ffff) malformed("bad text");
      add(static_cast<std::uint32_t>(code));
      i += 1 + digits;
    }
    push_text(Kind::text, utf8);
  }

  void set_items(PickleValue* target, const std::vector<PickleValue*>& pairs) {
    if (pairs.size() % 2 != 0) malformed("a key without value");
    // A subclass of dict stays opaque; its entries are of no use to anybody here.
    if (target->is(Kind::dict))
      append_all(target->items, pairs);
    else if (!target->is(Kind::opaque))
      malformed("entries for something that is no dict");
  }
  void append(PickleValue* target, const std::vector<PickleValue*>& elements) {
    if (target->is(Kind::list))
      append_all(target->items, elements);
    else if (!target->is(Kind::opaque))
      malformed("elements for something that is no list");
  }

  // --- what PyTorch pickles ----------------------------------------------------------------------
  PickleValue* make_opaque(const PickleValue* callable,
                           const std::vector<PickleValue*>& arguments) {
    PickleValue* value = make(Kind::opaque);
    set_text(value, callable->is(Kind::global) ? std::string_view(callable->text) : "?");
    append_all(value->items, arguments);
    return value;
  }

  bool integers(const PickleValue* value, std::vector<std::int64_t>& out) const {
    if (!value->is(Kind::tuple) && !value->is(Kind::list)) return false;
    if (value->items.size() > kMaxDimensions) return false;
    for (const PickleValue* item : value->items) {
      if (!item->is(Kind::integer) || !item->text.empty()) return false;
      out.push_back(item->integer);
    }
    return true;
  }

  /// _rebuild_tensor[_v2|_v3](storage, offset, sizes, strides, requires_grad, hooks[, dtype]).
  PickleValue* make_tensor(const PickleValue* function, const std::vector<PickleValue*>& arguments,
                           bool has_dtype) {
    TensorRecipe recipe;
    if (arguments.size() < 4 || !arguments[0]->is(Kind::storage) ||
        !arguments[1]->is(Kind::integer) || !integers(arguments[2], recipe.sizes) ||
        !integers(arguments[3], recipe.strides) || recipe.sizes.size() != recipe.strides.size())
      return make_opaque(function, arguments);
    recipe.storage = static_cast<std::size_t>(arguments[0]->integer);
    recipe.dtype = tree_.storages_[recipe.storage].dtype;
    recipe.offset = arguments[1]->integer;
    if (__builtin_add_overflow(
            recipe.offset, arguments[0]->state ? arguments[0]->state->integer : 0, &recipe.offset))
      malformed("bad tensor offset");
    if (has_dtype) {
      if (arguments.size() < 7 || !arguments[6]->is(Kind::global))
        return make_opaque(function, arguments);
      const auto dtype = scalar_type(after_last_dot(arguments[6]->text));
      if (!dtype) return make_opaque(function, arguments);
      recipe.dtype = *dtype;
    }
    budget_.take(sizeof recipe + kTensorBytes);
    recipe.target = make(Kind::tensor);
    tree_.tensors_.push_back(recipe);
    return recipe.target;
  }

  PickleValue* make_dict(const PickleValue* function, const std::vector<PickleValue*>& arguments) {
    PickleValue* dict = make(Kind::dict);
    set_text(dict, function->text);
    if (arguments.empty()) return dict;
    // Python 2 wrote OrderedDict([(key, value), ...]) or [[key, value], ...].
    const PickleValue* pairs = arguments.back();
    if (pairs->is(Kind::dict)) {
      append_all(dict->items, pairs->items);
    } else if (pairs->is(Kind::list)) {
      for (const PickleValue* pair : pairs->items) {
        if (pair->items.size() != 2) malformed("a dict of something that is no pair");
        append_one(dict->items, pair->items[0]);
        append_one(dict->items, pair->items[1]);
      }
    }
    return dict;
  }

  /// Bytes before protocol 3: _codecs.encode(text, "latin1"). Null where the text is no Latin-1.
  PickleValue* make_bytes(std::string_view utf8) {
    std::string bytes;
    for (std::size_t i = 0; i < utf8.size(); ++i) {
      const auto byte = static_cast<unsigned char>(utf8[i]);
      if (byte < 0x80) {
        bytes += utf8[i];
        continue;
      }
      if ((byte != 0xc2 && byte != 0xc3) || i + 1 == utf8.size()) return nullptr;
      bytes += static_cast<char>((byte & 3) << 6 | (static_cast<unsigned char>(utf8[++i]) & 0x3f));
    }
    PickleValue* value = make(Kind::bytes);
    set_text(value, bytes);
    return value;
  }

  /// The result of function(*arguments), for the few functions understood here.
  PickleValue* reduce(const PickleValue* function, PickleValue* arguments, int depth = 0) {
    if (!arguments->is(Kind::tuple)) malformed("arguments that are no tuple");
    if (!function->is(Kind::global)) return make_opaque(function, arguments->items);
    const std::string& name = function->text;
    const auto& items = arguments->items;
    if (name == "torch._utils._rebuild_tensor" || name == "torch._utils._rebuild_tensor_v2")
      return make_tensor(function, items, false);
    if (name == "torch._utils._rebuild_tensor_v3") return make_tensor(function, items, true);
    if (name == "torch._utils._rebuild_parameter" ||
        name == "torch._utils._rebuild_parameter_with_state" ||
        name == "torch.nn.parameter.Parameter" || name == "torch.nn.parameter.Buffer") {
      if (!items.empty() && items[0]->is(Kind::tensor)) return items[0];
    }
    if (name == "torch._tensor._rebuild_from_type_v2" && items.size() >= 3 && depth < 4 &&
        items[2]->is(Kind::tuple))
      return reduce(items[0], items[2], depth + 1);
    if (name == "torch.Size" && items.size() == 1) return items[0];
    if (name == "collections.OrderedDict" || name == "collections.defaultdict" ||
        name == "collections.Counter")
      return make_dict(function, items);
    if ((name == "builtins.set" || name == "__builtin__.set" || name == "builtins.frozenset") &&
        items.size() == 1 && items[0]->is(Kind::list))
      return items[0];
    if (name == "_codecs.encode" && items.size() == 2 && items[0]->is(Kind::text) &&
        items[1]->text == "latin1")
      if (PickleValue* bytes = make_bytes(items[0]->text)) return bytes;
    if ((name == "__builtin__.bytes" || name == "builtins.bytes") && items.empty())
      return make(Kind::bytes);
    return make_opaque(function, items);
  }

  /// ('storage', torch.FloatStorage, key, device, numel[, view]).
  void push_persistent(const PickleValue* id) {
    const auto& items = id->items;
    const bool known = id->is(Kind::tuple) && items.size() >= 5 && items[0]->is(Kind::text) &&
                       items[0]->text == "storage" && items[1]->is(Kind::global) &&
                       items[2]->is(Kind::text) && items[4]->is(Kind::integer);
    const bool untyped = known && starts_with(items[1]->text, "torch.") &&
                         after_last_dot(items[1]->text) == "UntypedStorage";
    const auto dtype =
        known ? (untyped ? torch::kByte : storage_type(items[1]->text)) : std::nullopt;
    if (!dtype) {
      push(make(Kind::opaque))->text = "persistent id";
      return;
    }
    if (items[4]->integer < 0 || !items[4]->text.empty()) malformed("bad storage size");
    budget_.take(sizeof(StorageRecipe) + 2 * items[2]->text.size() + kMapEntryBytes);
    const auto [entry, is_new] =
        storage_index_.emplace(items[2]->text, static_cast<std::int64_t>(tree_.storages_.size()));
    if (is_new)
      tree_.storages_.push_back({items[2]->text, *dtype, items[4]->integer, untyped});
    else if (tree_.storages_[static_cast<std::size_t>(entry->second)].dtype != *dtype)
      malformed("one storage of two types");
    PickleValue* storage = push(make(Kind::storage));
    storage->integer = entry->second;
    // Before PyTorch 0.4 a storage could be a view of another: (key, offset, size).
    if (items.size() > 5 && items[5]->is(Kind::tuple) && items[5]->items.size() == 3 &&
        items[5]->items[1]->is(Kind::integer))
      storage->state = items[5]->items[1];
  }

  void build() {
    PickleValue* state = pop();
    PickleValue* object = top();
    if (object->is(Kind::opaque) || object->is(Kind::dict)) object->state = state;
  }

  void instance(PickleValue* callable, std::vector<PickleValue*> arguments) {
    PickleValue* tuple = make(Kind::tuple);
    tuple->items = std::move(arguments);
    push(reduce(callable, tuple));
  }

  bool step() {
    switch (static_cast<unsigned char>(take(1)[0])) {
      case 0x80:
        take(1);
        return true;  // PROTO
      case 0x95:
        take(8);
        return true;  // FRAME
      case '.':
        return false;  // STOP
      case '(':
        append_one(marks_, stack_.size());
        return true;  // MARK
      case '0':       // POP
        if (!marks_.empty() && marks_.back() == stack_.size())
          marks_.pop_back();
        else
          pop();
        return true;
      case '1':
        pop_to_mark();
        return true;  // POP_MARK
      case '2':
        push(top());
        return true;  // DUP
      case 'N':
        push(constant(Kind::none, 0));
        return true;  // NONE
      case 0x88:
        push(constant(Kind::boolean, 1));
        return true;  // NEWTRUE
      case 0x89:
        push(constant(Kind::boolean, 0));
        return true;  // NEWFALSE
      case 'I':
      case 'L':
        push_decimal(line());
        return true;  // INT, LONG
      case 'J':
        push_integer(number<std::int32_t>());
        return true;  // BININT
      case 'K':
        push_integer(number<std::uint8_t>());
        return true;  // BININT1
      case 'M':
        push_integer(number<std::uint16_t>());
        return true;  // BININT2
      case 0x8a:
        push_long(number<std::uint8_t>());
        return true;  // LONG1
      case 0x8b:
        push_long(number<std::uint32_t>());
        return true;  // LONG4
      case 'F':
        push_float_text(line());
        return true;  // FLOAT
      case 'G':
        push_big_endian_float();
        return true;  // BINFLOAT
      case 'S':
        push_repr(line());
        return true;  // STRING
      case 'T':
        push_text(Kind::text, take(number<std::uint32_t>()));
        return true;  // BINSTRING
      case 'U':
        push_text(Kind::text, take(number<std::uint8_t>()));
        return true;
      case 'V':
        push_raw_unicode(line());
        return true;  // UNICODE
      case 'X':
        push_text(Kind::text, take(number<std::uint32_t>()));
        return true;  // BINUNICODE
      case 0x8c:
        push_text(Kind::text, take(number<std::uint8_t>()));
        return true;
      case 0x8d:
        push_text(Kind::text, take(number<std::uint64_t>()));
        return true;
      case 'B':
        push_text(Kind::bytes, take(number<std::uint32_t>()));
        return true;  // BINBYTES
      case 'C':
        push_text(Kind::bytes, take(number<std::uint8_t>()));
        return true;
      case 0x8e:
      case 0x96:
        push_text(Kind::bytes, take(number<std::uint64_t>()));
        return true;
      case ']':
      case 0x8f:
        push(make(Kind::list));
        return true;  // EMPTY_LIST, EMPTY_SET
      case 'l': {
        auto items = pop_to_mark();
        push(make(Kind::list))->items = std::move(items);
        return true;
      }
      case 'a': {
        PickleValue* item = pop();
        PickleValue* list = top();
        if (list->is(Kind::list))
          append_one(list->items, item);
        else
          append(list, {});
        return true;
      }  // APPEND
      case 'e':
      case 0x90: {
        const auto items = pop_to_mark();
        append(top(), items);
        return true;
      }
      case ')':
        push_tuple({});
        return true;  // EMPTY_TUPLE
      case 't':
      case 0x91:
        push_tuple(pop_to_mark());
        return true;  // TUPLE, FROZENSET
      case 0x85:
      case 0x86:
      case 0x87: {  // TUPLE1..3
        const std::size_t count = static_cast<unsigned char>(bytes_[at_ - 1]) - 0x84u;
        if (stack_.size() < floor() + count) malformed("its stack is empty");
        budget_.take(count * sizeof(PickleValue*));
        std::vector<PickleValue*> items(stack_.end() - static_cast<std::ptrdiff_t>(count),
                                        stack_.end());
        stack_.resize(stack_.size() - count);
        push_tuple(std::move(items));
        return true;
      }
      case '}':
        push(make(Kind::dict));
        return true;  // EMPTY_DICT
      case 'd': {
        const auto pairs = pop_to_mark();
        set_items(push(make(Kind::dict)), pairs);
        return true;
      }
      case 's': {  // SETITEM
        PickleValue* value = pop();
        PickleValue* key = pop();
        PickleValue* dict = top();
        if (!dict->is(Kind::dict))
          set_items(dict, {});
        else {
          append_one(dict->items, key);
          append_one(dict->items, value);
        }
        return true;
      }
      case 'u': {
        const auto pairs = pop_to_mark();
        set_items(top(), pairs);
        return true;
      }
      case 'c': {  // GLOBAL
        const std::string_view module = line();
        push(make_global(module, line()));
        return true;
      }
      case 0x93: {  // STACK_GLOBAL
        const PickleValue* name = pop();
        const PickleValue* module = pop();
        if (!name->is(Kind::text) || !module->is(Kind::text)) malformed("bad global");
        push(make_global(module->text, name->text));
        return true;
      }
      case 'R':
      case 0x81: {  // REDUCE, NEWOBJ
        PickleValue* arguments = pop();
        const PickleValue* callable = pop();
        push(reduce(callable, arguments));
        return true;
      }
      case 0x92: {  // NEWOBJ_EX
        pop();
        PickleValue* arguments = pop();
        const PickleValue* callable = pop();
        push(reduce(callable, arguments));
        return true;
      }
      case 'i': {  // INST
        const std::string_view module = line();
        PickleValue* callable = make_global(module, line());
        instance(callable, pop_to_mark());
        return true;
      }
      case 'o': {  // OBJ
        auto items = pop_to_mark();
        if (items.empty()) malformed("an object without class");
        PickleValue* callable = make(Kind::global);
        set_text(callable, items[0]->text);
        items.erase(items.begin());
        instance(callable, std::move(items));
        return true;
      }
      case 'b':
        build();
        return true;  // BUILD
      case 'p':
        remember(memo_key(line()));
        return true;  // PUT
      case 'q':
        remember(number<std::uint8_t>());
        return true;  // BINPUT
      case 'r':
        remember(number<std::uint32_t>());
        return true;  // LONG_BINPUT
      case 0x94:
        remember(memo_.size());
        return true;  // MEMOIZE
      case 'g':
        recall(memo_key(line()));
        return true;  // GET
      case 'h':
        recall(number<std::uint8_t>());
        return true;  // BINGET
      case 'j':
        recall(number<std::uint32_t>());
        return true;  // LONG_BINGET
      case 'P': {     // PERSID
        PickleValue* id = make(Kind::text);
        set_text(id, line());
        push_persistent(id);
        return true;
      }
      case 'Q':
        push_persistent(pop());
        return true;  // BINPERSID
      default:
        malformed("unknown opcode");
    }
  }

  std::string_view bytes_;
  const std::string& source_;
  PickleTree& tree_;
  MemoryBudget budget_;
  std::size_t at_ = 0;
  std::vector<PickleValue*> stack_;
  std::vector<std::size_t> marks_;
  std::unordered_map<std::uint64_t, PickleValue*> memo_;
  std::map<std::pair<Kind, std::int64_t>, PickleValue*> constants_;
  std::unordered_map<std::string, std::int64_t> storage_index_;
};

PickleTree::PickleTree(std::string_view bytes, const std::string& source) {
  Unpickler(bytes, source, *this).run();
}

}  // namespace linex
