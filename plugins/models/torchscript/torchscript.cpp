// Any module saved by torch.jit.save, scripted or traced.
#include <linex/plugin.hpp>
#include <linex/precision.hpp>

#include "script_network.hpp"
#include "toolkit/net/image_model.hpp"
#include "toolkit/net/image_options.hpp"

namespace {

/// TorchScript does not say what pixels it was trained on.
linex::Preprocess preset(const std::string& name) {
  linex::Preprocess preprocess;
  if (name == "none") return preprocess;
  preprocess.resize = linex::Preprocess::Resize::short_side;
  if (name == "imagenet") {
    preprocess.size = 256;
    preprocess.crop = 224;
    preprocess.mean = linex::kImageNetMean;
    preprocess.std = linex::kImageNetStd;
    return preprocess;
  }
  preprocess.size = 32;
  preprocess.mean = name == "cifar10" ? linex::kCifar10Mean : linex::kCifar100Mean;
  preprocess.std = name == "cifar10" ? linex::kCifar10Std : linex::kCifar100Std;
  return preprocess;
}

linex::ExecutionOptions execution_of(const linex::RunSettings& run) {
  linex::ExecutionOptions options;
  options.device = torch::Device(run.device);
  options.threads = run.threads;
  return options;
}

linex::ScriptOptions script_options(const linex::PluginContext& context,
                                    const linex::ExecutionOptions& execution) {
  auto& log = context.log();
  return {execution, context.options().text("layout"),
          [&log](const std::string& text) { log.info("torchscript: " + text); },
          [&log](const std::string& text) { log.warning("torchscript: " + text); }};
}

class TorchScript final : public linex::TargetModel {
 public:
  static constexpr auto kOptions = linex::with_image_options(std::array{
      linex::option::required(
          linex::option::path("weights", "", "module saved by torch.jit.save, code and weights")),
      linex::option::choice("layout", "auto", "auto|nchw|nhwc|ntd|nd",
                            "order of the axes of layers' outputs of that rank; auto = from the "
                            "operators around a layer, told in the log"),
      linex::option::choice("preset", "imagenet", "imagenet|cifar10|cifar100|none",
                            "preprocessing that the options below change; none = only /255")});

  explicit TorchScript(const linex::PluginContext& context)
      : preprocess_(linex::override_preprocess(preset(context.options().text("preset")),
                                               context.options())),
        execution_(execution_of(context.run())),
        network_(context.options().path("weights"), script_options(context, execution_)) {
    if (network_.converted())
      context.log().info("torchscript: weights in half precision run in float32");
    if (linex::wants_bf16(context))
      context.log().warning(
          "torchscript: run.precision=bf16 is for networks that linex builds itself; this one "
          "runs in float32");
    context.log().info("torchscript: " + std::to_string(network_.layers().size()) +
                       " layers; pixels: " + preprocess_.describe());
  }

  std::vector<std::string> layers() const override { return network_.layers(); }
  linex::Preprocess preprocess() const override { return preprocess_; }
  linex::ForwardResult forward(const torch::Tensor& images, const std::vector<std::string>& layers,
                               bool logits) override {
    return network_.forward(images, layers, logits);
  }
  std::unique_ptr<linex::ModelTail> split(const torch::Tensor& images,
                                          const std::string& layer) override {
    return network_.split(images, layer);
  }
  std::string fingerprint() const override { return network_.fingerprint(); }
  std::int64_t preferred_batch() const override {
    return linex::preferred_batch(preprocess_.crop ? preprocess_.crop : preprocess_.size,
                                  execution_);
  }

 private:
  linex::Preprocess preprocess_;
  linex::ExecutionOptions execution_;
  linex::ScriptNetwork network_;
};

}  // namespace

LINEX_MODEL_PLUGIN(TorchScript, "torchscript", "1.1.0",
                   "Any network saved by torch.jit.save, scripted or traced")
