#include "toolkit/units/basis.hpp"

#include <algorithm>
#include <cmath>
#include <functional>
#include <limits>
#include <vector>

#include "linex/error.hpp"
#include "toolkit/base/files.hpp"
#include "toolkit/base/parallel.hpp"
#include "toolkit/checkpoint/weight_reader.hpp"

namespace linex::units {
namespace {

/// Positions worked on at once. Fixed, since a product's rounding may depend on its shape.
constexpr std::int64_t kTile = 256;
constexpr double kLayerNormEpsilon = 1e-5;

struct Part {
  const char* name;
  torch::Tensor Basis::*tensor;
  bool of_units;  ///< (M); else (D)
};
constexpr Part kParts[] = {
    {"shift", &Basis::shift, false},       {"bias", &Basis::bias, true},
    {"scale", &Basis::scale, true},        {"gain", &Basis::gain, true},
    {"gate", &Basis::gate, true},          {"log_magnitude", &Basis::log_magnitude, true},
    {"threshold", &Basis::threshold, true}};

void check_tensor(const Basis& basis, const std::string& name, torch::Tensor& tensor,
                  const std::vector<std::int64_t>& shape) {
  if (tensor.sizes() != torch::IntArrayRef(shape))
    throw input_error(basis.source + ": its " + name + " is " + shape_text(tensor.sizes().vec()) +
                      ", expected " + shape_text(shape));
  tensor = tensor.to(torch::kCPU, torch::kFloat32).contiguous();
  if (!torch::isfinite(tensor).all().item<bool>())
    throw input_error(basis.source + ": its " + name +
                      " holds NaN or infinite values; save the weights again");
}

struct Normalised {
  torch::Tensor values;
  torch::Tensor divisor;  ///< (P, 1) that a change is to be multiplied by; undefined: 1
};

Normalised normalise(Normalise how, const torch::Tensor& x) {
  if (how == Normalise::none) return {x, {}};
  if (how == Normalise::norm) {
    const auto divisor = x.norm(2, 1, true) / std::sqrt(static_cast<double>(x.size(1)));
    // A position of zeros has no direction; it stays one of zeros.
    return {x / torch::where(divisor > 0, divisor, torch::ones_like(divisor)), divisor};
  }
  const auto centred = x - x.mean(1, true);
  const auto deviation = centred.std(1, true, true);
  return {centred / (deviation + kLayerNormEpsilon), deviation};
}

/// Keeps the k largest of each row in place, the lower column among equals.
void keep_largest(torch::Tensor& values, std::int64_t k, bool rectify) {
  const std::int64_t rows = values.size(0), columns = values.size(1);
  if (k >= columns) {
    if (rectify) values.relu_();
    return;
  }
  std::vector<float> sorted(static_cast<std::size_t>(columns));
  float* row = values.data_ptr<float>();
  // NaN has no order; it counts as the largest, and whoever checks the result meets it.
  const auto key = [](float value) {
    return std::isnan(value) ? std::numeric_limits<float>::infinity() : value;
  };
  for (std::int64_t i = 0; i < rows; ++i, row += columns) {
    std::transform(row, row + columns, sorted.begin(), key);
    std::nth_element(sorted.begin(), sorted.begin() + (k - 1), sorted.end(), std::greater<>());
    const float least = sorted[static_cast<std::size_t>(k - 1)];
    std::int64_t ties = k - std::count_if(sorted.begin(), sorted.begin() + k,
                                          [&](float value) { return value > least; });
    for (std::int64_t j = 0; j < columns; ++j) {
      const float value = key(row[j]);
      const bool keep = value > least || (value == least && ties-- > 0);
      if (!keep || (rectify && value < 0)) row[j] = 0;
    }
  }
}

/// One tile of at most kTile positions.
torch::Tensor encode_tile(const Basis& basis, const torch::Tensor& x) {
  torch::Tensor y = normalise(basis.normalise, x).values;
  if (basis.shift.defined()) y = y - basis.shift;
  torch::Tensor values = y.matmul(basis.encoder);
  torch::Tensor open;
  if (basis.gate.defined()) {
    open = (values + basis.gate) > 0;
    values.mul_(basis.log_magnitude.exp());
  }
  if (basis.bias.defined()) values.add_(basis.bias);
  if (basis.scale.defined()) values.mul_(basis.scale);
  switch (basis.activation) {
    case Activation::identity:
      break;
    case Activation::relu:
      values.relu_();
      break;
    case Activation::topk:
      keep_largest(values, basis.k, basis.rectify);
      break;
    case Activation::jumprelu: {
      const torch::Tensor above = values > basis.threshold;
      values.relu_().mul_(above);
      break;
    }
  }
  if (open.defined()) values.mul_(open);
  if (basis.gain.defined()) values.mul_(basis.gain);
  return basis.prefix > 0 ? values.narrow(1, 0, basis.prefix) : values;
}

/// Fills (P, columns) tile by tile: body(first position, how many, those rows of the result).
torch::Tensor by_tiles(std::int64_t rows, std::int64_t columns, int threads,
                       const std::function<void(std::int64_t, std::int64_t, torch::Tensor)>& body) {
  torch::Tensor result = torch::empty({rows, columns});
  parallel_for((rows + kTile - 1) / kTile, threads, [&](std::int64_t tile) {
    const torch::NoGradGuard no_gradients;
    const std::int64_t begin = tile * kTile, n = std::min(kTile, rows - begin);
    body(begin, n, result.narrow(0, begin, n));
  });
  return result;
}

/// `x` as a matrix to work on.
torch::Tensor checked(const Basis& basis, const torch::Tensor& x) {
  if (x.dim() != 2 || x.size(1) != basis.width())
    throw input_error(basis.source + ": takes vectors of " + std::to_string(basis.width()) +
                      " values, these are " + shape_text(x.sizes().vec()));
  return x.to(torch::kCPU, torch::kFloat32).contiguous();
}

}  // namespace

void finish(Basis& basis) {
  if (!basis.encoder.defined() || basis.encoder.dim() != 2 || basis.encoder.numel() == 0)
    throw input_error(basis.source + ": its encoder is no matrix with values");
  std::int64_t d = basis.encoder.size(0), m = basis.encoder.size(1);
  check_tensor(basis, "encoder", basis.encoder, {d, m});
  if (!basis.decoder.defined()) throw input_error(basis.source + ": holds no decoder");
  check_tensor(basis, "decoder", basis.decoder, {m, d});
  for (const Part& part : kParts)
    if ((basis.*part.tensor).defined())
      check_tensor(basis, part.name, basis.*part.tensor, {part.of_units ? m : d});
  if (basis.gate.defined() != basis.log_magnitude.defined())
    throw input_error(basis.source + ": a gate needs both its bias and its magnitude");
  if (basis.activation == Activation::jumprelu && !basis.threshold.defined())
    throw input_error(basis.source + ": holds no threshold for jumprelu");
  if (basis.activation == Activation::topk && (basis.k < 1 || basis.k > m))
    throw input_error(basis.source + ": k = " + std::to_string(basis.k) + " of " +
                      std::to_string(m) + " latents; units.k is between 1 and their number");
  if (basis.prefix > m)
    throw input_error(basis.source + ": units.components=" + std::to_string(basis.prefix) + " of " +
                      std::to_string(m) + " units");
  if (basis.prefix == m) basis.prefix = 0;
  if (basis.prefix > 0 && basis.activation != Activation::topk) {
    basis.encoder = basis.encoder.narrow(1, 0, basis.prefix).contiguous();
    for (const Part& part : kParts)
      if (part.of_units && (basis.*part.tensor).defined())
        basis.*part.tensor = (basis.*part.tensor).narrow(0, 0, basis.prefix).contiguous();
    basis.prefix = 0;
  }
  basis.decoder = basis.decoder.narrow(0, 0, basis.units()).contiguous();

  Sha256 digest;
  const auto add = [&](const std::string& name, const torch::Tensor& tensor) {
    digest.add(name).add(shape_text(tensor.sizes().vec()));
    digest.add(tensor.data_ptr(), tensor.nbytes());
  };
  add("encoder", basis.encoder);
  add("decoder", basis.decoder);
  for (const Part& part : kParts)
    if ((basis.*part.tensor).defined()) add(part.name, basis.*part.tensor);
  digest.add(std::to_string(static_cast<int>(basis.normalise)) + " " +
             std::to_string(static_cast<int>(basis.activation)) + " " + std::to_string(basis.k) +
             " " + std::to_string(basis.rectify) + " " + std::to_string(basis.prefix));
  basis.fingerprint = digest.hex();
}

torch::Tensor encode(const Basis& basis, const torch::Tensor& x, int threads) {
  const torch::NoGradGuard no_gradients;
  const torch::Tensor values = checked(basis, x);
  return by_tiles(values.size(0), basis.units(), threads,
                  [&](std::int64_t begin, std::int64_t n, torch::Tensor rows) {
                    rows.copy_(encode_tile(basis, values.narrow(0, begin, n)));
                  });
}

torch::Tensor encode_some(const Basis& basis, const torch::Tensor& x,
                          const std::vector<std::int64_t>& units, int threads) {
  const torch::NoGradGuard no_gradients;
  const torch::Tensor values = checked(basis, x);
  const auto ids = torch::tensor(units, torch::kInt64);
  return by_tiles(values.size(0), ids.size(0), threads,
                  [&](std::int64_t begin, std::int64_t n, torch::Tensor rows) {
                    rows.copy_(encode_tile(basis, values.narrow(0, begin, n)).index_select(1, ids));
                  });
}

torch::Tensor decode_change(const Basis& basis, const torch::Tensor& change, const torch::Tensor& x,
                            int threads) {
  const torch::NoGradGuard no_gradients;
  const torch::Tensor values = checked(basis, x), wanted = change.to(torch::kCPU, torch::kFloat32);
  // An intervention changes one unit of thousands.
  const auto changed = wanted.ne(0).any(0).nonzero().flatten();
  if (changed.numel() == 0) return torch::zeros_like(values);
  const auto decoder = basis.decoder.index_select(0, changed);
  return by_tiles(values.size(0), basis.width(), threads,
                  [&](std::int64_t begin, std::int64_t n, torch::Tensor rows) {
                    const auto some = wanted.narrow(0, begin, n).index_select(1, changed);
                    at::matmul_out(rows, some, decoder);
                    const auto divisor =
                        normalise(basis.normalise, values.narrow(0, begin, n)).divisor;
                    if (divisor.defined()) rows.mul_(divisor);
                  });
}

torch::Tensor positions_of(const torch::Tensor& output) {
  if (output.dim() == 4) return output.permute({0, 2, 3, 1}).reshape({-1, output.size(1)});
  return output.reshape({-1, output.size(-1)});
}

torch::Tensor output_of(const torch::Tensor& positions, const torch::Tensor& like) {
  const std::int64_t width = positions.size(1);
  if (like.dim() == 4)
    return positions.view({like.size(0), like.size(2), like.size(3), width})
        .permute({0, 3, 1, 2})
        .contiguous();
  auto shape = like.sizes().vec();
  shape.back() = width;
  return positions.view(shape);
}

void check_width(const Basis& basis, const torch::Tensor& output, const std::string& layer) {
  if (output.dim() < 2 || output.dim() > 4)
    throw usage_error("model.layer: " + layer + " gives " + shape_text(output.sizes().vec()) +
                      ", which is no map, token or vector output; choose another layer");
  const std::int64_t width = output.dim() == 4 ? output.size(1) : output.size(-1);
  if (width == basis.width()) return;
  throw input_error("units.basis: " + basis.source + " is for vectors of " +
                    std::to_string(basis.width()) + " values; layer " + layer + " gives " +
                    std::to_string(width) + "; name the layer that it was made for");
}

}  // namespace linex::units
