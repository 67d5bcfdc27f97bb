// Which axis of a layer's output counts its units.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

namespace torch::jit {
struct Value;
}

namespace linex {

/// Order of the axes of a raw output.
enum class ScriptLayout { nchw, nhwc, ntd, ndt, nd };

std::string to_string(ScriptLayout layout);

/// Axes of a raw output in the order of the contract: (n, C, H, W), (n, T, D) or (n, D).
std::vector<std::int64_t> axes_of(ScriptLayout layout);
/// The way back.
std::vector<std::int64_t> inverse_axes(const std::vector<std::int64_t>& axes);

/// What the operators around a value tell.
struct LayoutEvidence {
  /// Position of the units' axis: what a convolution or a normalisation that made or reads the
  /// value (through element by element steps, transpositions, residual sums) takes as channels.
  std::optional<int> axis;
  std::string by;          ///< that operator
  bool attention = false;  ///< the value is a table of pairs: no axis of it counts units
};

/// `output`: of a flattened graph; `rank`: 3 or 4.
LayoutEvidence find_layout(torch::jit::Value* output, int rank);

}  // namespace linex
