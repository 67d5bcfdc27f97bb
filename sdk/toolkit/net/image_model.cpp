#include "toolkit/net/image_model.hpp"

#include <algorithm>

#include "linex/error.hpp"
#include "toolkit/base/text.hpp"
#include "toolkit/net/builder.hpp"
#include "toolkit/net/image_options.hpp"

namespace linex {
namespace {

/// What `run` makes of the images. LibTorch's refusal of a map that is smaller than a kernel
/// becomes a line about them.
template <typename Run>
auto on_images(const torch::Tensor& images, const Run& run) {
  try {
    return run();
  } catch (const c10::Error& error) {
    const std::string what = error.what_without_backtrace();
    for (const char* small : {"Kernel size can't be greater", "Output size is too small",
                              "Padding size should be less"})
      if (what.find(small) != std::string::npos)
        throw input_error(
            "images of " + std::to_string(images.size(2)) + "x" + std::to_string(images.size(3)) +
            " pixels are too small for this network; see model.resize and model.crop");
    throw;
  }
}

class ImageModelTail final : public ModelTail {
 public:
  ImageModelTail(const Network& network, Network::Node layer, const torch::Tensor& images,
                 const ExecutionOptions& options, bool has_logits)
      : tail_(network, layer, images, options), has_logits_(has_logits) {}
  torch::Tensor activation() const override { return tail_.activation(); }
  torch::Tensor logits(const torch::Tensor& replaced) const override {
    if (!has_logits_)
      throw input_error(
          "the network has no logits: its checkpoint holds no head that is read; what needs them "
          "(ablation, accuracy) needs the whole network");
    return tail_.logits(replaced);
  }

 private:
  NetworkTail tail_;
  bool has_logits_;
};

}  // namespace

void check_images(const torch::Tensor& images) {
  if (images.dim() != 4 || images.size(1) != 3 || images.size(0) < 1)
    throw input_error("a model takes images (n, 3, H, W), got " + shape_text(images.sizes().vec()));
}

BuiltNetwork with_preprocess(BuiltNetwork built, const OptionValues& options) {
  built.preprocess = override_preprocess(built.preprocess, options);
  if (tells_preprocess(options)) built.guess.clear();
  return built;
}

void imagenet_preprocess(BuiltNetwork& built, std::int64_t resize, std::int64_t crop,
                         Preprocess::Interpolation interpolation) {
  Preprocess& preprocess = built.preprocess;
  preprocess.resize = Preprocess::Resize::short_side;
  preprocess.size = resize;
  preprocess.crop = crop;
  preprocess.interpolation = interpolation;
  preprocess.mean = kImageNetMean;
  preprocess.std = kImageNetStd;
}

ConfigFile timm_config(const std::filesystem::path& weights) {
  return ConfigFile::beside(weights, {"config.json"}).section("pretrained_cfg");
}

Preprocess timm_evaluation(const ConfigFile& pretrained_cfg, std::int64_t side) {
  Preprocess preprocess;
  double share = pretrained_cfg.number("crop_pct").value_or(0.875);
  if (share < 0.1 || share > 1) share = 0.875;
  const bool squash = pretrained_cfg.text("crop_mode") == "squash" && share == 1;
  preprocess.resize = squash ? Preprocess::Resize::squash : Preprocess::Resize::short_side;
  preprocess.size = static_cast<std::int64_t>(static_cast<double>(side) / share);
  preprocess.crop = squash ? 0 : side;
  preprocess.interpolation = pretrained_cfg.text("interpolation") == "bilinear"
                                 ? Preprocess::Interpolation::bilinear
                                 : Preprocess::Interpolation::bicubic;
  preprocess.mean = pretrained_cfg.triple("mean").value_or(kImageNetMean);
  preprocess.std = pretrained_cfg.triple("std").value_or(kImageNetStd);
  if (*std::min_element(preprocess.std.begin(), preprocess.std.end()) <= 0)
    preprocess.std = kImageNetStd;
  return preprocess;
}

void timm_preprocess(BuiltNetwork& built, const std::filesystem::path& weights,
                     const TimmPixels& usual) {
  if (const ConfigFile published = timm_config(weights)) {
    const auto size = published.counts("input_size");  // channels, height, width
    built.preprocess =
        timm_evaluation(published, size.size() == 3 && !usual.fixed ? size[1] : usual.crop);
    built.notes.push_back("pixels as " + published.source() + " has them");
    return;
  }
  imagenet_preprocess(built,
                      static_cast<std::int64_t>(static_cast<double>(usual.crop) / usual.share),
                      usual.crop, usual.interpolation);
  built.preprocess.mean = usual.mean;
  built.preprocess.std = usual.std;
  built.notes.push_back(
      "pixels as timm has them for most weights of this family; crop, resize and mean of others "
      "are in timm's pretrained_cfg (config.json, read where it lies beside the weights)");
}

void tell(const BuiltNetwork& built, const std::string& plugin, Logger& log) {
  std::string text = plugin + ": " + built.arch;
  if (built.has_logits) text += ", " + std::to_string(built.classes) + " classes";
  log.info(text + "; pixels: " + built.preprocess.describe());
  for (const std::string& note : built.notes) log.info(plugin + ": " + note);
  for (const std::string& warning : built.warnings) log.warning(plugin + ": " + warning);
  if (!built.guess.empty())
    log.warning(plugin + ": " + built.guess +
                " and the weights do not tell how; pixels are taken " +
                "as told above, give model.resize, model.crop, model.mean and model.std where that "
                "is wrong");
}

std::string no_logits_note(const StateDict& weights, const std::string& head,
                           const std::vector<std::string>& unused) {
  const auto unread = weights.unread.find(head + ".weight");
  std::string text = "no logits: the checkpoint ";
  text += unread == weights.unread.end() ? "has no " + head + ".weight"
                                         : "has " + head + ".weight " + unread->second;
  if (!unused.empty())
    text += ", and " + std::to_string(unused.size()) +
            (unused.size() > 1 ? " tensors of another head are" : " tensor of another head is") +
            " not used (" + unused.front() + (unused.size() > 1 ? ", ...)" : ")");
  return text + "; the layers before it work";
}

ImageModel::ImageModel(BuiltNetwork built, const RunSettings& run, Precision precision)
    : network_(std::move(built.network)),
      fingerprint_(std::move(built.fingerprint)),
      preprocess_(built.preprocess),
      side_(built.side),
      only_side_(built.only_side),
      has_logits_(built.has_logits) {
  execution_.device = torch::Device(run.device);
  execution_.threads = run.threads;
  if (precision.bf16) {
    execution_.type = torch::kBFloat16;
    fingerprint_ += " bf16";
  }
  network_.to({execution_.device, execution_.type});
}

ImageModel::ImageModel(BuiltNetwork built, const PluginContext& context, const std::string& plugin)
    : ImageModel((tell(built, plugin, context.log()), std::move(built)), context.run(),
                 Precision{wants_bf16(context)}) {}

void ImageModel::check_side(const torch::Tensor& images) const {
  if (only_side_ == 0 || (images.size(2) == only_side_ && images.size(3) == only_side_)) return;
  throw input_error("the network takes images of " + std::to_string(only_side_) + "x" +
                    std::to_string(only_side_) + " pixels, these have " +
                    std::to_string(images.size(2)) + "x" + std::to_string(images.size(3)) +
                    "; see model.resize and model.crop");
}

std::vector<std::string> ImageModel::layers() const { return network_.layers(); }

ForwardResult ImageModel::forward(const torch::Tensor& images,
                                  const std::vector<std::string>& layers, bool logits) {
  check_images(images);
  check_side(images);
  logits = logits && has_logits_;
  std::vector<Network::Node> targets;
  for (const std::string& layer : layers) targets.push_back(network_.find(layer));
  if (logits) targets.push_back(network_.output());
  ForwardResult result;
  result.layers = on_images(images, [&] { return network_.run(images, targets, execution_); });
  if (logits) {
    result.logits = result.layers.back();
    result.layers.pop_back();
  }
  return result;
}

std::unique_ptr<ModelTail> ImageModel::split(const torch::Tensor& images,
                                             const std::string& layer) {
  check_images(images);
  check_side(images);
  return on_images(images, [&] {
    return std::make_unique<ImageModelTail>(network_, network_.find(layer), images, execution_,
                                            has_logits_);
  });
}

std::int64_t ImageModel::preferred_batch() const {
  const std::int64_t resized = preprocess_.crop ? preprocess_.crop : preprocess_.size;
  return linex::preferred_batch(resized ? resized : side_, execution_);
}

LinearHead ImageModel::linear_head(const std::string& layer) const {
  if (!has_logits_) return {};
  const LinearWeights head = network_.linear_head(network_.find(layer));
  if (!head.weight.defined()) return {};
  const auto given = [](const torch::Tensor& tensor) {
    return tensor.to(torch::kCPU, torch::kFloat);
  };
  LinearHead result{given(head.weight), {}};
  result.bias = head.bias.defined() ? given(head.bias) : torch::zeros({head.weight.size(0)});
  return result;
}

}  // namespace linex
