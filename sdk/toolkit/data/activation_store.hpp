// Stage 1: a network over a data set, to one matrix of pooled activations a layer.
#pragma once

#include <torch/types.h>

#include <memory>
#include <string>
#include <vector>

#include "linex/context.hpp"
#include "linex/data.hpp"
#include "linex/model.hpp"
#include "toolkit/data/pooling.hpp"

namespace linex {

struct ActivationRequest {
  std::vector<std::string> layers;
  Pool pool = Pool::avg;
  bool logits = false;
  bool half = false;  ///< cache as float16; the values returned are rounded to it, too
};

struct Activations {
  std::vector<torch::Tensor> layers;  ///< float32 (N, units), in the order asked
  torch::Tensor logits;       ///< float32 (N, classes); undefined unless asked for and there
  std::int64_t computed = 0;  ///< images that went through the network in this run
};

/// Runs `model` over all rows of `data` in batches of run.batch (or the model's own choice), all
/// layers in one pass, and pools each. Results are kept in run.cache, keyed by the network's
/// weights, layer, pooling, preprocessing, the images' content, storage type and kind of device; a
/// killed run goes on with the first missing shard and ends in the same bytes. Throws Error(input)
/// for an unknown layer, an unreadable image, or an activation that is not finite, naming it.
Activations extract_activations(TargetModel& model, const std::shared_ptr<const DataSet>& data,
                                const ActivationRequest& request, const PluginContext& context);

}  // namespace linex
