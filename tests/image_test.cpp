// Image files to pixels, and pixels to a network's input.
#include "data_fixture.hpp"

#include <chrono>
#include <cstdlib>
#include <map>

#include "shared_file.hpp"
#include "toolkit/base/files.hpp"
#include "toolkit/base/npy.hpp"
#include "toolkit/checkpoint/arrays.hpp"
#include "toolkit/checkpoint/zip.hpp"
#include "toolkit/data/image.hpp"
#include "toolkit/data/preprocess.hpp"
#include "toolkit/data/resize.hpp"

namespace linex {
namespace {

using test::message_of;
namespace fs = std::filesystem;
using Interpolation = Preprocess::Interpolation;

const fs::path kFixtures = fs::path(LINEX_SOURCE_DIR) / "tests/fixtures/pillow";

torch::Tensor decode(const std::string& content, const std::string& name) {
  return decode_image(reinterpret_cast<const unsigned char*>(content.data()), content.size(), name);
}
torch::Tensor decode_file(const fs::path& path) { return decode(read_file(path), path.string()); }

const fs::path kKinds = kFixtures / "kinds.npz";

/// Files of kinds.npz by name.
std::map<std::string, std::string> kinds() {
  const MappedFile file(kKinds);
  const ZipArchive archive(file.data(), file.size(), kKinds.string());
  std::map<std::string, std::string> kinds;
  for (const auto& entry : archive.entries()) {
    const std::string name = entry.name.substr(0, entry.name.rfind(".npy"));
    const std::string end = name.substr(name.rfind('.') + 1);
    if (end == "rgb" || end == "values") continue;
    const torch::Tensor bytes = read_array(kKinds.string() + ":" + name);
    kinds[name].assign(reinterpret_cast<const char*>(bytes.data_ptr()), bytes.nbytes());
  }
  return kinds;
}
/// What Pillow makes of one, undefined where it has to be refused.
torch::Tensor pixels_of_kind(const std::string& name) {
  try {
    return read_array(kKinds.string() + ":" + name + ".rgb");
  } catch (const Error&) {
    return {};
  }
}

torch::Tensor whole(const torch::Tensor& image, std::int64_t height, std::int64_t width,
                    Interpolation interpolation) {
  return resize_rgb(image, height, width, interpolation, {0, 0, height, width});
}

int max_difference(const torch::Tensor& a, const torch::Tensor& b) {
  if (a.sizes() != b.sizes()) return 1 << 20;
  return (a.to(torch::kInt32) - b.to(torch::kInt32)).abs().max().item<int>();
}

class Images : public test::DataTest {};

TEST_F(Images, DecodesEveryKindOfImageAsPillowDoes) {
  int compared = 0;
  for (const auto& entry : fs::directory_iterator(kFixtures)) {
    const fs::path expected = entry.path().string() + ".rgb.npy";
    if (!fs::exists(expected)) continue;
    const std::string name = entry.path().filename().string();
    const int allowed = name == "cmyk.jpg" ? 2 : 0;
    EXPECT_LE(max_difference(decode_file(entry.path()), map_npy(expected)), allowed) << name;
    ++compared;
  }
  EXPECT_GE(compared, 20);
}

TEST_F(Images, DecodesTheKindsOfEveryFormatAsPillowDoes) {
  int compared = 0;
  for (const auto& [name, content] : kinds()) {
    const auto expected = pixels_of_kind(name);
    if (!expected.defined()) continue;
    const int allowed = name == "jpeg.tif" ? 1 : 0;  // another libjpeg rounds otherwise
    EXPECT_LE(max_difference(decode(content, name), expected), allowed) << name;
    ++compared;
  }
  EXPECT_GE(compared, 60);
}

TEST_F(Images, LabelMapsHaveNumPysValues) {
  const auto read = [](const std::string& content, const std::string& name) {
    return decode_label_map(reinterpret_cast<const unsigned char*>(content.data()), content.size(),
                            name);
  };
  int compared = 0;
  const auto files = kinds();
  for (const auto& [name, content] : files) {
    if (name.rfind("labels_", 0) != 0) continue;
    const torch::Tensor expected = read_array(kKinds.string() + ":" + name + ".values");
    EXPECT_TRUE(torch::equal(read(content, name), expected)) << name;
    ++compared;
  }
  EXPECT_GE(compared, 11);
  for (const auto& [name, why] : {std::pair("deep_rgb.png", "deep_rgb.png is a colour image"),
                                  {"jpeg.tif", "jpeg.tif is no PNG"},
                                  {"picture.avif", "AVIF is not supported"}})
    EXPECT_NE(message_of([&, name = name] { read(files.at(name), name); }).find(why),
              std::string::npos)
        << name;
}

TEST_F(Images, NamesEveryImageItCannotReadInOneLine) {
  const std::pair<const char*, const char*> cases[] = {
      {"truncated.jpg", "truncated"}, {"no_end.jpg", "truncated"},   {"truncated.png", "truncated"},
      {"empty.jpg", "empty"},         {"garbage.jpg", "not a JPEG"}, {"huge.png", "pixels"}};
  const auto expect = [](const std::string& message, const std::string& name, const char* why) {
    EXPECT_NE(message.find(name), std::string::npos) << message;
    EXPECT_NE(message.find(why), std::string::npos) << message;
  };
  for (const auto& [name, why] : cases)
    expect(message_of([&, name = name] { decode_file(kFixtures / name); }), name, why);
  const auto files = kinds();
  for (const auto& [name, why] : {std::pair("truncated.gif", "truncated"),
                                  {"truncated.tif", "truncated"},
                                  {"double.tif", "1 grey band of 64 bits (float)"},
                                  {"picture.avif", "AVIF is not supported"},
                                  {"picture.heic", "HEIC is not supported"}})
    expect(message_of([&, name = name] { decode(files.at(name), name); }), name, why);
  const std::string pointer = "version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 1\n";
  expect(message_of([&] { decode(pointer, "lfs.jpg"); }), "lfs.jpg", "git lfs pull");
  const std::pair<const char*, const char*> pnm[] = {{"P5 2 2 255\nabc", "truncated"},
                                                     {"P2 2 2 9\n1 2 3", "truncated"},
                                                     {"P2 2 2 9\n1 2 3 10 ", "above its largest"},
                                                     {"P2 2 2 9\n1 2 x 3 ", "damaged"},
                                                     {"P1 2 2\n0121", "neither"},
                                                     {"P5 2 2 0\nabcd", "1 to 65535"},
                                                     {"P6 99999 99999 255\nabc", "pixels"}};
  for (const auto& [content, why] : pnm)
    expect(message_of([&, content = content] { decode(content, "x.pgm"); }), "x.pgm", why);
}

TEST_F(Images, DamagedBytesNeverCrash) {
  auto files = kinds();
  for (const char* name : {"rgb.png", "baseline.jpg", "photo.tif", "photo.webp", "photo.bmp",
                           "photo.pgm", "palette.png", "cmyk.jpg"})
    files[name] = read_file(kFixtures / name);
  for (const auto& [name, good] : files) {
    for (std::size_t at = 0; at < good.size(); at += 1 + good.size() / 150) {
      std::string bad = good;
      bad[at] = static_cast<char>(bad[at] ^ (at % 2 ? 0xff : 0x11));
      try {
        decode(bad, name);
        decode(bad.substr(0, at), name);
        decode_label_map(reinterpret_cast<const unsigned char*>(bad.data()), bad.size(), name);
      } catch (const Error&) {
      }
    }
  }
}

TEST_F(Images, ResizeEqualsPillowBitForBit) {
  const torch::Tensor photo = decode_file(kFixtures / "resize/photo.png");
  const std::pair<int, int> sizes[] = {{31, 23}, {20, 61}, {47, 30}, {64, 90}, {1, 1}, {3, 200}};
  for (const auto& [name, interpolation] : {std::pair("bilinear", Interpolation::bilinear),
                                            std::pair("bicubic", Interpolation::bicubic)})
    for (const auto& [height, width] : sizes) {
      const std::string file =
          name + ("_" + std::to_string(height) + "x" + std::to_string(width)) + ".npy";
      const torch::Tensor expected = map_npy(kFixtures / "resize" / file);
      EXPECT_TRUE(torch::equal(whole(photo, height, width, interpolation), expected)) << file;
      if (height < 4 || width < 4) continue;
      const Region inner{1, 2, height - 3, width - 4};
      EXPECT_TRUE(torch::equal(resize_rgb(photo, height, width, interpolation, inner),
                               expected.narrow(0, 1, height - 3).narrow(1, 2, width - 4)))
          << file << " cropped";
    }
}

TEST_F(Images, FloatPlanesResizeAsPillowsModeF) {
  const torch::Tensor plane = map_npy(kFixtures / "resize/plane.npy");
  for (const int side : {3, 7, 28}) {
    const std::string file =
        "plane_" + std::to_string(side + 1) + "x" + std::to_string(side) + ".npy";
    const torch::Tensor expected = map_npy(kFixtures / "resize" / file);
    EXPECT_TRUE(
        torch::equal(resize_plane(plane, side + 1, side, Interpolation::bilinear), expected))
        << file;
  }
}

TEST_F(Images, PreprocessFollowsTorchvision) {
  Preprocess preprocess;
  preprocess.resize = Preprocess::Resize::short_side;
  preprocess.size = 20;
  EXPECT_EQ(output_size(preprocess, {47, 61}), (ImageSize{20, 25}));  // int(20 * 61 / 47)
  EXPECT_EQ(output_size(preprocess, {61, 47}), (ImageSize{25, 20}));
  preprocess.crop = 15;
  const torch::Tensor photo = decode_file(kFixtures / "resize/photo.png");
  // round((20 - 15) / 2) = round(2.5) = 2 (half to even), (25 - 15) / 2 = 5.
  const torch::Tensor expected =
      whole(photo, 20, 25, Interpolation::bilinear).narrow(0, 2, 15).narrow(1, 5, 15).contiguous();
  EXPECT_TRUE(torch::equal(resize_and_crop(photo, preprocess), expected));
  // (20 - 13) / 2 = 3.5: torchvision takes 4 rows off the top, transformers 3.
  Preprocess odd = preprocess;
  odd.crop = 13;
  const torch::Tensor resized = whole(photo, 20, 25, Interpolation::bilinear).narrow(1, 6, 13);
  EXPECT_TRUE(torch::equal(resize_and_crop(photo, odd), resized.narrow(0, 4, 13)));
  EXPECT_TRUE(torch::equal(resize_and_crop(photo, odd, Margin::down), resized.narrow(0, 3, 13)));

  preprocess.mean = {0.485F, 0.456F, 0.406F};
  preprocess.std = {0.229F, 0.224F, 0.225F};
  torch::Tensor planes = torch::empty({3, 15, 15});
  preprocess_image(photo, preprocess, planes.data_ptr<float>());
  const auto mean = torch::tensor({0.485F, 0.456F, 0.406F}).view({3, 1, 1});
  const auto std = torch::tensor({0.229F, 0.224F, 0.225F}).view({3, 1, 1});
  const torch::Tensor normalised =
      expected.permute({2, 0, 1}).to(torch::kFloat32).div(255).sub(mean).div(std);
  EXPECT_TRUE(torch::equal(planes, normalised));
}

TEST_F(Images, CropOfASmallerImagePadsWithBlack) {
  Preprocess preprocess;
  preprocess.crop = 7;
  const torch::Tensor image = torch::full({4, 9, 3}, 200, torch::kUInt8);
  const torch::Tensor out = resize_and_crop(image, preprocess);
  EXPECT_EQ(out.sizes().vec(), (std::vector<std::int64_t>{7, 7, 3}));
  EXPECT_EQ(out[0].max().item<int>(), 0);  // (7 - 4) / 2 = 1 row above, 2 below
  EXPECT_EQ(out.narrow(0, 1, 4).min().item<int>(), 200);
  EXPECT_EQ(out.narrow(0, 5, 2).max().item<int>(), 0);
}

TEST_F(Images, VeryLongImagesCostOnlyTheirCrop) {
  Preprocess preprocess;
  preprocess.resize = Preprocess::Resize::short_side;
  preprocess.size = 256;
  preprocess.crop = 224;
  const torch::Tensor line = torch::full({1, 20000, 3}, 90, torch::kUInt8);
  const torch::Tensor out = resize_and_crop(line, preprocess);
  EXPECT_EQ(out.sizes().vec(), (std::vector<std::int64_t>{224, 224, 3}));
  EXPECT_EQ(out.min().item<int>(), 90);
}

// With the shared pictures and python3-pil at hand: real photographs, and the time it takes.
TEST_F(Images, RealPhotographsEqualPillow) {
  const fs::path pictures = shared_file("data/imagenet_samples");
  if (pictures.empty()) GTEST_SKIP() << "no photographs";
  const std::string script = std::string(LINEX_SOURCE_DIR) + "/tests/pillow_reference.py";
  if (std::system(("/usr/bin/python3 " + script + " '" + pictures.string() + "' '" +
                   folder_.string() + "' 2>/dev/null")
                      .c_str()) != 0)
    GTEST_SKIP() << "no python3 with PIL";
  Preprocess at256, at242, at384;
  at256.resize = at242.resize = Preprocess::Resize::short_side;
  at256.size = 256;
  at242.size = 242;
  at256.crop = at242.crop = 224;
  at384.resize = Preprocess::Resize::squash;
  at384.size = 384;
  at384.interpolation = Interpolation::bicubic;
  double seconds = 0;
  int compared = 0;
  for (const auto& entry : fs::directory_iterator(pictures)) {
    const torch::Tensor image = decode_file(entry.path());
    for (const auto& [name, preprocess] :
         {std::pair("256", at256), std::pair("242", at242), std::pair("384", at384)}) {
      const auto begin = std::chrono::steady_clock::now();
      const torch::Tensor got = resize_and_crop(image, preprocess);
      seconds += std::chrono::duration<double>(std::chrono::steady_clock::now() - begin).count();
      const fs::path file = folder_ / (entry.path().filename().string() + "." + name + ".npy");
      EXPECT_TRUE(torch::equal(got, map_npy(file))) << file;
      ++compared;
    }
  }
  double pillow = 0;
  std::ifstream(folder_ / "seconds.txt") >> pillow;
  std::printf("%d resizes: %.3f s, Pillow %.3f s\n", compared, seconds, pillow);
  EXPECT_GE(compared, 3);
}

}  // namespace
}  // namespace linex
