// Attention within the windows of a map.
#pragma once

#include <torch/types.h>

#include <cstdint>

#include "toolkit/net/ops.hpp"

namespace linex {

struct WindowAttentionOptions {
  std::int64_t window = 7;  ///< side of a window, in positions
  std::int64_t shift = 0;   ///< of the windows; none along a side that one window covers
  std::int64_t heads = 1;
  /// Where windows do not tile the map: timm shifts it before it pads it, torchvision after.
  bool shift_first = false;
};

/// (n, 3C, H, W) queries, keys and values to (n, C, H, W). Scores are q·k/√d, or the cosine times
/// `scale` (heads, 1, 1) where that is defined, plus the entry of `table` ((2·window - 1)², heads)
/// for their relative position, found by `index` (relative_positions()). Positions added by padding
/// have the values `padding` (3C), zeros where undefined.
OpPtr make_window_attention(WindowAttentionOptions options, torch::Tensor table,
                            torch::Tensor index, torch::Tensor scale, torch::Tensor padding);

/// (n, C, H, W) to (n, 4C, ⌈H/2⌉, ⌈W/2⌉): each square of positions side by side, column by column,
/// after zeros where a side is odd.
OpPtr make_merge_patches();

/// Which entry of a table of (2·window - 1)² relative positions each pair of positions of a window
/// has; int64 (window⁴), queries first.
torch::Tensor relative_positions(std::int64_t window);

}  // namespace linex
