// CLIP's ResNets: a three-convolution stem, antialiased strides and attention pooling (Radford et
// al. 2021, appendix A).
#pragma once

#include <array>
#include <string>
#include <vector>

#include "toolkit/net/transformer.hpp"

namespace linex {

struct ClipResnetSize {
  std::int64_t width = 0;                ///< 64 for RN50; the last map has 32 times that
  std::array<std::int64_t, 4> blocks{};  ///< of the four stages
  std::int64_t embed = 0;                ///< width of the embedding
  std::int64_t grid = 0;                 ///< side of the last map; images are 32 times that
};

/// [any thread]
class ClipResnet {
 public:
  ClipResnet() = default;
  /// Reads `prefix`conv1.weight, `prefix`layer1.0.conv1.weight, `prefix`attnpool.q_proj.weight, ...
  ClipResnet(WeightReader& reader, const std::string& prefix, const ClipResnetSize& size);
  /// images (n, 3, 32·grid, 32·grid) to (n, embed).
  torch::Tensor forward(const torch::Tensor& images) const;
  void visit(const TensorVisitor& visitor);

 private:
  /// Convolution without bias and batch normalisation.
  struct ConvNorm {
    torch::Tensor kernel, mean, variance;
    Affine norm;
  };
  struct Bottleneck {
    ConvNorm one, two, three, down;  // down.kernel is undefined without a projection
    std::int64_t stride = 1;
  };
  static ConvNorm read_conv(WeightReader& reader, const std::string& conv, const std::string& norm,
                            std::int64_t in, std::int64_t out, std::int64_t kernel);
  static torch::Tensor run(const ConvNorm& conv, const torch::Tensor& x, std::int64_t stride = 1);
  static torch::Tensor run(const Bottleneck& block, const torch::Tensor& x);

  std::vector<ConvNorm> stem_;
  std::vector<Bottleneck> blocks_;
  torch::Tensor positions_;
  Affine query_, key_, value_, out_;
  std::int64_t heads_ = 1;
};

}  // namespace linex
