// The world as ordinary files.
#include <nlohmann/json.hpp>
#include <opencv2/imgcodecs.hpp>
#include <opencv2/imgproc.hpp>

#include "host/demo/world.hpp"
#include "linex/error.hpp"
#include "toolkit/base/files.hpp"
#include "toolkit/base/npy.hpp"
#include "toolkit/base/parallel.hpp"

namespace linex {
namespace fs = std::filesystem;

namespace {

void write_png(const fs::path& path, const cv::Mat& image) {
  // Level 1 of zlib: the pictures are small and written once.
  std::vector<unsigned char> bytes;
  if (!cv::imencode(".png", image, bytes, {cv::IMWRITE_PNG_COMPRESSION, 1}))
    throw std::logic_error("OpenCV cannot encode " + path.string());
  AtomicFile file(path, false);
  file.append(bytes.data(), bytes.size());
  file.finish();
}

void write_picture(const fs::path& path, const torch::Tensor& pixels) {
  const auto side = static_cast<int>(pixels.size(0));
  const cv::Mat rgb(side, side, CV_8UC3, pixels.data_ptr<std::uint8_t>());
  cv::Mat bgr;
  cv::cvtColor(rgb, bgr, cv::COLOR_RGB2BGR);
  write_png(path, bgr);
}

void write_mask(const fs::path& path, const torch::Tensor& labels) {
  const auto side = static_cast<int>(labels.size(0));
  write_png(path, cv::Mat(side, side, CV_8UC1, labels.data_ptr<std::uint8_t>()));
}

std::string lines_of(const std::vector<std::string>& lines) {
  std::string text;
  for (const auto& line : lines) text += line + "\n";
  return text;
}

/// The label map of one aspect: the object's value on the object, the background's around it.
torch::Tensor label_map(const World& world, std::int64_t row, int aspect,
                        const torch::Tensor& object) {
  int before = 1;  // line 0 is "none"
  for (int other = 0; other < aspect; ++other)
    before += static_cast<int>(values_of(static_cast<Aspect>(other)).size());
  const int label = before + world.scene(row).value[static_cast<std::size_t>(aspect)];
  const bool around = static_cast<Aspect>(aspect) == Aspect::background;
  return (around ? 1 - object : object) * label;
}

}  // namespace

void write_world(const World& world, const fs::path& folder, const WorldFiles& files) {
  fs::remove_all(folder / "images");
  fs::remove_all(folder / "masks");
  std::vector<fs::path> roots{folder / "images"};
  for (int aspect = 0; files.masks && aspect < kAspects; ++aspect)
    roots.push_back(folder / "masks" / to_string(static_cast<Aspect>(aspect)));
  for (const auto& root : roots)
    for (const auto& name : world.class_names()) fs::create_directories(root / name);

  parallel_for(world.size(), files.threads, [&](std::int64_t row) {
    write_picture(roots[0] / world.name(row), world.pixels(row));
    if (!files.masks) return;
    const torch::Tensor object = world.object_mask(row);
    for (int aspect = 0; aspect < kAspects; ++aspect)
      write_mask(roots[static_cast<std::size_t>(aspect) + 1] / world.name(row),
                 label_map(world, row, aspect, object));
  });

  nlohmann::ordered_json hierarchy;
  for (const auto& [name, ids] : world.hierarchy()) hierarchy[name] = ids;
  write_file_atomic(folder / "hierarchy.json", hierarchy.dump() + "\n");
  write_npy(folder / "attributes.npy", world.attributes());
  write_file_atomic(folder / "attribute_names.txt", lines_of(World::attribute_names()));
  std::vector<std::string> captions;
  for (std::int64_t row = 0; row < world.size(); ++row) captions.push_back(world.caption(row));
  write_file_atomic(folder / "captions.txt", lines_of(captions));
  if (!files.masks) return;
  std::vector<std::string> labels{"none"};
  for (int aspect = 0; aspect < kAspects; ++aspect)
    for (const auto& value : values_of(static_cast<Aspect>(aspect)))
      labels.push_back(value + "\t" + to_string(static_cast<Aspect>(aspect)));
  write_file_atomic(folder / "masks" / "names.txt", lines_of(labels));
}

}  // namespace linex
