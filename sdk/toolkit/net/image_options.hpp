// Options every plugin of an image network has: its weights and how pixels become its input.
#pragma once

#include <array>
#include <cstddef>

#include "linex/model.hpp"
#include "linex/option.hpp"

namespace linex {

inline constexpr std::array kImageOptions{
    option::text("mean", "", "channel means r,g,b after /255; empty = those of the weights"),
    option::text("std", "", "channel deviations r,g,b after /255; empty = those of the weights"),
    option::integer("resize", -1, -1, 16384, "side to resize to; 0 = no resize, -1 = default"),
    option::integer("crop", -1, -1, 16384, "side of the centre crop; 0 = none, -1 = default"),
    option::choice("resize_mode", "auto", "auto|short_side|squash",
                   "what resize fits: the shorter side, or both sides"),
    option::choice("interpolation", "auto", "auto|bilinear|bicubic", "how resize interpolates")};

/// For plugins that read checkpoints: load_weights()'s path.
inline constexpr linex_option_spec kWeightsOption = option::required(
    option::path("weights", "", "checkpoint: PyTorch, TorchScript or safetensors"));
/// For the same: load_weights()'s `state`.
inline constexpr linex_option_spec kStateOption = option::text(
    "state", "",
    "which of several states in the checkpoint: a key (model_ema, teacher) or the beginning of "
    "its tensors' names (encoder_k); empty = the first by the order in docs/weights.md");

/// `own` options followed by kImageOptions.
template <std::size_t N>
constexpr std::array<linex_option_spec, N + kImageOptions.size()> with_image_options(
    const std::array<linex_option_spec, N>& own) {
  std::array<linex_option_spec, N + kImageOptions.size()> all{};
  for (std::size_t i = 0; i < N; ++i) all[i] = own[i];
  for (std::size_t i = 0; i < kImageOptions.size(); ++i) all[N + i] = kImageOptions[i];
  return all;
}

/// `defaults` with what the options above say otherwise. Throws Error(usage) for a mean or std that
/// is no three numbers.
Preprocess override_preprocess(Preprocess defaults, const OptionValues& options);
/// Whether some option says how pixels are taken.
bool tells_preprocess(const OptionValues& options);

}  // namespace linex
