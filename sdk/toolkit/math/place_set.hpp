// Sets of places (images, or pixels of all images), sparse: what formulas of concepts are made of.
#pragma once

#include <cstdint>
#include <vector>

namespace linex {

/// A subset of places 0, 1, …: bits of those blocks of 1024 places that hold any.
class PlaceSet {
 public:
  static constexpr std::int64_t kBlockWords = 16, kBlockPlaces = 64 * kBlockWords;

  /// Adds a place; in ascending order, repeats allowed.
  void add(std::int64_t place);
  std::int64_t count() const { return count_; }
  bool contains(std::int64_t place) const;
  std::int64_t bytes() const {
    return static_cast<std::int64_t>(words_.capacity() * 8 + blocks_.capacity() * 4);
  }

  PlaceSet united(const PlaceSet& other) const;
  PlaceSet common(const PlaceSet& other) const;
  PlaceSet without(const PlaceSet& other) const;
  /// The other places in [0, places).
  PlaceSet complement(std::int64_t places) const;

  /// |a ∩ b|, and |a ∩ b ∩ c|.
  static std::int64_t common_count(const PlaceSet& a, const PlaceSet& b);
  static std::int64_t common_count(const PlaceSet& a, const PlaceSet& b, const PlaceSet& c);
  /// Σ values[place] over a ∩ b.
  static double common_sum(const PlaceSet& a, const PlaceSet& b, const std::vector<double>& values);

 private:
  template <class Join>
  PlaceSet joined(const PlaceSet& other, bool keep_own, bool keep_other, const Join& join) const;
  template <class Visit>
  static void common_blocks(const PlaceSet& a, const PlaceSet& b, const Visit& visit);
  void append(std::int32_t block, const std::uint64_t* words);

  std::vector<std::int32_t> blocks_;  // ascending
  std::vector<std::uint64_t> words_;  // kBlockWords for each
  std::int64_t count_ = 0;
};

}  // namespace linex
