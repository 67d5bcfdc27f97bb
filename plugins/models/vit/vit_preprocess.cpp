#include "vit_preprocess.hpp"

#include <algorithm>
#include <cmath>

namespace linex {
namespace {

using Library = VitNames::Library;
using Resize = Preprocess::Resize;
using Interpolation = Preprocess::Interpolation;

void resize_short_side(Preprocess& preprocess, std::int64_t size, std::int64_t crop) {
  preprocess.resize = Resize::short_side;
  preprocess.size = size;
  preprocess.crop = crop;
}

void squash(Preprocess& preprocess, std::int64_t size) {
  preprocess.resize = Resize::squash;
  preprocess.size = size;
  preprocess.crop = 0;
}

void normalise(Preprocess& preprocess, const std::array<float, 3>& mean,
               const std::array<float, 3>& std) {
  preprocess.mean = mean;
  preprocess.std = std;
}

/// timm resizes to crop / crop_pct, rounded down, and crops.
std::int64_t before_crop(std::int64_t crop, double fraction) {
  return static_cast<std::int64_t>(std::floor(static_cast<double>(crop) / fraction));
}

void torchvision_presets(VitSpec& spec) {
  // 256 to 224, vit_l_16 242 to 224; larger SWAG weights (384, 518) resize bicubically to the very
  // side they crop.
  const std::int64_t before = spec.arch == "vit_l_16" ? 242 : 256;
  resize_short_side(spec.preprocess, spec.image == 224 ? before : spec.image, spec.image);
  if (spec.image <= 224) spec.preprocess.interpolation = Interpolation::bilinear;
}

/// timm's names without its configuration: as the published weights of that form have it.
void timm_presets(VitSpec& spec) {
  Preprocess& preprocess = spec.preprocess;
  const bool large = spec.image >= 384;
  resize_short_side(preprocess, large ? spec.image : before_crop(spec.image, 0.9), spec.image);
  if (spec.pool == VitSpec::Pool::learnt) {  // SigLIP
    squash(preprocess, spec.image);
    normalise(preprocess, kHalf, kHalf);
  } else if (spec.distilled) {
    normalise(preprocess, kImageNetMean, kImageNetStd);
  } else if (spec.patch == 14 && spec.trained_grid == 37) {  // DINOv2
    normalise(preprocess, kImageNetMean, kImageNetStd);
  } else if (spec.names.norm_before != nullptr) {
    resize_short_side(preprocess, spec.image, spec.image);
    normalise(preprocess, kClipMean, kClipStd);
    spec.guess = "timm's CLIP towers take CLIP's mean, those fine-tuned later may not,";
  } else if (spec.has_head) {
    normalise(preprocess, kHalf, kHalf);
    spec.guess =
        "the same names are those of timm's ViT (augreg: mean and std 0.5) and of DeiT (ImageNet's "
        "mean and std),";
  } else {  // DINO evaluates so
    if (!large)
      resize_short_side(preprocess, spec.image == 224 ? 256 : preprocess.size, spec.image);
    normalise(preprocess, kImageNetMean, kImageNetStd);
    spec.guess =
        "the same names are those of DINO (ImageNet's mean and std) and of timm's ViT without its "
        "head (0.5),";
  }
}

/// Hugging Face's preprocessor_config.json.
bool read_processor(VitSpec& spec, const ConfigFile& processor, bool asked) {
  if (!processor) return false;
  Preprocess& preprocess = spec.preprocess;
  const ConfigFile size = processor.section("size");
  const std::int64_t plain = processor.count("size", 0);
  const std::int64_t shortest = size.count("shortest_edge", 0);
  const std::int64_t height = size.count("height", plain);
  if (!processor.flag("do_resize").value_or(true)) {
    preprocess.resize = Resize::none;
    preprocess.size = 0;
  } else if (shortest > 0) {
    resize_short_side(preprocess, shortest, 0);
  } else if (height > 0) {
    squash(preprocess, height);
  } else {
    return false;
  }
  if (processor.flag("do_center_crop").value_or(false)) {
    const std::int64_t crop = processor.section("crop_size").count("height", 0);
    preprocess.crop = crop > 0 ? crop : processor.count("crop_size", 0);
  } else if (preprocess.resize == Resize::short_side) {
    preprocess.crop = spec.image;
  }
  if (asked && preprocess.crop > 0) {
    preprocess.crop = spec.image;
    preprocess.size = std::max(preprocess.size, spec.image);
  } else if (asked && preprocess.resize == Resize::squash) {
    preprocess.size = spec.image;
  }
  constexpr double kBilinear = 2;  // Pillow's numbers
  preprocess.interpolation = processor.number("resample").value_or(kBilinear) == kBilinear
                                 ? Interpolation::bilinear
                                 : Interpolation::bicubic;
  normalise(preprocess, processor.triple("image_mean").value_or(kHalf),
            processor.triple("image_std").value_or(kHalf));
  if (!processor.flag("do_normalize").value_or(true)) normalise(preprocess, {0, 0, 0}, {1, 1, 1});
  if (preprocess.resize == Resize::short_side && preprocess.crop > 0)
    spec.notes.push_back(
        "the centre crop is torchvision's; that of transformers lies one pixel before it where the "
        "margin is 3 more than a multiple of 4");
  return true;
}

/// Whether Hugging Face's names are DINOv2's.
bool is_dinov2(const VitSpec& spec) { return spec.names.scale1 != nullptr; }

/// DINOv2 is evaluated on 224 pixels, whatever its position embedding is for.
void dinov2_presets(VitSpec& spec, bool asked) {
  const std::int64_t side = asked ? spec.image : 224;
  resize_short_side(spec.preprocess, side == 224 ? 256 : side, side);
}

void hugging_face_presets(VitSpec& spec, bool asked) {
  Preprocess& preprocess = spec.preprocess;
  if (is_dinov2(spec)) {
    dinov2_presets(spec, asked);
    normalise(preprocess, kImageNetMean, kImageNetStd);
  } else if (spec.distilled) {
    squash(preprocess, spec.image == 224 ? 256 : spec.image);
    preprocess.crop = spec.image;
    normalise(preprocess, kImageNetMean, kImageNetStd);
  } else {
    squash(preprocess, spec.image);
    preprocess.interpolation = Interpolation::bilinear;
    normalise(preprocess, kHalf, kHalf);
  }
  spec.guess = "no preprocessor_config.json lies beside the weights,";
}

}  // namespace

void set_preprocess(VitSpec& spec, const ConfigFile& config, const ConfigFile& processor,
                    bool asked) {
  Preprocess& preprocess = spec.preprocess;
  preprocess.interpolation = Interpolation::bicubic;
  normalise(preprocess, kImageNetMean, kImageNetStd);
  switch (spec.names.library) {
    case Library::torchvision:
      torchvision_presets(spec);
      break;
    case Library::timm:
      if (const ConfigFile published = config.section("pretrained_cfg"))
        preprocess = timm_evaluation(published, spec.image);
      else
        timm_presets(spec);
      break;
    case Library::dinov2:
      dinov2_presets(spec, asked);
      break;
    case Library::hugging_face:
      if (!read_processor(spec, processor, asked)) hugging_face_presets(spec, asked);
      break;
    case Library::open_clip:
    case Library::hugging_face_clip: {
      const bool siglip = !spec.class_token;
      if (siglip)
        squash(preprocess, spec.image);
      else
        resize_short_side(preprocess, spec.image, spec.image);
      normalise(preprocess, siglip ? kHalf : kClipMean, siglip ? kHalf : kClipStd);
      const ConfigFile own = config.section("preprocess_cfg");
      preprocess.mean = own.triple("mean").value_or(preprocess.mean);
      preprocess.std = own.triple("std").value_or(preprocess.std);
      read_processor(spec, processor, asked);
      break;
    }
  }
}

}  // namespace linex
