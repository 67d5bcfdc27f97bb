#include "toolkit/math/kernels.hpp"

#include <algorithm>
#include <cmath>

#include "toolkit/base/wide.hpp"

namespace linex {

namespace {

constexpr std::int64_t kChunk = 256;   // concepts at a time: all scratch stays in the first cache
constexpr float kIndependent = 1e-4F;  // least share of a concept's variance outside the terms

/// What adding or swapping needs of one chunk of concepts.
struct Scratch {
  float left[kMaxTerms][kChunk];  // Q_SS⁻¹·Q_Sj
  float slope[kChunk];            // q_j − Q_jS·β
  float variance[kChunk];         // Q_jj − Q_jS·Q_SS⁻¹·Q_Sj
  float score[kChunk];
};

LINEX_WIDE void prepare(const ScanInput& in, std::int64_t begin, int n, Scratch& s) {
  for (int j = 0; j < n; ++j) {
    s.slope[j] = in.q[begin + j];
    s.variance[j] = in.diagonal;
  }
  for (int p = 0; p < in.terms; ++p) {
    float* const left = s.left[p];
    for (int j = 0; j < n; ++j) left[j] = 0;
    for (int r = 0; r < in.terms; ++r) {
      const float factor = in.inverse[p * in.terms + r];
      const float* const row = in.rows[r] + begin;
#pragma omp simd
      for (int j = 0; j < n; ++j) left[j] += factor * row[j];
    }
    const float beta = in.beta[p];
    const float* const row = in.rows[p] + begin;
#pragma omp simd
    for (int j = 0; j < n; ++j) {
      s.slope[j] -= beta * row[j];
      s.variance[j] -= left[j] * row[j];
    }
  }
}

/// Scores of the chunk when term p is gone (p < 0: all terms stay); the largest of them.
LINEX_WIDE float score_chunk(const ScanInput& in, int p, int n, Scratch& s) {
  static const float none[kChunk] = {};
  const float* const left = p < 0 ? none : s.left[p];
  const float pivot = p < 0 ? 1.0F : in.inverse[p * in.terms + p];
  const float pull = p < 0 ? 0.0F : in.beta[p] / pivot, weight = 1.0F / pivot;
  const float least = in.non_negative ? 0.0F : -INFINITY;
  float best = 0;
#pragma omp simd reduction(max : best)
  for (int j = 0; j < n; ++j) {
    const float slope = s.slope[j] + left[j] * pull;
    const float variance = s.variance[j] + left[j] * left[j] * weight;
    const bool usable = variance > kIndependent && slope > least;
    const float score = usable ? slope * slope / std::max(variance, kIndependent) : 0.0F;
    s.score[j] = score;
    best = std::max(best, score);
  }
  return best;
}

std::int64_t find(const Scratch& s, int n, float score) {
  for (int j = 0; j < n; ++j)
    if (s.score[j] == score) return j;
  return -1;
}

}  // namespace

LINEX_WIDE void subtract_scaled(const float* row, double scale, std::int64_t n, double* out) {
#pragma omp simd
  for (std::int64_t j = 0; j < n; ++j) out[j] -= scale * static_cast<double>(row[j]);
}

LINEX_WIDE void subtract_scaled(const double* row, double scale, std::int64_t n, double* out) {
#pragma omp simd
  for (std::int64_t j = 0; j < n; ++j) out[j] -= scale * row[j];
}

LINEX_WIDE void standardise(float* values, std::int64_t n, std::int64_t cols, const double* shift,
                            const double* scale) {
  for (std::int64_t i = 0; i < n; ++i, values += cols)
#pragma omp simd
    for (std::int64_t j = 0; j < cols; ++j)
      values[j] = static_cast<float>((static_cast<double>(values[j]) - shift[j]) * scale[j]);
}

LINEX_WIDE void add_to(const float* values, std::int64_t n, double* sum) {
#pragma omp simd
  for (std::int64_t i = 0; i < n; ++i) sum[i] += static_cast<double>(values[i]);
}

LINEX_WIDE void add_on_grid(const float* values, std::int64_t n, double row, const double* col,
                            double* sum) {
#pragma omp simd
  for (std::int64_t j = 0; j < n; ++j)
    sum[j] += on_grid(static_cast<double>(values[j]), row * col[j]);
}

LINEX_WIDE void add_scaled_on_grid(const float* values, double scale, std::int64_t n, double row,
                                   const double* col, double* sum) {
#pragma omp simd
  for (std::int64_t j = 0; j < n; ++j)
    sum[j] += on_grid(scale * static_cast<double>(values[j]), row * col[j]);
}

double power_of_two(double value) {
  if (!(value > 0)) return 0;
  int exponent = 0;
  const double fraction = std::frexp(value, &exponent);  // in [0.5, 1)
  return std::ldexp(1.0, fraction == 0.5 ? exponent - 1 : exponent);
}

LINEX_WIDE double steepest_of(const double* values, std::int64_t n, bool is_signed) {
  double best = 0;
  if (is_signed) {
#pragma omp simd reduction(max : best)
    for (std::int64_t j = 0; j < n; ++j) best = std::max(best, values[j]);
  } else {
#pragma omp simd reduction(max : best)
    for (std::int64_t j = 0; j < n; ++j) best = std::max(best, std::abs(values[j]));
  }
  return best;
}

Move best_addition(const ScanInput& input) {
  Scratch scratch;
  Move best;
  for (std::int64_t begin = 0; begin < input.concepts; begin += kChunk) {
    const int n = static_cast<int>(std::min(kChunk, input.concepts - begin));
    prepare(input, begin, n, scratch);
    const float score = score_chunk(input, -1, n, scratch);
    if (score > best.gain) best = {begin + find(scratch, n, score), -1, score};
  }
  return best;
}

void all_gains(const ScanInput& input, float* out) {
  Scratch scratch;
  for (std::int64_t begin = 0; begin < input.concepts; begin += kChunk) {
    const int n = static_cast<int>(std::min(kChunk, input.concepts - begin));
    prepare(input, begin, n, scratch);
    for (int p = 0; p <= input.terms; ++p) {
      score_chunk(input, p < input.terms ? p : -1, n, scratch);
      std::copy_n(scratch.score, n, out + p * input.concepts + begin);
    }
  }
}

Move best_swap(const ScanInput& input) {
  Scratch scratch;
  Move best;
  for (std::int64_t begin = 0; begin < input.concepts; begin += kChunk) {
    const int n = static_cast<int>(std::min(kChunk, input.concepts - begin));
    prepare(input, begin, n, scratch);
    for (int p = 0; p < input.terms; ++p) {
      const float loss = input.beta[p] * input.beta[p] / input.inverse[p * input.terms + p];
      const float score = score_chunk(input, p, n, scratch);
      if (score - loss > best.gain) best = {begin + find(scratch, n, score), p, score - loss};
    }
  }
  return best;
}

}  // namespace linex
