#include "toolkit/probe/visible_labels.hpp"

#include <algorithm>

namespace linex {

namespace {

LabelFrame frame_of(const LabelMaps& labels, const Preprocess& preprocess) {
  const View view = network_view(preprocess, {labels.image_height, labels.image_width});
  const auto scaled = [](std::int64_t length, std::int64_t to, std::int64_t from) {
    const std::int64_t magnitude = (2 * std::abs(length) * to + from) / (2 * from);
    return length < 0 ? -magnitude : magnitude;
  };
  const std::int64_t top = scaled(view.top, labels.height, view.resized.height);
  const std::int64_t left = scaled(view.left, labels.width, view.resized.width);
  const std::int64_t bottom =
      scaled(view.top + view.input.height, labels.height, view.resized.height);
  const std::int64_t right = scaled(view.left + view.input.width, labels.width, view.resized.width);
  return {top, left, std::max<std::int64_t>(bottom - top, 1),
          std::max<std::int64_t>(right - left, 1)};
}

}  // namespace

MapThresholds map_thresholds(UnitMaps& maps, double quantile, QuantileMethod method) {
  const auto units = static_cast<std::int64_t>(maps.units().size());
  const std::int64_t places = maps.height() * maps.width();
  const RunSettings& run = maps.context().run();
  UpperQuantiles quantiles(units, maps.data().size() * places,
                           {quantile, method, run.memory_bytes / 4, run.seed});
  torch::Tensor low, high;
  maps.stream("thresholds", [&](const std::int64_t*, std::int64_t n, const torch::Tensor& batch) {
    const auto values = batch.view({n, units, places});
    quantiles.add(values, run.threads);
    const auto batch_low = values.amin({0, 2}), batch_high = values.amax({0, 2});
    low = low.defined() ? torch::minimum(low, batch_low) : batch_low;
    high = high.defined() ? torch::maximum(high, batch_high) : batch_high;
  });
  MapThresholds found{quantiles.values(), {}};
  const auto varies = high.gt(low);
  for (std::int64_t k = 0; k < units; ++k) found.varies.push_back(varies[k].item<bool>());
  return found;
}

VisibleLabels visible_labels(const LabelMaps& labels, const Preprocess& preprocess) {
  VisibleLabels visible;
  visible.frame = frame_of(labels, preprocess);
  visible.whole = labels.whole;
  const LabelFrame& frame = visible.frame;
  const auto size = static_cast<std::size_t>(frame.height * frame.width);
  visible.maps.assign(labels.maps.size(), std::vector<std::int32_t>(size, -1));
  std::vector<char> inside(size, 0);
  for (std::int64_t y = 0; y < frame.height; ++y)
    for (std::int64_t x = 0; x < frame.width; ++x) {
      const std::int64_t row = frame.top + y, column = frame.left + x;
      if (row < 0 || row >= labels.height || column < 0 || column >= labels.width) continue;
      const auto place = static_cast<std::size_t>(y * frame.width + x);
      inside[place] = 1;
      ++visible.pixels;
      for (std::size_t m = 0; m < labels.maps.size(); ++m)
        visible.maps[m][place] =
            labels.maps[m].data_ptr<std::int32_t>()[row * labels.width + column];
    }
  if (visible.pixels < frame.height * frame.width) visible.inside = std::move(inside);
  return visible;
}

}  // namespace linex
