// A small network, images and pixel labels in memory, for tests of what looks into images.
#pragma once

#include <ATen/ops/conv2d.h>
#include <torch/types.h>

#include <algorithm>
#include <cmath>
#include <filesystem>
#include <memory>
#include <numeric>
#include <string>
#include <vector>

#include "linex/conformance.hpp"
#include "linex/data.hpp"
#include "linex/labeler.hpp"
#include "linex/model.hpp"
#include "linex/pixel_labels.hpp"
#include "toolkit/base/random.hpp"

namespace linex::probe_test {

inline torch::Tensor random_tensor(std::vector<std::int64_t> shape, std::uint64_t seed,
                                   double low = -1, double high = 1) {
  auto tensor = torch::empty(shape);
  Random random(seed);
  for (std::int64_t i = 0; i < tensor.numel(); ++i)
    tensor.data_ptr<float>()[i] = static_cast<float>(random.uniform(low, high));
  return tensor;
}

inline conformance::TestContext context(std::int64_t memory = 1LL << 30, int threads = 2,
                                        std::filesystem::path cache = {}) {
  RunSettings run;
  run.memory_bytes = memory;
  run.threads = threads;
  run.cache = std::move(cache);
  return conformance::TestContext({}, run);
}

inline std::vector<std::int64_t> first_numbers(std::int64_t n) {
  std::vector<std::int64_t> numbers(static_cast<std::size_t>(n));
  std::iota(numbers.begin(), numbers.end(), std::int64_t{0});
  return numbers;
}

/// numpy.quantile of all values.
inline float slow_quantile(const torch::Tensor& all, double q) {
  const auto dense = all.contiguous();
  std::vector<float> values(dense.data_ptr<float>(), dense.data_ptr<float>() + dense.numel());
  std::sort(values.begin(), values.end());
  const double position = q * static_cast<double>(values.size() - 1);
  const auto low = static_cast<std::size_t>(position);
  if (low + 1 == values.size()) return values.back();
  const double a = static_cast<double>(values[low]), b = static_cast<double>(values[low + 1]);
  return static_cast<float>(a + (position - static_cast<double>(low)) * (b - a));
}

/// Two random convolutions with ReLU; the last unit is dead.
class SmallNetwork final : public TargetModel {
 public:
  explicit SmallNetwork(std::int64_t units, Preprocess preprocess = {})
      : preprocess_(preprocess),
        first_(random_tensor({6, 3, 3, 3}, 1)),
        second_(random_tensor({units, 6, 3, 3}, 2)) {
    second_[units - 1].zero_();
  }
  std::vector<std::string> layers() const override { return {"conv"}; }
  Preprocess preprocess() const override { return preprocess_; }
  ForwardResult forward(const torch::Tensor& images, const std::vector<std::string>& layers,
                        bool) override {
    const auto maps =
        at::conv2d(at::conv2d(images, first_, {}, 2, 1).relu(), second_, {}, 2, 1).relu();
    ++passes;
    return {std::vector<torch::Tensor>(layers.size(), maps), {}};
  }
  std::unique_ptr<ModelTail> split(const torch::Tensor&, const std::string&) override {
    return nullptr;
  }
  std::string fingerprint() const override { return "small network"; }
  std::int64_t preferred_batch() const override { return 7; }

  int passes = 0;

 private:
  Preprocess preprocess_;
  torch::Tensor first_, second_;
};

class RandomImages final : public DataSet {
 public:
  RandomImages(std::int64_t n, std::int64_t height, std::int64_t width) {
    Random random(3);
    for (std::int64_t i = 0; i < n; ++i) {
      // Smooth in places, so that units differ between images.
      auto image = torch::empty({height, width, 3}, torch::kUInt8);
      const double fx = random.uniform(0, 0.6), fy = random.uniform(0, 0.6);
      auto* to = image.data_ptr<std::uint8_t>();
      for (std::int64_t y = 0; y < height; ++y)
        for (std::int64_t x = 0; x < width; ++x)
          for (int c = 0; c < 3; ++c)
            *to++ = static_cast<std::uint8_t>(127 +
                                              100 * std::sin(fx * static_cast<double>(x * (c + 1)) +
                                                             fy * static_cast<double>(y)) +
                                              random.uniform(0, 25));
      images_.push_back(image);
    }
  }
  std::int64_t size() const override { return static_cast<std::int64_t>(images_.size()); }
  const std::vector<std::string>& class_names() const override { return names_; }
  const std::vector<std::int64_t>& labels() const override { return labels_; }
  std::string name(std::int64_t row) const override { return std::to_string(row) + ".png"; }
  torch::Tensor pixels(std::int64_t row) const override {
    return images_[static_cast<std::size_t>(row)];
  }
  std::string fingerprint() const override { return "random images"; }

 private:
  std::vector<torch::Tensor> images_;
  std::vector<std::string> names_;
  std::vector<std::int64_t> labels_;
};

/// Two maps of blobs (objects; colours and parts) and sometimes a label of the whole image.
class RandomLabels final : public PixelLabels {
 public:
  RandomLabels(std::int64_t n, std::int64_t image_height, std::int64_t image_width,
               std::int64_t height, std::int64_t width) {
    Random random(4);
    for (std::int64_t i = 0; i < n; ++i) {
      LabelMaps labels;
      labels.image_height = image_height;
      labels.image_width = image_width;
      labels.height = height;
      labels.width = width;
      for (int m = 0; m < 2; ++m) {
        auto map = torch::full({height, width}, -1, torch::kInt32);
        for (int blob = 0; blob < 3; ++blob) {
          const auto top =
              static_cast<std::int64_t>(random.below(static_cast<std::uint64_t>(height)));
          const auto left =
              static_cast<std::int64_t>(random.below(static_cast<std::uint64_t>(width)));
          const auto label = static_cast<int>(m == 0 ? random.below(3) : 3 + random.below(3));
          map.narrow(0, top, std::min<std::int64_t>(height - top, 9))
              .narrow(1, left, std::min<std::int64_t>(width - left, 11))
              .fill_(label);
        }
        labels.maps.push_back(map);
      }
      if (i % 3 == 0) labels.whole.push_back(6 + static_cast<std::int64_t>(random.below(2)));
      rows_.push_back(labels);
    }
  }
  std::vector<PixelLabel> pixel_labels() const override {
    return {{"cat", "object"}, {"dog", "object"},  {"tree", "object"},    {"black-c", "color"},
            {"leg", "part"},   {"red-c", "color"}, {"street-s", "scene"}, {"beach-s", "scene"}};
  }
  LabelMaps label_maps(std::int64_t row) const override {
    return rows_[static_cast<std::size_t>(row)];
  }

 private:
  std::vector<LabelMaps> rows_;
};

}  // namespace linex::probe_test
