#include "host/demo/world_milan.hpp"

#include <ATen/ops/upsample_nearest2d.h>

#include <algorithm>
#include <numeric>

#include "toolkit/base/files.hpp"
#include "toolkit/base/random.hpp"
#include "toolkit/data/preprocess.hpp"

namespace linex {

namespace {

// Raise it when training changes for the same options.
constexpr const char* kVersion = "world milan 2";
constexpr std::int64_t kExemplars = 15;
constexpr std::int64_t kCells = 8;  // a unit's map is about this coarse

/// Two ways to say what the pictures have in common.
std::vector<std::string> captions_for(Aspect aspect, const std::string& value) {
  switch (aspect) {
    case Aspect::shape:
      return {value + " shapes", value + " outlines"};
    case Aspect::colour:
      return {value + " objects", value + " surfaces"};
    case Aspect::texture:
      return {value + " patterns", value + " textures"};
    case Aspect::size:
      return {value + " things", value + " sizes"};
    case Aspect::background:
      return {value + " backgrounds", value + " around the object"};
  }
  return {};
}

/// The region a unit for `aspect` responds to, or a part of it: units see a coarse grid, and most
/// of them not all of it.
torch::Tensor response(const World& world, std::int64_t row, Aspect aspect, Random& random) {
  torch::Tensor region = world.object_mask(row).to(torch::kFloat32);
  if (aspect == Aspect::background) region = 1 - region;
  const std::uint64_t fifths = 1 + 2 * random.below(3);  // of the cells
  if (fifths == 5) return region;
  torch::Tensor cells = torch::empty({1, 1, kCells, kCells});
  for (std::int64_t i = 0; i < cells.numel(); ++i)
    cells.data_ptr<float>()[i] = random.below(5) < fifths ? 1.0F : 0.0F;
  const auto part =
      region *
      at::upsample_nearest2d(cells, {region.size(0), region.size(1)}).squeeze(0).squeeze(0);
  return part.sum().item<float>() > 0 ? part : region;
}

/// Up to `count` of `rows`, drawn without repeats.
std::vector<std::int64_t> draw(std::vector<std::int64_t> rows, std::int64_t count, Random& random) {
  random.shuffle(rows);
  while (static_cast<std::int64_t>(rows.size()) < count)
    rows.push_back(rows[random.below(rows.size())]);
  rows.resize(static_cast<std::size_t>(count));
  return rows;
}

/// A mask as the network sees its picture.
torch::Tensor seen(const torch::Tensor& mask, const Preprocess& view) {
  const auto grey = mask.gt(0.5).to(torch::kUInt8).mul(255).unsqueeze(2).expand({-1, -1, 3});
  return resize_and_crop(grey.contiguous(), view).select(2, 0).gt(127);
}

}  // namespace

WorldUnits make_world_units(const World& world, std::int64_t count, std::uint64_t seed) {
  std::vector<std::pair<Aspect, int>> attributes;
  for (int aspect = 0; aspect < kAspects; ++aspect)
    for (std::size_t v = 0; v < values_of(static_cast<Aspect>(aspect)).size(); ++v)
      attributes.emplace_back(static_cast<Aspect>(aspect), static_cast<int>(v));
  WorldUnits units;
  for (std::int64_t u = 0; u < count; ++u) {
    Random random = Random::stream(seed, static_cast<std::uint64_t>(u));
    const auto [aspect, value] = attributes[static_cast<std::size_t>(u) % attributes.size()];
    // Every fourth unit also asks for a colour: "red circle shapes".
    const bool coloured =
        random.below(4) == 0 && aspect != Aspect::colour && aspect != Aspect::background;
    const auto& colours = values_of(Aspect::colour);
    const auto colour = static_cast<int>(random.below(colours.size()));
    std::vector<std::int64_t> rows, plain;
    for (std::int64_t row = 0; row < world.size(); ++row) {
      if (world.scene(row)[aspect] != value) continue;
      plain.push_back(row);
      if (world.scene(row)[Aspect::colour] == colour) rows.push_back(row);
    }
    const bool both = coloured && rows.size() >= static_cast<std::size_t>(kExemplars) / 2;
    if (plain.empty()) continue;
    MaskedImages images;
    images.rows = draw(both ? rows : plain, kExemplars, random);
    for (const auto row : images.rows) images.masks.push_back(response(world, row, aspect, random));
    auto captions = captions_for(aspect, values_of(aspect)[static_cast<std::size_t>(value)]);
    if (both)
      for (auto& caption : captions)
        caption = colours[static_cast<std::size_t>(colour)] + " " + caption;
    units.images.push_back(std::move(images));
    units.captions.push_back(std::move(captions));
  }
  return units;
}

Milan train_world_milan(const std::shared_ptr<const World>& world, TargetModel& network,
                        const WorldMilanOptions& asked, const PluginContext& context) {
  std::vector<std::string> layers = asked.layers;
  if (layers.empty()) layers = default_feature_layers(network, *world);
  const PyramidFeaturizer featurizer(network, layers);
  const Preprocess view = network.preprocess();
  WorldUnits units = make_world_units(*world, asked.units, context.run().seed);
  for (auto& unit : units.images)
    for (auto& mask : unit.masks) mask = seen(mask, view);

  CaptionedUnits data;
  data.features = featurize(featurizer, view, *world, view, units.images, context);
  data.captions = std::move(units.captions);
  MilanTrainOptions options;
  options.embedding = 32;
  options.hidden = 64;
  options.length = 7;
  options.batch = 128;
  options.learning_rate = 6e-3;
  options.dropout = 0.2;
  options.epochs = asked.epochs;
  options.seed = context.run().seed;
  Milan milan = train_milan(data, options, context);
  milan.feature_layers = std::move(layers);
  milan.beam = 20;
  return milan;
}

std::filesystem::path world_milan(TargetModel& network, const WorldMilanOptions& options,
                                  const std::filesystem::path& cache,
                                  const PluginContext& context) {
  const auto world = std::make_shared<World>(options.world);
  std::string key = kVersion + (" " + network.fingerprint()) + " " + world->fingerprint();
  for (const std::uint64_t part : {context.run().seed, static_cast<std::uint64_t>(options.units),
                                   static_cast<std::uint64_t>(options.epochs)})
    key += " " + std::to_string(part);
  for (const auto& layer : options.layers) key += " " + layer;
  const auto file = cache / "world-milan" / (Sha256().add(key).hex().substr(0, 32) + ".pth");
  if (std::error_code ignored; std::filesystem::exists(file, ignored)) return file;
  std::filesystem::create_directories(file.parent_path());
  save_milan(file, train_world_milan(world, network, options, context));
  return file;
}

}  // namespace linex
