#include "toolkit/data/resize.hpp"

#include <algorithm>
#include <cmath>
#include <stdexcept>
#include <vector>

namespace linex {
namespace {

using Interpolation = Preprocess::Interpolation;

double triangle(double x) {
  x = std::abs(x);
  return x < 1.0 ? 1.0 - x : 0.0;
}

/// Keys' cubic with a = -0.5 (OpenCV uses -0.75).
double cubic(double x) {
  constexpr double a = -0.5;
  x = std::abs(x);
  if (x < 1.0) return ((a + 2.0) * x - (a + 3.0)) * x * x + 1;
  if (x < 2.0) return (((x - 5) * x + 8) * x - 4) * a;
  return 0.0;
}

/// The input samples that make up each output sample of one axis.
struct Taps {
  std::int64_t stride = 0;          // weights reserved for one output
  std::vector<std::int64_t> first;  // first input of output i
  std::vector<std::int64_t> count;  // inputs of output i
  std::vector<double> weight;       // weight[i * stride + k]
};

/// Weights for outputs [begin, begin + count) of an axis resized from `in` to `out` samples. The
/// order of operations is Pillow's: the weights must agree to the last bit.
Taps make_taps(std::int64_t in, std::int64_t out, std::int64_t begin, std::int64_t count,
               Interpolation interpolation) {
  const auto filter = interpolation == Interpolation::bicubic ? cubic : triangle;
  const double reach = interpolation == Interpolation::bicubic ? 2.0 : 1.0;
  const double scale = static_cast<double>(in) / static_cast<double>(out);
  const double filter_scale = std::max(scale, 1.0);
  const double support = reach * filter_scale;
  const double inverse = 1.0 / filter_scale;

  Taps taps;
  taps.stride = static_cast<std::int64_t>(std::ceil(support)) * 2 + 1;
  taps.weight.assign(static_cast<std::size_t>(count * taps.stride), 0.0);
  for (std::int64_t i = 0; i < count; ++i) {
    const double center = (static_cast<double>(begin + i) + 0.5) * scale;
    const auto low = std::max<std::int64_t>(static_cast<std::int64_t>(center - support + 0.5), 0);
    const auto high = std::min(static_cast<std::int64_t>(center + support + 0.5), in);
    double* weight = &taps.weight[static_cast<std::size_t>(i * taps.stride)];
    double sum = 0;
    for (std::int64_t k = 0; k < high - low; ++k) {
      weight[k] = filter((static_cast<double>(k + low) - center + 0.5) * inverse);
      sum += weight[k];
    }
    for (std::int64_t k = 0; k < high - low; ++k)
      if (sum != 0.0) weight[k] /= sum;
    taps.first.push_back(low);
    taps.count.push_back(high - low);
  }
  return taps;
}

constexpr int kBits = 32 - 8 - 2;
constexpr std::int32_t kHalf = 1 << (kBits - 1);

std::vector<std::int32_t> fixed_point(const Taps& taps) {
  std::vector<std::int32_t> fixed;
  fixed.reserve(taps.weight.size());
  for (const double weight : taps.weight)
    fixed.push_back(static_cast<std::int32_t>((weight < 0 ? -0.5 : 0.5) + weight * (1 << kBits)));
  return fixed;
}

std::uint8_t clip(std::int32_t sum) {
  return static_cast<std::uint8_t>(std::clamp(sum >> kBits, 0, 255));
}

/// Rows of RGB pixels, one after another.
struct Pixels {
  const std::uint8_t* data;
  std::int64_t height, width;
};

/// Each row of `in` from row `first_row` on, resampled to taps.first.size() pixels.
std::vector<std::uint8_t> resample_rows(const Pixels& in, std::int64_t first_row, std::int64_t rows,
                                        const Taps& taps) {
  const auto fixed = fixed_point(taps);
  const auto width = static_cast<std::int64_t>(taps.first.size());
  std::vector<std::uint8_t> out(static_cast<std::size_t>(rows * width * 3));
  std::uint8_t* to = out.data();
  for (std::int64_t y = 0; y < rows; ++y) {
    const std::uint8_t* row = in.data + (first_row + y) * in.width * 3;
    for (std::int64_t x = 0; x < width; ++x, to += 3) {
      const std::int32_t* weight = &fixed[static_cast<std::size_t>(x * taps.stride)];
      const std::uint8_t* from = row + taps.first[x] * 3;
      std::int32_t r = kHalf, g = kHalf, b = kHalf;
      for (std::int64_t k = 0; k < taps.count[x]; ++k, from += 3) {
        r += from[0] * weight[k];
        g += from[1] * weight[k];
        b += from[2] * weight[k];
      }
      to[0] = clip(r);
      to[1] = clip(g);
      to[2] = clip(b);
    }
  }
  return out;
}

/// Columns resampled; `in` starts at input row `first_row`.
void resample_columns(const std::uint8_t* in, std::int64_t first_row, std::int64_t width,
                      const Taps& taps, std::uint8_t* out) {
  const auto fixed = fixed_point(taps);
  const std::int64_t row = width * 3;
  std::vector<std::int32_t> sums(static_cast<std::size_t>(row));
  for (std::size_t y = 0; y < taps.first.size(); ++y, out += row) {
    std::fill(sums.begin(), sums.end(), kHalf);
    for (std::int64_t k = 0; k < taps.count[y]; ++k) {
      const std::int32_t weight = fixed[y * static_cast<std::size_t>(taps.stride) + k];
      const std::uint8_t* from = in + (taps.first[y] - first_row + k) * row;
      for (std::int64_t i = 0; i < row; ++i) sums[i] += from[i] * weight;
    }
    for (std::int64_t i = 0; i < row; ++i) out[i] = clip(sums[i]);
  }
}

void check_region(const Region& region, std::int64_t height, std::int64_t width) {
  if (region.top < 0 || region.left < 0 || region.height <= 0 || region.width <= 0 ||
      region.top + region.height > height || region.left + region.width > width)
    throw std::logic_error("resize: the region is not inside the resized image");
}

}  // namespace

torch::Tensor resize_rgb(const torch::Tensor& image, std::int64_t height, std::int64_t width,
                         Interpolation interpolation, const Region& region) {
  check_region(region, height, width);
  const Pixels in{image.data_ptr<std::uint8_t>(), image.size(0), image.size(1)};
  // Pillow leaves an axis alone that keeps its length.
  const bool same_width = in.width == width, same_height = in.height == height;
  if (same_width && same_height)
    return image.narrow(0, region.top, region.height)
        .narrow(1, region.left, region.width)
        .contiguous();

  Taps vertical;
  std::int64_t first_row = region.top, last_row = region.top + region.height;
  if (!same_height) {
    vertical = make_taps(in.height, height, region.top, region.height, interpolation);
    first_row = vertical.first.front();
    last_row = vertical.first.back() + vertical.count.back();
  }
  std::vector<std::uint8_t> narrowed;
  if (same_width) {
    const torch::Tensor part = image.narrow(0, first_row, last_row - first_row)
                                   .narrow(1, region.left, region.width)
                                   .contiguous();
    narrowed.assign(part.data_ptr<std::uint8_t>(), part.data_ptr<std::uint8_t>() + part.numel());
  } else {
    narrowed = resample_rows(in, first_row, last_row - first_row,
                             make_taps(in.width, width, region.left, region.width, interpolation));
  }
  torch::Tensor out = torch::empty({region.height, region.width, 3}, torch::kUInt8);
  if (same_height)
    std::copy(narrowed.begin(), narrowed.end(), out.data_ptr<std::uint8_t>());
  else
    resample_columns(narrowed.data(), first_row, region.width, vertical,
                     out.data_ptr<std::uint8_t>());
  return out;
}

torch::Tensor resize_plane(const torch::Tensor& plane, std::int64_t height, std::int64_t width,
                           Interpolation interpolation) {
  const std::int64_t in_height = plane.size(0), in_width = plane.size(1);
  const float* from = plane.data_ptr<float>();
  torch::Tensor middle = plane;
  if (in_width != width) {
    const Taps taps = make_taps(in_width, width, 0, width, interpolation);
    middle = torch::empty({in_height, width});
    float* to = middle.data_ptr<float>();
    for (std::int64_t y = 0; y < in_height; ++y)
      for (std::int64_t x = 0; x < width; ++x) {
        double sum = 0;
        for (std::int64_t k = 0; k < taps.count[x]; ++k)
          sum += from[y * in_width + taps.first[x] + k] *
                 taps.weight[static_cast<std::size_t>(x * taps.stride + k)];
        *to++ = static_cast<float>(sum);
      }
  }
  if (in_height == height) return middle.clone();
  const Taps taps = make_taps(in_height, height, 0, height, interpolation);
  torch::Tensor out = torch::empty({height, width});
  from = middle.data_ptr<float>();
  float* to = out.data_ptr<float>();
  for (std::int64_t y = 0; y < height; ++y)
    for (std::int64_t x = 0; x < width; ++x) {
      double sum = 0;
      for (std::int64_t k = 0; k < taps.count[y]; ++k)
        sum += from[(taps.first[y] + k) * width + x] *
               taps.weight[static_cast<std::size_t>(y * taps.stride + k)];
      *to++ = static_cast<float>(sum);
    }
  return out;
}

}  // namespace linex
