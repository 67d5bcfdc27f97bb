// Sparse autoencoders as their writers leave them.
#pragma once

#include <filesystem>
#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "toolkit/checkpoint/weights.hpp"
#include "toolkit/units/basis.hpp"

namespace linex::units {

enum class Writer { sae_lens, dictionary_learning, saev, prisma };

/// A file taken apart: who wrote it, what its configuration says and its tensors.
struct SaeFile {
  Writer writer = Writer::sae_lens;
  std::string source;            ///< the file of the weights
  nlohmann::json configuration;  ///< an object; null where there is none
  std::string configured_by;     ///< the file of the configuration, for messages
  StateDict weights;
};

/// Finds out who wrote a file or folder and reads it. False where its tensors are of no
/// autoencoder. Throws Error(input) for damage.
bool open_sae(const std::filesystem::path& path, SaeFile& file);

/// The basis that the file's configuration and tensors describe; finish() is left to do.
/// `activation` and `k` as in BasisOptions. Adds to `notes` what else the file says.
Basis basis_of(const SaeFile& file, const std::string& activation, std::int64_t k,
               std::vector<std::string>& notes);

}  // namespace linex::units
