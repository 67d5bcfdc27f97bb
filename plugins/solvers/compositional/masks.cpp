#include "masks.hpp"

#include <algorithm>

#include "linex/error.hpp"
#include "toolkit/base/parallel.hpp"
#include "toolkit/math/formula_search.hpp"
#include "toolkit/math/row_source.hpp"
#include "toolkit/probe/visible_labels.hpp"

namespace linex {

namespace {

constexpr std::int64_t kPerTask = 8;

/// Calls body(k) for every k < n, a few in a task.
template <class Body>
void in_tasks(std::int64_t n, int threads, const Body& body) {
  parallel_for((n + kPerTask - 1) / kPerTask, threads, [&](std::int64_t task) {
    for (std::int64_t k = task * kPerTask; k < std::min(n, (task + 1) * kPerTask); ++k) body(k);
  });
}

}  // namespace

PlaceMasks image_masks(const Presence& presence, const torch::Tensor& activations,
                       const std::vector<std::int64_t>& units, const Rows& rows, double quantile,
                       double threshold, int threads) {
  const auto n = static_cast<std::int64_t>(rows.size()),
             count = static_cast<std::int64_t>(units.size());
  PlaceMasks masks;
  masks.places = n;
  masks.units.resize(units.size());
  masks.varies.resize(units.size());
  const RowSource values = activation_rows(activations, units);
  std::vector<float> all(static_cast<std::size_t>(n * count));
  read_tile(values, rows, 0, n, threads, all.data());
  UpperQuantiles quantiles(count, n, {quantile, QuantileMethod::exact, 0, 0});
  const torch::Tensor table = torch::from_blob(all.data(), {n, count, 1}, torch::kFloat32);
  if (count > 0) quantiles.add(table, threads);
  const torch::Tensor levels = count > 0 ? quantiles.values() : torch::Tensor();
  in_tasks(count, threads, [&](std::int64_t k) {
    const float level = levels.data_ptr<float>()[k];
    const float first = all[static_cast<std::size_t>(k)];
    for (std::int64_t i = 0; i < n; ++i) {
      const float value = all[static_cast<std::size_t>(i * count + k)];
      if (value != first) masks.varies[static_cast<std::size_t>(k)] = 1;
      if (value > level) masks.units[static_cast<std::size_t>(k)].add(i);
    }
  });
  masks.concepts = concept_sets(presence, rows, threshold, threads);
  return masks;
}

PlaceMasks pixel_masks(UnitMaps& maps, const PixelLabels& labels, double quantile) {
  const auto count = static_cast<std::int64_t>(maps.units().size());
  const RunSettings& run = maps.context().run();
  const Preprocess preprocess = maps.preprocess();
  PlaceMasks masks;
  masks.concepts.resize(labels.pixel_labels().size());
  masks.units.resize(static_cast<std::size_t>(count));
  MapThresholds thresholds = map_thresholds(maps, quantile, QuantileMethod::automatic);
  masks.varies = std::move(thresholds.varies);
  const float* const threshold = thresholds.value.data_ptr<float>();
  FrameUpsamplers upsamplers(maps.height(), maps.width());
  const std::int64_t size = maps.height() * maps.width();

  maps.stream("masks", [&](const std::int64_t* rows, std::int64_t n, const torch::Tensor& batch) {
    std::vector<VisibleLabels> visible(static_cast<std::size_t>(n));
    parallel_for(n, run.threads, [&](std::int64_t i) {
      visible[static_cast<std::size_t>(i)] = visible_labels(labels.label_maps(rows[i]), preprocess);
    });
    std::vector<const MapUpsampler*> upsampler;
    std::vector<std::int64_t> first;
    for (const VisibleLabels& image : visible) {
      upsampler.push_back(&upsamplers.get(image.frame));
      first.push_back(masks.places);
      const std::int64_t pixels = image.frame.height * image.frame.width;
      for (std::int64_t p = 0; p < pixels; ++p) {
        if (!image.inside.empty() && !image.inside[static_cast<std::size_t>(p)]) continue;
        for (const auto& map : image.maps)
          if (const std::int32_t label = map[static_cast<std::size_t>(p)]; label >= 0)
            masks.concepts[static_cast<std::size_t>(label)].add(masks.places + p);
        for (const std::int64_t label : image.whole)
          masks.concepts[static_cast<std::size_t>(label)].add(masks.places + p);
      }
      masks.places += pixels;
    }
    const float* const values = batch.data_ptr<float>();
    in_tasks(count, run.threads, [&](std::int64_t k) {
      if (!masks.varies[static_cast<std::size_t>(k)]) return;
      MapUpsampler::Scratch scratch;
      for (std::int64_t i = 0; i < n; ++i) {
        const float* const map = values + (i * count + k) * size;
        if (!(*std::max_element(map, map + size) > threshold[k])) continue;
        const VisibleLabels& image = visible[static_cast<std::size_t>(i)];
        upsampler[static_cast<std::size_t>(i)]->above(
            map, threshold[k], scratch, [&](std::int64_t y, std::int64_t x) {
              const std::int64_t p = y * image.frame.width + x;
              if (!image.inside.empty() && !image.inside[static_cast<std::size_t>(p)]) return;
              masks.units[static_cast<std::size_t>(k)].add(first[static_cast<std::size_t>(i)] + p);
            });
      }
    });
    std::int64_t bytes = 0;
    for (const auto* sets : {&masks.concepts, &masks.units})
      for (const PlaceSet& set : *sets) bytes += set.bytes();
    if (bytes > run.memory_bytes / 2)
      throw input_error(
          "solver compositional: masks of pixels need more than half of run.memory (" +
          std::to_string(run.memory_bytes >> 20) + " MB); raise it, or give fewer images or units");
  });
  return masks;
}

}  // namespace linex
