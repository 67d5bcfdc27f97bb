// A network small enough for slow reference computations, and pictures for it.
#pragma once

#include <torch/types.h>

#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "linex/data.hpp"
#include "linex/model.hpp"
#include "toolkit/data/loader.hpp"

namespace linex::test {

/// Fixed random pictures with labels.
class Pictures final : public DataSet {
 public:
  Pictures(std::int64_t n, std::int64_t side, std::int64_t classes) : side_(side) {
    for (std::int64_t c = 0; c < classes; ++c) names_.push_back("class " + std::to_string(c));
    for (std::int64_t i = 0; i < n; ++i) labels_.push_back(i * 7 % classes);
  }
  std::int64_t size() const override { return static_cast<std::int64_t>(labels_.size()); }
  const std::vector<std::string>& class_names() const override { return names_; }
  const std::vector<std::int64_t>& labels() const override { return labels_; }
  std::string name(std::int64_t row) const override { return std::to_string(row); }
  torch::Tensor pixels(std::int64_t row) const override {
    auto image = torch::empty({side_, side_, 3}, torch::kUInt8);
    std::uint64_t state = 1 + static_cast<std::uint64_t>(row);
    for (std::int64_t p = 0; p < image.numel(); ++p) {
      state = state * 6364136223846793005ULL + 1442695040888963407ULL;
      image.data_ptr<std::uint8_t>()[p] =
          static_cast<std::uint8_t>((state >> 56) / 2 + 12 * labels_[row]);
    }
    return image;
  }
  std::string fingerprint() const override { return "pictures"; }

 private:
  std::int64_t side_;
  std::vector<std::string> names_;
  std::vector<std::int64_t> labels_;
};

/// conv → relu ("first") → conv → relu ("second") → average → linear, weights of order one.
class Toy final : public TargetModel {
 public:
  Toy() {
    torch::manual_seed(11);
    first_ = torch::randn({6, 3, 3, 3}) * 0.5;
    second_ = torch::randn({8, 6, 3, 3}) * 0.3;
    head_ = {torch::randn({4, 8}), torch::randn({4})};
  }
  std::vector<std::string> layers() const override { return {"first", "second"}; }
  Preprocess preprocess() const override { return {}; }
  ForwardResult forward(const torch::Tensor& images, const std::vector<std::string>& layers,
                        bool logits) override {
    ForwardResult result;
    const auto first = at::relu(at::conv2d(images, first_)), second = after_first(first);
    for (const auto& layer : layers) result.layers.push_back(layer == "first" ? first : second);
    if (logits) result.logits = after_second(second);
    return result;
  }
  std::unique_ptr<ModelTail> split(const torch::Tensor& images, const std::string& layer) override {
    return std::make_unique<Tail>(*this, layer == "first",
                                  forward(images, {layer}, false).layers[0]);
  }
  std::string fingerprint() const override { return "toy"; }
  LinearHead linear_head(const std::string& layer) const override {
    return layer == "second" ? head_ : LinearHead{};
  }

 private:
  class Tail final : public ModelTail {
   public:
    Tail(const Toy& toy, bool first, torch::Tensor output)
        : toy_(toy), first_(first), output_(std::move(output)) {}
    torch::Tensor activation() const override { return output_; }
    torch::Tensor logits(const torch::Tensor& replaced) const override {
      return toy_.after_second(first_ ? toy_.after_first(replaced) : replaced);
    }

   private:
    const Toy& toy_;
    bool first_;
    torch::Tensor output_;
  };
  torch::Tensor after_first(const torch::Tensor& x) const {
    return at::relu(at::conv2d(x, second_));
  }
  torch::Tensor after_second(const torch::Tensor& x) const {
    return at::addmm(head_.bias, x.flatten(2).mean(2), head_.weight.t());
  }
  torch::Tensor first_, second_;
  LinearHead head_;
};

/// All pooled activations of a layer, float32 (N, K).
inline torch::Tensor activations_of(TargetModel& model, const std::shared_ptr<const DataSet>& data,
                                    const std::string& layer) {
  std::vector<torch::Tensor> pooled;
  Rows all(static_cast<std::size_t>(data->size()));
  for (std::size_t i = 0; i < all.size(); ++i) all[i] = static_cast<std::int64_t>(i);
  BatchLoader loader(data, all, model.preprocess(), {64, 2, 0});
  for (auto batch = loader.next(); batch.images.defined(); batch = loader.next()) {
    const auto output = model.forward(batch.images, {layer}, false).layers[0];
    pooled.push_back(output.dim() == 4 ? output.flatten(2).mean(2) : output);
  }
  return torch::cat(pooled);
}

}  // namespace linex::test
