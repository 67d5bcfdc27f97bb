// Bases from files, whoever wrote them (docs/units.md). Nothing in a file is executed.
#pragma once

#include <cstdint>
#include <filesystem>
#include <string>
#include <vector>

#include "toolkit/units/basis.hpp"

namespace linex::units {

enum class Kind { automatic, directions, sae };

struct BasisOptions {
  std::filesystem::path file;  ///< file, folder or FILE:NAME
  Kind kind = Kind::automatic;
  /// "auto": as the file says; else identity, relu, topk, batch_topk or jumprelu.
  std::string activation = "auto";
  std::int64_t k = 0;           ///< 0: the file's
  std::int64_t components = 0;  ///< only the first so many units; 0: all
};

struct BasisFile {
  Basis basis;
  std::vector<std::string> notes;  ///< what was found, one line each, for the log
};

/// Reads a basis. Kinds:
///  * sae: a folder or file of SAELens, dictionary_learning, saev or Prisma;
///  * directions: any matrix (M, D), one row a unit, with a vector of M biases where the file has
///    one, from .npy, .npz, .safetensors or .pt. A unit's value changes by Δ where x moves by
///    Δ·d/|d|².
/// Throws Error(input) in one line naming the file and what is wrong with it, Error(usage) for
/// options that do not fit it.
BasisFile read_basis(const BasisOptions& options);

/// What files call a basis: the name of its file or folder without extension, or NAME of FILE:NAME;
/// letters, digits and "._+-", anything else as '_'.
std::string stem_of(const std::filesystem::path& file);

}  // namespace linex::units
