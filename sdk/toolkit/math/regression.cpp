#include "toolkit/math/regression.hpp"

#include <ATen/ops/empty.h>

#include <limits>
#include <numeric>

#include "linex/error.hpp"
#include "toolkit/base/parallel.hpp"
#include "toolkit/base/random.hpp"
#include "toolkit/base/text.hpp"
#include "toolkit/math/kernels.hpp"

namespace linex {

namespace {

// Concepts a unit's working sets and terms usually reach. Only decides between two ways to the same
// numbers.
constexpr std::int64_t kReachPerUnit = 60;
constexpr std::int64_t kAlwaysWhole = 1024;  // concepts

Rows every_row(std::int64_t n) {
  Rows rows(static_cast<std::size_t>(n));
  std::iota(rows.begin(), rows.end(), std::int64_t{0});
  return rows;
}

/// Those of `rows`, which are 0, 1, ..., that are in none of `taken`.
Rows rows_without(const Rows& rows, const std::vector<Rows>& taken) {
  std::vector<bool> gone(rows.size());
  for (const Rows& some : taken)
    for (const std::int64_t row : some) gone[static_cast<std::size_t>(row)] = true;
  Rows rest;
  for (const std::int64_t row : rows)
    if (!gone[static_cast<std::size_t>(row)]) rest.push_back(row);
  return rest;
}

void check_input(const RegressionInput& input) {
  const std::int64_t rows = input.activations.size(0);
  if (input.presence.rows() != rows)
    throw input_error("concept presence has " + std::to_string(input.presence.rows()) +
                      " rows and activations have " + std::to_string(rows) +
                      "; record both for the same images");
  if (input.split.train.empty() || input.split.val.empty())
    throw input_error("the train or the val split has no rows; give other fractions in data.split");
  for (const Rows* rows_of : {&input.split.train, &input.split.val, &input.split.test})
    for (const std::int64_t row : *rows_of)
      if (row < 0 || row >= rows)
        throw input_error("the split names row " + std::to_string(row) + " of " +
                          std::to_string(rows));
}

}  // namespace

std::int64_t Regression::ticks(const RegressionInput& input, const RegressionOptions& options) {
  const std::int64_t train = static_cast<std::int64_t>(input.split.train.size());
  return (options.published ? input.activations.size(0) : train) + train;
}

Regression::Regression(const RegressionInput& input, const RegressionOptions& options,
                       const Tick& tick)
    : units(input.units),
      options_(options),
      split_(input.split),
      source_(&input.presence),
      matrix_(input.activations) {
  check_input(input);
  survey(input, tick);
  const std::int64_t reach = unit_count() * kReachPerUnit;
  std::vector<std::int64_t> ones;
  const bool sparse = input.presence.ones(split_.train[0], ones);
  MomentOptions& how = options_.moments;
  lazy = !sparse && concept_count() > kAlwaysWhole &&
         (reach < concept_count() / 4 || concept_count() > how.memory_bytes / 12 / concept_count());
  how.gram = !lazy;

  Moments train;
  if (sparse) {
    std::vector<std::int64_t> place(static_cast<std::size_t>(input.presence.cols()), -1);
    for (std::size_t j = 0; j < concepts.size(); ++j)
      place[static_cast<std::size_t>(concepts[j])] = static_cast<std::int64_t>(j);
    const auto kept_ones = [&](std::int64_t row, std::vector<std::int64_t>& kept) {
      input.presence.ones(row, ones);
      kept.clear();
      for (const std::int64_t column : ones)
        if (place[static_cast<std::size_t>(column)] >= 0)
          kept.push_back(place[static_cast<std::size_t>(column)]);
    };
    train = sparse_moments(concept_count(), kept_ones, activations_, activation_size_, split_.train,
                           how, tick);
  } else {
    const std::int64_t values = static_cast<std::int64_t>(split_.train.size()) * concept_count();
    train_presence_ = lazy && values * 4 <= how.memory_bytes / 4
                          ? kept_rows(presence_, split_.train, how.threads)
                          : presence_;
    train = moments({train_presence_, presence_reach_, activations_, activation_reach_},
                    split_.train, how, tick);
  }
  standardise(train);
}

void Regression::survey(const RegressionInput& input, const Tick& tick) {
  const int threads = options_.moments.threads;
  const Cluster* const cluster = options_.moments.cluster;
  activations_ = activation_rows(input.activations, units);
  const Rows all = every_row(input.activations.size(0));
  const ColumnStats train = column_stats(activations_, split_.train, threads, {}, cluster);
  const ColumnStats val = column_stats(activations_, split_.val, threads, {}, cluster);
  const ColumnStats rest = column_stats(activations_, rows_without(all, {split_.train, split_.val}),
                                        threads, {}, cluster);
  for (std::size_t k = 0; k < units.size(); ++k) {
    float low = std::min(train.low[k], val.low[k]), high = std::max(train.high[k], val.high[k]);
    if (rest.rows > 0) low = std::min(low, rest.low[k]), high = std::max(high, rest.high[k]);
    status.push_back(!varies(low, high) ? Status::dead
                     : varies(train.low[k], train.high[k]) && varies(val.low[k], val.high[k])
                         ? Status::ok
                         : Status::constant);
  }
  unit_std = train.std;
  target_mean = train.mean;
  if (options_.published) {
    const ColumnStats overall = column_stats(activations_, all, threads, {}, cluster);
    unit_std = overall.std;
    target_mean = overall.mean;
  }
  activation_reach_ = around_mean(train);
  activation_size_ = around_zero(train);
  // Zero is as near the mean of a unit that is seldom active, and leaves its tiles mostly zeros.
  for (std::size_t k = 0; k < units.size(); ++k)
    if (train.low[k] == 0 && 4 * train.mean[k] < train.std[k]) {
      activation_reach_.shift[k] = activation_size_.shift[k];
      activation_reach_.reach[k] = activation_size_.reach[k];
    }

  const RowSource everything = presence_rows(input.presence, all_columns(input.presence.cols()));
  const ColumnStats look =
      column_stats(everything, options_.published ? all : split_.train, threads, tick, cluster);
  keep_concepts(look);
  const ColumnReach of_all = around_mean(look);
  for (const std::int64_t column : concepts) {
    presence_reach_.shift.push_back(of_all.shift[static_cast<std::size_t>(column)]);
    presence_reach_.reach.push_back(of_all.reach[static_cast<std::size_t>(column)]);
  }
  presence_ = presence_rows(input.presence, concepts);
}

void Regression::keep_concepts(const ColumnStats& look) {
  concepts = present_concepts(look, options_.min_presence);
  const auto varying = static_cast<std::int64_t>(
      present_concepts(look, -std::numeric_limits<double>::infinity()).size());
  rare_ = varying - concept_count();
  if (!concepts.empty()) return;
  const std::string all = std::to_string(look.mean.size());
  const std::string rows = std::to_string(look.rows) + " images";
  if (varying == 0)
    throw input_error("no concept varies on the training images: each of " + all +
                      " has a standard deviation below 1e-5 over " + rows +
                      "; take images of more kinds, another labeler or another data.split");
  throw input_error(
      "no concept is present on the training images: the five largest presences of "
      "each of " +
      all + " average below " + format_number(options_.min_presence) +
      " (the most: " + significant(*std::max_element(look.top_mean.begin(), look.top_mean.end())) +
      "); lower solver.min_presence or scale the presence");
}

void Regression::scale_rows(torch::Tensor& rows, const std::vector<std::int64_t>& of) const {
  std::vector<double> inverse;
  for (const double std : concept_std) inverse.push_back(std > 0 ? 1 / std : 0);
  const std::int64_t width = concept_count();
  float* const values = rows.data_ptr<float>();
  parallel_for(static_cast<std::int64_t>(of.size()), options_.moments.threads, [&](std::int64_t i) {
    const double own = inverse[static_cast<std::size_t>(of[i])];
    float* const row = values + i * width;
    for (std::int64_t j = 0; j < width; ++j)
      row[j] = static_cast<float>(static_cast<double>(row[j]) * own *
                                  inverse[static_cast<std::size_t>(j)]);
  });
}

void Regression::standardise(const Moments& train) {
  const double n = static_cast<double>(train.rows), unbiased = n > 1 ? n / (n - 1) : 1;
  diagonal_ = 1 / unbiased;
  concept_mean = train.concept_mean;
  unit_mean = train.unit_mean;
  for (const double variance : train.concept_variance)
    concept_std.push_back(std::sqrt(variance * unbiased));
  cross = train.cross;
  scale_cross();
  for (std::size_t k = 0; k < units.size(); ++k) {
    const double scale = status[k] == Status::ok ? 1 / unit_std[k] : 0;
    mean_square.push_back(train.unit_variance[k] * scale * scale);
  }
  if (!lazy) {
    torch::Tensor whole = train.gram;
    scale_rows(whole, all_columns(concept_count()));
    gram = std::make_shared<Gram>(std::move(whole));
    return;
  }
  gram = std::make_shared<Gram>(concept_count(), [this](const std::vector<std::int64_t>& wanted) {
    torch::Tensor rows =
        gram_rows(train_presence_, presence_reach_, wanted, split_.train, options_.moments);
    scale_rows(rows, wanted);
    return rows;
  });
}

void Regression::scale_cross() {
  double* const q = cross.data_ptr<double>();
  for (std::int64_t k = 0; k < unit_count(); ++k) {
    const std::size_t unit = static_cast<std::size_t>(k);
    const double scale = status[unit] == Status::ok ? 1 / unit_std[unit] : 0;
    for (std::int64_t j = 0; j < concept_count(); ++j) {
      const double std = concept_std[static_cast<std::size_t>(j)];
      q[k * concept_count() + j] *= std > 0 ? scale / std : 0;
    }
  }
}

std::unique_ptr<Regression> Regression::shuffled(const std::vector<std::int64_t>& of,
                                                 std::uint64_t seed) const {
  std::unique_ptr<Regression> other(new Regression(split_));
  other->options_ = options_;
  other->diagonal_ = diagonal_;
  other->rare_ = rare_;
  other->source_ = source_;
  other->matrix_ = matrix_;
  other->presence_ = presence_;
  other->train_presence_ = train_presence_;
  other->presence_reach_ = presence_reach_;
  other->concepts = concepts;
  other->concept_mean = concept_mean;
  other->concept_std = concept_std;
  other->gram = gram;
  other->lazy = lazy;
  for (const std::int64_t k : of) {
    const std::size_t unit = static_cast<std::size_t>(k);
    other->units.push_back(units[unit]);
    other->unit_mean.push_back(unit_mean[unit]);
    other->target_mean.push_back(target_mean[unit]);
    other->unit_std.push_back(unit_std[unit]);
    other->status.push_back(status[unit]);
    other->mean_square.push_back(mean_square[unit]);
    other->activation_reach_.shift.push_back(activation_reach_.shift[unit]);
    other->activation_reach_.reach.push_back(activation_reach_.reach[unit]);
  }
  auto from = every_row(matrix_.size(0));
  std::uint64_t stream = 0x73687566ULL;
  for (const Rows* rows : {&split_.train, &split_.val, &split_.test}) {
    Rows order = *rows;
    auto random = Random::stream(seed, stream++);
    random.shuffle(order);
    for (std::size_t i = 0; i < order.size(); ++i)
      from[static_cast<std::size_t>((*rows)[i])] = order[i];
  }
  other->activations_ = activation_rows(matrix_, other->units);
  other->activations_.read = [inner = other->activations_.read, from = std::move(from),
                              cols = other->activations_.cols](const std::int64_t* rows,
                                                               std::int64_t n, float* out) {
    for (std::int64_t i = 0; i < n; ++i)
      inner(&from[static_cast<std::size_t>(rows[i])], 1, out + i * cols);
  };
  MomentOptions how = options_.moments;
  how.gram = false;
  other->cross = moments({other->presence_, other->presence_reach_, other->activations_,
                          other->activation_reach_},
                         split_.train, how)
                     .cross;
  other->scale_cross();
  return other;
}

Regression::Tile Regression::standardised_tile(const Rows& rows, std::int64_t begin, std::int64_t n,
                                               const std::vector<std::int64_t>& used,
                                               const std::vector<std::int64_t>& of,
                                               int threads) const {
  // Few rows at a time: what was read is still in the cache when it is turned into columns.
  constexpr std::int64_t kRowsAtOnce = 32;
  const auto read = [&](const RowSource& source, const auto& mean, const auto& std) {
    std::vector<float> columns(static_cast<std::size_t>(n * source.cols));
    std::vector<double> shift, scale;
    for (std::int64_t c = 0; c < source.cols; ++c) {
      shift.push_back(mean(c));
      scale.push_back(std(c) > 0 ? 1 / std(c) : 0);
    }
    parallel_for((n + kRowsAtOnce - 1) / kRowsAtOnce, threads_for(n * source.cols, threads),
                 [&](std::int64_t chunk) {
                   const std::int64_t first = chunk * kRowsAtOnce;
                   const std::int64_t count = std::min(kRowsAtOnce, n - first);
                   std::vector<float> values(static_cast<std::size_t>(count * source.cols));
                   read_tile(source, rows, begin + first, count, 1, values.data());
                   linex::standardise(values.data(), count, source.cols, shift.data(),
                                      scale.data());
                   for (std::int64_t c = 0; c < source.cols; ++c) {
                     float* const out = columns.data() + c * n + first;
                     for (std::int64_t i = 0; i < count; ++i)
                       out[i] = values[static_cast<std::size_t>(i * source.cols + c)];
                   }
                 });
    return columns;
  };
  std::vector<std::int64_t> columns, chosen;
  for (const std::int64_t j : used) columns.push_back(concepts[static_cast<std::size_t>(j)]);
  for (const std::int64_t k : of) chosen.push_back(units[static_cast<std::size_t>(k)]);
  const auto at = [](const std::vector<double>& values, const std::vector<std::int64_t>& order) {
    return [&](std::int64_t c) {
      return values[static_cast<std::size_t>(order[static_cast<std::size_t>(c)])];
    };
  };
  return {read(presence_rows(*source_, columns), at(concept_mean, used), at(concept_std, used)),
          read(activation_rows(matrix_, chosen), at(unit_mean, of), at(unit_std, of))};
}

UnitMoments Regression::moments_of(std::int64_t k) const {
  return {cross.data_ptr<double>() + k * concept_count(), mean_square[static_cast<std::size_t>(k)]};
}

std::vector<UnitMoments> Regression::all_moments() const {
  std::vector<UnitMoments> all;
  for (std::int64_t k = 0; k < unit_count(); ++k) all.push_back(moments_of(k));
  return all;
}

double Regression::raw_weight(std::int64_t k, std::int64_t j, double w) const {
  return w * unit_std[static_cast<std::size_t>(k)] / concept_std[static_cast<std::size_t>(j)];
}

HeldOut Regression::held_out(const Rows& rows) const {
  return HeldOut(presence_, concept_mean, activations_, unit_mean, rows,
                 options_.moments.memory_bytes / 4, options_.moments.threads);
}

}  // namespace linex
