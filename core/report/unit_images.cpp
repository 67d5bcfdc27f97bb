#include "core/report/unit_images.hpp"

#include <algorithm>
#include <numeric>
#include <opencv2/core.hpp>
#include <opencv2/imgcodecs.hpp>
#include <opencv2/imgproc.hpp>

#include "toolkit/base/parallel.hpp"
#include "toolkit/base/random.hpp"
#include "toolkit/data/preprocess.hpp"

namespace linex {

std::vector<RankBand> choose_bands(const torch::Tensor& activation, std::uint64_t seed,
                                   std::int64_t unit) {
  static constexpr std::int64_t kEnds[] = {5, 50, 500, 5000};
  constexpr std::size_t kDrawn = 4;
  const auto values = activation.to(torch::kFloat32).contiguous();
  const float* a = values.data_ptr<float>();
  const std::int64_t n = values.numel(), ranked = std::min(n, kEnds[3]);
  Rows order(static_cast<std::size_t>(n));
  std::iota(order.begin(), order.end(), 0);
  std::partial_sort(
      order.begin(), order.begin() + ranked, order.end(),
      [a](std::int64_t x, std::int64_t y) { return a[x] != a[y] ? a[x] > a[y] : x < y; });
  auto random = Random::stream(seed, static_cast<std::uint64_t>(unit));
  std::vector<RankBand> bands;
  std::int64_t begin = 0;
  for (const std::int64_t stop : kEnds) {
    const std::int64_t end = std::min(stop, n);
    if (end <= begin) break;
    RankBand band{begin, end, a[order[static_cast<std::size_t>(end - 1)]],
                  a[order[static_cast<std::size_t>(begin)]],
                  Rows(order.begin() + begin, order.begin() + end)};
    if (begin > 0 && band.rows.size() > kDrawn) {
      random.shuffle(band.rows);
      band.rows.resize(kDrawn);
      std::sort(band.rows.begin(), band.rows.end(),
                [a](std::int64_t x, std::int64_t y) { return a[x] != a[y] ? a[x] > a[y] : x < y; });
    }
    bands.push_back(std::move(band));
    begin = end;
  }
  return bands;
}

SmallMap small_map(const torch::Tensor& full, std::int64_t side) {
  torch::Tensor map = full;
  if (map.size(0) > side || map.size(1) > side)
    map = at::adaptive_avg_pool2d(map.unsqueeze(0),
                                  {std::min(side, map.size(0)), std::min(side, map.size(1))})[0];
  const auto low = map.min(), range = map.max() - low;
  if (!(range.item<float>() > 0)) return {};
  const auto grey = ((map - low) / range * 255).round().to(torch::kUInt8).contiguous();
  return {grey.size(0), grey.size(1),
          std::string(reinterpret_cast<const char*>(grey.data_ptr<std::uint8_t>()),
                      static_cast<std::size_t>(grey.numel()))};
}

std::vector<Thumbnail> make_thumbnails(const Rows& rows, const DataSet& data,
                                       const Preprocess& preprocess, std::int64_t thumbnail,
                                       const PluginContext& context) {
  std::vector<Thumbnail> made(rows.size());
  const auto progress =
      context.progress("thumbnails", static_cast<std::int64_t>(rows.size()), "images");
  parallel_for(static_cast<std::int64_t>(rows.size()), context.run().threads, [&](std::int64_t i) {
    check_cancelled(context);
    const std::int64_t row = rows[static_cast<std::size_t>(i)];
    const auto pixels = resize_and_crop(data.pixels(row), preprocess).contiguous();
    const cv::Mat rgb(static_cast<int>(pixels.size(0)), static_cast<int>(pixels.size(1)), CV_8UC3,
                      pixels.data_ptr<std::uint8_t>());
    cv::Mat bgr;
    cv::cvtColor(rgb, bgr, cv::COLOR_RGB2BGR);
    const double scale =
        static_cast<double>(thumbnail) / static_cast<double>(std::max(bgr.rows, bgr.cols));
    if (scale < 1) cv::resize(bgr, bgr, {}, scale, scale, cv::INTER_AREA);
    std::vector<unsigned char> bytes;
    cv::imencode(".jpg", bgr, bytes, {cv::IMWRITE_JPEG_QUALITY, scale < 1 ? 82 : 94});
    made[static_cast<std::size_t>(i)] = {row, std::string(bytes.begin(), bytes.end())};
    progress->advance(1);
  });
  return made;
}

}  // namespace linex
