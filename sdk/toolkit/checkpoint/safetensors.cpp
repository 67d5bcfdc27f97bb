#include "toolkit/checkpoint/safetensors.hpp"

#include <cstring>
#include <nlohmann/json.hpp>
#include <set>

#include "linex/error.hpp"
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

std::vector<std::int64_t> lengths(const Json& list, const std::string& source) {
  if (!list.is_array() || list.size() > 16) throw damaged(source, "bad shape");
  std::vector<std::int64_t> values;
  for (const Json& value : list) {
    if (!value.is_number_unsigned()) throw damaged(source, "bad shape");
    values.push_back(value.get<std::int64_t>());
  }
  return values;
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
  const Json header = Json::parse(text, text + header_bytes, nullptr, false);
  if (!header.is_object()) throw damaged(source, "the header is no JSON object");
  unsigned char* values = file->data() + 8 + header_bytes;
  const std::uint64_t available = file->size() - 8 - header_bytes;

  for (const auto& [name, entry] : header.items()) {
    if (name == "__metadata__") continue;
    if (!entry.is_object() || !entry.contains("dtype") || !entry["dtype"].is_string() ||
        !entry.contains("shape") || !entry.contains("data_offsets"))
      throw damaged(source, "tensor '" + printable(name) + "' lacks dtype, shape or data_offsets");
    const auto sizes = lengths(entry["shape"], source);
    const auto range = lengths(entry["data_offsets"], source);
    if (range.size() != 2 || range[0] < 0 || range[0] > range[1] ||
        static_cast<std::uint64_t>(range[1]) > available)
      throw damaged(source, "tensor '" + printable(name) + "' lies outside the file; truncated?");
    std::vector<std::int64_t> strides(sizes.size(), 1);
    for (std::size_t d = sizes.size(); d-- > 1;)
      if (__builtin_mul_overflow(strides[d], std::max<std::int64_t>(sizes[d], 1), &strides[d - 1]))
        throw damaged(source, "tensor '" + printable(name) + "' has an absurd shape");
    into.tensors[name] = tensor_over_bytes(
        file, values + range[0], static_cast<std::size_t>(range[1] - range[0]),
        scalar_type(entry["dtype"].get<std::string>(), source), 0, sizes, strides, source);
  }
}

void read_safetensors_index(const std::filesystem::path& index, StateDict& into) {
  const Json json = Json::parse(read_file(index, kMaxHeader), nullptr, false);
  if (!json.is_object() || !json.contains("weight_map") || !json["weight_map"].is_object())
    throw input_error(index.string() + ": no index of safetensors shards (no weight_map)");
  std::set<std::string> shards;
  for (const auto& [name, shard] : json["weight_map"].items()) {
    const std::string file = shard.is_string() ? shard.get<std::string>() : "";
    // A shard lies beside its index; anything else would let an index read any file.
    if (file.empty() || file.find('/') != std::string::npos || file == "." || file == "..")
      throw input_error(index.string() + ": shard of '" + printable(name) +
                        "' is no plain file name");
    shards.insert(file);
  }
  for (const std::string& shard : shards) {
    const auto path = index.parent_path() / shard;
    read_safetensors(std::make_shared<MappedFile>(path), path.string(), into);
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
