#include "toolkit/units/basis_model.hpp"

#include <algorithm>

#include "linex/error.hpp"
#include "toolkit/base/files.hpp"
#include "toolkit/base/text.hpp"
#include "toolkit/data/pooling.hpp"

namespace linex::units {
namespace {

/// Values that a step of pooling may hold (64 MiB).
constexpr std::int64_t kValuesAtOnce = std::int64_t{1} << 24;

/// The rest of the network after a layer of a basis.
class BasisTail final : public ModelTail {
 public:
  BasisTail(std::unique_ptr<ModelTail> base, const Basis& basis, int threads)
      : base_(std::move(base)), basis_(basis), threads_(threads), raw_(base_->activation()) {
    positions_ = positions_of(raw_.to(torch::kCPU, torch::kFloat32));
    units_ = encode(basis_, positions_, threads_);
  }

  torch::Tensor activation() const override { return output_of(units_, raw_); }

  torch::Tensor logits(const torch::Tensor& replaced) const override {
    const torch::NoGradGuard no_gradients;
    const std::int64_t n = raw_.size(0);
    if (replaced.dim() != raw_.dim() || replaced.size(0) % n != 0)
      throw std::invalid_argument("a replaced output must be whole variants of the batch");
    std::vector<torch::Tensor> variants;
    for (std::int64_t first = 0; first < replaced.size(0); first += n) {
      const auto wanted = positions_of(replaced.narrow(0, first, n).to(torch::kCPU));
      const auto added = decode_change(basis_, wanted - units_, positions_, threads_);
      variants.push_back(raw_ + output_of(added, raw_).to(raw_.device()));
    }
    return base_->logits(variants.size() == 1 ? variants.front() : torch::cat(variants));
  }

 private:
  std::unique_ptr<ModelTail> base_;
  const Basis& basis_;
  int threads_;
  torch::Tensor raw_, positions_, units_;
};

}  // namespace

std::string with_stem(const std::string& layer, const std::string& stem) {
  return layer + "@" + stem;
}

torch::Tensor pooled_units(const Basis& basis, const torch::Tensor& output, Pool pool,
                           const std::string& layer, int threads) {
  const torch::Tensor values = output.to(torch::kCPU, torch::kFloat32);
  if (values.dim() == 3 && pool == Pool::first)
    return encode(basis, values.select(1, 0).contiguous(), threads);
  const std::int64_t places = values[0].numel() / basis.width();
  const std::int64_t step =
      std::max<std::int64_t>(1, kValuesAtOnce / std::max<std::int64_t>(places * basis.units(), 1));
  std::vector<torch::Tensor> pooled;
  for (std::int64_t first = 0; first < values.size(0); first += step) {
    const auto some = values.narrow(0, first, std::min(step, values.size(0) - first));
    const auto units = encode(basis, positions_of(some), threads);
    pooled.push_back(pool_output(output_of(units, some), pool, layer));
  }
  return pooled.size() == 1 ? pooled.front() : torch::cat(pooled);
}

BasisModel::BasisModel(std::shared_ptr<TargetModel> base, std::string stem, std::string fingerprint,
                       BasisOf basis_of, int threads)
    : base_(std::move(base)),
      stem_(std::move(stem)),
      fingerprint_(std::move(fingerprint)),
      basis_of_(std::move(basis_of)),
      threads_(threads) {}

std::vector<std::string> BasisModel::layers() const {
  auto names = base_->layers();
  for (auto& name : names) name = with_stem(name, stem_);
  return names;
}

std::string BasisModel::fingerprint() const {
  return Sha256().add("basis").add(base_->fingerprint()).add(fingerprint_).hex();
}

const void* BasisModel::ability(const char* name) const { return offer<WideLayers>(name, this); }

std::string BasisModel::base_layer(const std::string& layer) const {
  const std::string end = "@" + stem_;
  if (layer.size() > end.size() && layer.compare(layer.size() - end.size(), end.size(), end) == 0)
    return layer.substr(0, layer.size() - end.size());
  throw input_error("the network has no layer '" + printable(layer) +
                    "'; with this basis its layers end in " + end);
}

ForwardResult BasisModel::forward_base(const torch::Tensor& images,
                                       const std::vector<std::string>& layers, bool logits) const {
  std::vector<std::string> names;
  for (const auto& layer : layers) names.push_back(base_layer(layer));
  ForwardResult result = base_->forward(images, names, logits);
  for (std::size_t i = 0; i < names.size(); ++i)
    check_width(basis_of_(names[i]), result.layers[i], names[i]);
  return result;
}

ForwardResult BasisModel::forward(const torch::Tensor& images,
                                  const std::vector<std::string>& layers, bool logits) {
  ForwardResult result = forward_base(images, layers, logits);
  for (std::size_t i = 0; i < layers.size(); ++i) {
    const torch::Tensor& raw = result.layers[i];
    result.layers[i] =
        output_of(encode(basis_of_(base_layer(layers[i])), positions_of(raw), threads_), raw);
  }
  return result;
}

ForwardResult BasisModel::forward_pooled(const torch::Tensor& images,
                                         const std::vector<std::string>& layers, bool logits,
                                         Pool pool) const {
  ForwardResult result = forward_base(images, layers, logits);
  for (std::size_t i = 0; i < layers.size(); ++i)
    result.layers[i] =
        pooled_units(basis_of_(base_layer(layers[i])), result.layers[i], pool, layers[i], threads_);
  return result;
}

torch::Tensor BasisModel::forward_units(const torch::Tensor& images, const std::string& layer,
                                        const std::vector<std::int64_t>& units) const {
  const torch::Tensor raw = forward_base(images, {layer}, false).layers.front();
  return output_of(encode_some(basis_of_(base_layer(layer)), positions_of(raw), units, threads_),
                   raw);
}

std::unique_ptr<ModelTail> BasisModel::split(const torch::Tensor& images,
                                             const std::string& layer) {
  const std::string name = base_layer(layer);
  auto tail = base_->split(images, name);
  const Basis& basis = basis_of_(name);
  check_width(basis, tail->activation(), name);
  return std::make_unique<BasisTail>(std::move(tail), basis, threads_);
}

}  // namespace linex::units
