// A native network as a target model.
#pragma once

#include <array>
#include <filesystem>
#include <memory>
#include <string>
#include <vector>

#include "linex/context.hpp"
#include "linex/model.hpp"
#include "linex/precision.hpp"
#include "toolkit/checkpoint/config_file.hpp"
#include "toolkit/checkpoint/weights.hpp"
#include "toolkit/net/network.hpp"

namespace linex {

/// What an architecture plugin makes of a checkpoint.
struct BuiltNetwork {
  Network network;
  std::string arch;            ///< what was built or inferred, e.g. "resnet50"
  std::string fingerprint;     ///< NetworkBuilder::fingerprint()
  Preprocess preprocess;       ///< as the published weights of that architecture want it
  std::int64_t side = 0;       ///< of images that preprocess takes as they are; 0: any
  std::int64_t only_side = 0;  ///< images of another side are refused; 0: any
  std::int64_t classes = 0;
  bool has_logits = true;  ///< false: the checkpoint has no head; the output is the last layer
  std::vector<std::string> notes;     ///< what was chosen or left out, one line each
  std::vector<std::string> warnings;  ///< what does not work, one line each
  /// What weights of that architecture may have been trained with, where `preprocess` is a guess.
  std::string guess;
};

/// `built` with the preprocessing that `options` say otherwise (image_options.hpp).
BuiltNetwork with_preprocess(BuiltNetwork built, const OptionValues& options);

/// Sets ImageNet's normalisation and the usual evaluation: the shorter side to `resize`, then the
/// centre of `crop`.
void imagenet_preprocess(
    BuiltNetwork& built, std::int64_t resize, std::int64_t crop = 224,
    Preprocess::Interpolation interpolation = Preprocess::Interpolation::bilinear);
/// timm's evaluation of one network: the shorter side to floor(crop / share), then the centre.
struct TimmPixels {
  std::int64_t crop = 224;
  double share = 0.875;
  Preprocess::Interpolation interpolation = Preprocess::Interpolation::bicubic;
  std::array<float, 3> mean = {0.485f, 0.456f, 0.406f}, std = {0.229f, 0.224f, 0.225f};
  bool fixed = false;  ///< the network takes images of `crop` alone
};
/// timm's configuration (`pretrained_cfg`) in the config.json beside `weights`, or nothing.
ConfigFile timm_config(const std::filesystem::path& weights);
/// Images of `side` pixels as timm's configuration has them evaluated.
Preprocess timm_evaluation(const ConfigFile& pretrained_cfg, std::int64_t side);
/// Sets timm's evaluation: that of the configuration beside `weights`; without one the `usual` one,
/// and the note that timm's weights of one architecture differ in it.
void timm_preprocess(BuiltNetwork& built, const std::filesystem::path& weights,
                     const TimmPixels& usual);

/// Tells architecture, preprocessing and notes of a network that `plugin` has built.
void tell(const BuiltNetwork& built, const std::string& plugin, Logger& log);
/// The note on weights without a head for `head` ("fc"): why, and which tensors are set aside.
std::string no_logits_note(const StateDict& weights, const std::string& head,
                           const std::vector<std::string>& unused);

/// TargetModel over a Network; without a head, logits stay undefined and replaced layers have none.
/// Runs on RunSettings::device with RunSettings::threads; results are on the CPU.
class ImageModel : public TargetModel {
 public:
  ImageModel(BuiltNetwork built, const RunSettings& run, Precision precision = {});
  /// Tells the log what was built, as `plugin`.
  ImageModel(BuiltNetwork built, const PluginContext& context, const std::string& plugin);

  std::vector<std::string> layers() const override;
  Preprocess preprocess() const override { return preprocess_; }
  ForwardResult forward(const torch::Tensor& images, const std::vector<std::string>& layers,
                        bool logits) override;
  std::unique_ptr<ModelTail> split(const torch::Tensor& images, const std::string& layer) override;
  std::string fingerprint() const override { return fingerprint_; }
  std::int64_t preferred_batch() const override;
  LinearHead linear_head(const std::string& layer) const override;

 private:
  void check_side(const torch::Tensor& images) const;

  Network network_;
  std::string fingerprint_;
  Preprocess preprocess_;
  std::int64_t side_, only_side_;
  bool has_logits_;
  ExecutionOptions execution_;
};

/// Throws Error(input) unless images are (n >= 1, 3, H, W) floating point.
void check_images(const torch::Tensor& images);

/// Normalisation of ImageNet weights (docs/methods.md §1.1).
inline constexpr std::array<float, 3> kImageNetMean{0.485f, 0.456f, 0.406f};
inline constexpr std::array<float, 3> kImageNetStd{0.229f, 0.224f, 0.225f};
/// Of CLIP (Radford et al. 2021); and of SigLIP and the ViTs that map pixels to [-1, 1].
inline constexpr std::array<float, 3> kClipMean{0.48145466f, 0.4578275f, 0.40821073f};
inline constexpr std::array<float, 3> kClipStd{0.26862954f, 0.26130258f, 0.27577711f};
inline constexpr std::array<float, 3> kHalf{0.5f, 0.5f, 0.5f};
/// Of chenyaofo's CIFAR weights (docs/methods.md §1.1 for 100 classes; the author's for 10).
inline constexpr std::array<float, 3> kCifar100Mean{0.5070f, 0.4865f, 0.4409f};
inline constexpr std::array<float, 3> kCifar100Std{0.2673f, 0.2564f, 0.2761f};
inline constexpr std::array<float, 3> kCifar10Mean{0.4914f, 0.4822f, 0.4465f};
inline constexpr std::array<float, 3> kCifar10Std{0.2023f, 0.1994f, 0.2010f};

}  // namespace linex
