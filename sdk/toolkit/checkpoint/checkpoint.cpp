#include "toolkit/checkpoint/checkpoint.hpp"

#include <cstring>

#include "linex/error.hpp"
#include "toolkit/base/files.hpp"
#include "toolkit/base/text.hpp"
#include "toolkit/checkpoint/zip.hpp"

namespace linex {
namespace {

/// A tensor of stride 0 may be larger than its storage, but not without bound.
constexpr std::int64_t kMaxExpanded = 1 << 24;
constexpr std::int64_t kMaxSide = std::int64_t{1} << 40;

/// Sums and products of three 64-bit numbers from a file do not overflow it.
__extension__ typedef __int128 Wide;

struct Block {
  unsigned char* data = nullptr;
  std::size_t size = 0;
  std::shared_ptr<unsigned char[]> copy = nullptr;  ///< where the file has them misaligned
};

/// Bytes a storage needs; throws when that does not fit.
std::size_t storage_bytes(const StorageRecipe& storage, const std::string& source) {
  std::int64_t bytes = 0;
  if (__builtin_mul_overflow(storage.numel,
                             static_cast<std::int64_t>(torch::elementSize(storage.dtype)), &bytes))
    throw input_error(source + ": storage '" + printable(storage.key) + "' claims an absurd size");
  return static_cast<std::size_t>(bytes);
}

bool misaligned(const unsigned char* data, torch::ScalarType dtype) {
  return reinterpret_cast<std::uintptr_t>(data) % torch::elementSize(dtype) != 0;
}

void attach_tensors(PickleTree& tree, std::vector<Block>& blocks,
                    const std::shared_ptr<MappedFile>& file, const std::string& source) {
  for (const TensorRecipe& recipe : tree.tensors()) {
    Block& block = blocks[recipe.storage];
    // Copied once, not for each of the tensors that view it.
    if (!block.copy && block.size > 0 && misaligned(block.data, recipe.dtype)) {
      block.copy.reset(new unsigned char[block.size]);
      std::memcpy(block.copy.get(), block.data, block.size);
    }
    std::shared_ptr<const void> owner = file;
    if (block.copy) owner = block.copy;
    recipe.target->tensor =
        tensor_over_bytes(owner, block.copy ? block.copy.get() : block.data, block.size,
                          recipe.dtype, recipe.offset, recipe.sizes, recipe.strides, source);
  }
}

std::string_view view(const ZipArchive::Entry& entry) {
  return {reinterpret_cast<const char*>(entry.data), entry.size};
}

/// Since 1.6: NAME/data.pkl, NAME/data/KEY; a TorchScript archive is alike.
std::shared_ptr<PickleTree> read_zip(const std::shared_ptr<MappedFile>& file,
                                     const std::string& source, std::size_t offset) {
  const ZipArchive zip(file->data() + offset, file->size() - offset, source);
  const ZipArchive::Entry* pickle = nullptr;
  constexpr std::string_view kName = "data.pkl";
  for (const auto& entry : zip.entries()) {
    if (entry.name.size() < kName.size() ||
        entry.name.compare(entry.name.size() - kName.size(), kName.size(), kName) != 0)
      continue;
    if (!pickle || entry.name.size() < pickle->name.size()) pickle = &entry;
  }
  if (!pickle)
    throw input_error(source +
                      ": a zip archive without data.pkl is no PyTorch checkpoint; give a "
                      "file written by torch.save or a .safetensors file");
  if (!pickle->stored)
    throw input_error(source + ": its entries are compressed; save it again with torch.save");
  const std::string folder = pickle->name.substr(0, pickle->name.size() - kName.size());
  if (const auto* order = zip.find(folder + "byteorder"); order && view(*order) == "big")
    throw input_error(source +
                      ": written on a big-endian machine; save it again on a "
                      "little-endian one");

  auto tree = std::make_shared<PickleTree>(view(*pickle), source);
  std::vector<Block> blocks;
  for (const StorageRecipe& storage : tree->storages()) {
    const auto* entry = zip.find(folder + "data/" + storage.key);
    // torch.jit.save may keep tensors beside their pickle.
    if (!entry) entry = zip.find(folder + storage.key);
    if (!entry || !entry->stored || entry->size < storage_bytes(storage, source))
      throw input_error(source + ": the values of storage '" + printable(storage.key) +
                        "' are missing or too short; fetch or save the file again");
    blocks.emplace_back();
    blocks.back().data = const_cast<unsigned char*>(entry->data);
    blocks.back().size = storage_bytes(storage, source);
  }
  attach_tensors(*tree, blocks, file, source);
  return tree;
}

// Before 1.6: pickles of the magic number, the protocol, facts about the machine, the object and
// the storages' keys, then for each key the number of elements and the raw elements.
const char* const kMagic = "\x6c\xfc\x9c\x46\xf9\x20\x6a\xa8\x50\x19";

std::shared_ptr<PickleTree> read_legacy(const std::shared_ptr<MappedFile>& file,
                                        const std::string& source, std::size_t offset) {
  const std::string_view bytes(reinterpret_cast<const char*>(file->data()) + offset,
                               file->size() - offset);
  std::size_t at = 0;
  const auto next = [&] {
    auto tree = std::make_shared<PickleTree>(bytes.substr(at), source);
    at += tree->consumed();
    return tree;
  };
  const auto magic = next();
  if (magic->root().text != kMagic)
    throw input_error(source +
                      ": a pickle, but none of torch.save; save the weights with "
                      "torch.save or as .safetensors");
  next();  // protocol
  const auto machine = next();
  if (const auto* little = machine->root().get("little_endian"); little && little->integer == 0)
    throw input_error(source +
                      ": written on a big-endian machine; save it again on a "
                      "little-endian one");
  auto tree = next();
  const auto keys = next();

  std::vector<Block> blocks(tree->storages().size());
  std::unordered_map<std::string, std::size_t> index;
  for (std::size_t i = 0; i < blocks.size(); ++i) index[tree->storages()[i].key] = i;
  const auto truncated = [&] {
    return input_error(source + ": truncated inside the tensors' values; fetch it again");
  };
  for (const PickleValue* key : keys->root().items) {
    const auto found = index.find(key->text);
    if (found == index.end())
      throw input_error(source + ": lists storage '" + printable(key->text) +
                        "', which no tensor uses; the file is damaged, fetch it again");
    const StorageRecipe& storage = tree->storages()[found->second];
    std::int64_t numel = 0;
    if (bytes.size() - at < sizeof numel) throw truncated();
    std::memcpy(&numel, bytes.data() + at, sizeof numel);
    at += sizeof numel;
    if (numel < storage.numel) throw truncated();
    StorageRecipe stored = storage;
    stored.numel = numel;
    const std::size_t size = storage_bytes(stored, source);
    if (size > bytes.size() - at) throw truncated();
    blocks[found->second].data = file->data() + offset + at;
    blocks[found->second].size = size;
    at += size;
  }
  for (std::size_t i = 0; i < blocks.size(); ++i)
    if (!blocks[i].data && tree->storages()[i].numel > 0) throw truncated();
  attach_tensors(*tree, blocks, file, source);
  return tree;
}

bool is_zip(const MappedFile& file, std::size_t offset) {
  return file.size() - offset >= 4 && std::memcmp(file.data() + offset, "PK\3\4", 4) == 0;
}

bool is_legacy(const MappedFile& file, std::size_t offset) {
  const unsigned char* const start = file.data() + offset;
  // PROTO n, LONG1 10 or a decimal LONG of the magic number.
  return file.size() - offset >= 4 && start[0] == 0x80 && start[1] <= 5 &&
         (start[2] == 0x8a || start[2] == 0x95);
}

}  // namespace

torch::Tensor tensor_over_bytes(const std::shared_ptr<const void>& owner, unsigned char* data,
                                std::size_t size, torch::ScalarType dtype, std::int64_t offset,
                                const std::vector<std::int64_t>& sizes,
                                const std::vector<std::int64_t>& strides,
                                const std::string& source) {
  constexpr Wide kBeyondAnyFile = Wide{1} << 62;
  const std::size_t element = torch::elementSize(dtype);
  const auto available = static_cast<Wide>(size / element);
  Wide count = 1, last = offset, extent = static_cast<Wide>(element);
  bool bad = offset < 0;
  for (std::size_t d = 0; d < sizes.size() && !bad; ++d) {
    bad = sizes[d] < 0 || sizes[d] > kMaxSide || strides[d] < 0;
    // A tensor without values has strides all the same, which must not overflow.
    extent = std::min<Wide>(extent * std::max<std::int64_t>(sizes[d], 1), kBeyondAnyFile);
    if (sizes[d] == 0 || bad) {
      count = 0;
      continue;
    }
    last += static_cast<Wide>(sizes[d] - 1) * strides[d];
    // Saturates instead of overflowing after many huge dimensions.
    count = std::min<Wide>(count * sizes[d], kBeyondAnyFile);
    bad = last > kBeyondAnyFile;
  }
  const torch::TensorOptions options = torch::TensorOptions().dtype(dtype);
  if (!bad && count == 0 && extent < kBeyondAnyFile) return torch::empty(sizes, options);
  if (bad || last >= available || count > std::max<Wide>(available, kMaxExpanded))
    throw input_error(source +
                      ": a tensor of it lies outside its values; the file is damaged, "
                      "fetch or save it again");
  unsigned char* first = data + static_cast<std::size_t>(offset) * element;
  if (misaligned(first, dtype)) {
    const auto span = static_cast<std::int64_t>(last) - offset + 1;
    torch::Tensor aligned = torch::empty({span}, options);
    std::memcpy(aligned.data_ptr(), first, static_cast<std::size_t>(span) * element);
    return aligned.as_strided(sizes, strides);
  }
  return torch::from_blob(
      first, sizes, strides, [owner](void*) {}, options);
}

bool looks_like_checkpoint(const MappedFile& file, std::size_t offset) {
  return is_zip(file, offset) || is_legacy(file, offset);
}

Checkpoint load_checkpoint(const std::shared_ptr<MappedFile>& file, const std::string& source,
                           std::size_t offset) {
  if (is_zip(*file, offset)) return {read_zip(file, source, offset)};
  if (is_legacy(*file, offset)) return {read_legacy(file, source, offset)};
  throw input_error(source + ": no PyTorch checkpoint; give a file written by torch.save");
}

Checkpoint load_checkpoint(const std::filesystem::path& path) {
  return load_checkpoint(std::make_shared<MappedFile>(path), path.string());
}

}  // namespace linex
