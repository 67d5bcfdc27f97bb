#include "metrics.hpp"

#include <algorithm>
#include <cmath>
#include <limits>
#include <numeric>

#include "toolkit/base/random.hpp"

namespace linex {

namespace {

constexpr double kNan = std::numeric_limits<double>::quiet_NaN();
constexpr double kFloor = 1e-8;  // of presences inside a logarithm (docs/methods.md §5.1)

using Flags = std::vector<std::uint8_t>;

double ratio(double a, double b) { return b > 0 ? a / b : kNan; }

double harmonic_mean(double a, double b) {
  if (!(a >= 0 && b >= 0)) return kNan;
  return a + b > 0 ? 2 * a * b / (a + b) : 0.0;
}

/// Rows by ascending value; equal values in row order.
std::vector<std::int64_t> ascending(const float* values, std::int64_t n) {
  std::vector<std::int64_t> order(static_cast<std::size_t>(n));
  std::iota(order.begin(), order.end(), 0);
  std::stable_sort(order.begin(), order.end(),
                   [values](std::int64_t a, std::int64_t b) { return values[a] < values[b]; });
  return order;
}

/// Calls use(begin, end) for each run of equal values in `order`.
template <class Use>
void for_each_tie(const float* values, const std::vector<std::int64_t>& order, const Use& use) {
  for (std::size_t begin = 0; begin < order.size();) {
    std::size_t end = begin + 1;
    while (end < order.size() && values[order[end]] == values[order[begin]]) ++end;
    use(begin, end);
    begin = end;
  }
}

std::vector<double> ranks_of(const float* values, const std::vector<std::int64_t>& order) {
  std::vector<double> ranks(order.size());
  for_each_tie(values, order, [&](std::size_t begin, std::size_t end) {
    const double rank = 0.5 * static_cast<double>(begin + end + 1);
    for (std::size_t i = begin; i < end; ++i) ranks[order[i]] = rank;
  });
  return ranks;
}

double roc_from_ranks(const std::vector<double>& ranks, const Flags& positive) {
  double sum = 0, count = 0;
  for (std::size_t i = 0; i < ranks.size(); ++i)
    if (positive[i]) sum += ranks[i], ++count;
  const double rest = static_cast<double>(ranks.size()) - count;
  return count > 0 && rest > 0 ? (sum - count * (count + 1) / 2) / (count * rest) : kNan;
}

double precision_from_order(const float* score, const std::vector<std::int64_t>& order,
                            const Flags& positive) {
  const double total = std::accumulate(positive.begin(), positive.end(), 0.0);
  if (total == 0) return kNan;
  // Descending thresholds are the ties of `order` read from its end.
  double taken = 0, hits = 0, sum = 0;
  for (std::size_t end = order.size(); end > 0;) {
    std::size_t begin = end;
    double found = 0;
    while (begin > 0 && score[order[begin - 1]] == score[order[end - 1]])
      found += positive[order[--begin]];
    taken += static_cast<double>(end - begin);
    hits += found;
    sum += found / total * (hits / taken);
    end = begin;
  }
  return sum;
}

template <class T>
double pearson(const T* x, const T* y, std::int64_t n) {
  double mx = 0, my = 0;
  for (std::int64_t i = 0; i < n; ++i) mx += x[i], my += y[i];
  mx /= static_cast<double>(n), my /= static_cast<double>(n);
  double xx = 0, yy = 0, xy = 0;
  for (std::int64_t i = 0; i < n; ++i) {
    const double dx = x[i] - mx, dy = y[i] - my;
    xx += dx * dx, yy += dy * dy, xy += dx * dy;
  }
  const auto flat = [n](double squares, double mean) {
    return !(squares > 1e-13 * mean * mean * static_cast<double>(n));
  };
  if (flat(xx, mx) || flat(yy, my)) return kNan;
  return std::clamp(xy / std::sqrt(xx * yy), -1.0, 1.0);
}

/// The published sample of rows: some of the highest activations, some of all rows.
std::vector<std::int64_t> top_and_random(const std::vector<std::int64_t>& by_activation,
                                         const MetricOptions& options) {
  const auto n = static_cast<std::int64_t>(by_activation.size());
  const auto top = std::clamp<std::int64_t>(
      static_cast<std::int64_t>(std::ceil(options.top_share * static_cast<double>(n))), 1, n);
  Random random(options.seed);
  std::vector<std::int64_t> rows(by_activation.end() - top, by_activation.end());
  random.shuffle(rows);
  rows.resize(static_cast<std::size_t>(std::min(top, options.sample)));
  std::vector<std::int64_t> all(by_activation);
  random.shuffle(all);
  rows.insert(rows.end(), all.begin(), all.begin() + std::min(n, options.sample));
  return rows;
}

struct Counts {
  double tp = 0, a = 0, c = 0, n = 0;
};

}  // namespace

std::vector<double> mid_ranks(const float* values, std::int64_t n) {
  return ranks_of(values, ascending(values, n));
}

double area_under_roc(const float* score, const std::uint8_t* positive, std::int64_t n) {
  return roc_from_ranks(mid_ranks(score, n), Flags(positive, positive + n));
}

double average_precision(const float* score, const std::uint8_t* positive, std::int64_t n) {
  return precision_from_order(score, ascending(score, n), Flags(positive, positive + n));
}

MetricValues concept_metrics(const UnitConcept& pair, const MetricOptions& options) {
  MetricValues values;
  values.fill(kNan);
  const auto [a, c, n] = pair;
  if (n < 1) return values;
  const auto order_a = ascending(a, n), order_c = ascending(c, n);
  const auto ranks_a = ranks_of(a, order_a), ranks_c = ranks_of(c, order_c);

  const auto on = std::clamp<std::int64_t>(
      static_cast<std::int64_t>(std::ceil(options.alpha * static_cast<double>(n) - 1e-9)), 1, n);
  const float lowest_on = a[order_a[static_cast<std::size_t>(n - on)]];
  Flags in_a(static_cast<std::size_t>(n)), in_c(static_cast<std::size_t>(n));
  Counts count;
  count.n = static_cast<double>(n);
  double dot = 0, aa = 0, cc = 0, sum_c = 0, log_on_a = 0, a_on_c = 0, a_off_c = 0;
  for (std::int64_t i = 0; i < n; ++i) {
    const double av = a[i], cv = c[i];
    in_a[i] = a[i] >= lowest_on;
    in_c[i] = cv >= options.threshold;
    count.a += in_a[i], count.c += in_c[i], count.tp += in_a[i] & in_c[i];
    dot += av * cv, aa += av * av, cc += cv * cv, sum_c += cv;
    if (in_a[i]) log_on_a += std::log(std::max(cv, kFloor));
    (in_c[i] ? a_on_c : a_off_c) += av;
  }
  const double off_a = count.n - count.a, off_c = count.n - count.c;
  const double tn = count.n - count.a - count.c + count.tp;

  const double recall = count.tp / count.a;
  const double precision = count.tp / std::max(count.c, 1.0);
  const double balanced = 0.5 * (recall + ratio(tn, off_a));
  const double inverse_balanced = 0.5 * (ratio(count.tp, count.c) + ratio(tn, off_c));
  const double auc = roc_from_ranks(ranks_c, in_a), inverse_auc = roc_from_ranks(ranks_a, in_c);

  const auto rows = top_and_random(order_a, options);
  std::vector<float> some_a, some_c;
  for (const auto row : rows) some_a.push_back(a[row]), some_c.push_back(c[row]);
  const auto some = static_cast<std::int64_t>(rows.size());
  const auto some_rank_a = mid_ranks(some_a.data(), some),
             some_rank_c = mid_ranks(some_c.data(), some);

  values = {recall,
            precision,
            2 * count.tp / (count.a + count.c),
            count.tp / (count.a + count.c - count.tp),
            (count.tp + tn) / count.n,
            balanced,
            inverse_balanced,
            auc,
            inverse_auc,
            pearson(a, c, n),
            pearson(some_a.data(), some_c.data(), some),
            pearson(ranks_a.data(), ranks_c.data(), n),
            pearson(some_rank_a.data(), some_rank_c.data(), some),
            aa > 0 && cc > 0 ? dot / std::sqrt(aa * cc) : kNan,
            log_on_a / count.a - options.lambda * std::log(std::max(sum_c / count.n, kFloor)),
            count.c > 0 && off_c > 0 ? a_on_c / count.c - a_off_c / off_c : kNan,
            precision_from_order(c, order_c, in_a),
            precision_from_order(a, order_a, in_c),
            harmonic_mean(auc, inverse_auc),
            harmonic_mean(balanced, inverse_balanced),
            harmonic_mean(recall, inverse_auc)};
  return values;
}

SanityResult judge_sanity(const std::vector<SanityTrial>& trials) {
  SanityResult result;
  result.units = static_cast<std::int64_t>(trials.size());
  for (std::size_t m = 0; m < kMetrics.size(); ++m) {
    double range = kMetrics[m].range;
    if (range == 0) {
      double low = INFINITY, high = -INFINITY;
      for (const auto& trial : trials)
        for (const double value : {trial.original[m], trial.missing[m], trial.extra[m]})
          if (std::isfinite(value)) low = std::min(low, value), high = std::max(high, value);
      range = high > low ? high - low : 1;
    }
    double defined = 0, missing = 0, extra = 0;
    for (const auto& trial : trials) {
      if (!std::isfinite(trial.original[m])) continue;
      ++defined;
      missing += (trial.missing[m] - trial.original[m]) / range < -kSanityDrop;
      extra += (trial.extra[m] - trial.original[m]) / range < -kSanityDrop;
    }
    result.missing_pass[m] = ratio(missing, defined);
    result.extra_pass[m] = ratio(extra, defined);
    result.reliable[m] =
        result.missing_pass[m] >= kSanityShare && result.extra_pass[m] >= kSanityShare;
  }
  return result;
}

TwoSetScores two_set_scores(const float* on_concept, std::int64_t n_concept, const float* control,
                            std::int64_t n_control) {
  if (n_concept < 1 || n_control < 1) return {kNan, kNan, kNan};
  std::vector<float> all(on_concept, on_concept + n_concept);
  all.insert(all.end(), control, control + n_control);
  const auto order = ascending(all.data(), static_cast<std::int64_t>(all.size()));
  const auto ranks = ranks_of(all.data(), order);
  const auto nc = static_cast<double>(n_concept), n0 = static_cast<double>(n_control);
  double rank_sum = 0;
  for (std::int64_t i = 0; i < n_concept; ++i) rank_sum += ranks[i];
  const double u = rank_sum - nc * (nc + 1) / 2;

  double ties = 0;
  for_each_tie(all.data(), order, [&](std::size_t begin, std::size_t end) {
    const auto t = static_cast<double>(end - begin);
    ties += t * t * t - t;
  });
  const double total = nc + n0;
  const double variance =
      nc * n0 / 12 * (total + 1 - (total > 1 ? ties / (total * (total - 1)) : 0));
  const double distance = std::max(std::abs(u - nc * n0 / 2) - 0.5, 0.0);  // continuity
  const double p = variance > 0 ? std::erfc(distance / std::sqrt(2 * variance)) : 1.0;

  const auto mean = [](const float* values, std::int64_t n) {
    return std::accumulate(values, values + n, 0.0) / static_cast<double>(n);
  };
  const double mean_0 = mean(control, n_control);
  double squares = 0;
  for (std::int64_t i = 0; i < n_control; ++i)
    squares += (control[i] - mean_0) * (control[i] - mean_0);
  const double std_0 = n_control > 1 ? std::sqrt(squares / (n0 - 1)) : 0;
  return {u / (nc * n0), std::min(p, 1.0),
          std_0 > 0 ? (mean(on_concept, n_concept) - mean_0) / std_0 : 0};
}

}  // namespace linex
