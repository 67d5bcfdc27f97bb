// What convolutional networks compute on maps besides ops.hpp.
#pragma once

#include <torch/types.h>

#include <cstdint>

#include "toolkit/net/ops.hpp"

namespace linex {

// Maps are (n, C, H, W), channels-last in memory: what works on the channels of each position, as
// networks written for (n, H, W, C) do, needs no copy.

/// The channels of every position, (n·H·W, C); a view of a channels-last map.
torch::Tensor positions(const torch::Tensor& map);
/// (n·H·W, C) as a map like `map` with its own number of channels.
torch::Tensor as_map(const torch::Tensor& positions, const torch::Tensor& map);

/// Layer normalisation over the channels of each position; weight and bias (C).
OpPtr make_channel_norm(torch::Tensor weight, torch::Tensor bias, double eps);
/// y = weight·x + bias for the channels of each position; weight (out, in).
OpPtr make_channel_linear(torch::Tensor weight, torch::Tensor bias);
/// Times a constant for each channel; scale (C).
OpPtr make_channel_scale(torch::Tensor scale);
/// inputs[0] times a factor for each channel, inputs[1] (n, C, 1, 1).
OpPtr make_channel_gate();
/// timm's BlurPool2d: every second pixel in each direction after a binomial filter of three,
/// borders reflected.
OpPtr make_blur_pool();
/// ConvNeXt V2's global response normalisation; weight and bias (C).
OpPtr make_response_norm(torch::Tensor weight, torch::Tensor bias, double eps);

}  // namespace linex
