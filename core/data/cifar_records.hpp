// The records of one CIFAR file, binary or pickled.
#pragma once

#include <cstdint>
#include <filesystem>
#include <memory>
#include <vector>

namespace linex {

inline constexpr std::int64_t kCifarSide = 32;
inline constexpr std::int64_t kCifarPlane = kCifarSide * kCifarSide;
inline constexpr std::int64_t kCifarPixels = 3 * kCifarPlane;

struct CifarRecord {
  const unsigned char* planes = nullptr;  ///< red, green, blue, each kCifarPlane bytes by rows
  std::int64_t label = 0;                 ///< below the number of classes; CIFAR-100: the fine one
};

struct CifarFile {
  std::shared_ptr<const void> owner;  ///< keeps the planes alive
  std::vector<CifarRecord> records;
};

/// Reads a file of either form. `classes` is 10 or 100. Throws Error(input) naming the file when it
/// is neither, or a label is out of range. Pickles are never executed.
CifarFile read_cifar_file(const std::filesystem::path& path, int classes);

}  // namespace linex
