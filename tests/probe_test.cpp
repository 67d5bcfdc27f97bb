// Quantiles, unit maps, exemplars and files of labelled pixels against slow, obvious versions.
#include <gtest/gtest.h>

#include <cstdlib>
#include <fstream>
#include <map>
#include <numeric>
#include <opencv2/imgcodecs.hpp>
#include <set>

#include "folder_test.hpp"
#include "linex/conformance.hpp"
#include "linex/error.hpp"
#include "plugins/labelers/segmentation/segmentation.hpp"
#include "plugins/solvers/net_dissect/dissection.hpp"
#include "probe_fixture.hpp"
#include "toolkit/base/files.hpp"
#include "toolkit/data/dataset.hpp"
#include "toolkit/data/loader.hpp"
#include "toolkit/data/resize.hpp"
#include "toolkit/explanations/explanation_csv.hpp"
#include "toolkit/math/upper_quantiles.hpp"
#include "toolkit/probe/exemplars.hpp"
#include "toolkit/probe/map_upsampler.hpp"

namespace linex {
namespace {

namespace fs = std::filesystem;
using probe_test::context;
using probe_test::first_numbers;
using probe_test::random_tensor;
using probe_test::RandomImages;
using probe_test::slow_quantile;
using probe_test::SmallNetwork;

TEST(UpperQuantiles, ExactIsNumpys) {
  const auto values = random_tensor({40, 3, 25}, 5);
  for (const double q : {0.5, 0.9, 0.995, 1.0}) {
    UpperQuantiles quantiles(3, 1000, {q, QuantileMethod::exact, 0, 0});
    for (std::int64_t i = 0; i < 40; i += 8) quantiles.add(values.narrow(0, i, 8), 2);
    for (std::int64_t k = 0; k < 3; ++k) {
      EXPECT_EQ(quantiles.values()[k].item<float>(), slow_quantile(values.select(1, k), q));
    }
  }
}

TEST(UpperQuantiles, SketchIsCloseInBoundedMemory) {
  // 1,000,000 values a stream; the exact way would keep 10,000 (twice), the sketch about 4,000.
  const std::int64_t n = 1000, m = 1000;
  const auto values = random_tensor({n, 2, m}, 6).pow(3);
  QuantileOptions options{0.99, QuantileMethod::sketch, 1, 7};
  UpperQuantiles quantiles(2, n * m, options), again(2, n * m, options);
  EXPECT_FALSE(quantiles.exact());
  for (std::int64_t i = 0; i < n; i += 20) quantiles.add(values.narrow(0, i, 20), 2);
  again.add(values, 1);
  EXPECT_TRUE(torch::equal(quantiles.values(), again.values()));
  for (std::int64_t k = 0; k < 2; ++k) {
    const double above =
        values.select(1, k).gt(quantiles.values()[k].item<float>()).sum().item<double>();
    EXPECT_NEAR(above, 10000, 50);
  }
}

TEST(MapUpsampler, IsPillowsModeF) {
  for (const auto& [h, w, oh, ow] : {std::array{7, 7, 112, 112}, std::array{5, 9, 31, 40},
                                     std::array{8, 8, 8, 20}, std::array{12, 10, 5, 10}}) {
    const auto map = random_tensor({h, w}, 8);
    const auto full = resize_plane(map, oh, ow, Preprocess::Interpolation::bilinear);
    const MapUpsampler upsampler(h, w, oh, ow);
    MapUpsampler::Scratch scratch;
    for (const float threshold : {-2.0F, 0.1F, 0.7F}) {
      auto mask = torch::zeros({oh, ow}, torch::kBool);
      upsampler.above(map.data_ptr<float>(), threshold, scratch,
                      [&](std::int64_t y, std::int64_t x) { mask[y][x] = true; });
      EXPECT_TRUE(torch::equal(mask, full.gt(threshold))) << h << "x" << w << " " << threshold;
    }
  }
}

TEST(UnitMaps, TokensBecomeSquares) {
  const auto tokens = random_tensor({2, 10, 4}, 9);
  const auto maps = as_maps(tokens, "encoder");
  EXPECT_EQ(maps.sizes(), (std::vector<std::int64_t>{2, 4, 3, 3}));
  EXPECT_EQ(maps[1][2][1][0].item<float>(), tokens[1][1 + 3][2].item<float>());
  EXPECT_EQ(as_maps(random_tensor({2, 16, 4}, 1), "x").size(2), 4);
  EXPECT_EQ(as_maps(random_tensor({2, 5}, 1), "fc").sizes(),
            (std::vector<std::int64_t>{2, 5, 1, 1}));
  EXPECT_THROW(as_maps(random_tensor({2, 12, 4}, 1), "x"), Error);
}

TEST(UnitMaps, AreVisitedOneByOne) {
  SmallNetwork network(5);
  const auto images = std::make_shared<RandomImages>(20, 32, 32);
  const auto where = context();
  const std::vector<std::pair<std::int64_t, std::int64_t>> wanted{{17, 2}, {3, 0}, {17, 1}, {3, 2}};
  std::vector<torch::Tensor> found(wanted.size());
  visit_maps(network, images, "conv", wanted, where,
             [&](std::size_t i, const torch::Tensor& map) { found[i] = map.clone(); });
  EXPECT_EQ(network.passes, 1);  // two images fit into one batch
  for (std::size_t i = 0; i < wanted.size(); ++i) {
    const auto batch = load_batch(*images, Rows{wanted[i].first}, {}, 1);
    const auto output = network.forward(batch, {"conv"}, false).layers[0];
    // One image and two are products of other shapes, which round otherwise on some processors.
    EXPECT_TRUE(torch::allclose(found[i], output[0][wanted[i].second], 1e-5, 1e-5));
  }
  EXPECT_EQ(map_size({2, 17, 3}).height, 4);
  EXPECT_EQ(map_size({2, 12, 3}).height, 0);
}

TEST(UnitMaps, AreKeptWhereTheyFit) {
  SmallNetwork network(5);
  const auto images = std::make_shared<RandomImages>(20, 32, 32);
  const auto plenty = context();
  UnitMaps kept(network, images, "conv", {1, 3}, plenty);
  std::vector<torch::Tensor> first, second;
  kept.stream("maps", [&](auto, auto, const torch::Tensor& m) { first.push_back(m.clone()); });
  const int passes = network.passes;
  kept.stream("maps", [&](auto, auto, const torch::Tensor& m) { second.push_back(m.clone()); });
  EXPECT_EQ(network.passes, passes);
  EXPECT_TRUE(torch::equal(torch::cat(first), torch::cat(second)));
  const auto little = context(1000);
  UnitMaps streamed(network, images, "conv", {1, 3}, little);
  std::vector<torch::Tensor> third;
  for (int pass = 0; pass < 2; ++pass) {
    third.clear();
    streamed.stream("maps",
                    [&](auto, auto, const torch::Tensor& m) { third.push_back(m.clone()); });
  }
  EXPECT_GT(network.passes, passes + 5);
  EXPECT_TRUE(torch::equal(torch::cat(first), torch::cat(third)));
}

TEST(Exemplars, AreTheTopImagesAndTheirLevel) {
  SmallNetwork network(6);
  const auto images = std::make_shared<RandomImages>(40, 32, 32);
  const TemporaryFolder cache;
  const auto where = context(1LL << 30, 2, cache.path());
  UnitMaps maps(network, images, "conv", first_numbers(6), where);
  const auto found = find_exemplars(maps, {4, 0.99, QuantileMethod::exact});

  const auto all = as_maps(
      network.forward(load_batch(*images, first_numbers(40), {}, 1), {"conv"}, false).layers[0],
      "");
  const auto peaks = all.amax({2, 3});
  for (std::int64_t k = 0; k < 6; ++k) {
    auto rows = first_numbers(40);
    std::stable_sort(rows.begin(), rows.end(), [&](std::int64_t a, std::int64_t b) {
      return peaks[a][k].item<float>() > peaks[b][k].item<float>();
    });
    for (std::int64_t m = 0; m < 4; ++m) {
      EXPECT_EQ(found.rows[k][m].item<std::int64_t>(), rows[static_cast<std::size_t>(m)]);
      EXPECT_TRUE(
          torch::allclose(found.maps[k][m], all[rows[static_cast<std::size_t>(m)]][k], 1e-5, 1e-6));
    }
    EXPECT_NEAR(found.level[k].item<float>(), slow_quantile(all.select(1, k), 0.99), 1e-6);
  }
  const int passes = network.passes;
  UnitMaps same(network, images, "conv", first_numbers(6), where);
  const auto cached = find_exemplars(same, {4, 0.99, QuantileMethod::exact});
  EXPECT_EQ(network.passes, passes + 1);  // the one image that tells the shape
  EXPECT_TRUE(torch::equal(cached.maps, found.maps) && torch::equal(cached.rows, found.rows));
}

TEST(Exemplars, MaskIsGridSamplesWithZerosOutside) {
  const auto map = torch::tensor({{1.0F, 0.0F}, {0.0F, 0.0F}});
  const auto mask = exemplar_mask(map, 0.5F, 4, 4);
  // Half-pixel centres: (0, 0) lies a quarter of a cell outside on both axes, 0.75² = 0.5625.
  EXPECT_TRUE(mask[0][0].item<bool>());
  EXPECT_TRUE(mask[1][1].item<bool>());
  EXPECT_FALSE(mask[0][2].item<bool>());
  EXPECT_FALSE(exemplar_mask(map, 0.57F, 4, 4)[1][1].item<bool>());
}

class BrodenFolder : public FolderTest {
 protected:
  void SetUp() override {
    fs::create_directories(folder_ / "images/a");
    write("category.csv",
          "name,first,last,count,frequency\nobject,0,1,2,2\ncolor,0,1,1,1\n"
          "scene,0,1,1,1\n");
    write("label.csv",
          "number,name,category,frequency,coverage,syns\n1,cat,object,1,1,\n"
          "2,black-c,color,1,1,\n300,street-s,scene,1,1,\n4,dog,object,1,1,\n");
    write("c_object.csv",
          "code,number,name,frequency,coverage\n1,1,cat,1,0.5\n2,4,dog,1,0.5\n3,2,black-c,1,0.1\n");
    write("c_color.csv", "code,number,name,frequency,coverage\n1,2,black-c,1,0.4\n");
    write("c_scene.csv", "code,number,name,frequency,coverage\n1,300,street-s,1,0.4\n");
    write("index.csv",
          "image,split,ih,iw,sh,sw,color,object,scene\na/x.jpg,train,4,4,2,2,,a/x.ppm;4,300\n");
    // red + 256·green: 1, 300 = 44 + 256, 0, 2.
    write("images/a/x.ppm",
          std::string("P6\n2 2\n255\n") + std::string("\x01\0\0\x2c\x01\0\0\0\0\x02\0\0", 12));
  }
};

TEST_F(BrodenFolder, IsRead) {
  const auto broden = open_broden(folder_, {});
  const auto& labels = broden->labels();
  ASSERT_EQ(labels.size(), 4U);
  EXPECT_EQ(labels[1].name, "black-c");
  EXPECT_EQ(labels[1].category, "color");  // where its coverage is largest
  const auto maps = broden->label_maps("a/x.jpg");
  EXPECT_EQ(maps.image_height, 4);
  EXPECT_EQ(maps.whole, (std::vector<std::int64_t>{3, 2}));
  ASSERT_EQ(maps.maps.size(), 1U);
  EXPECT_TRUE(torch::equal(maps.maps[0], torch::tensor({{0, 2}, {-1, 1}}, torch::kInt32)));
  EXPECT_EQ(broden->label_maps("images/a/x.jpg").whole.size(), 2U);
  EXPECT_EQ(open_broden(folder_, {"object"})->labels().size(), 3U);
}

TEST_F(BrodenFolder, DefectsAreNamed) {
  const auto message = [&](const char* file, const std::string& content) {
    write(file, content);
    try {
      open_broden(folder_, {})->label_maps("a/x.jpg");
    } catch (const Error& error) {
      return std::string(error.what());
    }
    return std::string("no error");
  };
  EXPECT_THROW(open_broden(folder_, {"objects"}), Error);
  EXPECT_THROW(open_broden(folder_, {})->label_maps("b.jpg"), Error);
  EXPECT_NE(message("index.csv",
                    "image,split,ih,iw,sh,sw,color,object,scene\n"
                    "a/x.jpg,train,4,4,3,2,,a/x.ppm,\n")
                .find("2x2 pixels, index.csv says 3x2"),
            std::string::npos);
  EXPECT_NE(message("index.csv",
                    "image,split,ih,iw,sh,sw,color,object,scene\n"
                    "a/x.jpg,train,4,4,2,2,,77,\n")
                .find("label 77"),
            std::string::npos);
  EXPECT_NE(message("index.csv",
                    "image,split,ih,iw,sh,sw,color,object,scene\n"
                    "a/x.jpg,train,4,4,-2,2,,1,\n")
                .find("not a number"),
            std::string::npos);
  EXPECT_NE(message("label.csv", "number,name\n99999999,cat\n").find("whole number"),
            std::string::npos);
}

TEST_F(BrodenFolder, LabelMapsSayWhatLooksLikeAMask) {
  write("names.txt", "other\nred\n");
  const auto map = [&](const char* name, int value) {
    fs::create_directories(folder_ / "maps");
    cv::Mat image(3, 4, CV_8UC1, cv::Scalar(0));
    image.at<std::uint8_t>(1, 2) = static_cast<std::uint8_t>(value);
    cv::imwrite((folder_ / "maps" / name).string(), image);
  };
  map("a.png", 255);
  map("b.png", 0);
  map("c.png", 1);
  const auto maps = open_label_maps({folder_ / "maps"}, folder_ / "names.txt", {});
  EXPECT_EQ(maps->label_maps("a.jpg").maps[0].min().item<int>(), -1);
  maps->label_maps("b.jpg");
  EXPECT_NE(maps->complaint().find("0 or 255, as in binary masks, and 255 means 'no label'"),
            std::string::npos)
      << maps->complaint();
  EXPECT_EQ(maps->label_maps("c.jpg").maps[0][1][2].item<int>(), 1);
  EXPECT_EQ(maps->complaint(), "");
  map("d.png", 2);
  try {
    maps->label_maps("d.jpg");
    FAIL();
  } catch (const Error& error) {
    EXPECT_NE(std::string(error.what()).find("holds label 2"), std::string::npos);
  }
}

}  // namespace
}  // namespace linex
