// Data sets, decoding, resizing, loading and splits.
#include <gtest/gtest.h>
#include <sys/stat.h>
#include <torch/types.h>
#include <unistd.h>

#include <chrono>
#include <cstdlib>
#include <cstring>
#include <fstream>
#include <numeric>
#include <opencv2/imgcodecs.hpp>
#include <set>

#include "linex/error.hpp"
#include "toolkit/base/files.hpp"
#include "toolkit/base/npy.hpp"
#include "toolkit/base/random.hpp"
#include "toolkit/data/dataset.hpp"
#include "toolkit/data/image.hpp"
#include "toolkit/data/loader.hpp"
#include "toolkit/data/preprocess.hpp"
#include "toolkit/data/resize.hpp"
#include "toolkit/data/split.hpp"

namespace linex {
namespace {

namespace fs = std::filesystem;
using Interpolation = Preprocess::Interpolation;

const fs::path kFixtures = fs::path(LINEX_SOURCE_DIR) / "tests/fixtures/pillow";

class Data : public ::testing::Test {
 protected:
  void SetUp() override {
    folder_ = fs::temp_directory_path() / ("linex_data_" + std::to_string(::getpid()));
    fs::create_directories(folder_);
  }
  void TearDown() override { fs::remove_all(folder_); }

  /// Writes a file below folder_, making its parents.
  fs::path write(const fs::path& name, const std::string& content) {
    fs::create_directories((folder_ / name).parent_path());
    std::ofstream(folder_ / name, std::ios::binary) << content;
    return folder_ / name;
  }
  /// A PNG of one colour.
  fs::path paint(const fs::path& name, int grey, int height = 8, int width = 8) {
    fs::create_directories((folder_ / name).parent_path());
    cv::imwrite((folder_ / name).string(),
                cv::Mat(height, width, CV_8UC3, cv::Scalar(grey, grey, grey)));
    return folder_ / name;
  }
  std::shared_ptr<DataSet> open(const fs::path& root, const std::string& kind = "image_folder",
                                bool skip = false) {
    DataOptions options;
    options.kind = kind;
    options.root = root;
    options.skip_unreadable = skip;
    options.threads = 2;
    options.log = &log_;
    return open_data_set(options);
  }

  static std::shared_ptr<DataSet> open_coarse(const fs::path& root) {
    DataOptions options;
    options.kind = "cifar100";
    options.root = root;
    options.labels = "coarse";
    return open_data_set(options);
  }

  struct Warnings : Logger {
    void write(LogLevel level, std::string_view message) override {
      if (level == LogLevel::warning) lines.emplace_back(message);
    }
    std::vector<std::string> lines;
  } log_;
  fs::path folder_;
};

std::string message_of(const std::function<void()>& work) {
  try {
    work();
  } catch (const Error& error) {
    EXPECT_EQ(std::string(error.what()).find('\n'), std::string::npos);
    return error.what();
  }
  return "no error";
}

torch::Tensor decode_file(const fs::path& path) {
  const std::string content = read_file(path);
  return decode_image(reinterpret_cast<const unsigned char*>(content.data()), content.size(),
                      path.string());
}

torch::Tensor whole(const torch::Tensor& image, std::int64_t height, std::int64_t width,
                    Interpolation interpolation) {
  return resize_rgb(image, height, width, interpolation, {0, 0, height, width});
}

int max_difference(const torch::Tensor& a, const torch::Tensor& b) {
  if (a.sizes() != b.sizes()) return 1 << 20;
  return (a.to(torch::kInt32) - b.to(torch::kInt32)).abs().max().item<int>();
}

TEST_F(Data, DecodesEveryKindOfImageAsPillowDoes) {
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

TEST_F(Data, NamesEveryImageItCannotReadInOneLine) {
  const std::pair<const char*, const char*> cases[] = {
      {"truncated.jpg", "truncated"}, {"no_end.jpg", "truncated"},   {"truncated.png", "truncated"},
      {"empty.jpg", "empty"},         {"garbage.jpg", "not a JPEG"}, {"huge.png", "pixels"},
      {"animated.gif", "GIF"}};
  for (const auto& [name, why] : cases) {
    const std::string message = message_of([&] { decode_file(kFixtures / name); });
    EXPECT_NE(message.find(name), std::string::npos) << message;
    EXPECT_NE(message.find(why), std::string::npos) << message;
  }
}

TEST_F(Data, DamagedBytesNeverCrash) {
  for (const char* name : {"rgb.png", "baseline.jpg", "photo.tif", "photo.webp", "photo.bmp",
                           "photo.pgm", "palette.png", "cmyk.jpg"}) {
    const std::string good = read_file(kFixtures / name);
    for (std::size_t at = 0; at < good.size(); at += 1 + good.size() / 150) {
      std::string bad = good;
      bad[at] = static_cast<char>(bad[at] ^ (at % 2 ? 0xff : 0x11));
      try {
        decode_image(reinterpret_cast<const unsigned char*>(bad.data()), bad.size(), name);
        decode_image(reinterpret_cast<const unsigned char*>(bad.data()), at, name);
      } catch (const Error&) {
      }
    }
  }
}

TEST_F(Data, ResizeEqualsPillowBitForBit) {
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

TEST_F(Data, FloatPlanesResizeAsPillowsModeF) {
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

TEST_F(Data, PreprocessFollowsTorchvision) {
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

TEST_F(Data, CropOfASmallerImagePadsWithBlack) {
  Preprocess preprocess;
  preprocess.crop = 7;
  const torch::Tensor image = torch::full({4, 9, 3}, 200, torch::kUInt8);
  const torch::Tensor out = resize_and_crop(image, preprocess);
  EXPECT_EQ(out.sizes().vec(), (std::vector<std::int64_t>{7, 7, 3}));
  EXPECT_EQ(out[0].max().item<int>(), 0);  // (7 - 4) / 2 = 1 row above, 2 below
  EXPECT_EQ(out.narrow(0, 1, 4).min().item<int>(), 200);
  EXPECT_EQ(out.narrow(0, 5, 2).max().item<int>(), 0);
}

TEST_F(Data, VeryLongImagesCostOnlyTheirCrop) {
  Preprocess preprocess;
  preprocess.resize = Preprocess::Resize::short_side;
  preprocess.size = 256;
  preprocess.crop = 224;
  const torch::Tensor line = torch::full({1, 20000, 3}, 90, torch::kUInt8);
  const torch::Tensor out = resize_and_crop(line, preprocess);
  EXPECT_EQ(out.sizes().vec(), (std::vector<std::int64_t>{224, 224, 3}));
  EXPECT_EQ(out.min().item<int>(), 90);
}

TEST_F(Data, ImageFolderHasTorchvisionsOrder) {
  paint("set/b/2.png", 1);
  paint("set/b/10.png", 2);
  paint("set/a/z.png", 3);
  paint("set/a/c/x.png", 4);
  paint("set/a/c-d/x.PNG", 5);
  paint("set/a/folder.png/inner.png", 6);  // a directory called like an image
  paint("set/top_level.png", 7);           // torchvision leaves these out
  write("set/a/notes.txt", "not an image");
  const auto data = open(folder_ / "set");
  EXPECT_EQ(data->class_names(), (std::vector<std::string>{"a", "b"}));
  std::vector<std::string> names;
  for (std::int64_t row = 0; row < data->size(); ++row) names.push_back(data->name(row));
  // The walk is sorted by whole path: "a", "a/c", "a/c-d", "a/folder.png".
  EXPECT_EQ(names, (std::vector<std::string>{"a/z.png", "a/c/x.png", "a/c-d/x.PNG",
                                             "a/folder.png/inner.png", "b/10.png", "b/2.png"}));
  EXPECT_EQ(data->labels(), (std::vector<std::int64_t>{0, 0, 0, 0, 1, 1}));
  EXPECT_EQ(data->pixels(4)[0][0][0].item<int>(), 2);
}

TEST_F(Data, FolderLinksInACircleEnd) {
  paint("set/a/x.png", 1);
  fs::create_directory_symlink(folder_ / "set", folder_ / "set/a/loop");
  EXPECT_GE(open(folder_ / "set")->size(), 1);
}

TEST_F(Data, FlatFolderHasNoClasses) {
  paint("flat/b.png", 1);
  paint("flat/a.png", 2);
  const auto data = open(folder_ / "flat");
  EXPECT_EQ(data->size(), 2);
  EXPECT_TRUE(data->labels().empty());
  EXPECT_TRUE(data->class_names().empty());
  EXPECT_EQ(data->name(0), "a.png");
}

TEST_F(Data, FolderProblemsAreOneClearLine) {
  fs::create_directories(folder_ / "empty");
  fs::create_directories(folder_ / "classes/cat");
  paint("classes/dog/x.png", 1);
  EXPECT_NE(message_of([&] { open(folder_ / "none"); }).find("does not exist"), std::string::npos);
  EXPECT_NE(message_of([&] { open(folder_ / "empty"); }).find("no images"), std::string::npos);
  EXPECT_NE(message_of([&] { open(folder_ / "classes"); }).find("cat"), std::string::npos);
  EXPECT_NE(message_of([&] { open(folder_, "image_foldr"); }).find("did you mean"),
            std::string::npos);
}

TEST_F(Data, UnreadableImagesFailOrAreSkipped) {
  paint("set/a/1.png", 10);
  paint("set/a/3.png", 30);
  paint("set/b/1.png", 40);
  fs::copy_file(kFixtures / "truncated.jpg", folder_ / "set/a/2.jpg");
  write("set/b/0.png", "");
  ASSERT_EQ(::mkfifo((folder_ / "set/b/pipe.png").c_str(), 0600), 0);
  // Sound chunks around damaged pixels: only decoding tells.
  std::string damaged = read_file(kFixtures / "rgb.png");
  for (std::size_t i = 60; i < 400; ++i) damaged[i] = 'x';
  write("set/a/4.png", damaged);
  const std::string message = message_of([&] { open(folder_ / "set"); });
  EXPECT_NE(message.find("a/2.jpg"), std::string::npos) << message;
  EXPECT_NE(message.find("2 more"), std::string::npos) << message;

  const auto data = open(folder_ / "set", "image_folder", /*skip=*/true);
  ASSERT_EQ(data->size(), 3);
  EXPECT_EQ(data->name(1), "a/3.png");
  EXPECT_EQ(data->labels(), (std::vector<std::int64_t>{0, 0, 1}));
  EXPECT_EQ(log_.lines.size(), 4u);
}

TEST_F(Data, FingerprintFollowsContentAndLabels) {
  paint("set/a/1.png", 10);
  paint("set/b/2.png", 20);
  const std::string before = open(folder_ / "set")->fingerprint();
  fs::rename(folder_ / "set/a/1.png", folder_ / "set/a/renamed.png");
  EXPECT_EQ(open(folder_ / "set")->fingerprint(), before);
  paint("set/b/2.png", 21);
  const std::string changed = open(folder_ / "set")->fingerprint();
  EXPECT_NE(changed, before);
  fs::rename(folder_ / "set/b/2.png", folder_ / "set/a/zz.png");
  paint("set/b/3.png", 1);
  EXPECT_NE(open(folder_ / "set")->fingerprint(), changed);
}

TEST_F(Data, LimitTakesAsManyOfEachClassAndWarnsOfLostOnes) {
  for (const char* name : {"set/a/1.png", "set/a/2.png", "set/a/3.png", "set/a/4.png",
                           "set/b/1.png", "set/c/1.png", "set/c/2.png", "set/c/3.png"})
    paint(name, 1);
  DataOptions options;
  options.root = folder_ / "set";
  options.log = &log_;
  std::set<std::string> names;
  for (options.seed = 0; options.seed < 8; ++options.seed) {
    options.limit = 5;  // the one of b, two of each other
    const auto data = open_data_set(options);
    EXPECT_EQ(data->labels(), (std::vector<std::int64_t>{0, 0, 1, 2, 2}));
    const Listing* listing = listing_of(data.get());
    ASSERT_NE(listing, nullptr);
    EXPECT_EQ(listing->size, 8);
    const char* all[] = {"a/1", "a/2", "a/3", "a/4", "b/1", "c/1", "c/2", "c/3"};
    for (std::int64_t row = 0; row < 5; ++row)
      EXPECT_EQ(data->name(row), std::string(all[listing->rows[row]]) + ".png");
    names.insert(data->name(0) + data->name(1));
    EXPECT_EQ(open_data_set(options)->name(1), data->name(1));
  }
  EXPECT_GT(names.size(), 1u);  // another seed, other images
  EXPECT_TRUE(log_.lines.empty());
  options.limit = 2;
  EXPECT_EQ(open_data_set(options)->size(), 2);
  ASSERT_EQ(log_.lines.size(), 1u);
  EXPECT_NE(log_.lines[0].find("2 of 3 classes"), std::string::npos);
  EXPECT_EQ(sample_rows({}, 100, 10, 3).size(), 10u);
  EXPECT_EQ(sample_rows({}, 4, 10, 3), (Rows{0, 1, 2, 3}));
}

TEST_F(Data, SplitFilesMeanRowsOfTheListing) {
  const Listing listing{{0, 1, 3, 4, 6, 7, 8, 9}, 10};  // 2 and 5 were skipped
  const auto ids = [&](const char* part, const std::vector<std::int64_t>& values) {
    write_npy(folder_ / (std::string(part) + "_ids.npy"), torch::tensor(values, torch::kInt64));
  };
  ids("train", {0, 2, 4, 9});
  ids("val", {1, 3});
  ids("test", {6, 8});
  const Split split = make_split(folder_.string(), 8, 0, &listing, &log_);
  EXPECT_EQ(split.train, (Rows{0, 3, 7}));
  EXPECT_EQ(split.val, (Rows{1, 2}));
  EXPECT_EQ(split.test, (Rows{4, 6}));
  ASSERT_EQ(log_.lines.size(), 1u);
  EXPECT_NE(log_.lines[0].find("1 of its rows"), std::string::npos);
  ids("val", {5});
  EXPECT_NE(message_of([&] { make_split(folder_.string(), 8, 0, &listing); }).find("part val"),
            std::string::npos);
  ids("val", {1, 10});
  EXPECT_NE(message_of([&] { make_split(folder_.string(), 8, 0, &listing); }).find("10"),
            std::string::npos);
}

TEST_F(Data, CifarBinaryFiles) {
  std::string records;
  for (int row = 0; row < 3; ++row) {
    records += static_cast<char>(7 - row);
    for (int i = 0; i < 3072; ++i) records += static_cast<char>((i / 1024) * 50 + row);
  }
  write("ten/cifar-10-batches-bin/test_batch.bin", records);
  const auto data = open(folder_ / "ten", "cifar10");
  ASSERT_EQ(data->size(), 3);
  EXPECT_EQ(data->labels(), (std::vector<std::int64_t>{7, 6, 5}));
  EXPECT_EQ(data->class_names()[7], "horse");
  const torch::Tensor pixels = data->pixels(2);
  EXPECT_EQ(pixels.sizes().vec(), (std::vector<std::int64_t>{32, 32, 3}));
  EXPECT_TRUE(torch::equal(pixels[3][4], torch::tensor({2, 52, 102}, torch::kUInt8)));

  std::string fine(2 + 3072, '\1');
  fine[1] = 99;
  write("hundred/test.bin", fine);
  EXPECT_EQ(open(folder_ / "hundred", "cifar100")->labels()[0], 99);
  EXPECT_EQ(open(folder_ / "hundred", "cifar100")->class_names()[99], "worm");
  const auto coarse = open_coarse(folder_ / "hundred");
  EXPECT_EQ(coarse->labels()[0], 1);
  EXPECT_EQ(coarse->class_names().size(), 20u);
  EXPECT_EQ(coarse->class_names()[1], "fish");
  fine[0] = 20;
  write("group/test.bin", fine);
  EXPECT_NE(message_of([&] { open_coarse(folder_ / "group"); }).find("not below 20"),
            std::string::npos);

  write("short/test_batch.bin", records.substr(1));
  EXPECT_NE(message_of([&] { open(folder_ / "short", "cifar10"); }).find("3073"),
            std::string::npos);
  records[3073] = 10;
  write("label/test_batch.bin", records);
  EXPECT_NE(message_of([&] { open(folder_ / "label", "cifar10"); }).find("record 1"),
            std::string::npos);
  EXPECT_NE(message_of([&] { open(folder_ / "hundred", "cifar10"); }).find("test_batch.bin"),
            std::string::npos);
}

/// A pickle such as Python 2 wrote for the published archives (protocol 2, str as SHORT_BINSTRING,
/// NumPy array through _reconstruct and __setstate__).
std::string cifar_pickle(const std::string& label_key, const std::vector<int>& labels,
                         const std::string& pixels) {
  const auto text = [](const std::string& value) {
    return "U" + std::string(1, static_cast<char>(value.size())) + value;
  };
  const auto length = static_cast<std::uint32_t>(pixels.size());
  std::string four(4, '\0');
  std::memcpy(&four[0], &length, 4);
  std::string pickle = "\x80\x02}(" + text("data");
  pickle += "cnumpy.core.multiarray\n_reconstruct\ncnumpy\nndarray\n";
  pickle += std::string("K\0\x85", 3) + text("b") + "\x87R(K\x01";
  pickle += "K" + std::string(1, static_cast<char>(labels.size())) + std::string("M\0\x0c", 3) +
            "\x86";  // shape (n, 3072)
  pickle += "cnumpy\ndtype\n" + text("u1") + std::string("K\0K\x01\x87R", 6);
  pickle += "(K\x03" + text("|") + std::string("NNNK\0K\0K\0tb\x89T", 13) + four + pixels + "tb";
  pickle += text(label_key) + "](";
  for (const int label : labels) pickle += "K" + std::string(1, static_cast<char>(label));
  return pickle + "eu.";
}

TEST_F(Data, CifarPythonFiles) {
  std::string pixels;
  for (int row = 0; row < 2; ++row)
    for (int i = 0; i < 3072; ++i) pixels += static_cast<char>((i / 1024) * 50 + row);
  write("ten/cifar-10-batches-py/test_batch", cifar_pickle("labels", {3, 9}, pixels));
  const auto data = open(folder_ / "ten", "cifar10");
  EXPECT_EQ(data->labels(), (std::vector<std::int64_t>{3, 9}));
  EXPECT_TRUE(torch::equal(data->pixels(1)[3][4], torch::tensor({1, 51, 101}, torch::kUInt8)));
  // The same pictures in the other form are the same data.
  write("bin/test_batch.bin", '\3' + pixels.substr(0, 3072) + '\11' + pixels.substr(3072));
  EXPECT_EQ(open(folder_ / "bin", "cifar10")->fingerprint(), data->fingerprint());

  write("hundred/test", cifar_pickle("fine_labels", {99, 0}, pixels));
  EXPECT_EQ(open(folder_ / "hundred", "cifar100")->labels()[0], 99);
  EXPECT_NE(message_of([&] { open_coarse(folder_ / "hundred"); }).find("no data and labels"),
            std::string::npos);
  write("groups/test", cifar_pickle("coarse_labels", {19, 0}, pixels));
  EXPECT_EQ(open_coarse(folder_ / "groups")->labels()[0], 19);
  const auto problem = [&](const std::string& content) {
    write("bad/test_batch", content);
    return message_of([&] { open(folder_ / "bad", "cifar10"); });
  };
  EXPECT_NE(problem(cifar_pickle("labels", {3}, pixels)).find("1 labels"), std::string::npos);
  EXPECT_NE(problem(cifar_pickle("labels", {3, 10}, pixels)).find("label 10"), std::string::npos);
  EXPECT_NE(problem(cifar_pickle("names", {3, 9}, pixels)).find("no data"), std::string::npos);
  const std::string good = cifar_pickle("labels", {3, 9}, pixels);
  for (std::size_t at = 0; at < 200; ++at) {
    EXPECT_NE(problem(good.substr(0, at)), "no error");
    std::string damaged = good;
    damaged[at] = static_cast<char>(damaged[at] ^ 0x41);
    problem(damaged);  // must not crash
  }
}

TEST_F(Data, Places365) {
  paint("places/val_256/Places365_val_00000001.png", 1);
  paint("places/val_256/Places365_val_00000002.png", 2);
  write("places/places365_val.txt",
        "Places365_val_00000002.png 364\nPlaces365_val_00000001.png 0\n");
  write("places/categories_places365.txt", "/a/airfield 0\n/z/zen_garden 364\n");
  const auto data = open(folder_ / "places", "places365");
  EXPECT_EQ(data->labels(), (std::vector<std::int64_t>{364, 0}));
  EXPECT_EQ(data->class_names().size(), 365u);
  EXPECT_EQ(data->class_names()[364], "/z/zen_garden");
  EXPECT_EQ(data->pixels(0)[0][0][0].item<int>(), 2);
  write("places/places365_val.txt", "Places365_val_00000002.png 365\n");
  EXPECT_NE(message_of([&] { open(folder_ / "places", "places365"); }).find("line 1"),
            std::string::npos);
}

TEST_F(Data, CsvOfPathsAndLabels) {
  paint("x/1.png", 1);
  paint("x/a, b.png", 2);
  const auto named =
      open(write("named.csv", "label,path\nzebra,x/1.png\ncat,\"x/a, b.png\"\n"), "csv");
  EXPECT_EQ(named->class_names(), (std::vector<std::string>{"cat", "zebra"}));
  EXPECT_EQ(named->labels(), (std::vector<std::int64_t>{1, 0}));
  const auto numbered = open(write("numbered.csv", "path,label\nx/1.png,2\n"), "csv");
  EXPECT_EQ(numbered->class_names().size(), 3u);
  EXPECT_EQ(numbered->labels(), (std::vector<std::int64_t>{2}));
  EXPECT_TRUE(open(write("bare.csv", "path\nx/1.png\n"), "csv")->labels().empty());
  EXPECT_NE(message_of([&] { open(write("bad.csv", "file\nx\n"), "csv"); }).find("'path'"),
            std::string::npos);
  // A label as large as memory must not become that many class names.
  EXPECT_EQ(
      open(write("absurd.csv", "path,label\nx/1.png,99999999999\n"), "csv")->class_names().size(),
      1u);
}

TEST_F(Data, BatchesDoNotDependOnThreadsOrPrefetching) {
  for (int i = 0; i < 11; ++i) paint("set/a/" + std::to_string(i) + ".png", 20 * i, 10 + i, 30);
  const std::shared_ptr<const DataSet> data = open(folder_ / "set");
  Preprocess preprocess;
  preprocess.resize = Preprocess::Resize::squash;
  preprocess.size = 9;
  const Rows rows{10, 0, 3, 4, 5, 6, 7};
  const torch::Tensor expected = load_batch(*data, rows, preprocess, 1);
  for (const int ahead : {0, 1, 3}) {
    BatchLoader loader(data, rows, preprocess, {3, 2, ahead});
    std::vector<torch::Tensor> parts;
    for (auto batch = loader.next(); batch.images.defined(); batch = loader.next()) {
      EXPECT_EQ(batch.begin, static_cast<std::int64_t>(parts.size()) * 3);
      parts.push_back(batch.images);
    }
    ASSERT_EQ(parts.size(), 3u);
    EXPECT_TRUE(torch::equal(torch::cat(parts), expected));
  }
  // Ending early must not hang.
  BatchLoader(data, rows, preprocess, {1, 1, 2}).next();
}

TEST_F(Data, ABatchThatCannotBeLoadedIsNamed) {
  for (int i = 0; i < 6; ++i) paint("set/a/" + std::to_string(i) + ".png", 1, i == 4 ? 9 : 8, 8);
  const std::shared_ptr<const DataSet> data = open(folder_ / "set");
  for (const int ahead : {0, 2}) {
    BatchLoader loader(data, {0, 1, 2, 3, 4, 5}, Preprocess{}, {2, 2, ahead});
    EXPECT_EQ(loader.next().begin, 0);
    EXPECT_EQ(loader.next().begin, 2);
    const std::string message = message_of([&] { loader.next(); });
    EXPECT_NE(message.find("a/4.png is 9x8"), std::string::npos) << message;
  }
}

TEST_F(Data, DrawnSplitsHaveThePublishedSizes) {
  const std::string fractions = "0.7,0.1,0.2";
  for (const auto& [n, train, val] : {std::tuple(50000, 35000, 5000), std::tuple(10000, 7000, 1000),
                                      std::tuple(36500, 25550, 3650), std::tuple(11, 7, 1)}) {
    const Split split = make_split(fractions, n, 0);
    EXPECT_EQ(split.train.size(), static_cast<std::size_t>(train));
    EXPECT_EQ(split.val.size(), static_cast<std::size_t>(val));
    Rows all = split.train;
    all.insert(all.end(), split.val.begin(), split.val.end());
    all.insert(all.end(), split.test.begin(), split.test.end());
    EXPECT_TRUE(std::is_sorted(split.test.begin(), split.test.end()));
    std::sort(all.begin(), all.end());
    Rows expected(static_cast<std::size_t>(n));
    std::iota(expected.begin(), expected.end(), 0);
    EXPECT_EQ(all, expected);
  }
  EXPECT_EQ(make_split(fractions, 100, 3).test, make_split(fractions, 100, 3).test);
  EXPECT_NE(make_split(fractions, 100, 3).test, make_split(fractions, 100, 4).test);
  // Frozen: the generator is part of every result (the reference implementation's first number).
  EXPECT_EQ(Random(0).next(), 0xe220a8397b1dcdafULL);
  EXPECT_EQ(make_split("0.5,0.25,0.25", 8, 1).train, (Rows{2, 3, 4, 7}));
  EXPECT_EQ(make_split("0.5,0.25,0.25", 8, 1).val, (Rows{5, 6}));
}

TEST_F(Data, SplitFoldersAreChecked) {
  const auto write_ids = [&](const std::string& part, std::vector<std::int64_t> ids) {
    write_npy(folder_ / (part + "_ids.npy"), torch::tensor(ids, torch::kInt64));
  };
  const auto problem = [&] { return message_of([&] { make_split(folder_.string(), 10, 0); }); };
  write_ids("train", {4, 2, 3});
  write_ids("val", {1});
  EXPECT_NE(problem().find("test_ids.npy"), std::string::npos);
  write_ids("test", {0, 9});
  EXPECT_EQ(make_split(folder_.string(), 10, 0).train, (Rows{2, 3, 4}));
  write_ids("test", {0, 10});
  EXPECT_NE(problem().find("10 is outside"), std::string::npos);
  write_ids("test", {0, -1});
  EXPECT_NE(problem().find("-1 is outside"), std::string::npos);
  write_ids("test", {0, 3});
  EXPECT_NE(problem().find("3 is in both train and test"), std::string::npos);
  write_ids("test", {0, 0});
  EXPECT_NE(problem().find("twice"), std::string::npos);
  write_npy(folder_ / "test_ids.npy", torch::tensor({0.5F}));
  EXPECT_NE(problem().find("integers"), std::string::npos);
  for (const char* text : {"0.7,0.1", "0.7,0.1,x", "0.7,0.4,0.2", "0.7,0.3,0", "nowhere"})
    EXPECT_NE(message_of([&] { make_split(text, 10, 0); }), "no error") << text;
}

TEST_F(Data, PublishedSplitsAreRead) {
  const char* shared = std::getenv("LINEX_SHARED");
  const fs::path folder = fs::path(shared ? shared : "") / "data/splits/cifar100_val";
  if (!shared || !fs::exists(folder)) GTEST_SKIP() << "no LINEX_SHARED";
  const Split split = make_split(folder.string(), 10000, 0);
  const auto sum = [](const Rows& rows) { return std::accumulate(rows.begin(), rows.end(), 0L); };
  EXPECT_EQ(split.train.size(), 7000u);  // docs/methods.md §1.2
  EXPECT_EQ(sum(split.train), 35004870);
  EXPECT_EQ(sum(split.val), 5010884);
  EXPECT_EQ(sum(split.test), 9979246);
}

// With the shared pictures and python3-pil at hand: real photographs, and the time it takes.
TEST_F(Data, RealPhotographsEqualPillow) {
  const char* shared = std::getenv("LINEX_SHARED");
  const fs::path pictures = fs::path(shared ? shared : "") / "data/imagenet_samples";
  if (!shared || !fs::exists(pictures)) GTEST_SKIP() << "no LINEX_SHARED";
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
