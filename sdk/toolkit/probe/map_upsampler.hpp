// Unit maps at the resolution of a mask (docs/methods.md §2.2).
#pragma once

#include <cstdint>
#include <vector>

namespace linex {

/// Bilinear resampling of many maps of one shape: Pillow's mode F (half-pixel centres, edges
/// repeated), value for value what resize_plane() gives. [any thread]
class MapUpsampler {
 public:
  MapUpsampler(std::int64_t in_height, std::int64_t in_width, std::int64_t out_height,
               std::int64_t out_width);

  struct Scratch {
    std::vector<float> middle, line, row_max;
  };
  /// Calls hit(y, x) for every output pixel whose value is above `threshold`, in order. Rows that
  /// cannot reach it are not computed.
  template <class Hit>
  void above(const float* map, float threshold, Scratch& scratch, const Hit& hit) const {
    widen(map, scratch);
    for (std::int64_t y = 0; y < out_height_; ++y) {
      if (!lift(y, threshold, scratch)) continue;
      for (std::int64_t x = 0; x < out_width_; ++x)
        if (scratch.line[static_cast<std::size_t>(x)] > threshold) hit(y, x);
    }
  }

  std::int64_t out_height() const { return out_height_; }
  std::int64_t out_width() const { return out_width_; }

 private:
  struct Axis {
    std::int64_t stride = 0;
    std::vector<std::int64_t> first, count;
    std::vector<double> weight;
    bool identity = false;
  };
  static Axis make_axis(std::int64_t in, std::int64_t out);
  /// Resamples the columns of every row into scratch.middle.
  void widen(const float* map, Scratch& scratch) const;
  /// Resamples rows into output row y; false where none of its values can be above `threshold`.
  bool lift(std::int64_t y, float threshold, Scratch& scratch) const;

  std::int64_t in_height_, in_width_, out_height_, out_width_;
  Axis rows_, columns_;
};

}  // namespace linex
