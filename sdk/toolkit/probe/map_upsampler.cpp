#include "toolkit/probe/map_upsampler.hpp"

#include <algorithm>
#include <cmath>

namespace linex {

MapUpsampler::MapUpsampler(std::int64_t in_height, std::int64_t in_width, std::int64_t out_height,
                           std::int64_t out_width)
    : in_height_(in_height),
      in_width_(in_width),
      out_height_(out_height),
      out_width_(out_width),
      rows_(make_axis(in_height, out_height)),
      columns_(make_axis(in_width, out_width)) {}

// Pillow's precompute_coeffs (libImaging/Resample.c) for the triangle filter.
MapUpsampler::Axis MapUpsampler::make_axis(std::int64_t in, std::int64_t out) {
  Axis axis;
  axis.identity = in == out;
  const double scale = static_cast<double>(in) / static_cast<double>(out);
  const double support = std::max(scale, 1.0), inverse = 1.0 / support;
  axis.stride = static_cast<std::int64_t>(std::ceil(support)) * 2 + 1;
  axis.weight.resize(static_cast<std::size_t>(out * axis.stride), 0.0);
  for (std::int64_t i = 0; i < out; ++i) {
    const double center = (static_cast<double>(i) + 0.5) * scale;
    const auto low = std::max<std::int64_t>(0, static_cast<std::int64_t>(center - support + 0.5));
    const auto high = std::min(in, static_cast<std::int64_t>(center + support + 0.5));
    double* const weight = &axis.weight[static_cast<std::size_t>(i * axis.stride)];
    double sum = 0;
    for (std::int64_t k = 0; k < high - low; ++k) {
      const double x = std::fabs((static_cast<double>(k + low) - center + 0.5) * inverse);
      weight[k] = x < 1.0 ? 1.0 - x : 0.0;
      sum += weight[k];
    }
    for (std::int64_t k = 0; k < high - low; ++k) weight[k] /= sum;
    axis.first.push_back(low);
    axis.count.push_back(high - low);
  }
  return axis;
}

void MapUpsampler::widen(const float* map, Scratch& scratch) const {
  scratch.middle.resize(static_cast<std::size_t>(in_height_ * out_width_));
  scratch.row_max.resize(static_cast<std::size_t>(in_height_));
  scratch.line.resize(static_cast<std::size_t>(out_width_));
  float* to = scratch.middle.data();
  for (std::int64_t y = 0; y < in_height_; ++y) {
    const float* const from = map + y * in_width_;
    scratch.row_max[static_cast<std::size_t>(y)] = *std::max_element(from, from + in_width_);
    if (columns_.identity) {
      to = std::copy_n(from, in_width_, to);
      continue;
    }
    for (std::int64_t x = 0; x < out_width_; ++x) {
      double sum = 0;
      const auto column = static_cast<std::size_t>(x);
      for (std::int64_t k = 0; k < columns_.count[column]; ++k)
        sum += static_cast<double>(from[columns_.first[column] + k]) *
               columns_.weight[static_cast<std::size_t>(x * columns_.stride + k)];
      *to++ = static_cast<float>(sum);
    }
  }
}

bool MapUpsampler::lift(std::int64_t y, float threshold, Scratch& scratch) const {
  const auto row = static_cast<std::size_t>(y);
  const std::int64_t first = rows_.identity ? y : rows_.first[row];
  const std::int64_t count = rows_.identity ? 1 : rows_.count[row];
  // Weights are positive and sum to one: nothing exceeds the largest of the rows.
  float most = scratch.row_max[static_cast<std::size_t>(first)];
  for (std::int64_t k = 1; k < count; ++k)
    most = std::max(most, scratch.row_max[static_cast<std::size_t>(first + k)]);
  if (!(most > threshold)) return false;
  const float* const middle = scratch.middle.data() + first * out_width_;
  if (rows_.identity) {
    std::copy_n(middle, out_width_, scratch.line.begin());
    return true;
  }
  const double* const weight = &rows_.weight[static_cast<std::size_t>(y * rows_.stride)];
  for (std::int64_t x = 0; x < out_width_; ++x) {
    double sum = 0;
    for (std::int64_t k = 0; k < count; ++k)
      sum += static_cast<double>(middle[k * out_width_ + x]) * weight[k];
    scratch.line[static_cast<std::size_t>(x)] = static_cast<float>(sum);
  }
  return true;
}

}  // namespace linex
