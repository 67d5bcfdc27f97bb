// The safetensors format: a JSON header and raw little-endian values.
#pragma once

#include <filesystem>
#include <map>
#include <memory>
#include <string>

#include "toolkit/checkpoint/weights.hpp"

namespace linex {

class MappedFile;

/// Whether the bytes begin like a safetensors file.
bool looks_like_safetensors(const MappedFile& file);
/// Adds the tensors of one file to `into`; errors begin with `source`. As the format has it, the
/// tensors take every byte after the header once.
void read_safetensors(const std::shared_ptr<MappedFile>& file, const std::string& source,
                      StateDict& into);
/// Writes float32 and float16 tensors, sorted by name, atomically: the same tensors give the same
/// bytes.
void write_safetensors(const std::filesystem::path& path,
                       const std::map<std::string, torch::Tensor>& tensors);

}  // namespace linex
