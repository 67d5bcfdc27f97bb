#include "toolkit/net/image_model.hpp"

#include "linex/error.hpp"
#include "toolkit/base/text.hpp"
#include "toolkit/net/builder.hpp"

namespace linex {
namespace {

class ImageModelTail final : public ModelTail {
 public:
  ImageModelTail(const Network& network, Network::Node layer, const torch::Tensor& images,
                 const ExecutionOptions& options)
      : tail_(network, layer, images, options) {}
  torch::Tensor activation() const override { return tail_.activation(); }
  torch::Tensor logits(const torch::Tensor& replaced) const override {
    return tail_.logits(replaced);
  }

 private:
  NetworkTail tail_;
};

}  // namespace

void check_images(const torch::Tensor& images) {
  if (images.dim() != 4 || images.size(1) != 3 || images.size(0) < 1)
    throw input_error("a model takes images (n, 3, H, W), got " + shape_text(images.sizes().vec()));
}

ImageModel::ImageModel(BuiltNetwork built, const RunSettings& run)
    : network_(std::move(built.network)),
      fingerprint_(std::move(built.fingerprint)),
      preprocess_(built.preprocess),
      side_(built.side) {
  execution_.device = torch::Device(run.device);
  execution_.threads = run.threads;
  network_.to(execution_.device);
}

std::vector<std::string> ImageModel::layers() const { return network_.layers(); }

ForwardResult ImageModel::forward(const torch::Tensor& images,
                                  const std::vector<std::string>& layers, bool logits) {
  check_images(images);
  std::vector<Network::Node> targets;
  for (const std::string& layer : layers) targets.push_back(network_.find(layer));
  if (logits) targets.push_back(network_.output());
  ForwardResult result;
  result.layers = network_.run(images, targets, execution_);
  if (logits) {
    result.logits = result.layers.back();
    result.layers.pop_back();
  }
  return result;
}

std::unique_ptr<ModelTail> ImageModel::split(const torch::Tensor& images,
                                             const std::string& layer) {
  check_images(images);
  return std::make_unique<ImageModelTail>(network_, network_.find(layer), images, execution_);
}

std::int64_t ImageModel::preferred_batch() const {
  const std::int64_t resized = preprocess_.crop ? preprocess_.crop : preprocess_.size;
  return linex::preferred_batch(resized ? resized : side_, execution_);
}

LinearHead ImageModel::linear_head(const std::string& layer) const {
  const LinearWeights head = network_.linear_head(network_.find(layer));
  if (!head.weight.defined()) return {};
  LinearHead result{head.weight.cpu(), {}};
  result.bias = head.bias.defined() ? head.bias.cpu() : torch::zeros({head.weight.size(0)});
  return result;
}

}  // namespace linex
