#include "toolkit/math/dense_search.hpp"

#include <algorithm>
#include <cmath>

#include "toolkit/math/least_squares.hpp"

namespace linex {

namespace {

using Terms = std::vector<std::int64_t>;
using Eigen::Index;
using Eigen::MatrixXd;
using Eigen::VectorXd;

constexpr double kIndependent = 1e-5;  // as in least squares

}  // namespace

void SecondMoments::add(const MatrixXd& values) {
  if (n == 0) {
    sum = VectorXd::Zero(values.cols());
    square = MatrixXd::Zero(values.cols(), values.cols());
  }
  n += static_cast<double>(values.rows());
  sum += values.colwise().sum().transpose();
  square.noalias() += values.transpose() * values;
}

CentredMoments::CentredMoments(const SecondMoments& moments) {
  const Index size = moments.sum.size() - 1;
  const VectorXd mean = moments.sum / moments.n;
  const MatrixXd all = moments.square / moments.n - mean * mean.transpose();
  gram = all.topLeftCorner(size, size);
  q = all.col(size).head(size);
  mean_square = all(size, size);
}

bool DenseTerms::set(std::vector<Index> terms) {
  const Index size = static_cast<Index>(terms.size());
  MatrixXd sub(size, size);
  VectorXd target(size);
  for (Index i = 0; i < size; ++i) {
    target[i] = data_->q[terms[static_cast<std::size_t>(i)]];
    for (Index j = 0; j < size; ++j)
      sub(i, j) =
          data_->gram(terms[static_cast<std::size_t>(i)], terms[static_cast<std::size_t>(j)]);
  }
  const Eigen::LLT<MatrixXd> factor(sub);
  if (factor.info() != Eigen::Success) return false;
  const MatrixXd lower = factor.matrixL();
  for (Index i = 0; i < size; ++i)
    if (!(lower(i, i) * lower(i, i) > kIndependent * sub(i, i))) return false;
  terms_ = std::move(terms);
  factor_ = factor;
  weight_ = factor.solve(target);
  explained_ = target.dot(weight_);
  return true;
}

std::pair<Index, double> DenseTerms::best_addition(bool non_negative, Index begin,
                                                   Index end) const {
  std::pair<Index, double> best{-1, 0};
  const Index size = static_cast<Index>(terms_.size());
  VectorXd column(size);
  for (Index j = begin; j < end; ++j) {
    if (std::find(terms_.begin(), terms_.end(), j) != terms_.end()) continue;
    for (Index i = 0; i < size; ++i)
      column[i] = data_->gram(terms_[static_cast<std::size_t>(i)], j);
    double slope = data_->q[j], variance = data_->gram(j, j);
    if (size > 0) {
      slope -= column.dot(weight_);
      variance -= column.dot(factor_.solve(column));
    }
    if (!(variance > kIndependent * data_->gram(j, j)) || (non_negative && slope <= 0)) continue;
    const double gain = slope * slope / variance;
    if (gain > best.second) best = {j, gain};
  }
  return best;
}

bool improve_by_swap(const CentredMoments& data, DenseTerms& set, bool non_negative,
                     Index products) {
  std::vector<Index> best;
  double most = set.explained() * (1 + 1e-6);
  for (std::size_t p = 0; p < set.terms().size(); ++p) {
    std::vector<Index> rest = set.terms();
    rest.erase(rest.begin() + static_cast<std::ptrdiff_t>(p));
    DenseTerms without(data);
    if (!without.set(rest)) continue;
    const bool product = set.terms()[p] >= products;
    const auto [added, gain] = product
                                   ? without.best_addition(non_negative, products, data.q.size())
                                   : without.best_addition(non_negative, 0, products);
    if (added < 0 || without.explained() + gain <= most) continue;
    most = without.explained() + gain;
    rest.insert(rest.begin() + static_cast<std::ptrdiff_t>(p), added);
    best = std::move(rest);
  }
  return !best.empty() && set.set(best);
}

double dense_correlation(const CentredMoments& data, const std::vector<Index>& terms,
                         const VectorXd& weight) {
  double covariance = 0, variance = 0;
  for (std::size_t i = 0; i < terms.size(); ++i) {
    covariance += weight[static_cast<Index>(i)] * data.q[terms[i]];
    for (std::size_t j = 0; j < terms.size(); ++j)
      variance += weight[static_cast<Index>(i)] * weight[static_cast<Index>(j)] *
                  data.gram(terms[i], terms[j]);
  }
  return variance > 0 && data.mean_square > 0 ? covariance / std::sqrt(variance * data.mean_square)
                                              : kNone;
}

template <class Value>
void add_largest(const Value* values, std::int64_t n, int count, std::size_t most, Terms& out) {
  const std::size_t some = static_cast<std::size_t>(count) + out.size();
  const auto better = [&](std::int64_t a, std::int64_t b) {
    return values[a] != values[b] ? values[a] > values[b] : a < b;
  };
  Terms largest;  // a heap whose top is the least of them
  for (std::int64_t j = 0; j < n; ++j) {
    if (!(values[j] > 0)) continue;
    if (largest.size() == some) {
      if (!better(j, largest.front())) continue;
      std::pop_heap(largest.begin(), largest.end(), better);
      largest.pop_back();
    }
    largest.push_back(j);
    std::push_heap(largest.begin(), largest.end(), better);
  }
  std::sort(largest.begin(), largest.end(), better);
  for (const std::int64_t j : largest) {
    if (count == 0 || out.size() >= most) break;
    if (std::find(out.begin(), out.end(), j) != out.end()) continue;
    out.push_back(j);
    --count;
  }
}
template void add_largest(const float*, std::int64_t, int, std::size_t, Terms&);
template void add_largest(const double*, std::int64_t, int, std::size_t, Terms&);

std::vector<double> gains(const Regression& regression, std::int64_t unit, const Terms& terms) {
  const double* const q = regression.moments_of(unit).q;
  const TermFit fit = least_squares(*regression.gram, q, terms);
  const std::size_t size = terms.size();
  std::vector<double> gain(static_cast<std::size_t>(regression.concept_count()));
  if (fit.weight.size() != size) return gain;
  std::vector<double> x(size);
  for (std::size_t j = 0; j < gain.size(); ++j) {
    double slope = q[j], variance = regression.diagonal();
    for (std::size_t t = 0; t < size; ++t) {
      x[t] = static_cast<double>(regression.gram->row(terms[t])[j]);
      slope -= fit.weight[t] * x[t];
    }
    for (std::size_t t = 0; t < size; ++t)
      for (std::size_t u = 0; u < size; ++u) variance -= x[t] * fit.inverse[t * size + u] * x[u];
    gain[j] = variance > kIndependent ? slope * slope / variance : 0;
  }
  return gain;
}

}  // namespace linex
