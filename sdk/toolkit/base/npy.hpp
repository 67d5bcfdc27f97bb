// NumPy .npy files: written atomically, read through a memory map.
#pragma once

#include <torch/types.h>

#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <memory>
#include <string>
#include <vector>

namespace linex {

/// A .npy file as a dense tensor: over its mapped bytes (private mapping; the tensor keeps it
/// alive) where they are little-endian and in C order, else a copy. dtypes f2 f4 f8, i1 i2 i4 i8,
/// u1, b1; u2, u4 and u8 become the next wider signed integer. Throws Error(input) naming the file
/// for a missing, truncated or malformed one; every length is checked before it is used.
torch::Tensor map_npy(const std::filesystem::path& path);
/// The same of a .npy file's bytes, which `owner` keeps alive; errors name `source`.
torch::Tensor npy_over_bytes(const std::shared_ptr<const void>& owner, unsigned char* bytes,
                             std::size_t size, const std::string& source);

/// The same read into memory, for files that somebody else may still change: a mapped file that is
/// cut short would end this process. Files over `max_bytes` are refused before they are read.
torch::Tensor read_npy(const std::filesystem::path& path, std::uint64_t max_bytes);

/// Lets go of the memory behind rows [first, first + n) of a matrix made by map_npy, so that
/// reading a large file does not keep it resident; the rows come back from the file when read
/// again. Does nothing for other tensors and for files under 1 GiB. Whoever wrote to the rows loses
/// that.
void release_rows(const torch::Tensor& mapped, std::int64_t first, std::int64_t n);
/// matrix.index_select(0, rows) on the CPU for ascending rows within it, releasing what was read.
torch::Tensor copy_rows(const torch::Tensor& matrix, const std::vector<std::int64_t>& rows);
/// Columns [first, first + columns) of that alone, of a matrix (N, K).
torch::Tensor copy_rows(const torch::Tensor& matrix, const std::vector<std::int64_t>& rows,
                        std::int64_t first, std::int64_t columns);

/// Writes a contiguous CPU tensor (any dtype above) to a temporary name, syncs, renames.
void write_npy(const std::filesystem::path& path, const torch::Tensor& tensor);

/// The same without syncing, for files that live no longer than the run. Replaces the name whole:
/// who has mapped the former file keeps it.
void write_scratch_npy(const std::filesystem::path& path, const torch::Tensor& tensor);

/// Fills a float32 .npy of known shape row block by row block; finish() makes it appear under its
/// name.
class NpyWriter {
 public:
  /// Without `durable` the content is not synced to disk.
  NpyWriter(const std::filesystem::path& path, std::vector<std::int64_t> shape,
            bool durable = true);
  ~NpyWriter();  // removes the temporary file unless finished
  NpyWriter(const NpyWriter&) = delete;
  NpyWriter& operator=(const NpyWriter&) = delete;
  void append(const torch::Tensor& rows);  ///< float32 (n, shape[1:]...)
  void finish();

 private:
  struct State;
  std::unique_ptr<State> state_;
};

}  // namespace linex
