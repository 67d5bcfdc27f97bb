// VGGs as torchvision and chenyaofo's CIFAR repository name them.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "toolkit/checkpoint/weights.hpp"
#include "toolkit/net/image_model.hpp"

namespace linex {

/// What distinguishes one VGG from another.
struct VggSpec {
  std::string arch;
  std::vector<std::vector<std::int64_t>> stages;  ///< channels of each convolution between poolings
  bool batch_norm = false;
  std::int64_t pool = 7;  ///< side of the map the classifier takes; 0: no pooling module (CIFAR)
  std::int64_t hidden = 4096, hidden2 = 4096, classes = 1000;
  int linears = 3;  ///< maps of the classifier that the weights have as named; below 3: no logits
};

/// Reads stages, normalisation and widths off the names and shapes. Throws Error(input) when they
/// are not those of a VGG.
VggSpec infer_vgg(const StateDict& weights);
/// The named architecture ("vgg16_bn", ...) with the classifier of `weights`; "auto" infers.
VggSpec vgg_spec(const std::string& arch, const StateDict& weights);
/// Throws Error(input) when the weights do not fit `spec`.
BuiltNetwork build_vgg(const VggSpec& spec, StateDict weights);

}  // namespace linex
