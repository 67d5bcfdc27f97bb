// An embedded world: rendered pictures of one object each, about which everything is known.
//
// It needs no download, and the normal readers and plugins work on it: class folders, a hierarchy,
// attributes, captions and pixel masks are written as ordinary files. The demo runs on it, tests
// too.
#pragma once

#include <torch/types.h>

#include <array>
#include <cstdint>
#include <filesystem>
#include <memory>
#include <string>
#include <vector>

#include "linex/data.hpp"

namespace linex {

struct WorldOptions {
  std::int64_t images = 2000;
  std::int64_t size = 32;  ///< side of a picture, in pixels
  std::uint64_t seed = 0;
};

/// The kinds of attribute, each with its own values; every picture has one of each.
enum class Aspect { shape, colour, texture, size, background };
inline constexpr int kAspects = 5;
const char* to_string(Aspect aspect) noexcept;
/// Values of an aspect, e.g. circle, square, … ; background reads as in "on grass".
const std::vector<std::string>& values_of(Aspect aspect);

/// What one picture shows: an index into values_of() for each aspect, and the object's pose.
struct Scene {
  std::array<int, kAspects> value{};
  double x = 0, y = 0;  ///< centre, in units of the picture's side
  double radius = 0;    ///< in the same units
  double angle = 0;     ///< radians
  double brightness = 1;
  std::uint64_t noise = 0;  ///< seed of the background's details

  int operator[](Aspect aspect) const { return value[static_cast<std::size_t>(aspect)]; }
};

/// Pictures in the order ImageFolder gives them once written: sorted by class name. A class is a
/// texture and a shape ("striped circle"); colour, size and background vary freely. Everything
/// follows from the options, picture by picture: same options, same pixels, on any platform.
/// [any thread]
class World final : public DataSet {
 public:
  explicit World(const WorldOptions& options);

  std::int64_t size() const override { return static_cast<std::int64_t>(scenes_.size()); }
  const std::vector<std::string>& class_names() const override { return class_names_; }
  const std::vector<std::int64_t>& labels() const override { return labels_; }
  std::string name(std::int64_t row) const override;
  torch::Tensor pixels(std::int64_t row) const override;
  std::string fingerprint() const override;

  const Scene& scene(std::int64_t row) const { return scenes_.at(static_cast<std::size_t>(row)); }
  /// "a small red striped circle on grass"
  std::string caption(std::int64_t row) const;
  /// uint8 (size, size): 1 where the object is.
  torch::Tensor object_mask(std::int64_t row) const;

  /// All values of all aspects, in the order of Aspect.
  static std::vector<std::string> attribute_names();
  /// float32 (images, attributes), 0 or 1.
  torch::Tensor attributes() const;
  /// Groups of classes: every shape and texture, and "round", "angular", "patterned" above them.
  std::vector<std::pair<std::string, std::vector<std::int64_t>>> hierarchy() const;

 private:
  WorldOptions options_;
  std::vector<Scene> scenes_;
  std::vector<std::string> class_names_;
  std::vector<std::int64_t> labels_;
};

struct WorldFiles {
  bool masks = false;  ///< pixel masks, too: one more file a picture and aspect
  int threads = 1;
};

/// Writes `world` under `folder`, replacing what an earlier call left there:
///   images/<class>/<row>.png   an image folder
///   hierarchy.json             {"striped": [class ids], ...}
///   attributes.npy, attribute_names.txt   float32 (images, attributes) and their names
///   captions.txt               one line a picture
///   masks/<aspect>/<class>/<row>.png, masks/names.txt   8-bit label maps: pixel v shows line v
///                              (from 0) of names.txt, name<tab>aspect; line 0 is "none"
void write_world(const World& world, const std::filesystem::path& folder, const WorldFiles& files);

}  // namespace linex
