// The inner loops over all concepts, compiled for several instruction sets and chosen at load.
#pragma once

#include <cstdint>

namespace linex {

/// out[j] -= scale·row[j] for j in [0, n).
void subtract_scaled(const float* row, double scale, std::int64_t n, double* out);
void subtract_scaled(const double* row, double scale, std::int64_t n, double* out);

/// values[i·cols + j] = (values[i·cols + j] − shift[j])·scale[j] for rows i in [0, n).
void standardise(float* values, std::int64_t n, std::int64_t cols, const double* shift,
                 const double* scale);

/// sum[i] += values[i] for i in [0, n).
void add_to(const float* values, std::int64_t n, double* sum);

/// The same of a row of values that are rounded to multiples of 2^-52·row·col[j] before, powers of
/// two. Additions are exact, and their order does not matter, as long as |sum[j]| ≤ row·col[j].
void add_on_grid(const float* values, std::int64_t n, double row, const double* col, double* sum);
/// The same of scale·values; `scale` is a float32 value, so that products are exact.
void add_scaled_on_grid(const float* values, double scale, std::int64_t n, double row,
                        const double* col, double* sum);
/// `value` on that grid: 2^-52·reach, a power of two.
inline double on_grid(double value, double reach) {
  const double magic = 1.5 * reach;  // its last bit is the grid
  return (value + magic) - magic;
}
/// Least power of two that is at least `value`; 0 for 0.
double power_of_two(double value);

/// Largest |values[j]| (or values[j] when `is_signed`) over [0, n), at least 0.
double steepest_of(const double* values, std::int64_t n, bool is_signed);

/// A least-squares fit on `terms` concepts, prepared for trying every other concept.
struct ScanInput {
  int terms = 0;                       ///< L ≤ kMaxTerms
  const float* const* rows = nullptr;  ///< rows of Q of the L terms
  const float* inverse = nullptr;      ///< (L, L): inverse of Q over the terms
  const float* beta = nullptr;         ///< (L): weights of the fit, standardised
  const float* q = nullptr;            ///< (C)
  float diagonal = 1;                  ///< Q_jj
  std::int64_t concepts = 0;           ///< C
  bool non_negative = false;           ///< only concepts that would enter with a positive weight
};
inline constexpr int kMaxTerms = 64;

/// The best single change: concept `added` enters, and the term at `removed` leaves (−1: none
/// does). `gain` is the change of wᵀ(2q − Qw), the explained mean square; `added` is −1 where no
/// concept is independent of the terms.
struct Move {
  std::int64_t added = -1;
  int removed = -1;
  float gain = 0;
};
Move best_addition(const ScanInput& input);
Move best_swap(const ScanInput& input);
/// What each concept would explain more: out[p·C + j] where term p is gone (what p gave is not
/// subtracted), out[L·C + j] where all stay; 0 for one that depends on the terms.
void all_gains(const ScanInput& input, float* out);

}  // namespace linex
