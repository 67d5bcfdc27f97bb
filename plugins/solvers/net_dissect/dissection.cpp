#include "dissection.hpp"

#include <algorithm>
#include <map>
#include <memory>
#include <numeric>
#include <tuple>

#include "toolkit/base/csv.hpp"
#include "toolkit/base/files.hpp"
#include "toolkit/base/parallel.hpp"
#include "toolkit/base/text.hpp"
#include "toolkit/probe/visible_labels.hpp"

namespace linex {

namespace {

constexpr std::int64_t kUnitsPerTask = 4;

/// Counts of a few units, for one thread.
class UnitCounter {
 public:
  UnitCounter(PixelTallies& tallies, const std::vector<std::int64_t>& category_of)
      : tallies_(tallies),
        category_of_(category_of),
        count_(category_of.size(), 0),
        touched_category_(static_cast<std::size_t>(tallies.activation.size(1)), 0) {}

  void add(std::int64_t unit, const float* map, float threshold, const VisibleLabels& labels,
           const MapUpsampler& upsampler) {
    std::int64_t mask = 0;
    const std::int64_t width = labels.frame.width;
    upsampler.above(map, threshold, scratch_, [&](std::int64_t y, std::int64_t x) {
      const auto place = static_cast<std::size_t>(y * width + x);
      if (!labels.inside.empty() && !labels.inside[place]) return;
      ++mask;
      for (const auto& label_map : labels.maps)
        if (const std::int32_t label = label_map[place]; label >= 0) hit(label, 1);
    });
    if (mask == 0) return;
    for (const std::int64_t label : labels.whole) hit(static_cast<std::int32_t>(label), mask);
    const auto stride = static_cast<std::int64_t>(category_of_.size());
    std::int64_t* const intersect = tallies_.intersect.data_ptr<std::int64_t>() + unit * stride;
    for (const std::int32_t label : touched_) {
      const auto index = static_cast<std::size_t>(label);
      intersect[label] += count_[index];
      count_[index] = 0;
      touched_category_[static_cast<std::size_t>(category_of_[index])] = 1;
    }
    touched_.clear();
    std::int64_t* const activation =
        tallies_.activation.data_ptr<std::int64_t>() + unit * tallies_.activation.size(1);
    for (std::size_t c = 0; c < touched_category_.size(); ++c) {
      if (touched_category_[c]) activation[c] += mask;
      touched_category_[c] = 0;
    }
  }

 private:
  void hit(std::int32_t label, std::int64_t pixels) {
    std::int64_t& count = count_[static_cast<std::size_t>(label)];
    if (count == 0) touched_.push_back(label);
    count += pixels;
  }

  PixelTallies& tallies_;
  const std::vector<std::int64_t>& category_of_;
  std::vector<std::int64_t> count_;
  std::vector<std::int32_t> touched_;
  std::vector<char> touched_category_;
  MapUpsampler::Scratch scratch_;
};

std::vector<std::int64_t> category_indices(const std::vector<PixelLabel>& labels) {
  const auto names = categories_of(labels);
  std::vector<std::int64_t> indices;
  for (const auto& label : labels)
    indices.push_back(std::find(names.begin(), names.end(), label.category) - names.begin());
  return indices;
}

}  // namespace

std::vector<std::string> categories_of(const std::vector<PixelLabel>& labels) {
  std::vector<std::string> names;
  for (const auto& label : labels)
    if (std::find(names.begin(), names.end(), label.category) == names.end())
      names.push_back(label.category);
  return names;
}

PixelTallies tally_pixels(UnitMaps& maps, const PixelLabels& labels,
                          const DissectionOptions& options) {
  const auto names = labels.pixel_labels();
  const auto category_of = category_indices(names);
  const auto units = static_cast<std::int64_t>(maps.units().size());
  const auto count = static_cast<std::int64_t>(names.size());
  const auto categories = static_cast<std::int64_t>(categories_of(names).size());
  const int threads = maps.context().run().threads;
  const Preprocess preprocess = maps.preprocess();

  PixelTallies tallies;
  MapThresholds thresholds = map_thresholds(maps, options.quantile, options.method);
  tallies.threshold = thresholds.value;
  tallies.varies = std::move(thresholds.varies);
  tallies.truth = torch::zeros({count}, torch::kInt64);
  tallies.intersect = torch::zeros({units, count}, torch::kInt64);
  tallies.activation = torch::zeros({units, categories}, torch::kInt64);
  FrameUpsamplers upsamplers(maps.height(), maps.width());
  const float* const threshold = tallies.threshold.data_ptr<float>();
  const std::int64_t places = maps.height() * maps.width();

  maps.stream("masks", [&](const std::int64_t* rows, std::int64_t n, const torch::Tensor& batch) {
    std::vector<VisibleLabels> visible(static_cast<std::size_t>(n));
    parallel_for(n, threads, [&](std::int64_t i) {
      visible[static_cast<std::size_t>(i)] = visible_labels(labels.label_maps(rows[i]), preprocess);
    });
    std::int64_t* const truth = tallies.truth.data_ptr<std::int64_t>();
    for (const auto& image : visible) {
      for (const auto& map : image.maps)
        for (const std::int32_t label : map)
          if (label >= 0) ++truth[label];
      for (const std::int64_t label : image.whole) truth[label] += image.pixels;
    }
    std::vector<const MapUpsampler*> upsampler;
    for (const auto& image : visible) upsampler.push_back(&upsamplers.get(image.frame));
    const float* const values = batch.data_ptr<float>();
    parallel_for((units + kUnitsPerTask - 1) / kUnitsPerTask, threads, [&](std::int64_t task) {
      UnitCounter counter(tallies, category_of);
      const std::int64_t end = std::min(units, (task + 1) * kUnitsPerTask);
      for (std::int64_t k = task * kUnitsPerTask; k < end; ++k) {
        if (!tallies.varies[static_cast<std::size_t>(k)]) continue;
        for (std::int64_t i = 0; i < n; ++i) {
          const float* const map = values + (i * units + k) * places;
          if (!(*std::max_element(map, map + places) > threshold[k])) continue;
          counter.add(k, map, threshold[k], visible[static_cast<std::size_t>(i)],
                      *upsampler[static_cast<std::size_t>(i)]);
        }
      }
    });
  });
  return tallies;
}

std::vector<UnitMatch> match_units(const PixelTallies& tallies,
                                   const std::vector<PixelLabel>& labels) {
  const auto category_of = category_indices(labels);
  const std::int64_t units = tallies.intersect.size(0);
  const auto count = static_cast<std::int64_t>(labels.size());
  std::vector<UnitMatch> matches(static_cast<std::size_t>(units));
  for (std::int64_t k = 0; k < units; ++k) {
    UnitMatch& match = matches[static_cast<std::size_t>(k)];
    match.categories.resize(static_cast<std::size_t>(tallies.activation.size(1)));
    for (std::int64_t j = 0; j < count; ++j) {
      const std::int64_t category = category_of[static_cast<std::size_t>(j)];
      CategoryMatch candidate;
      candidate.label = j;
      candidate.truth = tallies.truth.data_ptr<std::int64_t>()[j];
      candidate.intersect = tallies.intersect.data_ptr<std::int64_t>()[k * count + j];
      candidate.activation =
          tallies.activation.data_ptr<std::int64_t>()[k * tallies.activation.size(1) + category];
      candidate.iou =
          static_cast<double>(candidate.intersect) /
          (static_cast<double>(candidate.activation + candidate.truth - candidate.intersect) +
           1e-10);
      CategoryMatch& best = match.categories[static_cast<std::size_t>(category)];
      if (best.label < 0 || candidate.iou > best.iou) best = candidate;
    }
    if (!tallies.varies[static_cast<std::size_t>(k)]) continue;
    for (std::size_t c = 0; c < match.categories.size(); ++c)
      if (match.best < 0 || match.categories[c].iou > match.score())
        match.best = static_cast<std::int64_t>(c);
  }
  return matches;
}

void write_tally(const std::filesystem::path& path, const std::vector<std::int64_t>& units,
                 const std::vector<UnitMatch>& matches, const std::vector<PixelLabel>& labels) {
  const auto categories = categories_of(labels);
  std::vector<std::string> header{"unit", "category", "label", "score"};
  for (const auto& category : categories)
    for (const char* part : {"-label", "-truth", "-activation", "-intersect", "-iou"})
      header.push_back(category + part);
  std::vector<std::size_t> order(matches.size());
  std::iota(order.begin(), order.end(), std::size_t{0});
  std::stable_sort(order.begin(), order.end(), [&](std::size_t a, std::size_t b) {
    return matches[a].score() > matches[b].score();
  });

  std::string content = csv_record(header);
  for (const std::size_t k : order) {
    const UnitMatch& match = matches[k];
    const auto name = [&](std::int64_t label) {
      return label < 0 ? std::string() : labels[static_cast<std::size_t>(label)].name;
    };
    std::vector<std::string> cells{std::to_string(units[k] + 1), "", "",
                                   format_number(match.score())};
    if (match.best >= 0) {
      const auto best = static_cast<std::size_t>(match.best);
      cells[1] = categories[best];
      cells[2] = name(match.categories[best].label);
    }
    for (const CategoryMatch& category : match.categories) {
      cells.push_back(name(category.label));
      for (const std::int64_t pixels : {category.truth, category.activation, category.intersect})
        cells.push_back(std::to_string(pixels));
      cells.push_back(format_number(category.iou));
    }
    content += csv_record(cells);
  }
  write_file_atomic(path, content);
}

}  // namespace linex
