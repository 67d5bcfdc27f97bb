// Unit maps: what each unit of a layer shows at each place of an image.
#pragma once

#include <torch/types.h>

#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "linex/context.hpp"
#include "linex/data.hpp"
#include "linex/model.hpp"
#include "toolkit/data/preprocess.hpp"

namespace linex {

/// A layer's raw output as maps: (n, C, h, w) as it is; of (n, T, D) the image tokens as a square,
/// without the class token; (n, D) as maps of 1×1. Returns float32 (n, units, h, w), contiguous.
/// Throws Error(usage) naming `layer` for tokens that make no square and for other ranks.
torch::Tensor as_maps(const torch::Tensor& output, const std::string& layer);

/// Height and width of the maps as_maps() makes of an output of this shape; {0, 0} where it throws.
ImageSize map_size(torch::IntArrayRef output);

/// Calls visit(i, map) with the map, float32 (h, w), of unit wanted[i].second in image
/// wanted[i].first. Runs the network once over the distinct images; never where the layer's maps
/// are single values or none. `visit` is called from several threads and may keep the map.
void visit_maps(TargetModel& model, const std::shared_ptr<const DataSet>& data,
                const std::string& layer,
                const std::vector<std::pair<std::int64_t, std::int64_t>>& wanted,
                const PluginContext& context,
                const std::function<void(std::size_t i, const torch::Tensor& map)>& visit);

/// The maps of one layer over a data set, streamed batch by batch. Where all of them fit into a
/// quarter of run.memory they are kept, so that a second pass costs nothing; otherwise each pass
/// runs the network again.
class UnitMaps {
 public:
  /// `model` and `context` are lent. Runs one image to learn the shape. `units`: which, ascending.
  UnitMaps(TargetModel& model, std::shared_ptr<const DataSet> data, std::string layer,
           std::vector<std::int64_t> units, const PluginContext& context);

  const std::vector<std::int64_t>& units() const { return units_; }
  std::int64_t height() const { return height_; }
  std::int64_t width() const { return width_; }
  const DataSet& data() const { return *data_; }
  Preprocess preprocess() const { return model_.preprocess(); }
  const PluginContext& context() const { return context_; }
  /// Everything the maps depend on, in one line; part of cache keys.
  std::string key() const;

  /// Takes the maps of data rows[0, n): float32 (n, units, h, w), valid during the call.
  using Body =
      std::function<void(const std::int64_t* rows, std::int64_t n, const torch::Tensor& maps)>;
  /// Calls `body` with all rows in order. Throws Error(input) for a value that is not finite,
  /// naming image and unit, Error(interrupted) when cancelled.
  void stream(const std::string& title, const Body& body);

 private:
  torch::Tensor forward(const torch::Tensor& images) const;

  TargetModel& model_;
  std::shared_ptr<const DataSet> data_;
  std::string layer_;
  std::vector<std::int64_t> units_;
  const PluginContext& context_;
  std::int64_t layer_units_ = 0, height_ = 0, width_ = 0;
  std::vector<torch::Tensor> kept_;  // the batches of a whole pass, or empty
};

}  // namespace linex
