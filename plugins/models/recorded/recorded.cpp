// Activations somebody else recorded: any framework's matrix as a target model without images.
#include <linex/plugin.hpp>

#include "toolkit/checkpoint/arrays.hpp"

namespace {

using linex::input_error;

/// Float32 of finite values: (N, K), or maps (N, K, H, W) and tokens (N, T, K) that the host pools.
torch::Tensor read_activations(const std::string& place) {
  torch::Tensor array = linex::read_array(place);
  if (array.dim() == 1) array = array.unsqueeze(1);
  if (array.dim() < 2 || array.dim() > 4 || array.numel() == 0)
    throw input_error(place +
                      ": activations are a matrix (images, units), maps (images, units, height, "
                      "width) or tokens (images, tokens, units); this array has " +
                      std::to_string(array.dim()) + " dimensions and " +
                      std::to_string(array.numel()) + " values");
  return linex::finite_float32(array, place);
}

class Recorded final : public linex::TargetModel {
 public:
  static constexpr std::array kOptions{linex::option::required(
      linex::option::path("activations", "",
                          "recorded activations, images x units (or a layer's maps, which "
                          "model.pool pools): .npy, .npz, .pt, .safetensors, or FILE:NAME"))};

  explicit Recorded(const linex::PluginContext& context)
      : path_(context.options().path("activations")), activations_(read_activations(path_)) {}

  std::vector<std::string> layers() const override { return {}; }
  linex::Preprocess preprocess() const override { return {}; }
  linex::ForwardResult forward(const torch::Tensor&, const std::vector<std::string>&,
                               bool) override {
    throw no_network();
  }
  std::unique_ptr<linex::ModelTail> split(const torch::Tensor&, const std::string&) override {
    throw no_network();
  }
  std::string fingerprint() const override { return linex::fingerprint_of_array(path_); }
  torch::Tensor recorded() const override { return activations_; }

 private:
  linex::Error no_network() const {
    return input_error(path_ +
                       ": recorded activations have no network to run; choose another "
                       "model.plugin for what needs one");
  }

  std::string path_;
  torch::Tensor activations_;
};

}  // namespace

LINEX_MODEL_PLUGIN(Recorded, "recorded", "1.0.0",
                   "Recorded activations (.npy, .npz, .pt, .safetensors), from any framework")
