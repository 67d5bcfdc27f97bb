// Replaces one unit of some layers and writes the logits: what compare_torchvision.py compares.
//
//   replace_units PLUGIN WEIGHTS IMAGES.npy UNIT VALUE OUT LAYER...
//
// IMAGES are float32 (n, 3, h, w), as the network takes them. For each layer, OUT/LAYER.npy are the
// logits with all of the unit's values replaced by VALUE. Ends with 1 where the layer's own output,
// put back, does not give the plain logits bit for bit.
#include <cstdio>
#include <cstdlib>
#include <filesystem>

#include "tests/test_models.hpp"
#include "toolkit/base/npy.hpp"

namespace {

int run(char** arguments, int layers) {
  linex::test::TestModel model(arguments[0], linex::test::options({{"weights", arguments[1]}}));
  const torch::Tensor images = linex::map_npy(arguments[2]);
  const std::int64_t unit = std::atoll(arguments[3]);
  const float value = std::strtof(arguments[4], nullptr);
  const std::filesystem::path out = arguments[5];
  const torch::Tensor plain = model->forward(images, {}, true).logits;
  int different = 0;
  for (int i = 0; i < layers; ++i) {
    const std::string layer = arguments[6 + i];
    const auto tail = model->split(images, layer);
    const torch::Tensor kept = tail->activation();
    if (!torch::equal(tail->logits(kept), plain)) {
      std::printf("%s: replaced by itself, other logits\n", layer.c_str());
      ++different;
    }
    torch::Tensor replaced = kept.clone();
    replaced.select(replaced.dim() == 4 ? 1 : -1, unit).fill_(value);
    linex::write_npy(out / (layer + ".npy"), tail->logits(replaced));
  }
  return different ? 1 : 0;
}

}  // namespace

int main(int count, char** arguments) {
  if (count < 8) {
    std::fputs("replace_units PLUGIN WEIGHTS IMAGES.npy UNIT VALUE OUT LAYER...\n", stderr);
    return 2;
  }
  try {
    return run(arguments + 1, count - 7);
  } catch (const std::exception& failure) {
    std::fprintf(stderr, "%s\n", failure.what());
    return 3;
  }
}
