// A network whose units are those of a basis.
#pragma once

#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "linex/model.hpp"
#include "toolkit/data/wide_layers.hpp"
#include "toolkit/units/basis.hpp"

namespace linex::units {

/// "layer3" of a basis "sae" is "layer3@sae".
std::string with_stem(const std::string& layer, const std::string& stem);

/// The network `base` with layers LAYER@STEM: a layer's raw output through the basis, position by
/// position, so that (n, D, H, W) becomes (n, M, H, W). A replaced output is decoded back as what
/// changed: raw + decode_change(replaced − actual). Results are on the CPU.
class BasisModel final : public TargetModel, public WideLayers {
 public:
  /// The basis of a layer of `base`, valid as long as the model; called when it is first needed.
  using BasisOf = std::function<const Basis&(const std::string& layer)>;
  /// `fingerprint` tells the bases apart.
  BasisModel(std::shared_ptr<TargetModel> base, std::string stem, std::string fingerprint,
             BasisOf basis_of, int threads);

  std::vector<std::string> layers() const override;
  Preprocess preprocess() const override { return base_->preprocess(); }
  ForwardResult forward(const torch::Tensor& images, const std::vector<std::string>& layers,
                        bool logits) override;
  std::unique_ptr<ModelTail> split(const torch::Tensor& images, const std::string& layer) override;
  std::string fingerprint() const override;
  std::int64_t preferred_batch() const override { return base_->preferred_batch(); }
  const void* ability(const char* name) const override;

  ForwardResult forward_pooled(const torch::Tensor& images, const std::vector<std::string>& layers,
                               bool logits, Pool pool) const override;
  torch::Tensor forward_units(const torch::Tensor& images, const std::string& layer,
                              const std::vector<std::int64_t>& units) const override;

  TargetModel& base() const { return *base_; }
  /// LAYER of LAYER@STEM. Throws Error(input) for another name.
  std::string base_layer(const std::string& layer) const;

 private:
  ForwardResult forward_base(const torch::Tensor& images, const std::vector<std::string>& layers,
                             bool logits) const;

  std::shared_ptr<TargetModel> base_;
  std::string stem_, fingerprint_;
  BasisOf basis_of_;
  int threads_;
};

/// pool_output() of `output` through a basis, without the whole of it: image by image. float32
/// (n, units).
torch::Tensor pooled_units(const Basis& basis, const torch::Tensor& output, Pool pool,
                           const std::string& layer, int threads);

}  // namespace linex::units
