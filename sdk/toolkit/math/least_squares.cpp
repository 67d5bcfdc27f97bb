#include "toolkit/math/least_squares.hpp"

#include <Eigen/Core>

namespace linex {

namespace {

// A term with less than this share of its variance outside the others counts as dependent: rounding
// of 32-bit moments is below it, and no weight would mean anything above it.
constexpr double kIndependent = 1e-5;

Eigen::MatrixXd gather(const Gram& gram, const std::vector<std::int64_t>& terms) {
  const Eigen::Index size = static_cast<Eigen::Index>(terms.size());
  Eigen::MatrixXd sub(size, size);
  for (Eigen::Index i = 0; i < size; ++i)
    for (Eigen::Index j = 0; j <= i; ++j)
      sub(i, j) = sub(j, i) = static_cast<double>(gram.row(terms[j])[terms[i]]);
  return sub;
}

/// Lower Cholesky factor, or an empty matrix where a pivot is (nearly) zero.
Eigen::MatrixXd cholesky(const Eigen::MatrixXd& matrix) {
  Eigen::MatrixXd factor = Eigen::MatrixXd::Zero(matrix.rows(), matrix.cols());
  for (Eigen::Index j = 0; j < matrix.rows(); ++j) {
    const double pivot = matrix(j, j) - factor.row(j).head(j).squaredNorm();
    if (!(pivot > kIndependent * matrix(j, j))) return {};
    factor(j, j) = std::sqrt(pivot);
    for (Eigen::Index i = j + 1; i < matrix.rows(); ++i)
      factor(i, j) =
          (matrix(i, j) - factor.row(i).head(j).dot(factor.row(j).head(j))) / factor(j, j);
  }
  return factor;
}

Eigen::VectorXd solve(const Eigen::MatrixXd& factor, const Eigen::VectorXd& target) {
  const auto lower = factor.triangularView<Eigen::Lower>();
  return lower.transpose().solve(lower.solve(target));
}

Eigen::VectorXd pick(const double* q, const std::vector<std::int64_t>& terms) {
  Eigen::VectorXd target(static_cast<Eigen::Index>(terms.size()));
  for (std::size_t i = 0; i < terms.size(); ++i) target[static_cast<Eigen::Index>(i)] = q[terms[i]];
  return target;
}

}  // namespace

TermFit least_squares(const Gram& gram, const double* q, const std::vector<std::int64_t>& terms) {
  TermFit fit;
  if (terms.empty()) return fit;
  const Eigen::MatrixXd factor = cholesky(gather(gram, terms));
  if (factor.size() == 0) return fit;
  const Eigen::VectorXd target = pick(q, terms), weight = solve(factor, target);
  const Eigen::Index size = factor.rows();
  fit.weight.assign(weight.data(), weight.data() + size);
  fit.explained = target.dot(weight);
  fit.inverse.resize(static_cast<std::size_t>(size * size));
  for (Eigen::Index i = 0; i < size; ++i)
    Eigen::Map<Eigen::VectorXd>(fit.inverse.data() + i * size, size) =
        solve(factor, Eigen::VectorXd::Unit(size, i));
  return fit;
}

TermFit non_negative_least_squares(const Gram& gram, const double* q,
                                   const std::vector<std::int64_t>& terms) {
  // Lawson & Hanson: grow the passive set by the steepest term, step back to the boundary whenever
  // a weight would turn negative.
  TermFit fit;
  const std::size_t size = terms.size();
  if (terms.empty() || cholesky(gather(gram, terms)).size() == 0) return fit;
  const Eigen::MatrixXd sub = gather(gram, terms);
  const Eigen::VectorXd target = pick(q, terms);
  Eigen::VectorXd weight = Eigen::VectorXd::Zero(static_cast<Eigen::Index>(size));
  std::vector<char> passive(size, 0);
  for (std::size_t entered = 0; entered < 3 * size + 3; ++entered) {
    const Eigen::VectorXd slope = target - sub * weight;
    Eigen::Index steepest = -1;
    for (Eigen::Index i = 0; i < slope.size(); ++i)
      if (!passive[i] && slope[i] > 1e-12 && (steepest < 0 || slope[i] > slope[steepest]))
        steepest = i;
    if (steepest < 0) break;
    passive[steepest] = 1;
    for (;;) {
      std::vector<std::int64_t> inside;
      for (std::size_t i = 0; i < size; ++i)
        if (passive[i]) inside.push_back(static_cast<std::int64_t>(i));
      Eigen::MatrixXd part(inside.size(), inside.size());
      Eigen::VectorXd part_target(inside.size());
      for (std::size_t i = 0; i < inside.size(); ++i) {
        part_target[i] = target[inside[i]];
        for (std::size_t j = 0; j < inside.size(); ++j) part(i, j) = sub(inside[i], inside[j]);
      }
      const Eigen::VectorXd next = solve(cholesky(part), part_target);
      double step = 1;
      for (std::size_t i = 0; i < inside.size(); ++i)
        if (next[i] <= 0) step = std::min(step, weight[inside[i]] / (weight[inside[i]] - next[i]));
      for (std::size_t i = 0; i < inside.size(); ++i)
        weight[inside[i]] += step * (next[i] - weight[inside[i]]);
      if (step == 1) break;
      for (const std::int64_t i : inside)
        if (weight[i] <= 1e-14) {
          weight[i] = 0;
          passive[static_cast<std::size_t>(i)] = 0;
        }
    }
  }
  fit.weight.assign(weight.data(), weight.data() + size);
  fit.explained = 2 * target.dot(weight) - weight.dot(sub * weight);
  return fit;
}

}  // namespace linex
