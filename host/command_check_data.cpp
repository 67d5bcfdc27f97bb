// linex check --write-data DIR: the conformance kit's data as ordinary files.
#include <cstdio>
#include <opencv2/imgcodecs.hpp>

#include "host/commands.hpp"
#include "linex/conformance.hpp"
#include "linex/error.hpp"
#include "toolkit/base/csv.hpp"
#include "toolkit/base/files.hpp"
#include "toolkit/base/npy.hpp"

namespace linex {
namespace fs = std::filesystem;

namespace {

void write_image(const fs::path& file, const torch::Tensor& pixels) {
  const torch::Tensor bgr = pixels.flip({2}).contiguous();
  const cv::Mat image(static_cast<int>(bgr.size(0)), static_cast<int>(bgr.size(1)), CV_8UC3,
                      bgr.data_ptr<std::uint8_t>());
  std::vector<unsigned char> png;
  cv::imencode(".png", image, png);
  write_file_atomic(file, {reinterpret_cast<const char*>(png.data()), png.size()});
}

std::string lines_of(const std::vector<std::string>& texts) {
  std::string lines;
  for (const auto& text : texts) lines += text + "\n";
  return lines;
}

}  // namespace

int run_write_check_data(const fs::path& folder) {
  const conformance::CheckData data = conformance::check_data();
  const DataSet& images = *data.images;
  for (const auto& name : images.class_names()) fs::create_directories(folder / "images" / name);
  // Rows in the order of the checks; a folder alone would be read class by class.
  std::string rows = csv_record({"path", "label"});
  for (std::int64_t row = 0; row < images.size(); ++row) {
    const std::string path = "images/" + images.name(row);
    write_image(folder / path, images.pixels(row));
    const auto label = static_cast<std::size_t>(images.labels()[static_cast<std::size_t>(row)]);
    rows += csv_record({path, images.class_names()[label]});
  }
  write_file_atomic(folder / "images.csv", rows);
  write_npy(folder / "presence.npy", data.presence);
  write_file_atomic(folder / "concepts.txt", lines_of(data.concepts));
  write_npy(folder / "activations.npy", data.activations);
  fs::create_directories(folder / "split");
  for (const auto& [name, part] : {std::pair{"train", &data.split.train},
                                   {"val", &data.split.val},
                                   {"test", &data.split.test}})
    write_npy(folder / "split" / (std::string(name) + "_ids.npy"),
              torch::tensor(*part, torch::kInt64));
  std::printf(
      "written to %s: images.csv (%lld images), presence.npy and concepts.txt, activations.npy, "
      "split\n",
      folder.c_str(), static_cast<long long>(images.size()));
  return 0;
}

}  // namespace linex
