#include "toolkit/data/image.hpp"

#include <algorithm>
#include <opencv2/core.hpp>
#include <opencv2/core/utils/logger.hpp>
#include <opencv2/imgcodecs.hpp>
#include <opencv2/imgproc.hpp>

#include "toolkit/data/image_formats.hpp"
#include "toolkit/data/image_header.hpp"

namespace linex {
namespace {

cv::Mat decode(const unsigned char* bytes, std::size_t size, const std::string& name) {
  // OpenCV only reads from the buffer, but its Mat has no const form.
  const cv::Mat buffer(1, static_cast<int>(size), CV_8U, const_cast<unsigned char*>(bytes));
  try {
    return cv::imdecode(buffer, cv::IMREAD_COLOR | cv::IMREAD_IGNORE_ORIENTATION);
  } catch (const std::exception&) {
    throw unreadable_image(name, "its content is damaged");
  }
}

/// OpenCV shifts the 5 or 6 bits of a colour up; Pillow fills the scale to 255.
void fill_scale(torch::Tensor& pixels, int green_bits) {
  auto* out = pixels.data_ptr<std::uint8_t>();
  for (std::int64_t i = 0; i < pixels.numel(); ++i) {
    const int bits = i % 3 == 1 ? green_bits : 5;
    out[i] = static_cast<std::uint8_t>((out[i] >> (8 - bits)) * 255 / ((1 << bits) - 1));
  }
}

}  // namespace

torch::Tensor decode_image(const unsigned char* bytes, std::size_t size, const std::string& name) {
  // Images are decoded in parallel by the caller; OpenCV's own pool would fight with that.
  static const bool configured = [] {
    cv::setNumThreads(1);
    cv::utils::logging::setLogLevel(cv::utils::logging::LOG_LEVEL_SILENT);  // errors are thrown
    return true;
  }();
  static_cast<void>(configured);
  const ImageHeader header = read_image_header(bytes, size, name);
  if (size > static_cast<std::size_t>(INT32_MAX))
    throw unreadable_image(name, "the file is larger than 2 GB");
  if (header.format == ImageFormat::png) return decode_png(bytes, size, name);
  if (header.format == ImageFormat::tiff) return decode_tiff(bytes, size, name);
  if (header.format == ImageFormat::pnm) return decode_pnm(bytes, size, name);
  if (header.format == ImageFormat::gif) return decode_gif(bytes, size, name);
  if (header.animated) return decode_animated_webp(bytes, size, name);

  const cv::Mat image = decode(bytes, size, name);
  if (image.empty()) throw unreadable_image(name, "its content is damaged");
  torch::Tensor pixels = torch::empty({image.rows, image.cols, 3}, torch::kUInt8);
  cv::Mat rgb(image.rows, image.cols, CV_8UC3, pixels.data_ptr<std::uint8_t>());
  cv::cvtColor(image, rgb, cv::COLOR_BGR2RGB);
  if (header.green_bits) fill_scale(pixels, header.green_bits);
  return pixels;
}

torch::Tensor decode_label_map(const unsigned char* bytes, std::size_t size,
                               const std::string& name) {
  if (read_image_header(bytes, size, name).format != ImageFormat::png)
    throw input_error(name + " is no PNG; save label maps as PNG, which keeps their values");
  return decode_label_png(bytes, size, name);
}

}  // namespace linex
