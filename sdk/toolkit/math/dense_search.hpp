// A search among few candidates, all of whose second moments are there in float64. For the
// toolkit's own sources: it needs Eigen, and is not installed.
#pragma once

#include <Eigen/Cholesky>
#include <Eigen/Core>

#include <cstdint>
#include <utility>
#include <vector>

#include "toolkit/math/regression.hpp"

namespace linex {

/// Second moments of a unit's candidates and, last, of the unit.
struct SecondMoments {
  double n = 0;
  Eigen::VectorXd sum;
  Eigen::MatrixXd square;

  /// Adds rows of values (rows, candidates and unit).
  void add(const Eigen::MatrixXd& values);
};

/// Centred moments a search works with.
struct CentredMoments {
  Eigen::MatrixXd gram;
  Eigen::VectorXd q;
  double mean_square = 0;

  explicit CentredMoments(const SecondMoments& moments);
};

/// Terms of a search and what they give, of some candidates. The moments are lent.
class DenseTerms {
 public:
  explicit DenseTerms(const CentredMoments& data) : data_(&data) {}

  const std::vector<Eigen::Index>& terms() const { return terms_; }
  const Eigen::VectorXd& weight() const { return weight_; }
  double explained() const { return explained_; }

  /// False, and nothing changes, where the terms are dependent.
  bool set(std::vector<Eigen::Index> terms);
  /// The candidate of [begin, end) that explains most beside the terms, and how much more; -1 for
  /// none.
  std::pair<Eigen::Index, double> best_addition(bool non_negative, Eigen::Index begin,
                                                Eigen::Index end) const;
  std::pair<Eigen::Index, double> best_addition(bool non_negative) const {
    return best_addition(non_negative, 0, data_->q.size());
  }

 private:
  const CentredMoments* data_;
  std::vector<Eigen::Index> terms_;
  Eigen::LLT<Eigen::MatrixXd> factor_{Eigen::MatrixXd()};  // copied before set()
  Eigen::VectorXd weight_;
  double explained_ = 0;
};

/// One swap that explains more, taken; false where there is none. Candidates from `products` on
/// swap among themselves, and so do those before.
bool improve_by_swap(const CentredMoments& data, DenseTerms& set, bool non_negative,
                     Eigen::Index products);

/// Pearson's correlation of the weighted terms and the unit on other moments; kNone where either is
/// constant.
double dense_correlation(const CentredMoments& data, const std::vector<Eigen::Index>& terms,
                         const Eigen::VectorXd& weight);

/// Positions of the `count` largest of n values above 0 (float, double), added to `out` where they
/// are not there, until it holds `most`.
template <class Value>
void add_largest(const Value* values, std::int64_t n, int count, std::size_t most,
                 std::vector<std::int64_t>& out);
inline void add_largest(const std::vector<double>& values, int count, std::size_t most,
                        std::vector<std::int64_t>& out) {
  add_largest(values.data(), static_cast<std::int64_t>(values.size()), count, most, out);
}

/// What each concept would add to `terms`, whose rows of the Gram matrix are there.
std::vector<double> gains(const Regression& regression, std::int64_t unit,
                          const std::vector<std::int64_t>& terms);

}  // namespace linex
