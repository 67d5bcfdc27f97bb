#include "unit_ceiling.hpp"

#include <algorithm>
#include <cmath>
#include <limits>
#include <utility>

#include "cells.hpp"
#include "kernel_ridge.hpp"
#include "toolkit/base/parallel.hpp"
#include "toolkit/math/least_squares.hpp"
#include "toolkit/math/linear_explanations.hpp"

namespace linex {

namespace {

// Training rows a cell from which on the error of its mean (a 50th of the variance within it) is
// too small for another function to beat it.
constexpr std::int64_t kRowsPerCell = 50;
// With fewer than this many, a mean says next to nothing about the next row.
constexpr std::int64_t kLeastRowsPerCell = 2;
constexpr double kRowsOfAll[] = {0, 3, 10, 30};

/// Means of cells, drawn towards the mean of all as if `rows_of_all` more rows of the cell had it.
class CellMeans {
 public:
  CellMeans(const Cells& cells, const RowSource& presence, const RowSource& activations,
            const std::vector<double>& unit_mean, const Rows& train, int threads)
      : cells_(cells),
        presence_(presence),
        activations_(activations),
        unit_mean_(unit_mean),
        threads_(threads),
        count_(static_cast<std::size_t>(cells.count())),
        sum_(count_.size() * unit_mean.size()) {
    each_tile(train, [&](const std::int64_t* cell, const double* value, std::int64_t n) {
      for (std::int64_t i = 0; i < n; ++i) {
        ++count_[static_cast<std::size_t>(cell[i])];
        double* const row = sum_.data() + static_cast<std::size_t>(cell[i]) * unit_mean_.size();
        for (std::size_t k = 0; k < unit_mean_.size(); ++k) row[k] += *value++;
      }
    });
  }

  /// `left_out`: the rows are among the fitted ones, and each is predicted without itself.
  ColumnCorrelation correlation(const Rows& rows, double rows_of_all, bool left_out) const {
    const std::size_t units = unit_mean_.size();
    ColumnCorrelation correlation(static_cast<std::int64_t>(units));
    std::vector<double> predicted;
    each_tile(rows, [&](const std::int64_t* cell, const double* value, std::int64_t n) {
      predicted.assign(static_cast<std::size_t>(n) * units, 0.0);  // an unseen cell: the mean
      for (std::int64_t i = 0; i < n; ++i) {
        if (cell[i] < 0) continue;
        const std::size_t here = static_cast<std::size_t>(cell[i]),
                          at = static_cast<std::size_t>(i) * units;
        const double own = left_out ? 1 : 0, weight = count_[here] - own + rows_of_all;
        if (!(weight > 0)) continue;
        for (std::size_t k = 0; k < units; ++k)
          predicted[at + k] = (sum_[here * units + k] - own * value[at + k]) / weight;
      }
      correlation.add(predicted.data(), value, n);
    });
    return correlation;
  }

 private:
  /// Calls body(cells, activations minus their mean, rows) for tiles of `rows`.
  template <class Body>
  void each_tile(const Rows& rows, const Body& body) const {
    constexpr std::int64_t kTileRows = 1024;
    const std::int64_t n = static_cast<std::int64_t>(rows.size()), units = activations_.cols;
    const std::vector<std::int64_t> cell = cells_.of(presence_, rows, threads_);
    std::vector<float> tile(static_cast<std::size_t>(std::min(n, kTileRows) * units));
    std::vector<double> centred(tile.size());
    for (std::int64_t begin = 0; begin < n; begin += kTileRows) {
      const std::int64_t count = std::min(kTileRows, n - begin);
      read_tile(activations_, rows, begin, count, threads_, tile.data());
      for (std::size_t i = 0; i < static_cast<std::size_t>(count * units); ++i)
        centred[i] = static_cast<double>(tile[i]) - unit_mean_[i % unit_mean_.size()];
      body(cell.data() + begin, centred.data(), count);
    }
  }

  const Cells& cells_;
  const RowSource& presence_;
  const RowSource& activations_;
  const std::vector<double>& unit_mean_;
  int threads_;
  std::vector<double> count_, sum_;
};

/// Correlations of least-squares models on the training rows, each row predicted without itself.
std::vector<double> left_out_correlations(const Regression& regression, const CeilingInput& input,
                                          const std::vector<LinearModel>& models, int threads) {
  constexpr std::int64_t kTileRows = 1024;
  std::vector<std::int64_t> used, units,
      place(static_cast<std::size_t>(regression.concept_count()));
  for (const LinearModel& model : models) {
    used.insert(used.end(), model.terms.begin(), model.terms.end());
    units.push_back(regression.units[static_cast<std::size_t>(model.unit)]);
  }
  std::sort(used.begin(), used.end());
  used.erase(std::unique(used.begin(), used.end()), used.end());
  std::vector<std::int64_t> columns;
  for (std::size_t i = 0; i < used.size(); ++i) {
    place[static_cast<std::size_t>(used[i])] = static_cast<std::int64_t>(i);
    columns.push_back(regression.concepts[static_cast<std::size_t>(used[i])]);
  }
  const RowSource presence = presence_rows(input.presence, columns),
                  activations = activation_rows(input.activations, units);
  const Rows& rows = input.split.train;
  const std::int64_t n = static_cast<std::int64_t>(rows.size()), width = presence.cols,
                     count = activations.cols;
  std::vector<TermFit> fits;
  for (const LinearModel& model : models)
    fits.push_back(
        least_squares(*regression.gram, regression.moments_of(model.unit).q, model.terms));
  std::vector<ColumnCorrelation> correlations(models.size(), ColumnCorrelation(1));
  std::vector<float> p(static_cast<std::size_t>(std::min(n, kTileRows) * width)),
      a(static_cast<std::size_t>(std::min(n, kTileRows) * count));
  for (std::int64_t begin = 0; begin < n && width > 0; begin += kTileRows) {
    const std::int64_t tile = std::min(kTileRows, n - begin);
    read_tile(presence, rows, begin, tile, threads, p.data());
    read_tile(activations, rows, begin, tile, threads, a.data());
    parallel_for(count, threads, [&](std::int64_t m) {
      const LinearModel& model = models[static_cast<std::size_t>(m)];
      const TermFit& fit = fits[static_cast<std::size_t>(m)];
      const std::size_t size = model.terms.size();
      if (size == 0 || fit.inverse.empty()) return;
      std::vector<double> x(size), predicted(static_cast<std::size_t>(tile)), actual(predicted);
      for (std::int64_t i = 0; i < tile; ++i) {
        double value = 0, own = 1;
        for (std::size_t t = 0; t < size; ++t) {
          const std::size_t j = static_cast<std::size_t>(model.terms[t]);
          const double centred =
              static_cast<double>(p[i * width + place[j]]) - regression.concept_mean[j];
          value += model.weight[t] * centred;
          x[t] = centred / regression.concept_std[j];
        }
        for (std::size_t t = 0; t < size; ++t)
          for (std::size_t u = 0; u < size; ++u) own += x[t] * fit.inverse[t * size + u] * x[u];
        const double y = static_cast<double>(a[i * count + m]) -
                         regression.unit_mean[static_cast<std::size_t>(model.unit)];
        const double share = std::min(own / static_cast<double>(n), 1 - 1e-6);
        predicted[static_cast<std::size_t>(i)] = (value - share * y) / (1 - share);
        actual[static_cast<std::size_t>(i)] = y;
      }
      correlations[static_cast<std::size_t>(m)].add(predicted.data(), actual.data(), tile);
    });
  }
  std::vector<double> found;
  for (std::size_t m = 0; m < models.size(); ++m)
    found.push_back(models[m].terms.empty() ? kNone : correlations[m].of(0));
  return found;
}

/// Searches for few concepts: as explanations are, and for up to 20.
void offer_sparse(Regression& regression, const CeilingInput& input, int threads,
                  Candidates& candidates) {
  constexpr std::int64_t kUnitBlock = 512;
  const HeldOut validation = regression.validation(), test = regression.held_out(input.split.test);
  const double n = static_cast<double>(input.split.train.size());
  LinearOptions longer;
  longer.search.max_length = 20;
  longer.search.tolerance = 0.003;
  for (std::int64_t begin = 0; begin < regression.unit_count(); begin += kUnitBlock) {
    const std::int64_t end = std::min(regression.unit_count(), begin + kUnitBlock);
    std::vector<std::int64_t> units;
    for (std::int64_t k = begin; k < end; ++k) units.push_back(k);
    for (const LinearOptions& options : {LinearOptions(), longer}) {
      const auto fits = rank(regression, validation, begin, end, options, threads);
      const auto chosen = search(regression, validation, units, fits, options.search, threads);
      std::vector<LinearModel> models;
      for (std::size_t i = 0; i < units.size(); ++i)
        models.push_back({units[i], chosen[i].terms, chosen[i].weight});
      const auto train = left_out_correlations(regression, input, models, threads),
                 reached = test.correlation(models);
      for (std::size_t i = 0; i < units.size(); ++i) {
        // Terms were picked among C with every row in sight, which is worth about 2 log(C) each.
        const double picks = 2 * std::log(static_cast<double>(regression.concept_count())) *
                             static_cast<double>(models[i].terms.size());
        const double left = (1 - train[i] * train[i]) * (n + picks) / std::max(n - picks, 1.0);
        const double left_out = train[i] > 0 ? std::sqrt(std::max(0.0, 1 - left)) : 0;
        candidates.offer(static_cast<std::size_t>(units[i]),
                         {left_out, chosen[i].val_correlation, reached[i]}, "sparse");
      }
    }
  }
}

}  // namespace

UnitCeilings unit_ceilings(const CeilingInput& input, const CeilingOptions& options,
                           const Tick& tick) {
  const int threads = options.moments.threads;
  // Whatever varies may say something, however rare.
  RegressionOptions how;
  how.min_presence = -std::numeric_limits<double>::infinity();
  how.moments = options.moments;
  Regression regression({input.presence, input.activations, input.units, input.split}, how, tick);
  const RowSource presence = presence_rows(input.presence, regression.concepts);
  const RowSource activations = activation_rows(input.activations, input.units);
  const auto squares = [&](const Rows& rows) {
    std::vector<double> sums = column_stats(activations, rows, threads).std;
    for (double& value : sums) value *= value * static_cast<double>(rows.size() - 1);
    return sums;
  };
  Candidates candidates(squares(input.split.train), squares(input.split.val));
  UnitCeilings result;

  const std::int64_t train = static_cast<std::int64_t>(input.split.train.size());
  const Cells cells(presence, input.split.train, train / kLeastRowsPerCell, threads);
  result.exact = cells.complete() && cells.count() * kRowsPerCell <= train;
  if (cells.complete()) {
    result.cells = cells.count();
    const CellMeans means(cells, presence, activations, regression.unit_mean, input.split.train,
                          threads);
    for (const double rows_of_all : kRowsOfAll) {
      const auto test = means.correlation(input.split.test, rows_of_all, false);
      if (result.exact) {  // there is nothing to choose from
        for (std::size_t k = 0; k < input.units.size(); ++k) {
          candidates.test[k] = test.of(k);
          candidates.by[k] = "cells";
        }
        break;
      }
      const auto train = means.correlation(input.split.train, rows_of_all, true),
                 val = means.correlation(input.split.val, rows_of_all, false);
      for (std::size_t k = 0; k < input.units.size(); ++k)
        candidates.offer(k, {train.of(k), val.of(k), test.of(k)}, "cells");
    }
  }
  if (!result.exact) {
    offer_sparse(regression, input, threads, candidates);
    KernelRidgeOptions ridge;
    ridge.landmarks = options.landmarks;
    ridge.seed = options.seed;
    ridge.threads = threads;
    offer_kernel_ridge({presence, regression.concept_mean, regression.concept_std, activations,
                        regression.unit_mean, input.split},
                       ridge, candidates, tick);
  }

  const ColumnStats on_test = column_stats(activations, input.split.test, threads);
  for (std::size_t k = 0; k < input.units.size(); ++k) {
    Status status = regression.status[k];
    if (status == Status::ok &&
        !(input.split.test.size() > 1 && varies(on_test.low[k], on_test.high[k])))
      status = Status::constant;
    result.status.push_back(status);
    // A function that does not vary on the test rows reaches nothing there.
    const double reached = std::isfinite(candidates.test[k]) ? candidates.test[k] : 0;
    result.correlation.push_back(status == Status::ok ? reached : kNone);
    result.by.push_back(candidates.by[k]);
  }
  return result;
}

}  // namespace linex
