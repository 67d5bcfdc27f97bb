#include "toolkit/math/swept_search.hpp"

#include <algorithm>
#include <cmath>

#include "toolkit/base/wide.hpp"

namespace linex {

namespace {

constexpr double kIndependent = 1e-5;  // as in least squares

const double* packed_row(const double* packed, std::int64_t i) { return packed + i * (i + 1) / 2; }

/// rows[i][j] -= row[i]/pivot·row[j], for `size` rows of `stride` values.
LINEX_WIDE void subtract_outer(double* rows, int size, int stride, const double* row,
                               double pivot) {
  for (int i = 0; i < size; ++i, rows += stride) {
    const double factor = row[i] / pivot;
#pragma omp simd
    for (int j = 0; j < stride; ++j) rows[j] -= factor * row[j];
  }
}

}  // namespace

void SweptMoments::set(const double* packed, int candidates) {
  unit_ = candidates;
  stride_ = (candidates + 8) / 8 * 8;
  terms_.clear();
  at_.assign((static_cast<std::size_t>(unit_) + 1) * static_cast<std::size_t>(stride_), 0);
  diagonal_.resize(static_cast<std::size_t>(unit_) + 1);
  const double* const sums = packed_row(packed, candidates + 1);
  const double n = sums[candidates + 1];
  for (int i = 0; i <= unit_; ++i) {
    const double* const squares = packed_row(packed, i);
    const double mean = sums[i] / n;
    for (int j = 0; j <= i; ++j) row(i)[j] = row(j)[i] = squares[j] / n - mean * (sums[j] / n);
    diagonal_[static_cast<std::size_t>(i)] = row(i)[i];
  }
  mean_square_ = diagonal_.back();
}

bool SweptMoments::independent(int candidate, double variance) const {
  return variance > kIndependent * diagonal_[static_cast<std::size_t>(candidate)];
}

void SweptMoments::sweep(int k, double sign) {
  pivot_row_.assign(row(k), row(k) + stride_);
  const double pivot = pivot_row_[static_cast<std::size_t>(k)];
  subtract_outer(at_.data(), unit_ + 1, stride_, pivot_row_.data(), pivot);
  for (int j = 0; j <= unit_; ++j)
    row(k)[j] = row(j)[k] = sign * pivot_row_[static_cast<std::size_t>(j)] / pivot;
  row(k)[k] = -1 / pivot;
}

bool SweptMoments::take(int candidate) {
  if (!independent(candidate, row(candidate)[candidate])) return false;
  sweep(candidate, 1);
  terms_.push_back(candidate);
  return true;
}

int SweptMoments::best_addition(bool non_negative) const {
  int best = -1;
  double most = 0;
  for (int j = 0; j < unit_; ++j) {  // a term's own variance is negative once it is swept
    const double slope = row(unit_)[j], variance = row(j)[j];
    if (!independent(j, variance) || (non_negative && slope <= 0)) continue;
    const double gain = slope * slope / variance;
    if (gain > most) {
      most = gain;
      best = j;
    }
  }
  return best;
}

bool SweptMoments::improve(bool non_negative) {
  int added = -1;
  std::size_t place = 0;
  double most = explained() * (1 + 1e-6);
  for (std::size_t p = 0; p < terms_.size(); ++p) {
    const double* const own = row(terms_[p]);
    const double pivot = own[terms_[p]], pull = own[unit_] / pivot;
    const double rest = explained() + own[unit_] * pull;  // the pivot is negative
    for (int j = 0; j < unit_; ++j) {
      const double slope = row(unit_)[j] - own[j] * pull;
      const double variance = row(j)[j] - own[j] * own[j] / pivot;
      if (!independent(j, variance) || (non_negative && slope <= 0)) continue;
      const double explains = rest + slope * slope / variance;
      if (explains > most) {
        most = explains;
        place = p;
        added = j;
      }
    }
  }
  if (added < 0) return false;
  sweep(terms_[place], -1);
  sweep(added, 1);
  terms_[place] = added;
  return true;
}

double packed_correlation(const double* packed, int candidates, const std::vector<int>& terms,
                          const std::vector<double>& weight) {
  const double* const sums = packed_row(packed, candidates + 1);
  const double n = sums[candidates + 1];
  const auto moment = [&](int a, int b) {
    return packed_row(packed, std::max(a, b))[std::min(a, b)] / n - sums[a] / n * (sums[b] / n);
  };
  double covariance = 0, variance = 0;
  for (std::size_t i = 0; i < terms.size(); ++i) {
    covariance += weight[i] * moment(candidates, terms[i]);
    for (std::size_t j = 0; j < terms.size(); ++j)
      variance += weight[i] * weight[j] * moment(terms[i], terms[j]);
  }
  const double unit = moment(candidates, candidates);
  return variance > 0 && unit > 0 ? covariance / std::sqrt(variance * unit) : kNone;
}

std::vector<int> search_swept(SweptMoments& moments, const double* val, int candidates,
                              const SearchOptions& options) {
  std::vector<LengthFound> lengths;
  std::vector<std::vector<int>> found;
  std::vector<double> weight;
  while (static_cast<std::int64_t>(moments.terms().size()) < options.max_length) {
    const int added = moments.best_addition(options.non_negative);
    if (added < 0 || !moments.take(added)) break;
    if (options.kind == SearchKind::swap && moments.terms().size() > 1)
      for (int swaps = 0; swaps < 100 && moments.improve(options.non_negative);) ++swaps;
    weight.clear();
    for (std::size_t t = 0; t < moments.terms().size(); ++t)
      weight.push_back(options.non_negative ? std::max(0.0, moments.weight(t)) : moments.weight(t));
    const double fitted = std::sqrt(std::max(0.0, moments.explained() / moments.mean_square()));
    lengths.push_back({static_cast<std::int64_t>(lengths.size()) + 1, fitted,
                       packed_correlation(val, candidates, moments.terms(), weight)});
    found.push_back(moments.terms());
    const double least = std::min(options.tolerance, options.term_price());
    if (lengths.size() > 1 && fitted - lengths[lengths.size() - 2].train < least) break;
  }
  const std::int64_t chosen = choose_length(lengths, options.term_price());
  return chosen < 0 ? std::vector<int>() : found[static_cast<std::size_t>(chosen)];
}

}  // namespace linex
