// Any scripted or traced image network, any of its submodules, without exporting it again.
#include <linex/plugin.hpp>

#include "core/base/files.hpp"
#include "core/net/image_model.hpp"
#include "core/net/image_options.hpp"
#include "plugins/models/torchscript/script_network.hpp"

namespace {

class ScriptTail final : public linex::ModelTail {
 public:
  ScriptTail(const linex::ScriptNetwork& network, const std::string& layer,
             const torch::Tensor& images)
      : cut_(network, layer, images) {}
  torch::Tensor activation() const override { return cut_.activation(); }
  torch::Tensor logits(const torch::Tensor& replaced) const override {
    return cut_.logits(replaced);
  }

 private:
  linex::ScriptCut cut_;
};

/// What most ImageNet networks want; the file cannot say.
linex::Preprocess imagenet_preprocess() {
  linex::Preprocess preprocess;
  preprocess.resize = linex::Preprocess::Resize::short_side;
  preprocess.size = 256;
  preprocess.crop = 224;
  preprocess.mean = linex::kImageNetMean;
  preprocess.std = linex::kImageNetStd;
  return preprocess;
}

linex::ExecutionOptions execution_of(const linex::RunSettings& run) {
  linex::ExecutionOptions options;
  options.device = torch::Device(run.device);
  options.threads = run.threads;
  return options;
}

class TorchScript final : public linex::TargetModel {
 public:
  static constexpr auto kOptions = linex::with_image_options(std::array{linex::option::required(
      linex::option::text("weights", "", "file of torch.jit.save; it is a program: trust it"))});

  explicit TorchScript(const linex::PluginContext& context)
      : execution_(execution_of(context.run())),
        preprocess_(linex::override_preprocess(imagenet_preprocess(), context.options())),
        network_(context.options().text("weights"), execution_),
        fingerprint_(linex::sha256_of_file(context.options().text("weights"))) {}

  std::vector<std::string> layers() const override { return network_.layers(); }
  linex::Preprocess preprocess() const override { return preprocess_; }
  linex::ForwardResult forward(const torch::Tensor& images, const std::vector<std::string>& layers,
                               bool logits) override {
    linex::check_images(images);
    linex::ForwardResult result;
    result.layers = network_.run(images, layers, logits);
    if (logits) {
      result.logits = result.layers.back();
      result.layers.pop_back();
    }
    return result;
  }
  std::unique_ptr<linex::ModelTail> split(const torch::Tensor& images,
                                          const std::string& layer) override {
    linex::check_images(images);
    return std::make_unique<ScriptTail>(network_, layer, images);
  }
  std::string fingerprint() const override { return fingerprint_; }
  std::int64_t preferred_batch() const override {
    return linex::preferred_batch(preprocess_.crop ? preprocess_.crop : preprocess_.size,
                                  execution_);
  }

 private:
  linex::ExecutionOptions execution_;
  linex::Preprocess preprocess_;
  linex::ScriptNetwork network_;
  std::string fingerprint_;
};

}  // namespace

LINEX_MODEL_PLUGIN(TorchScript, "torchscript", "1.0.0",
                   "Any TorchScript module, any submodule by its path")
