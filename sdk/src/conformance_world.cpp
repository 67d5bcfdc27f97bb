#include "conformance_world.hpp"

#include <cstring>

#include "linex/error.hpp"

namespace linex::conformance {
namespace {

/// A matrix of 0 and 1 that tells its ones. The toolkit, with MatrixPresence, is above this
/// library.
class ZeroOnePresence final : public Presence {
 public:
  explicit ZeroOnePresence(torch::Tensor matrix) : matrix_(matrix.contiguous()) {}
  std::int64_t rows() const override { return matrix_.size(0); }
  std::int64_t cols() const override { return matrix_.size(1); }
  bool ones(std::int64_t row, std::vector<std::int64_t>& ones) const override {
    ones.clear();
    const float* values = matrix_.data_ptr<float>() + row * matrix_.size(1);
    for (std::int64_t j = 0; j < matrix_.size(1); ++j)
      if (values[j] != 0) ones.push_back(j);
    return true;
  }

 private:
  void do_read(Ids rows, const Columns& cols, float* out) const override {
    const float* values = matrix_.data_ptr<float>();
    for (const std::int64_t row : rows)
      for (std::int64_t j = 0; j < cols.count(this->cols()); ++j)
        *out++ = values[row * matrix_.size(1) + cols[j]];
  }

  torch::Tensor matrix_;
};

class NoiseImages final : public DataSet {
 public:
  NoiseImages() : pixels_(torch::empty({kRows, kSide, kSide, 3}, torch::kUInt8)) {
    Noise noise(11);
    auto* at = pixels_.data_ptr<std::uint8_t>();
    for (std::int64_t i = 0; i < kRows; ++i) {
      labels_.push_back(i % kClasses);
      const double brightness = noise.next();  // images differ as a whole, so units vary
      for (std::int64_t p = 0; p < kSide * kSide * 3; ++p)
        *at++ = static_cast<std::uint8_t>(127 * (brightness + noise.next()));
    }
  }
  std::int64_t size() const override { return kRows; }
  const std::vector<std::string>& class_names() const override { return names_; }
  const std::vector<std::int64_t>& labels() const override { return labels_; }
  std::string name(std::int64_t row) const override {
    return names_[labels_[row]] + "/" + std::to_string(row) + ".png";
  }
  torch::Tensor pixels(std::int64_t row) const override { return pixels_[row].clone(); }
  std::string fingerprint() const override { return "conformance-images-1"; }
  const torch::Tensor& all() const { return pixels_; }

 private:
  torch::Tensor pixels_;
  std::vector<std::string> names_{"apple", "boat", "cat", "dog"};
  std::vector<std::int64_t> labels_;
};

torch::Tensor random_matrix(std::int64_t rows, std::int64_t cols, std::uint64_t seed) {
  Noise noise(seed);
  const torch::Tensor matrix = torch::empty({rows, cols});
  for (std::int64_t i = 0; i < rows * cols; ++i)
    matrix.data_ptr<float>()[i] = static_cast<float>(2 * noise.next() - 1);
  return matrix;
}

class SmallTail final : public ModelTail {
 public:
  SmallTail(torch::Tensor activation, LinearHead head)
      : activation_(std::move(activation)), head_(std::move(head)) {}
  torch::Tensor activation() const override { return activation_; }
  torch::Tensor logits(const torch::Tensor& replaced) const override {
    return torch::matmul(replaced.mean({2, 3}), head_.weight.t()) + head_.bias;
  }

 private:
  torch::Tensor activation_;
  LinearHead head_;
};

class SmallModel final : public TargetModel {
 public:
  std::vector<std::string> layers() const override { return {"features"}; }
  Preprocess preprocess() const override { return {}; }
  ForwardResult forward(const torch::Tensor& images, const std::vector<std::string>& layers,
                        bool logits) override {
    ForwardResult result;
    for (const std::string& layer : layers) result.layers.push_back(features(images, layer));
    if (logits) result.logits = split(images, "features")->logits(features(images, "features"));
    return result;
  }
  std::unique_ptr<ModelTail> split(const torch::Tensor& images, const std::string& layer) override {
    return std::make_unique<SmallTail>(features(images, layer), linear_head(layer));
  }
  std::string fingerprint() const override { return "conformance-model-1"; }
  LinearHead linear_head(const std::string&) const override {
    return {random_matrix(kClasses, kUnits, 13), torch::zeros({kClasses})};
  }

 private:
  static torch::Tensor features(const torch::Tensor& images, const std::string& layer) {
    if (layer != "features") throw input_error("there is no layer '" + layer + "'");
    const torch::Tensor small = torch::avg_pool2d(images, images.size(2) / 4);
    const torch::Tensor mixed =
        torch::conv2d(small, random_matrix(kUnits, 3, 12).reshape({kUnits, 3, 1, 1}));
    return torch::relu(mixed);
  }
};

class KnownConcepts final : public ConceptLabeler {
 public:
  explicit KnownConcepts(torch::Tensor matrix) : presence_(matrix_presence(std::move(matrix))) {}
  void attach(std::shared_ptr<const DataSet>) override {}
  std::vector<std::string> concepts() const override { return concept_names(); }
  std::shared_ptr<const Presence> presence() override { return presence_; }

 private:
  std::shared_ptr<const Presence> presence_;
};

}  // namespace

double Noise::next() {
  // splitmix64
  std::uint64_t z = (state_ += 0x9e3779b97f4a7c15ull);
  z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9ull;
  z = (z ^ (z >> 27)) * 0x94d049bb133111ebull;
  return static_cast<double>((z ^ (z >> 31)) >> 11) * 0x1p-53;
}

std::shared_ptr<const Presence> matrix_presence(torch::Tensor matrix) {
  return std::make_shared<ZeroOnePresence>(std::move(matrix));
}

torch::Tensor concept_matrix(std::int64_t rows) {
  Noise noise(21);
  const torch::Tensor matrix = torch::empty({rows, kConcepts});
  for (std::int64_t i = 0; i < rows * kConcepts; ++i)
    matrix.data_ptr<float>()[i] = noise.next() < 0.3 ? 1 : 0;
  return matrix;
}

std::vector<std::string> concept_names() {
  return {"red",    "green",  "blue",    "striped", "dotted", "round",
          "square", "animal", "vehicle", "food",    "large",  "sky, cloudy"};
}

torch::Tensor planted_activations(const torch::Tensor& presence) {
  Noise noise(22);
  const std::int64_t rows = presence.size(0);
  const torch::Tensor activations = torch::empty({rows, kUnits});
  const auto p = presence.accessor<float, 2>();
  auto a = activations.accessor<float, 2>();
  for (std::int64_t i = 0; i < rows; ++i) {
    for (std::int64_t k = 0; k < kUnits; ++k) {
      const auto grain = static_cast<float>(0.2 * noise.next());
      a[i][k] = k == 0 ? 2 * p[i][0] + grain : 1.5f * p[i][k] + 0.7f * p[i][k + 3] + grain;
    }
    a[i][kDeadUnit] = 0;
    a[i][kConstantUnit] = 1.25f;
  }
  return activations;
}

Split split_rows(std::int64_t rows) {
  Split split;
  for (std::int64_t i = 0; i < rows; ++i)
    (i % 10 < 6 ? split.train : i % 10 < 8 ? split.val : split.test).push_back(i);
  return split;
}

std::shared_ptr<const DataSet> images() { return std::make_shared<NoiseImages>(); }
std::shared_ptr<TargetModel> model() { return std::make_shared<SmallModel>(); }
std::shared_ptr<ConceptLabeler> labeler(std::int64_t rows) {
  return std::make_shared<KnownConcepts>(concept_matrix(rows));
}

torch::Tensor model_activations() {
  const torch::Tensor pixels =
      NoiseImages().all().permute({0, 3, 1, 2}).to(torch::kFloat).div(255).contiguous();
  return SmallModel().forward(pixels, {"features"}, false).layers[0].mean({2, 3}).contiguous();
}

bool same_bytes(double a, double b) { return std::memcmp(&a, &b, sizeof a) == 0; }

}  // namespace linex::conformance
