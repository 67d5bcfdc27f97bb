#include "toolkit/concepts/sigmoid.hpp"

namespace linex {
namespace {

struct Published {
  VisionTextConfig::Family family;
  std::int64_t width, patch, image_size;
  Sigmoid sigmoid;
  const char* model;
};

using Family = VisionTextConfig::Family;
// The first of a family stands for the sizes nothing was published for.
constexpr Published kPublished[] = {
    {Family::siglip, 1024, 16, 384, {60, -0.09}, "SigLIP ViT-L/16-384"},
    {Family::siglip, 1152, 14, 384, {58, -0.13}, "SigLIP ViT-SO400M/14-384"},
    {Family::clip, 1024, 14, 336, {58, -0.25}, "CLIP ViT-L/14-336"},
};

}  // namespace

KnownSigmoid published_sigmoid(const VisionTextConfig& model) {
  // SigLIP 2 and the multilingual SigLIPs have towers of the same sizes.
  constexpr std::int64_t kEnglish = 32000;
  const bool other = model.family == Family::siglip && model.vocabulary > kEnglish;
  const Published* nearest = nullptr;
  for (const Published& known : kPublished) {
    if (known.family != model.family) continue;
    if (!other && !model.resnet && known.width == model.vision.width &&
        known.patch == model.patch && known.image_size == model.image_size)
      return {known.sigmoid, known.model, true};
    if (!nearest) nearest = &known;
  }
  return {nearest->sigmoid, nearest->model, false};
}

}  // namespace linex
