// What MILAN sees of an exemplar: a network's features inside the unit's mask (docs/methods.md
// §2.3).
#pragma once

#include <torch/types.h>

#include <cstdint>
#include <string>
#include <vector>

#include "linex/model.hpp"
#include "toolkit/probe/exemplars.hpp"

namespace linex {

/// Masked means of the maps of several layers, concatenated: Σ map·mask/Σ mask, the mask resized
/// to each layer (bilinear, half-pixel centres, edges repeated). A mask without pixels gives zeros.
class PyramidFeaturizer {
 public:
  /// `network` is lent. Layers must have maps (as_maps).
  PyramidFeaturizer(TargetModel& network, std::vector<std::string> layers);

  const std::vector<std::string>& layers() const { return layers_; }
  std::string key() const;

  /// Maps of images (n, 3, H, W), normalised for the network: one tensor (n, C, h, w) a layer.
  std::vector<torch::Tensor> maps(const torch::Tensor& images) const;
  /// Features (n, D) of image `index` of maps(), inside each of n masks, float32 (n, H, W).
  static torch::Tensor inside(const std::vector<torch::Tensor>& maps, std::int64_t index,
                              const torch::Tensor& masks);

 private:
  TargetModel& network_;
  std::vector<std::string> layers_;
};

/// conv1, layer1, …, layer4 where the network has them (the published choice), otherwise every
/// layer whose name has no dot and whose output has maps larger than one place.
std::vector<std::string> default_feature_layers(TargetModel& network, const DataSet& data);

/// Images with a mask each, for one unit.
struct MaskedImages {
  std::vector<std::int64_t> rows;    ///< of the data set
  std::vector<torch::Tensor> masks;  ///< bool or float32 (H, W), on the network's view of the image
};

/// Features float32 (units, m, D); every unit has the same m. Images are seen as `view` resizes and
/// crops them, normalised for the featuriser's network; each distinct image passes through it once.
torch::Tensor featurize(const PyramidFeaturizer& featurizer, const Preprocess& normalisation,
                        const DataSet& data, const Preprocess& view,
                        const std::vector<MaskedImages>& units, const PluginContext& context);

/// The exemplars of units [begin, end) with their masks at the size of the network's input.
std::vector<MaskedImages> masked_exemplars(const Exemplars& exemplars, std::int64_t begin,
                                           std::int64_t end, ImageSize input);

}  // namespace linex
