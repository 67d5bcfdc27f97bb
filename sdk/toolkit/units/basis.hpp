// A basis: from a layer's values at one position to the values of units there, and back
// (docs/units.md).
#pragma once

#include <torch/types.h>

#include <cstdint>
#include <string>
#include <vector>

namespace linex::units {

/// What becomes of a unit's value before the activation, p.
enum class Activation {
  identity,
  relu,
  topk,     ///< p where it is among the k largest of its position, else 0
  jumprelu  ///< relu(p) where p > threshold, else 0
};

/// What is done to the D values x of a position before everything else.
enum class Normalise {
  none,
  layer,  ///< (x − mean) / (std + 1e-5), std unbiased
  norm    ///< x · √D / |x|
};

/// M units over vectors of D values. With y = normalise(x) − shift:
///   p = (y · encoder + bias) · scale
///   f = activation(p) · gain
/// and with a gate, p = exp(log_magnitude) · (y · encoder) + bias and f = 0 unless y · encoder +
/// gate > 0. A change Δf adds Δf · decoder to x, times what normalise() divided by. All float32,
/// contiguous, on the CPU; undefined tensors have no part.
struct Basis {
  std::string source;                 ///< where it comes from, for messages
  std::string stem;                   ///< names its units: LAYER@STEM
  torch::Tensor encoder;              ///< (D, M)
  torch::Tensor shift;                ///< (D)
  torch::Tensor bias, scale, gain;    ///< (M)
  torch::Tensor gate, log_magnitude;  ///< (M), both or none
  torch::Tensor threshold;            ///< (M), of jumprelu
  torch::Tensor decoder;              ///< (M, D)
  Normalise normalise = Normalise::none;
  Activation activation = Activation::identity;
  std::int64_t k = 0;   ///< of topk
  bool rectify = true;  ///< topk: a value below 0 among the largest becomes 0
  /// Only the first so many units (a prefix of a Matryoshka dictionary); 0: all.
  std::int64_t prefix = 0;
  std::string fingerprint;  ///< of everything above but the names

  std::int64_t width() const { return encoder.size(0); }  ///< D
  std::int64_t units() const { return prefix > 0 ? prefix : encoder.size(1); }
};

/// Checks shapes and that all values are finite, cuts off what `prefix` makes useless and sets
/// `fingerprint`. Throws Error(input) beginning with basis.source.
void finish(Basis& basis);

/// Units at P positions: x float32 (P, D) → float32 (P, units()). Among equal values at the k-th
/// place of topk the lower units stay; otherwise torch.topk. Same bytes for any number of threads.
/// Throws Error(input) for another D.
torch::Tensor encode(const Basis& basis, const torch::Tensor& x, int threads);

/// Some units only, (P, units.size()), the same bytes as those columns of encode().
torch::Tensor encode_some(const Basis& basis, const torch::Tensor& x,
                          const std::vector<std::int64_t>& units, int threads);

/// What a change of the units, (P, units()), adds to x, both float32: (P, D).
torch::Tensor decode_change(const Basis& basis, const torch::Tensor& change, const torch::Tensor& x,
                            int threads);

/// A layer's raw output (n, C, H, W), (n, T, D) or (n, D) as rows of positions (P, width), and rows
/// of positions as an output of the shape that `like` has but for its width.
torch::Tensor positions_of(const torch::Tensor& output);
torch::Tensor output_of(const torch::Tensor& positions, const torch::Tensor& like);

/// Throws Error(input) where a layer's raw output is none that `basis` takes.
void check_width(const Basis& basis, const torch::Tensor& output, const std::string& layer);

}  // namespace linex::units
