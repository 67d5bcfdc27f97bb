#include "host/demo/world.hpp"

#include <algorithm>

#include "host/demo/render.hpp"
#include "linex/error.hpp"
#include "toolkit/base/files.hpp"
#include "toolkit/base/random.hpp"

namespace linex {
namespace {

// Part of the fingerprint: raise it when pictures change for the same options.
constexpr const char* kVersion = "world 1";

int count_of(Aspect aspect) { return static_cast<int>(values_of(aspect).size()); }

const std::string& word(const Scene& scene, Aspect aspect) {
  return values_of(aspect)[static_cast<std::size_t>(scene[aspect])];
}

/// Everything but texture and shape, which the class decides.
Scene draw_scene(Random random, int texture, int shape) {
  Scene scene;
  const auto choose = [&](Aspect aspect) {
    scene.value[static_cast<std::size_t>(aspect)] =
        static_cast<int>(random.below(static_cast<std::uint64_t>(count_of(aspect))));
  };
  scene.value[static_cast<std::size_t>(Aspect::texture)] = texture;
  scene.value[static_cast<std::size_t>(Aspect::shape)] = shape;
  choose(Aspect::colour);
  choose(Aspect::size);
  choose(Aspect::background);
  const bool large = scene[Aspect::size] == 0;
  scene.radius = large ? random.uniform(0.37, 0.45) : random.uniform(0.25, 0.3);
  const double room = 0.5 - 0.9 * scene.radius;
  scene.x = 0.5 + random.uniform(-room, room);
  scene.y = 0.5 + random.uniform(-room, room);
  scene.angle = random.uniform(-0.35, 0.35);
  scene.brightness = random.uniform(0.8, 1.05);
  scene.noise = random.next();
  return scene;
}

}  // namespace

const char* to_string(Aspect aspect) noexcept {
  static const char* const kNames[kAspects] = {"shape", "colour", "texture", "size", "background"};
  return kNames[static_cast<int>(aspect)];
}

const std::vector<std::string>& values_of(Aspect aspect) {
  static const std::vector<std::string> kValues[kAspects] = {
      {"circle", "cross", "ring", "square", "triangle"},
      {"red", "orange", "yellow", "green", "blue", "purple", "white"},
      {"checkered", "dotted", "plain", "striped"},
      {"large", "small"},
      {"brick", "grass", "night", "sand", "sky"}};
  return kValues[static_cast<int>(aspect)];
}

World::World(const WorldOptions& options) : options_(options) {
  if (options.images < 1 || options.size < 8 || options.size > 1024)
    throw usage_error("a world needs at least one picture of 8 to 1024 pixels a side");
  // Both lists are sorted, so "<texture> <shape>" is sorted, too: ImageFolder's order.
  for (const auto& texture : values_of(Aspect::texture))
    for (const auto& shape : values_of(Aspect::shape))
      class_names_.push_back(texture + " " + shape);
  const auto classes = static_cast<std::int64_t>(class_names_.size());
  const int shapes = count_of(Aspect::shape);
  for (std::int64_t row = 0; row < options.images; ++row) {
    const std::int64_t label = row * classes / options.images;
    labels_.push_back(label);
    scenes_.push_back(draw_scene(Random::stream(options.seed, static_cast<std::uint64_t>(row)),
                                 static_cast<int>(label) / shapes,
                                 static_cast<int>(label) % shapes));
  }
}

std::string World::name(std::int64_t row) const {
  std::string number = std::to_string(row);
  number.insert(0, 6 - std::min<std::size_t>(6, number.size()), '0');
  const auto label = labels_.at(static_cast<std::size_t>(row));
  return class_names_[static_cast<std::size_t>(label)] + "/" + number + ".png";
}

torch::Tensor World::pixels(std::int64_t row) const { return render(scene(row), options_.size); }

torch::Tensor World::object_mask(std::int64_t row) const {
  return render_mask(scene(row), options_.size);
}

std::string World::fingerprint() const {
  return Sha256()
      .add(std::string(kVersion) + " " + std::to_string(options_.images) + " " +
           std::to_string(options_.size) + " " + std::to_string(options_.seed))
      .hex();
}

std::string World::caption(std::int64_t row) const {
  const Scene& shown = scene(row);
  return "a " + word(shown, Aspect::size) + " " + word(shown, Aspect::colour) + " " +
         word(shown, Aspect::texture) + " " + word(shown, Aspect::shape) + " on " +
         word(shown, Aspect::background);
}

std::vector<std::string> World::attribute_names() {
  std::vector<std::string> names;
  for (int aspect = 0; aspect < kAspects; ++aspect)
    for (const auto& value : values_of(static_cast<Aspect>(aspect))) names.push_back(value);
  return names;
}

torch::Tensor World::attributes() const {
  torch::Tensor matrix =
      torch::zeros({size(), static_cast<std::int64_t>(attribute_names().size())});
  float* row = matrix.data_ptr<float>();
  for (const Scene& scene : scenes_) {
    for (int aspect = 0; aspect < kAspects; ++aspect) {
      row[scene.value[static_cast<std::size_t>(aspect)]] = 1;
      row += count_of(static_cast<Aspect>(aspect));
    }
  }
  return matrix;
}

std::vector<std::pair<std::string, std::vector<std::int64_t>>> World::hierarchy() const {
  const auto& textures = values_of(Aspect::texture);
  const auto& shapes = values_of(Aspect::shape);
  std::vector<std::pair<std::string, std::vector<std::int64_t>>> groups;
  const auto add = [&](const std::string& name, const auto& belongs) {
    std::vector<std::int64_t> ids;
    for (std::size_t texture = 0; texture < textures.size(); ++texture)
      for (std::size_t shape = 0; shape < shapes.size(); ++shape)
        if (belongs(textures[texture], shapes[shape]))
          ids.push_back(static_cast<std::int64_t>(texture * shapes.size() + shape));
    groups.emplace_back(name, std::move(ids));
  };
  for (const auto& shape : shapes)
    add(shape, [&](const std::string&, const std::string& other) { return other == shape; });
  for (const auto& texture : textures)
    add(texture, [&](const std::string& other, const std::string&) { return other == texture; });
  const auto round = [](const std::string& shape) { return shape == "circle" || shape == "ring"; };
  add("round", [&](const std::string&, const std::string& shape) { return round(shape); });
  add("angular", [&](const std::string&, const std::string& shape) { return !round(shape); });
  add("patterned",
      [](const std::string& texture, const std::string&) { return texture != "plain"; });
  return groups;
}

}  // namespace linex
