// How much memory reading a file may take.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>

namespace linex {

/// The rule of all readers of outside files: what is allocated while a file is read stays below
/// kMemoryBase + kMemoryFactor × its size, whatever it says. The largest honest factor known is
/// that of a pickle full of small numbers, about 30. (Pixels have a bound of their own: those of an
/// image that Pillow would decode.)
inline constexpr std::uint64_t kMemoryFactor = 32;
inline constexpr std::uint64_t kMemoryBase = 64ULL << 20;

/// Counts what a reader is about to allocate for one file.
class MemoryBudget {
 public:
  /// `source` begins the error.
  MemoryBudget(std::uint64_t file_bytes, std::string source);

  /// Call before allocating. Throws Error(input) when the sum is beyond the rule.
  void take(std::uint64_t bytes) {
    if (bytes > left_) refuse();
    left_ -= bytes;
  }
  std::uint64_t left() const { return left_; }

 private:
  [[noreturn]] void refuse() const;

  std::uint64_t file_bytes_;
  std::uint64_t left_;
  std::string source_;
};

/// Whether arrays and objects of a JSON text nest at most `most` deep, which real files never come
/// near; a parser would take a hundred bytes for each level. Reads the text once, allocates
/// nothing.
bool json_nests_at_most(std::string_view text, std::size_t most = 100);

}  // namespace linex
