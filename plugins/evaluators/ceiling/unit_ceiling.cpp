#include "unit_ceiling.hpp"

#include <limits>
#include <utility>

#include "cells.hpp"
#include "kernel_ridge.hpp"
#include "toolkit/base/parallel.hpp"
#include "toolkit/math/linear_explanations.hpp"

namespace linex {

namespace {

// Training rows a cell from which on the error of its mean (a 50th of the variance within it) is
// too small for another function to beat it.
constexpr std::int64_t kRowsPerCell = 50;
// With fewer than this many, a mean says next to nothing about the next row.
constexpr std::int64_t kLeastRowsPerCell = 2;

/// Means of the training rows of each cell, drawn towards the mean of all as if `rows_of_all` more
/// rows of the cell had that mean.
void offer_cells(const Cells& cells, const RowSource& presence, const RowSource& activations,
                 const std::vector<double>& unit_mean, const Split& split,
                 const std::vector<double>& rows_of_all, int threads, Candidates& candidates) {
  constexpr std::int64_t kTileRows = 1024;
  const std::int64_t units = activations.cols;
  const auto each_tile = [&](const Rows& rows, const auto& body) {
    const std::vector<std::int64_t> cell = cells.of(presence, rows, threads);
    const std::int64_t n = static_cast<std::int64_t>(rows.size());
    std::vector<float> tile(static_cast<std::size_t>(std::min(n, kTileRows) * units));
    std::vector<double> centred(tile.size());
    for (std::int64_t begin = 0; begin < n; begin += kTileRows) {
      const std::int64_t count = std::min(kTileRows, n - begin);
      read_tile(activations, rows, begin, count, threads, tile.data());
      for (std::int64_t i = 0; i < count * units; ++i)
        centred[static_cast<std::size_t>(i)] =
            static_cast<double>(tile[static_cast<std::size_t>(i)]) -
            unit_mean[static_cast<std::size_t>(i % units)];
      body(cell.data() + begin, centred.data(), count);
    }
  };
  std::vector<double> count(static_cast<std::size_t>(cells.count()));
  std::vector<double> sum(count.size() * static_cast<std::size_t>(units));
  each_tile(split.train, [&](const std::int64_t* cell, const double* value, std::int64_t n) {
    for (std::int64_t i = 0; i < n; ++i) {
      ++count[static_cast<std::size_t>(cell[i])];
      double* const row = sum.data() + cell[i] * units;
      for (std::int64_t k = 0; k < units; ++k) row[k] += *value++;
    }
  });
  using Scores = std::vector<ColumnCorrelation>;
  const auto score = [&](const Rows& rows) {
    Scores scores(rows_of_all.size(), ColumnCorrelation(units));
    std::vector<double> predicted;
    each_tile(rows, [&](const std::int64_t* cell, const double* value, std::int64_t n) {
      for (std::size_t s = 0; s < rows_of_all.size(); ++s) {
        predicted.assign(static_cast<std::size_t>(n * units), 0.0);  // an unseen cell: the mean
        for (std::int64_t i = 0; i < n; ++i) {
          if (cell[i] < 0) continue;
          const double rows_here = count[static_cast<std::size_t>(cell[i])] + rows_of_all[s];
          for (std::int64_t k = 0; k < units; ++k)
            predicted[static_cast<std::size_t>(i * units + k)] =
                sum[static_cast<std::size_t>(cell[i] * units + k)] / rows_here;
        }
        scores[s].add(predicted.data(), value, n);
      }
    });
    return scores;
  };
  const Scores val = score(split.val), test = score(split.test);
  for (std::size_t s = 0; s < rows_of_all.size(); ++s)
    for (std::size_t k = 0; k < static_cast<std::size_t>(units); ++k)
      candidates.offer(k, val[s].of(k), test[s].of(k), "cells");
}

/// An elastic-net path and a search for few concepts, each at its best on the validation rows.
void offer_sparse(Regression& regression, const HeldOut& validation, const HeldOut& test,
                  int threads, Candidates& candidates) {
  constexpr std::int64_t kUnitBlock = 512;
  LinearOptions options;
  options.lambda = 0.005;
  options.path = 6;
  options.search.max_length = 20;
  options.search.tolerance = 0.003;
  for (std::int64_t begin = 0; begin < regression.unit_count(); begin += kUnitBlock) {
    const std::int64_t end = std::min(regression.unit_count(), begin + kUnitBlock);
    const auto fits = rank(regression, validation, begin, end, options, threads);
    std::vector<std::int64_t> units;
    std::vector<LinearModel> models;
    for (std::int64_t k = begin; k < end; ++k) {
      const SparseFit& fit = fits[static_cast<std::size_t>(k - begin)];
      LinearModel model;
      model.unit = k;
      for (std::size_t i = 0; i < fit.index.size(); ++i) {
        model.terms.push_back(fit.index[i]);
        model.weight.push_back(regression.raw_weight(k, fit.index[i], fit.weight[i]));
      }
      models.push_back(std::move(model));
      units.push_back(k);
    }
    const auto chosen = search(regression, validation, units, fits, options.search, threads);
    for (std::size_t i = 0; i < units.size(); ++i)
      models.push_back({units[i], chosen[i].terms, chosen[i].weight});
    const auto val = validation.correlation(models), reached = test.correlation(models);
    for (std::size_t m = 0; m < models.size(); ++m)
      candidates.offer(static_cast<std::size_t>(models[m].unit), val[m], reached[m], "sparse");
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
  Candidates candidates(regression.unit_count());
  UnitCeilings result;

  const std::int64_t train = static_cast<std::int64_t>(input.split.train.size());
  const Cells cells(presence, input.split.train, train / kLeastRowsPerCell, threads);
  result.exact = cells.complete() && cells.count() * kRowsPerCell <= train;
  if (cells.complete()) {
    result.cells = cells.count();
    offer_cells(cells, presence, activations, regression.unit_mean, input.split,
                result.exact ? std::vector<double>{0} : std::vector<double>{0, 3, 10, 30}, threads,
                candidates);
  }
  if (!result.exact) {
    const HeldOut validation = regression.validation(),
                  test = regression.held_out(input.split.test);
    offer_sparse(regression, validation, test, threads, candidates);
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
