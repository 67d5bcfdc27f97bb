// Activations somebody else recorded: any framework's matrix as a target model without images.
#include <linex/plugin.hpp>

#include "toolkit/base/files.hpp"
#include "toolkit/base/npy.hpp"

namespace {

using linex::input_error;

/// (N, K) float32 of finite values.
torch::Tensor read_activations(const std::string& path) {
  torch::Tensor matrix = linex::map_npy(path);
  if (matrix.dim() != 2 || matrix.size(0) < 1 || matrix.size(1) < 1)
    throw input_error(path + ": activations are a matrix (images, units); this array has " +
                      std::to_string(matrix.dim()) + " dimensions and " +
                      std::to_string(matrix.numel()) + " values");
  if (!matrix.is_floating_point())
    throw input_error(path + ": activations are floating-point numbers; save them as float32");
  matrix = matrix.to(torch::kFloat);
  for (std::int64_t row = 0; row < matrix.size(0); ++row) {
    constexpr std::int64_t kRowsAtOnce = 1024;
    if (row % kRowsAtOnce == 0 && row > 0)
      linex::release_rows(matrix, row - kRowsAtOnce, kRowsAtOnce);
    const torch::Tensor values = matrix[row];
    // A sum is finite unless a value is not, or all but overflows: look closer only then.
    if (std::isfinite(values.sum().item<float>())) continue;
    const torch::Tensor bad = at::isfinite(values).logical_not().nonzero();
    if (bad.size(0) == 0) continue;
    throw input_error(path + ": row " + std::to_string(row) + ", column " +
                      std::to_string(bad[0][0].item<std::int64_t>()) +
                      " is NaN or infinite; record it again or remove that image");
  }
  return matrix;
}

class Recorded final : public linex::TargetModel {
 public:
  static constexpr std::array kOptions{linex::option::required(
      linex::option::path("activations", "", ".npy matrix of pooled activations, images x units"))};

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
  std::string fingerprint() const override { return linex::sha256_of_file(path_); }
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
                   "A recorded matrix of activations (.npy), from any framework")
