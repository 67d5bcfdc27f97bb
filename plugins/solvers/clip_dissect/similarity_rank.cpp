// Rank reorder: how well a concept's order of a unit's top images predicts their activations.
#include <algorithm>
#include <array>
#include <cmath>
#include <cstring>

#include "linex/error.hpp"
#include "similarity_parts.hpp"
#include "toolkit/base/parallel.hpp"
#include "toolkit/base/random.hpp"
#include "toolkit/math/row_source.hpp"

namespace linex::clip_dissect {

namespace {

constexpr double kTopShare = 0.05;
constexpr int kBaselines = 5;
constexpr std::int64_t kRowsPerTile = 256;

/// Ascending order of floats as an order of unsigned integers.
std::uint32_t sortable(float value) {
  std::uint32_t bits;
  std::memcpy(&bits, &value, sizeof bits);
  return bits & 0x80000000U ? ~bits : bits | 0x80000000U;
}

/// Ranks of n values, equal ones in order of their index: a radix sort, 11 bits at a time.
void rank_values(const float* values, std::int64_t n, std::vector<std::uint64_t>& keys,
                 std::vector<std::uint64_t>& scratch, std::uint32_t* rank) {
  keys.resize(static_cast<std::size_t>(n));
  scratch.resize(keys.size());
  for (std::int64_t i = 0; i < n; ++i)
    keys[static_cast<std::size_t>(i)] =
        static_cast<std::uint64_t>(sortable(values[i])) << 32 | static_cast<std::uint64_t>(i);
  for (int shift = 32; shift < 65; shift += 11) {
    std::array<std::uint32_t, 2049> start{};
    for (const auto key : keys) ++start[(key >> shift & 2047U) + 1];
    for (std::size_t b = 1; b < start.size(); ++b) start[b] += start[b - 1];
    for (const auto key : keys) scratch[start[key >> shift & 2047U]++] = key;
    keys.swap(scratch);
  }
  for (std::int64_t i = 0; i < n; ++i)
    rank[keys[static_cast<std::size_t>(i)] & 0xffffffffU] = static_cast<std::uint32_t>(i);
}

/// What a unit is compared with: its top images, their activations ascending, the random baseline.
struct UnitTarget {
  std::vector<std::uint32_t> image;  // places, activation descending
  std::vector<float> ascending;
  double baseline = 0;
};

double cubed_distance(double a, double b) {
  const double d = std::fabs(a - b);
  return d * d * d;
}

UnitTarget make_target(const std::vector<TopRows::Item>& items, Random random) {
  UnitTarget target;
  for (const auto& item : items) {
    target.image.push_back(static_cast<std::uint32_t>(item.row));
    target.ascending.push_back(item.value);
  }
  std::reverse(target.ascending.begin(), target.ascending.end());
  for (int b = 0; b < kBaselines; ++b) {
    std::vector<float> shuffled = target.ascending;
    random.shuffle(shuffled);
    for (std::size_t i = 0; i < shuffled.size(); ++i)
      target.baseline += cubed_distance(target.ascending[i], shuffled[i]);
  }
  target.baseline /= kBaselines * static_cast<double>(items.size());
  return target;
}

/// Ranks within a subset from ranks within the whole: marks in a bit set, counts before each word.
class SubsetRanks {
 public:
  explicit SubsetRanks(std::int64_t n)
      : bits_(static_cast<std::size_t>(n + 63) / 64), before_(bits_) {}

  void mark(const UnitTarget& target, const std::uint32_t* rank) {
    std::fill(bits_.begin(), bits_.end(), 0);
    for (const auto image : target.image)
      bits_[rank[image] >> 6] |= std::uint64_t{1} << (rank[image] & 63U);
    std::uint64_t count = 0;
    for (std::size_t w = 0; w < bits_.size(); ++w) {
      before_[w] = count;
      count += static_cast<std::uint64_t>(__builtin_popcountll(bits_[w]));
    }
  }
  std::size_t operator()(std::uint32_t rank) const {
    const std::uint64_t below = bits_[rank >> 6] & ((std::uint64_t{1} << (rank & 63U)) - 1);
    return before_[rank >> 6] + static_cast<std::uint64_t>(__builtin_popcountll(below));
  }

 private:
  std::vector<std::uint64_t> bits_, before_;
};

/// Concepts [first, first + width) of all rows, transposed: values (width, N).
void read_columns(const SimilarityInput& input, std::int64_t first, std::int64_t width, int threads,
                  float* values) {
  const std::int64_t n = static_cast<std::int64_t>(input.rows.size());
  std::vector<std::int64_t> cols(static_cast<std::size_t>(width));
  for (std::int64_t j = 0; j < width; ++j) cols[static_cast<std::size_t>(j)] = first + j;
  parallel_for((n + kRowsPerTile - 1) / kRowsPerTile, threads, [&](std::int64_t task) {
    const std::int64_t begin = task * kRowsPerTile, count = std::min(kRowsPerTile, n - begin);
    std::vector<float> tile(static_cast<std::size_t>(count * width));
    input.presence.read(Ids(input.rows.data() + begin, count),
                        width == input.presence.cols() ? Columns::all() : Columns(cols),
                        tile.data());
    for (std::int64_t j = 0; j < width; ++j)
      for (std::int64_t i = 0; i < count; ++i) values[j * n + begin + i] = tile[i * width + j];
  });
}

}  // namespace

void rank_reorder(const SimilarityInput& input, const SimilarityOptions& options,
                  const SimilarityBlock& emit, const SimilarityTick& tick) {
  const std::int64_t n = static_cast<std::int64_t>(input.rows.size());
  const std::int64_t units = input.activations.size(1), concepts = input.presence.cols();
  const std::int64_t top = static_cast<std::int64_t>(kTopShare * static_cast<double>(n));
  if (top < 2)
    throw input_error(
        "clip_dissect: rank_reorder orders the top 5 % of the images and needs at "
        "least 40 of them, not " +
        std::to_string(n));
  const auto varies = varying_units(input, options.threads);
  std::vector<UnitTarget> targets(static_cast<std::size_t>(units));
  {
    const TopRows best = top_images(input, top, options.threads);
    parallel_for(units, options.threads, [&](std::int64_t k) {
      targets[static_cast<std::size_t>(k)] =
          make_target(best.of(k), Random::stream(options.seed, static_cast<std::uint64_t>(k)));
    });
  }

  const std::int64_t per_concept = 4 * n + 4 * units + 4 * kRowsPerTile * options.threads;
  const std::int64_t width =
      std::min<std::int64_t>(1024, block_width(concepts, per_concept, options.memory_bytes / 2));
  std::vector<float> values(static_cast<std::size_t>(width * n));
  for (std::int64_t first = 0; first < concepts; first += width) {
    const std::int64_t count = std::min(width, concepts - first);
    read_columns(input, first, count, options.threads, values.data());
    auto scores = torch::empty({units, count});
    float* const out = scores.data_ptr<float>();
    parallel_for(count, options.threads, [&](std::int64_t j) {
      const float* const column = values.data() + j * n;
      std::vector<std::uint64_t> keys, scratch;
      std::vector<std::uint32_t> rank(static_cast<std::size_t>(n));
      rank_values(column, n, keys, scratch, rank.data());
      SubsetRanks subset(n);
      for (std::int64_t k = 0; k < units; ++k) {
        const UnitTarget& target = targets[static_cast<std::size_t>(k)];
        float& score = out[k * count + j];
        score = NAN;
        if (!varies[static_cast<std::size_t>(k)] || !(target.baseline > 0)) continue;
        subset.mark(target, rank.data());
        double error = 0, presence = 0;
        for (std::int64_t i = 0; i < top; ++i) {
          const std::uint32_t image = target.image[static_cast<std::size_t>(i)];
          const float actual = target.ascending[static_cast<std::size_t>(top - 1 - i)];
          error += cubed_distance(actual, target.ascending[subset(rank[image])]);
          presence += static_cast<double>(column[image]);
        }
        const double mean = presence / static_cast<double>(top);
        if (mean > 0)
          score = static_cast<float>(-error / static_cast<double>(top) / target.baseline /
                                     std::sqrt(mean));
      }
    });
    emit(first, scores);
    if (tick) tick(static_cast<double>(first + count) / static_cast<double>(concepts));
  }
}

}  // namespace linex::clip_dissect
