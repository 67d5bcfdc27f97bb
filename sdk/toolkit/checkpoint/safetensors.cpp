#include "toolkit/checkpoint/safetensors.hpp"

#include <algorithm>
#include <cstring>
#include <nlohmann/json.hpp>
#include <vector>

#include "linex/error.hpp"
#include "toolkit/base/budget.hpp"
#include "toolkit/base/files.hpp"
#include "toolkit/base/text.hpp"
#include "toolkit/checkpoint/checkpoint.hpp"

namespace linex {
namespace {

using Json = nlohmann::json;

/// The format's own bound on the header.
constexpr std::uint64_t kMaxHeader = 100'000'000;

Error damaged(const std::string& source, const std::string& what) {
  return input_error(source + ": damaged safetensors file (" + what + "); fetch or save it again");
}

torch::ScalarType scalar_type(const std::string& name, const std::string& source) {
  static const std::map<std::string, torch::ScalarType> kTypes = {
      {"F64", torch::kDouble},    {"F32", torch::kFloat}, {"F16", torch::kHalf},
      {"BF16", torch::kBFloat16}, {"I64", torch::kLong},  {"I32", torch::kInt},
      {"I16", torch::kShort},     {"I8", torch::kChar},   {"U8", torch::kByte},
      {"BOOL", torch::kBool}};
  const auto found = kTypes.find(name);
  if (found == kTypes.end())
    throw input_error(source + ": tensors of type " + printable(name) +
                      " are not supported; save them as float32");
  return found->second;
}

std::uint64_t header_size(const MappedFile& file) {
  std::uint64_t size = 0;
  std::memcpy(&size, file.data(), sizeof size);
  return size;
}

/// What the header says of one tensor.
struct Entry {
  std::string name, dtype;
  std::vector<std::int64_t> shape, range;
};

/// Reads the header as it streams by, without a tree of it: {name: {"dtype": text, "shape":
/// [numbers], "data_offsets": [begin, end]}, ..., "__metadata__": {text: text}}. Anything nested
/// deeper ends the reading at once.
class HeaderReader final : public nlohmann::json_sax<Json> {
 public:
  HeaderReader(MemoryBudget& budget, const std::string& source)
      : budget_(budget), source_(source) {}
  std::vector<Entry> entries;

  bool start_object(std::size_t) override {
    if (in_list_ || ++depth_ > 2) throw damaged(source_, "its header nests too deep");
    return true;
  }
  bool end_object() override {
    if (--depth_ == 1 && !metadata_) finish_entry();
    return true;
  }
  bool key(string_t& name) override {
    if (depth_ == 1) {
      metadata_ = name == "__metadata__";
      if (metadata_) return true;
      budget_.take(kEntryBytes + name.size());
      entries.emplace_back();
      entries.back().name = name;
    } else {
      key_ = name;
    }
    return true;
  }
  bool start_array(std::size_t) override {
    if (depth_ != 2 || in_list_) throw damaged(source_, "its header is no object of tensors");
    in_list_ = true;
    return true;
  }
  bool end_array() override {
    in_list_ = false;
    return true;
  }
  bool number_unsigned(number_unsigned_t value) override {
    if (!in_list_) return scalar();
    if (metadata_ || (key_ != "shape" && key_ != "data_offsets")) return true;
    auto& list = key_ == "shape" ? entries.back().shape : entries.back().range;
    constexpr std::size_t kMostNumbers = 16;
    if (list.size() == kMostNumbers || value > INT64_MAX) throw damaged(source_, "bad " + key_);
    list.push_back(static_cast<std::int64_t>(value));
    return true;
  }
  bool string(string_t& value) override {
    if (in_list_) return in_shape();
    if (depth_ == 2 && !metadata_ && key_ == "dtype") entries.back().dtype = value;
    return scalar();
  }
  bool null() override { return in_list_ ? in_shape() : scalar(); }
  bool boolean(bool) override { return in_list_ ? in_shape() : scalar(); }
  bool number_integer(number_integer_t) override { return in_list_ ? in_shape() : scalar(); }
  bool number_float(number_float_t, const string_t&) override {
    return in_list_ ? in_shape() : scalar();
  }
  bool binary(binary_t&) override { return false; }
  bool parse_error(std::size_t, const std::string&, const nlohmann::detail::exception&) override {
    return false;
  }

 private:
  /// Of an entry, and what is made of it: a tensor in a map.
  static constexpr std::size_t kEntryBytes = 1024;

  bool scalar() {
    if (depth_ != 2) throw damaged(source_, "its header is no object of tensors");
    return true;
  }
  bool in_shape() {
    if (!metadata_ && (key_ == "shape" || key_ == "data_offsets"))
      throw damaged(source_, "bad " + key_);
    return true;
  }
  void finish_entry() {
    Entry& entry = entries.back();
    if (entry.dtype.empty() || entry.range.size() != 2)
      throw damaged(source_,
                    "tensor '" + printable(entry.name) + "' lacks dtype, shape or data_offsets");
  }

  MemoryBudget& budget_;
  const std::string& source_;
  int depth_ = 0;
  bool in_list_ = false, metadata_ = false;
  std::string key_;
};

/// The format has the tensors one after the other, from the first byte to the last.
void check_ranges(std::vector<Entry>& entries, std::uint64_t available, const std::string& source) {
  std::sort(entries.begin(), entries.end(),
            [](const Entry& a, const Entry& b) { return a.range < b.range; });
  std::int64_t end = 0;
  for (const Entry& entry : entries) {
    const std::string name = "tensor '" + printable(entry.name) + "' ";
    if (entry.range[0] > entry.range[1] || static_cast<std::uint64_t>(entry.range[1]) > available)
      throw damaged(source, name + "lies outside the file; truncated?");
    if (entry.range[0] != end)
      throw damaged(source, name + (entry.range[0] < end ? "shares bytes with another"
                                                         : "leaves a gap before it"));
    end = entry.range[1];
  }
  if (static_cast<std::uint64_t>(end) != available)
    throw damaged(source, "bytes at its end belong to no tensor");
}

}  // namespace

bool looks_like_safetensors(const MappedFile& file) {
  if (file.size() < 10 || file.data()[8] != '{') return false;
  return header_size(file) <= std::min<std::uint64_t>(kMaxHeader, file.size() - 8);
}

void read_safetensors(const std::shared_ptr<MappedFile>& file, const std::string& source,
                      StateDict& into) {
  if (file->size() < 10 ||
      header_size(*file) > std::min<std::uint64_t>(kMaxHeader, file->size() - 8))
    throw damaged(source, "the header does not fit; truncated?");
  const std::uint64_t header_bytes = header_size(*file);
  const auto* text = reinterpret_cast<const char*>(file->data()) + 8;
  MemoryBudget budget(file->size(), source);
  HeaderReader header(budget, source);
  if (!Json::sax_parse(text, text + header_bytes, &header))
    throw damaged(source, "the header is no JSON object");
  unsigned char* values = file->data() + 8 + header_bytes;
  check_ranges(header.entries, file->size() - 8 - header_bytes, source);

  for (const Entry& entry : header.entries) {
    const std::string name = "tensor '" + printable(entry.name) + "' ";
    const torch::ScalarType dtype = scalar_type(entry.dtype, source);
    const auto bytes = static_cast<std::size_t>(entry.range[1] - entry.range[0]);
    std::vector<std::int64_t> strides(entry.shape.size(), 1);
    auto expected = static_cast<std::int64_t>(torch::elementSize(dtype));
    for (std::size_t d = entry.shape.size(); d-- > 0;) {
      strides[d] = expected / static_cast<std::int64_t>(torch::elementSize(dtype));
      if (entry.shape[d] == 0) expected = 0;
      if (__builtin_mul_overflow(expected, entry.shape[d], &expected))
        throw damaged(source, name + "has an absurd shape");
    }
    if (static_cast<std::size_t>(expected) != bytes)
      throw damaged(source, name + "has a shape of " + std::to_string(expected) + " bytes and " +
                                std::to_string(bytes) + " bytes of values");
    if (into.tensors.count(entry.name)) throw damaged(source, name + "is there twice");
    into.tensors[entry.name] = tensor_over_bytes(file, values + entry.range[0], bytes, dtype, 0,
                                                 entry.shape, strides, source);
  }
}

void write_safetensors(const std::filesystem::path& path,
                       const std::map<std::string, torch::Tensor>& tensors) {
  Json header = Json::object();
  std::string values;
  for (const auto& [name, tensor] : tensors) {
    const bool half = tensor.scalar_type() == torch::kFloat16;
    const torch::Tensor stored =
        tensor.to(torch::kCPU, half ? torch::kFloat16 : torch::kFloat32).contiguous();
    const std::size_t begin = values.size();
    values.append(static_cast<const char*>(stored.data_ptr()), stored.nbytes());
    header[name] = {{"dtype", half ? "F16" : "F32"},
                    {"shape", stored.sizes().vec()},
                    {"data_offsets", {begin, values.size()}}};
  }
  std::string text = header.dump();
  text.resize((text.size() + 7) / 8 * 8, ' ');  // values start aligned
  const std::uint64_t size = text.size();
  std::string file(reinterpret_cast<const char*>(&size), sizeof size);
  write_file_atomic(path, file + text + values);
}

}  // namespace linex
