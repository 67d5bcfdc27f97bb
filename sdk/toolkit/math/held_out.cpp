#include "toolkit/math/held_out.hpp"

#include <ATen/ops/empty.h>

#include "toolkit/base/parallel.hpp"

namespace linex {

namespace {

constexpr std::int64_t kTileRows = 512;

/// source[rows] − shift as (columns, rows).
torch::Tensor read_columns(const RowSource& source, const std::vector<float>& shift,
                           const Rows& rows, std::int64_t begin, std::int64_t n, int threads) {
  constexpr std::int64_t kColsPerTask = 64;
  const std::int64_t cols = source.cols;
  std::vector<float> tile(static_cast<std::size_t>(n * cols));
  read_tile(source, rows, begin, n, threads, tile.data());
  torch::Tensor columns = at::empty({cols, n}, at::kFloat);
  float* const out = columns.data_ptr<float>();
  parallel_for((cols + kColsPerTask - 1) / kColsPerTask, threads_for(n * cols, threads),
               [&](std::int64_t task) {
                 const std::int64_t first = task * kColsPerTask,
                                    last = std::min(cols, first + kColsPerTask);
                 for (std::int64_t i = 0; i < n; ++i)
                   for (std::int64_t j = first; j < last; ++j)
                     out[j * n + i] = tile[static_cast<std::size_t>(i * cols + j)] -
                                      shift[static_cast<std::size_t>(j)];
               });
  return columns;
}

}  // namespace

struct HeldOut::Sums {
  double n = 0, p = 0, pp = 0, a = 0, aa = 0, pa = 0;

  double correlation() const {
    const double cov = pa - p * a / n, vp = pp - p * p / n, va = aa - a * a / n;
    // Rounding of the sums is all that is left of a constant: it is no variance.
    if (!(vp > 1e-12 * pp) || !(va > 1e-12 * aa)) return kNone;
    return cov / std::sqrt(vp * va);
  }
};

HeldOut::HeldOut(const RowSource& presence, const std::vector<double>& presence_shift,
                 const RowSource& activations, const std::vector<double>& activation_shift,
                 Rows rows, std::int64_t memory_bytes, int threads)
    : presence_(presence),
      activations_(activations),
      presence_shift_(presence_shift.begin(), presence_shift.end()),
      activation_shift_(activation_shift.begin(), activation_shift.end()),
      rows_(std::move(rows)),
      threads_(threads) {
  const std::int64_t room = memory_bytes / static_cast<std::int64_t>(sizeof(float));
  const auto count = static_cast<std::int64_t>(rows_.size());
  const bool dense = count * (presence.cols + activations.cols) <= room;
  std::int64_t kept = 0;
  for (std::int64_t t = 0; t < tiles(); ++t) {
    if (!dense && kept + kTileRows * presence.cols > room) {
      kept_.clear();
      return;
    }
    kept_.push_back(load(t, !dense));
    const Tile& tile = kept_.back();
    if (!dense && tile.activations.defined()) {
      kept_.clear();
      return;
    }
    constexpr std::int64_t kPlaces = 2;  // a value and its row
    kept += tile.presence.numel() + kPlaces * static_cast<std::int64_t>(tile.sparse.value.size());
  }
}

std::int64_t HeldOut::tiles() const {
  return (static_cast<std::int64_t>(rows_.size()) + kTileRows - 1) / kTileRows;
}

HeldOut::Tile HeldOut::load(std::int64_t number, bool sparse) const {
  const std::int64_t begin = number * kTileRows;
  const std::int64_t n = std::min(kTileRows, static_cast<std::int64_t>(rows_.size()) - begin);
  Tile tile{n, {}, {}, {}};
  if (sparse) {
    std::vector<float> values(static_cast<std::size_t>(n * activations_.cols));
    read_tile(activations_, rows_, begin, n, threads_, values.data());
    if (mostly_zeros(values.data(), n * activations_.cols, threads_))
      tile.sparse = sparse_columns(values.data(), n, activations_.cols, threads_);
    else
      sparse = false;
  }
  if (!sparse)
    tile.activations = read_columns(activations_, activation_shift_, rows_, begin, n, threads_);
  tile.presence = read_columns(presence_, presence_shift_, rows_, begin, n, threads_);
  return tile;
}

void HeldOut::add(const Tile& tile, const LinearModel& model, Sums& sums) const {
  const std::size_t n = static_cast<std::size_t>(tile.rows);
  double predicted[kTileRows] = {};
  for (std::size_t m = 0; m < model.terms.size(); ++m) {
    const float* const column = tile.presence.data_ptr<float>() + model.terms[m] * tile.rows;
    const double weight = model.weight[m];
#pragma omp simd
    for (std::size_t i = 0; i < n; ++i) predicted[i] += weight * static_cast<double>(column[i]);
  }
  float filled[kTileRows];
  const float* actual = filled;
  if (tile.activations.defined()) {
    actual = tile.activations.data_ptr<float>() + model.unit * tile.rows;
  } else {
    const auto unit = static_cast<std::size_t>(model.unit);
    const float shift = activation_shift_[unit];
    std::fill_n(filled, n, 0.0F - shift);
    for (auto at = tile.sparse.begin[unit]; at < tile.sparse.begin[unit + 1]; ++at) {
      const auto place = static_cast<std::size_t>(at);
      filled[tile.sparse.row[place]] = tile.sparse.value[place] - shift;
    }
  }
  double p = 0, pp = 0, a = 0, aa = 0, pa = 0;
#pragma omp simd reduction(+ : p, pp, a, aa, pa)
  for (std::size_t i = 0; i < n; ++i) {
    const double x = predicted[i], y = static_cast<double>(actual[i]);
    p += x;
    pp += x * x;
    a += y;
    aa += y * y;
    pa += x * y;
  }
  sums.n += static_cast<double>(n);
  sums.p += p;
  sums.pp += pp;
  sums.a += a;
  sums.aa += aa;
  sums.pa += pa;
}

std::vector<double> HeldOut::correlation(const std::vector<LinearModel>& models) const {
  std::vector<Sums> sums(models.size());
  for (std::int64_t t = 0; t < tiles(); ++t) {
    const Tile read = kept_.empty() ? load(t, false) : Tile();
    const Tile& tile = kept_.empty() ? read : kept_[static_cast<std::size_t>(t)];
    const std::int64_t count = static_cast<std::int64_t>(models.size());
    const int threads = threads_for(count * tile.rows * 8, threads_);
    parallel_for(count, threads, [&](std::int64_t m) {
      add(tile, models[static_cast<std::size_t>(m)], sums[static_cast<std::size_t>(m)]);
    });
  }
  std::vector<double> correlations;
  for (const Sums& sum : sums) correlations.push_back(sum.correlation());
  return correlations;
}

}  // namespace linex
