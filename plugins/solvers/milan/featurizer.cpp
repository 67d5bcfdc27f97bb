#include "featurizer.hpp"

#include <algorithm>
#include <map>

#include "linex/error.hpp"
#include "toolkit/base/parallel.hpp"
#include "toolkit/data/loader.hpp"
#include "toolkit/data/preprocess.hpp"

namespace linex {

namespace {

constexpr std::int64_t kImagesAtOnce = 16;

/// (pixels / 255 − mean) / std of what the target network sees of the images.
torch::Tensor load_view(const DataSet& data, const std::vector<std::int64_t>& rows,
                        const Preprocess& view, const Preprocess& normalisation, int threads) {
  std::vector<torch::Tensor> images(rows.size());
  parallel_for(static_cast<std::int64_t>(rows.size()), threads, [&](std::int64_t i) {
    const auto pixels = resize_and_crop(data.pixels(rows[static_cast<std::size_t>(i)]), view);
    Preprocess plain;
    plain.mean = normalisation.mean;
    plain.std = normalisation.std;
    auto image = torch::empty({3, pixels.size(0), pixels.size(1)});
    preprocess_image(pixels, plain, image.data_ptr<float>());
    images[static_cast<std::size_t>(i)] = image;
  });
  for (const auto& image : images)
    if (image.sizes() != images.front().sizes())
      throw input_error(
          "the exemplar images have different sizes; set model.resize and model.crop");
  return torch::stack(images);
}

}  // namespace

PyramidFeaturizer::PyramidFeaturizer(TargetModel& network, std::vector<std::string> layers)
    : network_(network), layers_(std::move(layers)) {
  if (layers_.empty()) throw usage_error("solver.feature_layers: name at least one layer");
}

std::string PyramidFeaturizer::key() const {
  std::string key = "features model=" + network_.fingerprint() + " layers=";
  for (const auto& layer : layers_) key += layer + ",";
  return key;
}

std::vector<torch::Tensor> PyramidFeaturizer::maps(const torch::Tensor& images) const {
  const torch::NoGradGuard no_gradients;
  const auto result = network_.forward(images, layers_, false);
  std::vector<torch::Tensor> maps;
  for (std::size_t i = 0; i < layers_.size(); ++i)
    maps.push_back(as_maps(result.layers.at(i), layers_[i]));
  return maps;
}

torch::Tensor PyramidFeaturizer::inside(const std::vector<torch::Tensor>& maps, std::int64_t index,
                                        const torch::Tensor& masks) {
  const std::int64_t n = masks.size(0);
  std::vector<torch::Tensor> features;
  for (const auto& layer : maps) {
    const auto map = layer[index];
    auto weights = at::upsample_bilinear2d(masks.unsqueeze(1), {map.size(1), map.size(2)}, false)
                       .view({n, -1});
    // An empty mask stays empty.
    const auto empty = weights.abs().amax({1}, true).le(1e-8);
    weights = weights / weights.sum(1, true).masked_fill(empty, 1);
    features.push_back(weights.mm(map.reshape({map.size(0), -1}).t()));
  }
  return torch::cat(features, 1);
}

std::vector<std::string> default_feature_layers(TargetModel& network, const DataSet& data) {
  const auto known = network.layers();
  std::vector<std::string> layers;
  for (const char* name : {"conv1", "layer1", "layer2", "layer3", "layer4"})
    if (std::find(known.begin(), known.end(), name) != known.end()) layers.emplace_back(name);
  if (layers.size() > 1) return layers;
  layers.clear();
  const torch::NoGradGuard no_gradients;
  const auto image = load_batch(data, Rows{0}, network.preprocess(), 1);
  for (const auto& name : known) {
    if (name.find('.') != std::string::npos) continue;
    const auto output = network.forward(image, {name}, false).layers.at(0);
    if (output.dim() == 4 && output.size(2) * output.size(3) > 1) layers.push_back(name);
  }
  if (layers.empty())
    throw usage_error("solver.feature_layers: no layer of this network has maps; name some");
  return layers;
}

torch::Tensor featurize(const PyramidFeaturizer& featurizer, const Preprocess& normalisation,
                        const DataSet& data, const Preprocess& view,
                        const std::vector<MaskedImages>& units, const PluginContext& context) {
  struct Use {
    std::size_t unit, place;
  };
  std::map<std::int64_t, std::vector<Use>> uses;  // by row, ascending
  for (std::size_t u = 0; u < units.size(); ++u)
    for (std::size_t m = 0; m < units[u].rows.size(); ++m) uses[units[u].rows[m]].push_back({u, m});
  const std::size_t each = units.empty() ? 0 : units.front().rows.size();

  torch::Tensor features;
  std::vector<std::int64_t> rows;
  const auto run = [&] {
    check_cancelled(context);
    const int threads = context.run().threads;
    const auto maps = featurizer.maps(load_view(data, rows, view, normalisation, threads));
    if (!features.defined()) {
      std::int64_t width = 0;
      for (const auto& layer : maps) width += layer.size(1);
      features = torch::zeros(
          {static_cast<std::int64_t>(units.size()), static_cast<std::int64_t>(each), width});
    }
    parallel_for(static_cast<std::int64_t>(rows.size()), threads, [&](std::int64_t i) {
      const torch::NoGradGuard no_gradients;
      const auto& here = uses.at(rows[static_cast<std::size_t>(i)]);
      std::vector<torch::Tensor> masks;
      for (const Use& use : here)
        masks.push_back(units[use.unit].masks[use.place].to(torch::kFloat32));
      const auto found = PyramidFeaturizer::inside(maps, i, torch::stack(masks)).contiguous();
      for (std::size_t m = 0; m < here.size(); ++m)
        std::copy_n(
            found.data_ptr<float>() + static_cast<std::int64_t>(m) * features.size(2),
            features.size(2),
            features.data_ptr<float>() +
                static_cast<std::int64_t>(here[m].unit * each + here[m].place) * features.size(2));
    });
    rows.clear();
  };
  for (const auto& [row, used] : uses) {
    rows.push_back(row);
    if (static_cast<std::int64_t>(rows.size()) == kImagesAtOnce) run();
  }
  if (!rows.empty()) run();
  return features;
}

std::vector<MaskedImages> masked_exemplars(const Exemplars& exemplars, std::int64_t begin,
                                           std::int64_t end, ImageSize input) {
  std::vector<MaskedImages> units;
  for (std::int64_t k = begin; k < end; ++k) {
    MaskedImages unit;
    for (std::int64_t m = 0; m < exemplars.rows.size(1); ++m) {
      unit.rows.push_back(exemplars.rows[k][m].item<std::int64_t>());
      unit.masks.push_back(exemplar_mask(exemplars.maps[k][m], exemplars.level[k].item<float>(),
                                         input.height, input.width));
    }
    units.push_back(std::move(unit));
  }
  return units;
}

}  // namespace linex
