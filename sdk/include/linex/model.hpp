// Target models: networks whose units are explained.
#pragma once

#include <array>
#include <memory>
#include <string>
#include <vector>

#include "linex/data.hpp"
#include "linex/export.hpp"

namespace linex {

/// From pixels to the network's input, in Pillow's and torchvision's arithmetic.
struct Preprocess {
  enum class Resize { none, short_side, squash };  ///< squash: both sides to `size`
  enum class Interpolation { bilinear, bicubic };
  Resize resize = Resize::none;
  std::int64_t size = 0;
  Interpolation interpolation = Interpolation::bilinear;
  std::int64_t crop = 0;                             ///< side of the centre crop, 0 = none
  std::array<float, 3> mean{0, 0, 0}, std{1, 1, 1};  ///< after division by 255
  /// Every field in one line; part of cache keys.
  LINEX_API std::string describe() const;
};

/// Raw outputs of one pass.
struct ForwardResult {
  std::vector<torch::Tensor>
      layers;            ///< in the order asked, float32 (n, C, H, W), (n, T, D) or (n, D)
  torch::Tensor logits;  ///< float32 (n, classes); undefined unless asked for
};

/// The rest of a network after a layer, for one batch whose values up to that layer are kept.
class LINEX_API ModelTail {
 public:
  virtual ~ModelTail();
  /// The layer's own output for the batch, (n, ...). Not to be changed in place.
  virtual torch::Tensor activation() const = 0;
  /// Logits (m·n, classes) with the layer's output replaced. `replaced` is (m·n, ...): m stacked
  /// variants of the batch. Replacing by activation() gives the plain logits bit for bit.
  virtual torch::Tensor logits(const torch::Tensor& replaced) const = 0;
  /// Optional abilities (ability.hpp). Default: none.
  virtual const void* ability(const char* name) const;
};

/// logits = pooled · weightᵀ + bias for the average-pooled output of a layer.
struct LinearHead {
  torch::Tensor weight;  ///< float32 (classes, units), undefined where the rest is not linear
  torch::Tensor bias;    ///< float32 (classes)
};

/// A network. Instances are used by one thread at a time; the work inside may use context.threads.
/// Same input, same bytes, whatever the thread count or the batch it came in within float rounding.
class LINEX_API TargetModel {
 public:
  virtual ~TargetModel();
  TargetModel() = default;
  TargetModel(const TargetModel&) = delete;
  TargetModel& operator=(const TargetModel&) = delete;

  /// Layers that can be tapped, in order of computation, torchvision's module paths.
  virtual std::vector<std::string> layers() const = 0;
  virtual Preprocess preprocess() const = 0;
  /// Raw outputs of `layers` for images (n, 3, H, W) float32; stops after the last one unless
  /// `logits`. Throws Error(input) for a layer not in layers().
  virtual ForwardResult forward(const torch::Tensor& images, const std::vector<std::string>& layers,
                                bool logits) = 0;
  /// Runs up to `layer` once and returns what remains.
  virtual std::unique_ptr<ModelTail> split(const torch::Tensor& images,
                                           const std::string& layer) = 0;
  /// Digest of weights and architecture; part of cache keys.
  virtual std::string fingerprint() const = 0;
  /// Images a forward pass works best with.
  virtual std::int64_t preferred_batch() const { return 16; }
  /// The head after `layer` where it is average pooling and one linear map.
  virtual LinearHead linear_head(const std::string& layer) const;
  /// Recorded activations, float32, possibly a mapped file: pooled ones (N, K), or a layer's tokens
  /// (N, T, K) or maps (N, K, H, W), which the host pools. Defined only for models without images;
  /// then no data set is needed and forward() is never called.
  virtual torch::Tensor recorded() const;
  /// Optional abilities (ability.hpp). Default: none.
  virtual const void* ability(const char* name) const;
};

}  // namespace linex
