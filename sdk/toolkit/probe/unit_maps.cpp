#include "toolkit/probe/unit_maps.hpp"

#include <algorithm>
#include <cmath>
#include <map>
#include <numeric>

#include "linex/error.hpp"
#include "toolkit/base/parallel.hpp"
#include "toolkit/data/loader.hpp"
#include "toolkit/data/wide_layers.hpp"

namespace linex {

namespace {

/// Side of the square that `tokens` image tokens make, or 0.
std::int64_t square_side(std::int64_t tokens) {
  const auto side = static_cast<std::int64_t>(std::lround(std::sqrt(static_cast<double>(tokens))));
  return side * side == tokens ? side : 0;
}

/// Leading tokens that are no place of the image. T and T − 1 are never both squares above 1.
std::int64_t class_tokens(std::int64_t tokens) {
  return tokens > 1 && square_side(tokens - 1) > 0 ? 1 : 0;
}

/// Maps of some units, ascending, of images.
torch::Tensor maps_of(TargetModel& model, const torch::Tensor& images, const std::string& layer,
                      const std::vector<std::int64_t>& units) {
  if (const auto* wide = ability<WideLayers>(model))
    return as_maps(wide->forward_units(images, layer, units), layer);
  const auto maps = as_maps(model.forward(images, {layer}, false).layers.at(0), layer);
  if (static_cast<std::int64_t>(units.size()) == maps.size(1)) return maps;
  return maps.index_select(1, torch::tensor(units, torch::kInt64)).contiguous();
}

}  // namespace

ImageSize map_size(torch::IntArrayRef output) {
  if (output.size() == 4) return {output[2], output[3]};
  if (output.size() == 2) return {1, 1};
  if (output.size() != 3) return {0, 0};
  const std::int64_t side = square_side(output[1] - class_tokens(output[1]));
  return {side, side};
}

torch::Tensor as_maps(const torch::Tensor& output, const std::string& layer) {
  const torch::Tensor values = output.to(torch::kFloat32);
  if (values.dim() == 4) return values.contiguous();
  if (values.dim() == 2) return values.unsqueeze(2).unsqueeze(3).contiguous();
  if (values.dim() != 3)
    throw usage_error("model.layer: " + layer + " has an output of " +
                      std::to_string(values.dim()) + " dimensions; unit maps need 2, 3 or 4");
  const std::int64_t tokens = values.size(1), side = map_size(values.sizes()).height;
  if (side == 0)
    throw usage_error("model.layer: the " + std::to_string(tokens) + " tokens of " + layer +
                      " make no square, so its units have no maps");
  return values.narrow(1, class_tokens(tokens), side * side)
      .transpose(1, 2)
      .reshape({values.size(0), values.size(2), side, side})
      .contiguous();
}

void visit_maps(TargetModel& model, const std::shared_ptr<const DataSet>& data,
                const std::string& layer,
                const std::vector<std::pair<std::int64_t, std::int64_t>>& wanted,
                const PluginContext& context,
                const std::function<void(std::size_t i, const torch::Tensor& map)>& visit) {
  std::map<std::int64_t, std::vector<std::size_t>> by_row;
  for (std::size_t i = 0; i < wanted.size(); ++i) by_row[wanted[i].first].push_back(i);
  Rows rows;
  for (const auto& entry : by_row) rows.push_back(entry.first);
  if (rows.empty()) return;
  const RunSettings& run = context.run();
  BatchLoader loader(data, rows, model.preprocess(),
                     {batch_size(model, run), run.threads, batches_ahead(run.device, run.threads)});
  const auto progress =
      context.progress("maps of " + layer, static_cast<std::int64_t>(rows.size()), "images");
  for (auto loaded = loader.next(); loaded.images.defined(); loaded = loader.next()) {
    check_cancelled(context);
    const auto asked_of = [&](std::int64_t i) -> const std::vector<std::size_t>& {
      return by_row.at(rows[static_cast<std::size_t>(loaded.begin + i)]);
    };
    std::map<std::int64_t, std::int64_t> column;  // of each unit that some image is asked for
    for (std::int64_t i = 0; i < loaded.images.size(0); ++i)
      for (const std::size_t at : asked_of(i)) column[wanted[at].second] = 0;
    std::vector<std::int64_t> units;
    for (auto& entry : column) {
      entry.second = static_cast<std::int64_t>(units.size());
      units.push_back(entry.first);
    }
    const auto* wide = ability<WideLayers>(model);
    const auto output = wide ? wide->forward_units(loaded.images, layer, units)
                             : model.forward(loaded.images, {layer}, false).layers.at(0);
    const ImageSize size = map_size(output.sizes());
    if (size.height * size.width < 2) return;
    const auto maps = as_maps(output, layer);
    parallel_for(maps.size(0), run.threads, [&](std::int64_t i) {
      for (const std::size_t at : asked_of(i)) {
        const std::int64_t unit = wanted[at].second;
        visit(at, maps[i][wide ? column.at(unit) : unit]);
      }
    });
    progress->advance(maps.size(0));
  }
}

UnitMaps::UnitMaps(TargetModel& model, std::shared_ptr<const DataSet> data, std::string layer,
                   std::vector<std::int64_t> units, const PluginContext& context)
    : model_(model),
      data_(std::move(data)),
      layer_(std::move(layer)),
      units_(std::move(units)),
      context_(context) {
  if (!data_ || data_->size() == 0)
    throw input_error("unit maps need a data set with at least one image");
  const torch::NoGradGuard no_gradients;
  const auto images = load_batch(*data_, Rows{0}, model_.preprocess(), 1);
  const auto maps = as_maps(model_.forward(images, {layer_}, false).layers.at(0), layer_);
  layer_units_ = maps.size(1);
  height_ = maps.size(2);
  width_ = maps.size(3);
  for (const auto unit : units_)
    if (unit < 0 || unit >= layer_units_)
      throw usage_error("run.units: layer " + layer_ + " has " + std::to_string(layer_units_) +
                        " units, no unit " + std::to_string(unit));
}

std::string UnitMaps::key() const {
  std::string key = "maps model=" + model_.fingerprint() + " layer=" + layer_ + " " +
                    model_.preprocess().describe() + " data=" + data_->fingerprint() +
                    " rows=" + std::to_string(data_->size()) +
                    (context_.run().device == "cpu" ? " cpu" : " cuda") + " units=";
  if (static_cast<std::int64_t>(units_.size()) == layer_units_) return key + "all";
  for (const auto unit : units_) key += std::to_string(unit) + ",";
  return key;
}

torch::Tensor UnitMaps::forward(const torch::Tensor& images) const {
  return maps_of(model_, images, layer_, units_);
}

void UnitMaps::stream(const std::string& title, const Body& body) {
  const std::int64_t rows = data_->size();
  std::vector<std::int64_t> ids(static_cast<std::size_t>(rows));
  std::iota(ids.begin(), ids.end(), std::int64_t{0});
  if (!kept_.empty()) {
    std::int64_t begin = 0;
    for (const auto& maps : kept_) {
      check_cancelled(context_);
      body(ids.data() + begin, maps.size(0), maps);
      begin += maps.size(0);
    }
    return;
  }

  const torch::NoGradGuard no_gradients;
  const RunSettings& run = context_.run();
  const std::int64_t bytes = 4 * rows * static_cast<std::int64_t>(units_.size()) * height_ * width_;
  const bool keep = bytes <= run.memory_bytes / 4;
  std::vector<torch::Tensor> batches;
  BatchLoader loader(
      data_, ids, model_.preprocess(),
      {batch_size(model_, run), run.threads, batches_ahead(run.device, run.threads)});
  const auto progress = context_.progress(title, rows, "images");
  for (auto loaded = loader.next(); loaded.images.defined(); loaded = loader.next()) {
    check_cancelled(context_);
    const auto maps = forward(loaded.images);
    if (!torch::isfinite(maps).all().item<bool>()) {
      const auto bad = torch::nonzero(torch::isfinite(maps).logical_not())[0];
      throw input_error(
          "the map of unit " +
          std::to_string(units_[static_cast<std::size_t>(bad[1].item<std::int64_t>())]) +
          " of layer " + layer_ + " is not finite for image " +
          data_->name(loaded.begin + bad[0].item<std::int64_t>()) +
          "; check the weights and the preprocessing");
    }
    body(ids.data() + loaded.begin, maps.size(0), maps);
    if (keep) batches.push_back(maps);
    progress->advance(maps.size(0));
  }
  kept_ = std::move(batches);
}

}  // namespace linex
