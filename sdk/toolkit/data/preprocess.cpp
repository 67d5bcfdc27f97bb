#include "toolkit/data/preprocess.hpp"

#include <algorithm>
#include <array>
#include <cmath>

#include "toolkit/data/resize.hpp"

namespace linex {
namespace {

/// torchvision.transforms.Resize: the long side is truncated, and at least 1 as Pillow needs.
ImageSize resized_size(const Preprocess& preprocess, ImageSize in) {
  if (preprocess.resize == Preprocess::Resize::none) return in;
  if (preprocess.resize == Preprocess::Resize::squash) return {preprocess.size, preprocess.size};
  const std::int64_t short_side = std::min(in.height, in.width);
  const std::int64_t long_side = std::max(in.height, in.width);
  const auto scaled = static_cast<std::int64_t>(static_cast<double>(preprocess.size * long_side) /
                                                static_cast<double>(short_side));
  return in.height <= in.width ? ImageSize{preprocess.size, scaled}
                               : ImageSize{scaled, preprocess.size};
}

/// Python's int(round((length - crop) / 2)), where half goes to even, or (length - crop) // 2.
std::int64_t crop_offset(std::int64_t length, std::int64_t crop, Margin margin) {
  if (margin == Margin::down) return (length - crop) / 2;
  return static_cast<std::int64_t>(std::nearbyint(static_cast<double>(length - crop) / 2.0));
}

/// One axis of torchvision's center_crop: what is taken of the image, and where it lies in the
/// crop.
struct CropAxis {
  std::int64_t from, length, to;
};

CropAxis crop_axis(std::int64_t length, std::int64_t crop, Margin margin) {
  if (crop == 0) return {0, length, 0};
  if (crop <= length) return {crop_offset(length, crop, margin), crop, 0};
  return {0, length, (crop - length) / 2};
}

}  // namespace

ImageSize output_size(const Preprocess& preprocess, ImageSize in) {
  if (preprocess.crop > 0) return {preprocess.crop, preprocess.crop};
  return resized_size(preprocess, in);
}

View network_view(const Preprocess& preprocess, ImageSize in) {
  const ImageSize resized = resized_size(preprocess, in);
  const CropAxis rows = crop_axis(resized.height, preprocess.crop, Margin::half_to_even);
  const CropAxis columns = crop_axis(resized.width, preprocess.crop, Margin::half_to_even);
  return {resized, rows.from - rows.to, columns.from - columns.to, output_size(preprocess, in)};
}

torch::Tensor resize_and_crop(const torch::Tensor& image, const Preprocess& preprocess,
                              Margin margin) {
  const ImageSize size = resized_size(preprocess, {image.size(0), image.size(1)});
  const CropAxis rows = crop_axis(size.height, preprocess.crop, margin);
  const CropAxis columns = crop_axis(size.width, preprocess.crop, margin);
  const Region region{rows.from, columns.from, rows.length, columns.length};
  torch::Tensor taken =
      resize_rgb(image, size.height, size.width, preprocess.interpolation, region);
  const ImageSize wanted = output_size(preprocess, {image.size(0), image.size(1)});
  if (taken.size(0) == wanted.height && taken.size(1) == wanted.width) return taken;
  torch::Tensor padded = torch::zeros({wanted.height, wanted.width, 3}, torch::kUInt8);
  padded.narrow(0, rows.to, rows.length).narrow(1, columns.to, columns.length).copy_(taken);
  return padded;
}

void preprocess_image(const torch::Tensor& image, const Preprocess& preprocess, float* out,
                      Margin margin) {
  const torch::Tensor pixels = resize_and_crop(image, preprocess, margin);
  const std::int64_t plane = pixels.size(0) * pixels.size(1);
  const std::uint8_t* from = pixels.data_ptr<std::uint8_t>();
  std::array<float, 256> value;
  for (std::size_t c = 0; c < 3; ++c, out += plane) {
    for (std::size_t grey = 0; grey < value.size(); ++grey)
      value[grey] = (static_cast<float>(grey) / 255.0F - preprocess.mean[c]) / preprocess.std[c];
    for (std::int64_t i = 0; i < plane; ++i) out[i] = value[from[3 * i + static_cast<int>(c)]];
  }
}

}  // namespace linex
