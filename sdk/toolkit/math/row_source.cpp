#include "toolkit/math/row_source.hpp"

#include <cstring>
#include <numeric>

#include "linex/error.hpp"
#include "toolkit/base/npy.hpp"
#include "toolkit/base/parallel.hpp"

namespace linex {

namespace {

// Presence from embeddings is a product, which wants rows; a thread wants a share of the tile.
constexpr std::int64_t kRowsPerRead = 256;

bool contiguous_range(const std::vector<std::int64_t>& ids) {
  for (std::size_t i = 1; i < ids.size(); ++i)
    if (ids[i] != ids[i - 1] + 1) return false;
  return true;
}

/// x·0 is NaN for exactly the values that are not finite, and sums of it vectorise.
bool all_finite(const float* values, std::int64_t n) {
  float zero = 0;
#pragma omp simd reduction(+ : zero)
  for (std::int64_t i = 0; i < n; ++i) zero += values[i] * 0.0F;
  return zero == 0.0F;
}

[[noreturn]] void throw_not_finite(const RowSource& source, const std::int64_t* rows,
                                   std::int64_t n, const float* values) {
  for (std::int64_t i = 0; i < n * source.cols; ++i)
    if (!std::isfinite(values[i]))
      throw input_error(source.name + ": row " + std::to_string(rows[i / source.cols]) + ", " +
                        source.column_name(i % source.cols) + " is " +
                        (std::isnan(values[i]) ? "NaN" : "infinite") +
                        "; record that image again or leave it out");
  throw std::logic_error("no value is infinite or NaN");
}

}  // namespace

std::vector<std::int64_t> all_columns(std::int64_t n) {
  std::vector<std::int64_t> ids(static_cast<std::size_t>(n));
  std::iota(ids.begin(), ids.end(), std::int64_t{0});
  return ids;
}

RowSource presence_rows(const Presence& presence, std::vector<std::int64_t> concepts) {
  RowSource source;
  source.cols = static_cast<std::int64_t>(concepts.size());
  source.name = "concept presence";
  const bool all = source.cols == presence.cols() && contiguous_range(concepts);
  source.column_name = [concepts](std::int64_t j) {
    return "concept " + std::to_string(concepts[static_cast<std::size_t>(j)]);
  };
  source.read = [&presence, all, concepts = std::move(concepts)](const std::int64_t* rows,
                                                                 std::int64_t n, float* out) {
    presence.read(Ids(rows, n), all ? Columns::all() : Columns(concepts), out);
  };
  return source;
}

RowSource activation_rows(const torch::Tensor& activations, std::vector<std::int64_t> units) {
  if (activations.dim() != 2 || activations.scalar_type() != torch::kFloat32)
    throw input_error("activations must be a float32 matrix (images, units)");
  for (const std::int64_t unit : units)
    if (unit < 0 || unit >= activations.size(1))
      throw input_error("unit " + std::to_string(unit) + " is outside the layer's " +
                        std::to_string(activations.size(1)) + " units");
  RowSource source;
  source.cols = static_cast<std::int64_t>(units.size());
  source.name = "activations";
  const bool block = contiguous_range(units);
  source.column_name = [units](std::int64_t j) {
    return "unit " + std::to_string(units[static_cast<std::size_t>(j)]);
  };
  source.read = [matrix = activations.contiguous(), block, units = std::move(units)](
                    const std::int64_t* rows, std::int64_t n, float* out) {
    const float* values = matrix.data_ptr<float>();
    const std::int64_t width = matrix.size(1), cols = static_cast<std::int64_t>(units.size());
    for (std::int64_t i = 0; i < n; ++i, out += cols) {
      const float* row = values + rows[i] * width;
      if (block) {
        if (cols) std::memcpy(out, row + units[0], sizeof(float) * static_cast<std::size_t>(cols));
        continue;
      }
      for (std::int64_t j = 0; j < cols; ++j) out[j] = row[units[static_cast<std::size_t>(j)]];
    }
    if (n) release_rows(matrix, rows[0], rows[n - 1] + 1 - rows[0]);
  };
  return source;
}

RowSource kept_rows(const RowSource& source, const Rows& rows, int threads) {
  const std::int64_t n = static_cast<std::int64_t>(rows.size()), cols = source.cols;
  auto values = std::make_shared<std::vector<float>>(static_cast<std::size_t>(n * cols));
  read_tile(source, rows, 0, n, threads, values->data());
  RowSource kept = source;
  kept.read = [values, cols, rows](const std::int64_t* wanted, std::int64_t count, float* out) {
    for (std::int64_t i = 0; i < count; ++i, out += cols) {
      const std::int64_t place =
          std::lower_bound(rows.begin(), rows.end(), wanted[i]) - rows.begin();
      std::copy_n(values->data() + place * cols, cols, out);
    }
  };
  return kept;
}

void read_tile(const RowSource& source, const Rows& rows, std::int64_t begin, std::int64_t n,
               int threads, float* out) {
  parallel_for((n + kRowsPerRead - 1) / kRowsPerRead, threads_for(n * source.cols, threads),
               [&](std::int64_t chunk) {
                 const std::int64_t first = chunk * kRowsPerRead,
                                    count = std::min(kRowsPerRead, n - first);
                 float* const values = out + first * source.cols;
                 source.read(rows.data() + begin + first, count, values);
                 if (!all_finite(values, count * source.cols))
                   throw_not_finite(source, rows.data() + begin + first, count, values);
               });
}

}  // namespace linex
