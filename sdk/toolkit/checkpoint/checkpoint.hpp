// PyTorch checkpoint files as trees of plain values and tensors.
#pragma once

#include <torch/types.h>

#include <filesystem>
#include <memory>
#include <string>

#include "toolkit/checkpoint/pickle.hpp"

namespace linex {

class MappedFile;

/// A parsed checkpoint. The tree's tensors view the mapped file (copy-on-write, never written
/// through) and keep it mapped; the tree itself lives as long as this object.
struct Checkpoint {
  std::shared_ptr<const PickleTree> tree;
  const PickleValue& root() const { return tree->root(); }
};

/// Reads a file of torch.save (zip since 1.6, the legacy format before) or of torch.jit.save.
/// Nothing in the file is executed. Throws Error(input) naming the file.
Checkpoint load_checkpoint(const std::filesystem::path& path);

/// Whether the bytes from `offset` ≤ its size on begin like a file load_checkpoint() reads.
bool looks_like_checkpoint(const MappedFile& file, std::size_t offset = 0);
/// The same over a file already mapped; `source` begins every error. The checkpoint may begin at
/// `offset`, inside another format.
Checkpoint load_checkpoint(const std::shared_ptr<MappedFile>& file, const std::string& source,
                           std::size_t offset = 0);

/// A tensor over elements `offset + sum(index*stride)` of the bytes [data, data+size), which
/// `owner` keeps alive; misaligned bytes are copied. Throws Error(input) beginning with `source`
/// when it would reach outside, or when it is absurdly larger than its bytes.
torch::Tensor tensor_over_bytes(const std::shared_ptr<const void>& owner, unsigned char* data,
                                std::size_t size, torch::ScalarType dtype, std::int64_t offset,
                                const std::vector<std::int64_t>& sizes,
                                const std::vector<std::int64_t>& strides,
                                const std::string& source);

}  // namespace linex
