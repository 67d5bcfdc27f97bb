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
  std::int64_t label = 0;                 ///< below the number of classes
};

struct CifarFile {
  std::shared_ptr<const void> owner;  ///< keeps the planes alive
  std::vector<CifarRecord> records;
};

/// Which labels: CIFAR-10's, or one of the two kinds that CIFAR-100 has.
enum class CifarLabels { ten, fine, coarse };
constexpr int cifar_classes(CifarLabels labels) {
  return labels == CifarLabels::ten ? 10 : labels == CifarLabels::fine ? 100 : 20;
}
/// Number in the data set's name.
constexpr int cifar_kind(CifarLabels labels) { return labels == CifarLabels::ten ? 10 : 100; }

/// Reads a file of either form. Throws Error(input) naming the file when it is neither, or a label
/// is out of range. Pickles are never executed.
CifarFile read_cifar_file(const std::filesystem::path& path, CifarLabels labels);

}  // namespace linex
