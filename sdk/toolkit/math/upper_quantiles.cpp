#include "toolkit/math/upper_quantiles.hpp"

#include <algorithm>
#include <cmath>
#include <functional>
#include <limits>
#include <stdexcept>
#include <utility>

#include "toolkit/base/parallel.hpp"
#include "toolkit/base/wide.hpp"

namespace linex {

namespace {

constexpr std::int64_t kLeastCapacity = 1024, kMostCapacity = 1 << 16;
constexpr std::int64_t kStreamsPerTask = 32;
constexpr std::int64_t kChunk = 16;  // values looked at together: nearly all lie below the floor
constexpr std::int64_t kCompactionsPerFloor = 8;

/// A NaN is not above anything.
LINEX_WIDE bool any_above(const float* values, std::int64_t n, float floor) {
  int above = 0;
#pragma omp simd reduction(| : above)
  for (std::int64_t i = 0; i < n; ++i) above |= values[i] > floor;
  return above != 0;
}

}  // namespace

UpperQuantiles::UpperQuantiles(std::int64_t streams, std::int64_t total,
                               const QuantileOptions& options)
    : position_(options.quantile * static_cast<double>(total - 1)),
      total_(total),
      needed_(total - static_cast<std::int64_t>(std::floor(position_))),
      exact_(options.method == QuantileMethod::exact),
      streams_(static_cast<std::size_t>(streams)) {
  if (total < 1 || !(options.quantile >= 0 && options.quantile <= 1))
    throw std::logic_error("UpperQuantiles: no values or a quantile outside [0, 1]");
  const std::int64_t each = options.memory_bytes / std::max<std::int64_t>(1, 4 * streams);
  if (options.method == QuantileMethod::automatic)
    exact_ = 2 * needed_ <= std::max(each, 4 * kLeastCapacity);
  // Half a level is promoted at a time, so there are about log2(needed / capacity) + 2 levels.
  const double levels = 3 + std::log2(1 + static_cast<double>(needed_) /
                                              static_cast<double>(std::max(each, kLeastCapacity)));
  capacity_ = exact_ ? 2 * needed_
                     : std::clamp(static_cast<std::int64_t>(static_cast<double>(each) / levels),
                                  kLeastCapacity, kMostCapacity) /
                           4 * 4;
  for (std::size_t k = 0; k < streams_.size(); ++k) {
    streams_[k].floor = -std::numeric_limits<float>::infinity();
    streams_[k].levels.resize(1);
    streams_[k].random = Random::stream(options.seed, k);
  }
}

void UpperQuantiles::add(const torch::Tensor& values, int threads) {
  const std::int64_t n = values.size(0), width = values.size(2);
  const auto streams = static_cast<std::int64_t>(streams_.size());
  if (values.dim() != 3 || values.size(1) != streams)
    throw std::logic_error("UpperQuantiles: values must be (n, streams, m)");
  const torch::Tensor dense = values.contiguous();
  const float* const data = dense.data_ptr<float>();
  parallel_for((streams + kStreamsPerTask - 1) / kStreamsPerTask, threads, [&](std::int64_t task) {
    const std::int64_t end = std::min(streams, (task + 1) * kStreamsPerTask);
    for (std::int64_t i = 0; i < n; ++i)
      for (std::int64_t k = task * kStreamsPerTask; k < end; ++k)
        add(streams_[static_cast<std::size_t>(k)], data + (i * streams + k) * width, width);
  });
  added_ += n * width;
}

void UpperQuantiles::add(Stream& stream, const float* values, std::int64_t n) const {
  for (std::int64_t begin = 0; begin < n; begin += kChunk) {
    const std::int64_t end = std::min(n, begin + kChunk);
    if (!any_above(values + begin, end - begin, stream.floor)) continue;
    for (std::int64_t i = begin; i < end; ++i) {
      if (!(values[i] > stream.floor)) continue;
      auto& buffer = stream.levels.front();
      buffer.push_back(values[i]);
      if (static_cast<std::int64_t>(buffer.size()) < capacity_) continue;
      if (exact_)
        shrink_exact(stream);
      else
        compact(stream);
    }
  }
}

void UpperQuantiles::shrink_exact(Stream& stream) const {
  auto& buffer = stream.levels.front();
  const auto last = buffer.begin() + needed_ - 1;
  std::nth_element(buffer.begin(), last, buffer.end(), std::greater<float>());
  stream.floor = *last;
  buffer.resize(static_cast<std::size_t>(needed_));
}

void UpperQuantiles::compact(Stream& stream) const {
  for (std::size_t level = 0; level < stream.levels.size(); ++level) {
    if (static_cast<std::int64_t>(stream.levels[level].size()) < capacity_) continue;
    if (level + 1 == stream.levels.size()) stream.levels.emplace_back();
    auto& buffer = stream.levels[level];
    // The largest half stays as it is; of the others every second one now stands for two.
    const std::size_t lower = buffer.size() / 4 * 2;
    const auto middle = buffer.begin() + static_cast<std::ptrdiff_t>(lower);
    std::nth_element(buffer.begin(), middle, buffer.end());
    std::sort(buffer.begin(), middle);
    for (std::size_t i = stream.random.below(2); i < lower; i += 2)
      stream.levels[level + 1].push_back(buffer[i]);
    buffer.erase(buffer.begin(), buffer.begin() + static_cast<std::ptrdiff_t>(lower));
  }
  if (++stream.compactions % kCompactionsPerFloor == 1) raise_floor(stream);
}

/// Whatever has `needed` values above it cannot be the quantile.
void UpperQuantiles::raise_floor(Stream& stream) const {
  std::vector<std::pair<float, std::int64_t>> weighted;
  for (std::size_t level = 0; level < stream.levels.size(); ++level)
    for (const float value : stream.levels[level])
      weighted.emplace_back(value, std::int64_t{1} << level);
  std::sort(weighted.begin(), weighted.end(), std::greater<>());
  std::int64_t above = 0;
  for (const auto& [value, weight] : weighted) {
    above += weight;
    // Twice as many, for what the sampling may have moved.
    if (above < 2 * needed_) continue;
    stream.floor = value;
    for (auto& level : stream.levels)
      level.erase(std::remove_if(level.begin(), level.end(),
                                 [floor = value](float v) { return v < floor; }),
                  level.end());
    return;
  }
}

float UpperQuantiles::exact_value(const Stream& stream) const {
  std::vector<float> kept = stream.levels.front();
  // NaN and minus infinity were never taken.
  while (static_cast<std::int64_t>(kept.size()) < needed_) kept.push_back(stream.floor);
  std::sort(kept.begin(), kept.end(), std::greater<float>());
  const double low = static_cast<double>(kept[static_cast<std::size_t>(needed_ - 1)]);
  const double fraction = position_ - std::floor(position_);
  if (needed_ < 2 || fraction == 0) return static_cast<float>(low);
  const double high = static_cast<double>(kept[static_cast<std::size_t>(needed_ - 2)]);
  return static_cast<float>(low + fraction * (high - low));
}

float UpperQuantiles::sketched_value(const Stream& stream) const {
  std::vector<std::pair<float, std::int64_t>> weighted;
  for (std::size_t level = 0; level < stream.levels.size(); ++level)
    for (const float value : stream.levels[level])
      weighted.emplace_back(value, std::int64_t{1} << level);
  std::sort(weighted.begin(), weighted.end(), std::greater<>());
  const double wanted = static_cast<double>(total_ - 1) - position_;  // rank from the top
  double above = 0;
  for (const auto& [value, weight] : weighted) {
    above += static_cast<double>(weight);
    if (above > wanted) return value;
  }
  return stream.floor;
}

torch::Tensor UpperQuantiles::values() const {
  if (added_ != total_)
    throw std::logic_error("UpperQuantiles: " + std::to_string(added_) + " values of " +
                           std::to_string(total_));
  auto result = torch::empty({static_cast<std::int64_t>(streams_.size())});
  for (std::size_t k = 0; k < streams_.size(); ++k)
    result.data_ptr<float>()[k] = exact_ ? exact_value(streams_[k]) : sketched_value(streams_[k]);
  return result;
}

}  // namespace linex
