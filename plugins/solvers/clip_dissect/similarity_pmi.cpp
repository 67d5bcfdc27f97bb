// Soft WPMI and WPMI. Both are logarithms of products over a unit's top images,
//   l(k, c) = log Π_i (q_i + p_i·S(i, c)),  S = softmax over concepts of β·P,
// with q = 1 − p + 1e-7 (soft) or p = 1, q = 1e-7. The products of at most kMaxTop factors stay
// within the range of a double, so one logarithm a (unit, concept) is enough.
#include <ATen/ops/from_blob.h>
#include <ATen/ops/logsumexp.h>
#include <ATen/ops/softmax.h>

#include <algorithm>
#include <cmath>

#include "linex/error.hpp"
#include "similarity_parts.hpp"
#include "toolkit/base/parallel.hpp"
#include "toolkit/base/wide.hpp"
#include "toolkit/math/row_source.hpp"

namespace linex::clip_dissect {

namespace {

constexpr std::int64_t kRowsPerTask = 32;     // images whose softmax one thread takes at a time
constexpr std::int64_t kColsPerTask = 256;    // a strip of products stays in the first cache
constexpr std::int64_t kMaxChunkRows = 8192;  // images of one tile
constexpr std::int64_t kEmitCols = 1024;

/// The constants that make the two functions one.
struct Weights {
  double beta, lambda;
  std::int64_t published_top, max_top;
  bool soft;

  /// p of the image at `rank` among `top`.
  double slope(std::int64_t rank, std::int64_t top) const {
    if (!soft) return 1.0;
    return 0.998 - static_cast<double>(rank) / static_cast<double>(top) * (0.998 - 0.97);
  }
  /// 1 + p·(S − 1) + 1e-7 or S + 1e-7, less p·S.
  double offset(double slope) const { return (soft ? 1.0 - slope : 0.0) + 1e-7; }
};
// A factor is at least 1 − .998 (soft) or 1e-7: 112 and 43 of them are the most above 1e-300.
constexpr Weights kSoft{10.0, 1.0, 100, 110, true};
constexpr Weights kHard{2.0, 0.6, 28, 42, false};

/// One of a unit's top images: where its row is among the used ones, and its factor.
struct Use {
  std::int64_t place;
  double slope, offset;
};

LINEX_WIDE void multiply(const float* softmax, double slope, double offset, std::int64_t n,
                         double* product) {
#pragma omp simd
  for (std::int64_t j = 0; j < n; ++j)
    product[j] *= offset + slope * static_cast<double>(softmax[j]);
}

class WeightedPmi {
 public:
  WeightedPmi(const SimilarityInput& input, const SimilarityOptions& options,
              const SimilarityTick& tick)
      : input_(input),
        options_(options),
        tick_(tick),
        weights_(options.function == Similarity::soft_wpmi ? kSoft : kHard),
        units_(input.activations.size(1)),
        concepts_(input.presence.cols()),
        varies_(varying_units(input, options.threads)) {
    if (options.top_k > weights_.max_top)
      throw usage_error("solver.top_k: this function takes at most " +
                        std::to_string(weights_.max_top) + " images");
    find_uses();
    // Half of the memory for the products, a quarter for tiles of softmax.
    width_ = block_width(concepts_, 8 * units_, options.memory_bytes / 2);
  }

  void run(const SimilarityBlock& emit) {
    const bool one_block = width_ == concepts_;
    if (!one_block) normalise();
    for (std::int64_t first = 0; first < concepts_; first += width_) {
      const std::int64_t width = std::min(width_, concepts_ - first);
      products_.assign(static_cast<std::size_t>(units_ * width), 1.0);
      multiply_block(first, width, one_block);
      finish(first, width, emit);
    }
  }

 private:
  void find_uses() {
    const std::int64_t n = static_cast<std::int64_t>(input_.rows.size());
    const std::int64_t top =
        std::min(options_.top_k > 0 ? options_.top_k : weights_.published_top, n);
    const TopRows best = top_images(input_, top, options_.threads);
    std::vector<std::int64_t> place(static_cast<std::size_t>(n), -1);
    uses_.resize(static_cast<std::size_t>(units_));
    for (std::int64_t k = 0; k < units_; ++k) {
      if (!varies_[static_cast<std::size_t>(k)]) continue;
      const auto items = best.of(k);
      for (std::size_t rank = 0; rank < items.size(); ++rank) {
        const double slope = weights_.slope(static_cast<std::int64_t>(rank), top);
        uses_[static_cast<std::size_t>(k)].push_back(
            {items[rank].row, slope, weights_.offset(slope)});
        place[static_cast<std::size_t>(items[rank].row)] = 0;
      }
    }
    for (std::int64_t i = 0; i < n; ++i) {
      if (place[static_cast<std::size_t>(i)] < 0) continue;
      place[static_cast<std::size_t>(i)] = static_cast<std::int64_t>(used_.size());
      used_.push_back(input_.rows[static_cast<std::size_t>(i)]);
    }
    for (auto& uses : uses_) {
      for (Use& use : uses) use.place = place[static_cast<std::size_t>(use.place)];
      std::sort(uses.begin(), uses.end(),
                [](const Use& a, const Use& b) { return a.place < b.place; });
    }
  }

  /// log Σ_c exp(β·P) of each used image, where a block does not hold all concepts.
  void normalise() {
    const std::int64_t used = static_cast<std::int64_t>(used_.size());
    log_sum_.resize(used_.size());
    parallel_for((used + kRowsPerTask - 1) / kRowsPerTask, options_.threads,
                 [&](std::int64_t task) {
                   const std::int64_t begin = task * kRowsPerTask;
                   auto tile = torch::empty({std::min(kRowsPerTask, used - begin), concepts_});
                   read(begin, tile.size(0), Columns::all(), tile.data_ptr<float>());
                   const auto sums = at::logsumexp(tile.mul_(weights_.beta), 1);
                   std::copy_n(sums.data_ptr<float>(), sums.numel(), log_sum_.begin() + begin);
                 });
    report(0.3);
  }

  void read(std::int64_t begin, std::int64_t n, const Columns& cols, float* out) const {
    input_.presence.read(Ids(used_.data() + begin, n), cols, out);
  }

  /// Softmax of used rows [begin, begin + n) and concepts [first, first + width).
  void softmax(std::int64_t begin, std::int64_t n, const std::vector<std::int64_t>& cols,
               bool all_concepts, float* out) const {
    const std::int64_t width = static_cast<std::int64_t>(cols.size());
    read(begin, n, all_concepts ? Columns::all() : Columns(cols), out);
    auto tile = at::from_blob(out, {n, width});
    tile.mul_(weights_.beta);
    if (all_concepts) {
      tile.copy_(at::softmax(tile, 1));
      return;
    }
    tile.sub_(at::from_blob(const_cast<float*>(log_sum_.data()) + begin, {n, 1})).exp_();
  }

  void multiply_block(std::int64_t first, std::int64_t width, bool all_concepts) {
    const std::int64_t used = static_cast<std::int64_t>(used_.size());
    const std::int64_t rows = std::clamp<std::int64_t>(options_.memory_bytes / 4 / (4 * width),
                                                       kRowsPerTask, kMaxChunkRows);
    std::vector<std::int64_t> cols(static_cast<std::size_t>(width));
    for (std::int64_t j = 0; j < width; ++j) cols[static_cast<std::size_t>(j)] = first + j;
    std::vector<std::size_t> next(uses_.size(), 0);
    std::vector<float> tile(static_cast<std::size_t>(std::min(rows, used) * width));
    for (std::int64_t begin = 0; begin < used; begin += rows) {
      const std::int64_t count = std::min(rows, used - begin);
      parallel_for((count + kRowsPerTask - 1) / kRowsPerTask, options_.threads,
                   [&](std::int64_t task) {
                     const std::int64_t from = task * kRowsPerTask;
                     softmax(begin + from, std::min(kRowsPerTask, count - from), cols, all_concepts,
                             tile.data() + from * width);
                   });
      std::vector<std::size_t> end(next);
      for (std::size_t k = 0; k < uses_.size(); ++k)
        while (end[k] < uses_[k].size() && uses_[k][end[k]].place < begin + count) ++end[k];
      parallel_for(
          (width + kColsPerTask - 1) / kColsPerTask, options_.threads, [&](std::int64_t task) {
            const std::int64_t col = task * kColsPerTask;
            const std::int64_t n = std::min(kColsPerTask, width - col);
            for (std::size_t k = 0; k < uses_.size(); ++k) {
              double* const product = products_.data() + static_cast<std::int64_t>(k) * width + col;
              for (std::size_t u = next[k]; u < end[k]; ++u) {
                const Use& use = uses_[k][u];
                multiply(tile.data() + (use.place - begin) * width + col, use.slope, use.offset, n,
                         product);
              }
            }
          });
      next = std::move(end);
      const double share = static_cast<double>(begin + count) / static_cast<double>(used);
      const double before = all_concepts ? 0.0 : 0.3;
      report(before + (0.95 - before) *
                          (static_cast<double>(first) + share * static_cast<double>(width)) /
                          static_cast<double>(concepts_));
    }
  }

  /// score = l − λ·prior, prior = log mean_k exp(l).
  void finish(std::int64_t first, std::int64_t width, const SimilarityBlock& emit) {
    const double living = static_cast<double>(std::count(varies_.begin(), varies_.end(), 1));
    for (std::int64_t begin = 0; begin < width; begin += kEmitCols) {
      const std::int64_t count = std::min(kEmitCols, width - begin);
      auto scores = torch::empty({units_, count});
      float* const out = scores.data_ptr<float>();
      constexpr std::int64_t kStrip = 64;
      parallel_for((count + kStrip - 1) / kStrip, options_.threads, [&](std::int64_t task) {
        const std::int64_t end = std::min(count, (task + 1) * kStrip);
        for (std::int64_t j = task * kStrip; j < end; ++j) {
          // The mean of the products themselves: they are positive and at most about 1.
          double sum = 0;
          for (std::int64_t k = 0; k < units_; ++k)
            if (varies_[static_cast<std::size_t>(k)]) sum += products_[k * width + begin + j];
          const double prior = std::log(sum / living);
          for (std::int64_t k = 0; k < units_; ++k)
            out[k * count + j] =
                varies_[static_cast<std::size_t>(k)]
                    ? static_cast<float>(std::log(products_[k * width + begin + j]) -
                                         weights_.lambda * prior)
                    : NAN;
        }
      });
      emit(first + begin, scores);
    }
    report(static_cast<double>(first + width) / static_cast<double>(concepts_));
  }

  void report(double done) const {
    if (tick_) tick_(done);
  }

  const SimilarityInput& input_;
  const SimilarityOptions& options_;
  const SimilarityTick& tick_;
  Weights weights_;
  std::int64_t units_, concepts_, width_ = 0;
  std::vector<char> varies_;
  std::vector<std::vector<Use>> uses_;  // by unit, in order of place
  Rows used_;                           // distinct rows of all uses, ascending
  std::vector<float> log_sum_;          // by place
  std::vector<double> products_;        // (K, width)
};

}  // namespace

void weighted_pmi(const SimilarityInput& input, const SimilarityOptions& options,
                  const SimilarityBlock& emit, const SimilarityTick& tick) {
  WeightedPmi(input, options, tick).run(emit);
}

}  // namespace linex::clip_dissect
