#include "toolkit/probe/exemplars.hpp"

#include <algorithm>
#include <cmath>
#include <limits>

#include "linex/error.hpp"
#include "toolkit/base/files.hpp"
#include "toolkit/base/npy.hpp"
#include "toolkit/base/parallel.hpp"

namespace linex {

namespace fs = std::filesystem;

namespace {

constexpr std::int64_t kUnitsPerTask = 8;

/// The best images of every unit so far, kept sorted: m is small.
class BestMaps {
 public:
  BestMaps(std::int64_t units, std::int64_t count, std::int64_t height, std::int64_t width)
      : units_(units), count_(count), places_(height * width) {
    found.rows = torch::full({units, count}, -1, torch::kInt64);
    found.peaks = torch::full({units, count}, -std::numeric_limits<float>::infinity());
    found.maps = torch::zeros({units, count, height, width});
  }

  void add(const std::int64_t* rows, std::int64_t n, const torch::Tensor& maps, int threads) {
    const float* const data = maps.data_ptr<float>();
    parallel_for((units_ + kUnitsPerTask - 1) / kUnitsPerTask, threads, [&](std::int64_t task) {
      const std::int64_t end = std::min(units_, (task + 1) * kUnitsPerTask);
      for (std::int64_t k = task * kUnitsPerTask; k < end; ++k)
        for (std::int64_t i = 0; i < n; ++i) {
          const float* const map = data + (i * units_ + k) * places_;
          offer(k, rows[i], *std::max_element(map, map + places_), map);
        }
    });
  }

  Exemplars found;

 private:
  /// Rows come ascending, so an equal peak stays behind those that are there.
  void offer(std::int64_t unit, std::int64_t row, float peak, const float* map) {
    float* const peaks = found.peaks.data_ptr<float>() + unit * count_;
    if (!(peak > peaks[count_ - 1])) return;
    std::int64_t* const rows = found.rows.data_ptr<std::int64_t>() + unit * count_;
    float* const maps = found.maps.data_ptr<float>() + unit * count_ * places_;
    std::int64_t place = count_ - 1;
    for (; place > 0 && peak > peaks[place - 1]; --place) {
      peaks[place] = peaks[place - 1];
      rows[place] = rows[place - 1];
      std::copy_n(maps + (place - 1) * places_, places_, maps + place * places_);
    }
    peaks[place] = peak;
    rows[place] = row;
    std::copy_n(map, places_, maps + place * places_);
  }

  std::int64_t units_, count_, places_;
};

/// Four .npy files in a folder of the cache, the last one written last.
class ExemplarCache {
 public:
  ExemplarCache(const UnitMaps& maps, const ExemplarOptions& options) {
    const RunSettings& run = maps.context().run();
    if (run.cache.empty()) return;
    const std::string key = maps.key() + " exemplars=" + std::to_string(options.count) +
                            " quantile=" + std::to_string(options.quantile) +
                            " method=" + std::to_string(static_cast<int>(options.method)) +
                            " seed=" + std::to_string(run.seed) +
                            " memory=" + std::to_string(run.memory_bytes);
    folder_ = run.cache / "exemplars" / Sha256().add(key).hex().substr(0, 32);
  }

  /// False where nothing whole is there.
  bool read(const std::vector<std::int64_t>& shape, Exemplars& found) const {
    std::error_code ignored;
    if (folder_.empty() || !fs::exists(folder_ / "sha256", ignored)) return false;
    try {
      if (read_file(folder_ / "sha256") != digest()) return false;
      found.rows = map_npy(folder_ / "rows.npy").clone();
      found.peaks = map_npy(folder_ / "peaks.npy").clone();
      found.maps = map_npy(folder_ / "maps.npy").clone();
      found.level = map_npy(folder_ / "level.npy").clone();
    } catch (const Error&) {
      return false;  // damaged: computed again
    }
    return found.maps.sizes() == torch::IntArrayRef(shape);
  }

  void write(const Exemplars& found, Logger& log) const {
    if (folder_.empty()) return;
    try {
      fs::create_directories(folder_);
      write_npy(folder_ / "rows.npy", found.rows);
      write_npy(folder_ / "peaks.npy", found.peaks);
      write_npy(folder_ / "maps.npy", found.maps);
      write_npy(folder_ / "level.npy", found.level);
      write_file_atomic(folder_ / "sha256", digest());
    } catch (const std::exception& failure) {
      log.warning(std::string("run.cache cannot be used: ") + failure.what());
    }
  }

 private:
  std::string digest() const {
    std::string all;
    for (const char* name : {"rows.npy", "peaks.npy", "maps.npy", "level.npy"})
      all += sha256_of_file(folder_ / name);
    return Sha256().add(all).hex();
  }

  fs::path folder_;
};

}  // namespace

Exemplars find_exemplars(UnitMaps& maps, const ExemplarOptions& options) {
  const auto units = static_cast<std::int64_t>(maps.units().size());
  const std::int64_t rows = maps.data().size(), places = maps.height() * maps.width();
  const std::int64_t count = std::min(options.count, rows);
  const RunSettings& run = maps.context().run();
  const ExemplarCache cache(maps, options);
  BestMaps best(units, count, maps.height(), maps.width());
  if (cache.read({units, count, maps.height(), maps.width()}, best.found)) return best.found;

  UpperQuantiles quantiles(units, rows * places,
                           {options.quantile, options.method, run.memory_bytes / 4, run.seed});
  maps.stream("exemplars",
              [&](const std::int64_t* ids, std::int64_t n, const torch::Tensor& batch) {
                best.add(ids, n, batch, run.threads);
                quantiles.add(batch.view({n, units, places}), run.threads);
              });
  best.found.level = quantiles.values();
  cache.write(best.found, maps.context().log());
  return best.found;
}

torch::Tensor exemplar_mask(const torch::Tensor& map, float level, std::int64_t height,
                            std::int64_t width) {
  const std::int64_t h = map.size(0), w = map.size(1);
  const torch::Tensor dense = map.contiguous();
  const float* const from = dense.data_ptr<float>();
  const auto at = [&](std::int64_t y, std::int64_t x) {
    return y < 0 || y >= h || x < 0 || x >= w ? 0.0F : from[y * w + x];
  };
  torch::Tensor mask = torch::empty({height, width}, torch::kBool);
  bool* to = mask.data_ptr<bool>();
  for (std::int64_t i = 0; i < height; ++i) {
    const float y =
        (static_cast<float>(i) + 0.5F) * static_cast<float>(h) / static_cast<float>(height) - 0.5F;
    const auto top = static_cast<std::int64_t>(std::floor(y));
    const float down = y - static_cast<float>(top);
    for (std::int64_t j = 0; j < width; ++j) {
      const float x =
          (static_cast<float>(j) + 0.5F) * static_cast<float>(w) / static_cast<float>(width) - 0.5F;
      const auto left = static_cast<std::int64_t>(std::floor(x));
      const float right = x - static_cast<float>(left);
      const float value = (1 - down) * ((1 - right) * at(top, left) + right * at(top, left + 1)) +
                          down * ((1 - right) * at(top + 1, left) + right * at(top + 1, left + 1));
      *to++ = value > level;
    }
  }
  return mask;
}

}  // namespace linex
