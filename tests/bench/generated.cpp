#include "tests/bench/generated.hpp"

#include <ATen/ATen.h>
#include <ATen/CPUGeneratorImpl.h>

#include <numeric>
#include <random>

namespace linex::bench {

namespace {

constexpr std::int64_t kLatent = 48;
constexpr double kSteepness = 12;  // of the sigmoid, in standard deviations of the similarity

torch::Tensor gaussian(at::IntArrayRef shape, std::uint64_t seed) {
  return at::randn(shape, at::make_generator<at::CPUGeneratorImpl>(seed),
                   at::TensorOptions().dtype(at::kFloat));
}

/// Seeds of different streams must not meet.
std::uint64_t stream(std::uint64_t seed, std::uint64_t which, std::uint64_t row = 0) {
  std::uint64_t x = seed * 0x9E3779B97F4A7C15ULL + which * 0xBF58476D1CE4E5B9ULL + row;
  x = (x ^ (x >> 30)) * 0xBF58476D1CE4E5B9ULL;
  x = (x ^ (x >> 27)) * 0x94D049BB133111EBULL;
  return x ^ (x >> 31);
}

}  // namespace

Generated::Generated(const GeneratedOptions& options) : options_(options) {
  const std::int64_t concepts = options.concepts,
                     clusters = std::max<std::int64_t>(4, concepts / 8);
  std::mt19937_64 random(stream(options.seed, 1));
  const torch::Tensor centres = gaussian({kLatent, clusters}, stream(options.seed, 2));
  embedding_ = 0.9 * gaussian({kLatent, concepts}, stream(options.seed, 3));
  for (std::int64_t j = 0; j < concepts; ++j)
    embedding_.select(1, j) += centres.select(1, static_cast<std::int64_t>(random() % clusters));
  embedding_ = embedding_ / embedding_.norm(2, {0}, true);
  direction_ = gaussian({kLatent, options.units}, stream(options.seed, 4)) /
               std::sqrt(static_cast<double>(kLatent));

  // Thresholds so that between 0.3 % and 10 % of the images have a concept.
  std::uniform_real_distribution<double> uniform;
  std::vector<float> thresholds;
  for (std::int64_t j = 0; j < concepts; ++j)
    thresholds.push_back(static_cast<float>(1.3 + 1.45 * uniform(random)));
  threshold_ = torch::tensor(thresholds);

  std::vector<std::int64_t> favourites(static_cast<std::size_t>(concepts));
  std::iota(favourites.begin(), favourites.end(), std::int64_t{0});
  std::shuffle(favourites.begin(), favourites.end(), random);
  for (std::int64_t k = 0; k < options.units; ++k) {
    const std::int64_t count =
        1 + static_cast<std::int64_t>(random() % static_cast<std::uint64_t>(options.most_terms));
    std::vector<std::int64_t> terms;
    std::vector<float> weights;
    for (std::int64_t t = 0; t < count; ++t) {
      // Some concepts matter to many units.
      const double u = uniform(random);
      terms.push_back(favourites[static_cast<std::size_t>(u * u * static_cast<double>(concepts))]);
      const double size = 0.4 + 1.6 * uniform(random);
      weights.push_back(static_cast<float>(uniform(random) < 0.9 ? size : -size));
    }
    terms_.push_back(std::move(terms));
    weights_.push_back(std::move(weights));
  }
  // The size of each unit's planted signal, from a sample outside the problem's own rows.
  scale_.assign(static_cast<std::size_t>(options.units), 0.0F);
  const torch::Tensor sample = tile(-2048, 2048).activations.std(0);
  for (std::int64_t k = 0; k < options.units; ++k)
    scale_[static_cast<std::size_t>(k)] = sample[k].item<float>();
}

// cos = (latent/R)·(s e) − (1/2)(2 s θ/R) for text (s e, −2 s θ/R, …) and image (latent/R, 1/2, …);
// what is missing to length one goes into a coordinate that the other side has at zero.
constexpr double kRadius = 16;  // R: more than the length of any latent vector
constexpr double kShare = 0.9;  // s

double Generated::embeddings_a() { return kSteepness * kRadius / kShare; }

Generated::Embeddings Generated::embeddings(std::int64_t begin, std::int64_t n,
                                            std::int64_t width) const {
  const auto complete = [](torch::Tensor& rows, std::int64_t column) {
    rows.select(1, column) = (1 - rows.square().sum(1)).clamp_min(0).sqrt();
  };
  Embeddings result{torch::zeros({n, width}), torch::zeros({options_.concepts, width})};
  result.images.narrow(1, 0, kLatent) = latent(begin, n) / kRadius;
  result.images.select(1, kLatent) = 0.5;
  complete(result.images, kLatent + 1);
  result.texts.narrow(1, 0, kLatent) = kShare * embedding_.t();
  result.texts.select(1, kLatent) = -2 * kShare / kRadius * threshold_;
  complete(result.texts, kLatent + 2);
  return result;
}

torch::Tensor Generated::latent(std::int64_t begin, std::int64_t n) const {
  return gaussian({n, kLatent}, stream(options_.seed, 5, static_cast<std::uint64_t>(begin)));
}

torch::Tensor Generated::similarity(const torch::Tensor& latent) const {
  torch::Tensor presence = at::mm(latent, embedding_);
  return presence.sub_(threshold_).mul_(kSteepness).sigmoid_();
}

torch::Tensor Generated::labels(const torch::Tensor& latent) const {
  // One class in six concepts is a super-class of the five before it.
  const std::int64_t groups = std::max<std::int64_t>(1, options_.concepts / 6);
  const std::int64_t classes = options_.concepts - groups;
  const torch::Tensor best = at::mm(latent, embedding_.narrow(1, 0, classes)).argmax(1);
  torch::Tensor presence = torch::zeros({latent.size(0), options_.concepts});
  float* const out = presence.data_ptr<float>();
  const std::int64_t* const label = best.data_ptr<std::int64_t>();
  for (std::int64_t i = 0; i < latent.size(0); ++i) {
    out[i * options_.concepts + label[i]] = 1;
    out[i * options_.concepts + classes + std::min(groups - 1, label[i] / 5)] = 1;
  }
  return presence;
}

Generated::Tile Generated::tile(std::int64_t begin, std::int64_t n) const {
  const std::uint64_t row = static_cast<std::uint64_t>(begin);
  const torch::Tensor latent = this->latent(begin, n);
  Tile tile;
  tile.presence = options_.kind == PresenceKind::labels ? labels(latent) : similarity(latent);
  tile.activations = torch::zeros({n, options_.units});
  const float* const p = tile.presence.data_ptr<float>();
  float* const a = tile.activations.data_ptr<float>();
  const torch::Tensor hidden = at::mm(latent, direction_).relu_();
  const torch::Tensor noise = gaussian({n, options_.units}, stream(options_.seed, 6, row));
  const float* const h = hidden.data_ptr<float>();
  const float* const e = noise.data_ptr<float>();
  for (std::int64_t i = 0; i < n; ++i)
    for (std::int64_t k = 0; k < options_.units; ++k) {
      const std::size_t unit = static_cast<std::size_t>(k);
      float value = 0;
      for (std::size_t t = 0; t < terms_[unit].size(); ++t)
        value += weights_[unit][t] * p[i * options_.concepts + terms_[unit][t]];
      const float scale = scale_[unit];
      value += scale * static_cast<float>(1.7 * options_.hidden) * h[i * options_.units + k];
      value += scale * static_cast<float>(options_.noise) * e[i * options_.units + k];
      a[i * options_.units + k] = value;
    }
  return tile;
}

Split Generated::split() const {
  Rows rows(static_cast<std::size_t>(options_.rows));
  std::iota(rows.begin(), rows.end(), std::int64_t{0});
  std::mt19937_64 random(stream(options_.seed, 7));
  std::shuffle(rows.begin(), rows.end(), random);
  const auto train = rows.begin() + options_.rows * 7 / 10,
             val = rows.begin() + options_.rows * 8 / 10;
  std::sort(rows.begin(), train);
  std::sort(train, val);
  std::sort(val, rows.end());
  return {{rows.begin(), train}, {train, val}, {val, rows.end()}};
}

std::vector<std::string> Generated::names() const {
  std::vector<std::string> names;
  for (std::int64_t j = 0; j < options_.concepts; ++j) names.push_back("c" + std::to_string(j));
  return names;
}

}  // namespace linex::bench
