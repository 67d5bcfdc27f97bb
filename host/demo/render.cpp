// Rendered point by point from +, -, ×, ÷ and comparisons, so that pixels do not depend on a
// drawing library's version. Points are in units of the picture's side.
#include "host/demo/render.hpp"

#include <algorithm>
#include <cmath>

namespace linex {
namespace {

struct Colour {
  double r, g, b;
};
Colour operator*(const Colour& c, double f) { return {c.r * f, c.g * f, c.b * f}; }
Colour operator+(const Colour& a, const Colour& b) { return {a.r + b.r, a.g + b.g, a.b + b.b}; }
Colour mix(const Colour& a, const Colour& b, double share) { return a * (1 - share) + b * share; }

/// A number in [0, 1) for a point of an integer grid.
double hashed(std::uint64_t seed, std::int64_t x, std::int64_t y) {
  std::uint64_t z = seed + 0x9e3779b97f4a7c15ULL * static_cast<std::uint64_t>(x + 1) +
                    0xc2b2ae3d27d4eb4fULL * static_cast<std::uint64_t>(y + 1);
  z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9ULL;
  z = (z ^ (z >> 27)) * 0x94d049bb133111ebULL;
  return static_cast<double>((z ^ (z >> 31)) >> 11) * 0x1.0p-53;
}

std::int64_t cell(double value) { return static_cast<std::int64_t>(std::floor(value)); }

/// Smooth noise: hashed corners of a grid of `cells` a side, blended.
double smooth_noise(std::uint64_t seed, double x, double y, double cells) {
  const double u = x * cells, v = y * cells;
  const std::int64_t i = cell(u), j = cell(v);
  const auto ease = [](double t) { return t * t * (3 - 2 * t); };
  const double a = ease(u - static_cast<double>(i)), b = ease(v - static_cast<double>(j));
  const double top = hashed(seed, i, j) * (1 - a) + hashed(seed, i + 1, j) * a;
  const double bottom = hashed(seed, i, j + 1) * (1 - a) + hashed(seed, i + 1, j + 1) * a;
  return top * (1 - b) + bottom * b;
}

// The order of the tables below is that of values_of().
Colour object_colour(int index) {
  static const Colour kColours[] = {{214, 40, 40}, {240, 140, 30}, {245, 220, 60}, {50, 170, 70},
                                    {50, 90, 220}, {150, 60, 180}, {240, 240, 240}};
  return kColours[index];
}

/// Whether a point of the object's own frame (radius 1) lies inside.
bool inside(int shape, double x, double y) {
  const double square = x * x + y * y;
  switch (shape) {
    case 0:  // circle
      return square <= 0.85;
    case 1:  // cross
      return std::min(std::abs(x), std::abs(y)) <= 0.32 &&
             std::max(std::abs(x), std::abs(y)) <= 0.95;
    case 2:  // ring
      return square <= 1.0 && square >= 0.28;
    case 3:  // square
      return std::max(std::abs(x), std::abs(y)) <= 0.78;
    default:  // triangle
      return y <= 0.65 && y >= -0.95 + std::abs(x) * 1.75;
  }
}

/// 1 for the object's colour, less for the dark parts of its pattern.
double pattern(int texture, double x, double y) {
  constexpr double kDark = 0.3;
  switch (texture) {
    case 0:  // checkered
      return (cell(x * 1.8 + 10) + cell(y * 1.8 + 10)) % 2 == 0 ? 1.0 : kDark;
    case 1: {  // dotted
      const double u = x * 1.6 + 10 - std::floor(x * 1.6 + 10) - 0.5;
      const double v = y * 1.6 + 10 - std::floor(y * 1.6 + 10) - 0.5;
      return u * u + v * v <= 0.09 ? kDark : 1.0;
    }
    case 2:  // plain
      return 1.0;
    default:  // striped
      return cell(x * 3.2 + 20) % 2 == 0 ? 1.0 : kDark;
  }
}

Colour background(int index, std::uint64_t seed, double x, double y) {
  const double fine = smooth_noise(seed, x, y, 16), coarse = smooth_noise(seed + 1, x, y, 3);
  switch (index) {
    case 0: {  // brick
      const double row = y * 5 + hashed(seed, 7, 7);
      const double column = x * 3 + (cell(row) % 2 == 0 ? 0.0 : 0.5) + hashed(seed, 8, 8);
      const bool mortar = row - std::floor(row) < 0.18 || column - std::floor(column) < 0.1;
      return mortar ? Colour{190, 180, 170} : Colour{140, 70, 55} * (0.8 + 0.4 * fine);
    }
    case 1: {  // grass: blades are narrow and high
      const double blade = smooth_noise(seed + 2, x * 3, y, 12);
      return mix({40, 90, 30}, {110, 160, 60}, 0.7 * blade + 0.3 * coarse);
    }
    case 2: {  // night
      const bool star = hashed(seed + 3, cell(x * 24), cell(y * 24)) > 0.97;
      return star ? Colour{230, 230, 210} : mix({10, 10, 30}, {30, 30, 70}, coarse);
    }
    case 3:  // sand
      return Colour{210, 185, 135} * (0.85 + 0.25 * fine);
    default: {  // sky
      const double cloud = std::clamp((coarse - 0.5) * 3, 0.0, 1.0);
      return mix(mix({90, 150, 230}, {170, 205, 245}, y), {250, 250, 250}, cloud);
    }
  }
}

constexpr int kSamples = 3;  // a side of the grid of points in a pixel

/// Calls visit(u, v, inside) for the points of pixel (row, column): (u, v) in the object's frame.
template <class Visit>
void sample_pixel(const Scene& scene, double size, std::int64_t row, std::int64_t column,
                  const Visit& visit) {
  const double c = std::cos(scene.angle), s = std::sin(scene.angle);
  for (int i = 0; i < kSamples; ++i)
    for (int j = 0; j < kSamples; ++j) {
      const double y = (static_cast<double>(row) + (i + 0.5) / kSamples) / size;
      const double x = (static_cast<double>(column) + (j + 0.5) / kSamples) / size;
      const double dx = (x - scene.x) / scene.radius, dy = (y - scene.y) / scene.radius;
      const double u = c * dx + s * dy, v = c * dy - s * dx;
      visit(x, y, u, v, inside(scene[Aspect::shape], u, v));
    }
}

std::uint8_t to_byte(double value) {
  return static_cast<std::uint8_t>(std::clamp(std::lround(value), 0L, 255L));
}

}  // namespace

torch::Tensor render(const Scene& scene, std::int64_t size) {
  torch::Tensor image = torch::empty({size, size, 3}, torch::kUInt8);
  auto* out = image.data_ptr<std::uint8_t>();
  const Colour colour = object_colour(scene[Aspect::colour]) * scene.brightness;
  for (std::int64_t row = 0; row < size; ++row)
    for (std::int64_t column = 0; column < size; ++column) {
      Colour sum{0, 0, 0};
      sample_pixel(scene, static_cast<double>(size), row, column,
                   [&](double x, double y, double u, double v, bool object) {
                     sum =
                         sum + (object ? colour * pattern(scene[Aspect::texture], u, v)
                                       : background(scene[Aspect::background], scene.noise, x, y));
                   });
      const double share = 1.0 / (kSamples * kSamples);
      *out++ = to_byte(sum.r * share);
      *out++ = to_byte(sum.g * share);
      *out++ = to_byte(sum.b * share);
    }
  return image;
}

torch::Tensor render_mask(const Scene& scene, std::int64_t size) {
  torch::Tensor mask = torch::empty({size, size}, torch::kUInt8);
  auto* out = mask.data_ptr<std::uint8_t>();
  for (std::int64_t row = 0; row < size; ++row)
    for (std::int64_t column = 0; column < size; ++column) {
      int covered = 0;
      sample_pixel(scene, static_cast<double>(size), row, column,
                   [&](double, double, double, double, bool object) { covered += object; });
      *out++ = covered * 2 > kSamples * kSamples ? 1 : 0;
    }
  return mask;
}

}  // namespace linex
