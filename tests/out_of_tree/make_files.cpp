// Weights, pictures and matrices for the plugins beside it, the same on every machine.
#include <torch/types.h>

#include <filesystem>
#include <string>

#include "toolkit/base/files.hpp"
#include "toolkit/base/npy.hpp"
#include "toolkit/base/random.hpp"
#include "toolkit/checkpoint/checkpoint_writer.hpp"

namespace fs = std::filesystem;
using linex::CheckpointNode;

namespace {

torch::Tensor normal(linex::Random& random, std::vector<std::int64_t> shape, double scale) {
  const torch::Tensor values = torch::empty(shape);
  for (std::int64_t i = 0; i < values.numel(); ++i)
    values.data_ptr<float>()[i] = static_cast<float>(scale * random.normal());
  return values;
}

/// Two stages of two blocks and one, under the names of torchvision.
void write_convnext(const fs::path& file) {
  linex::Random random(1);
  CheckpointNode::Dict weights;
  const auto add = [&](const std::string& name, const std::vector<std::int64_t>& shape,
                       double scale) { weights.emplace_back(name, normal(random, shape, scale)); };
  const auto add_norm = [&](const std::string& name, std::int64_t width) {
    weights.emplace_back(name + ".weight", torch::ones({width}));
    add(name + ".bias", {width}, 0.1);
  };
  const auto add_block = [&](const std::string& name, std::int64_t width) {
    add(name + ".layer_scale", {width, 1, 1}, 1);
    add(name + ".block.0.weight", {width, 1, 7, 7}, 0.15);
    add(name + ".block.0.bias", {width}, 0.1);
    add_norm(name + ".block.2", width);
    add(name + ".block.3.weight", {4 * width, width}, 0.35);
    add(name + ".block.3.bias", {4 * width}, 0.1);
    add(name + ".block.5.weight", {width, 4 * width}, 0.2);
    add(name + ".block.5.bias", {width}, 0.1);
  };
  add("features.0.0.weight", {8, 3, 4, 4}, 0.15);
  add("features.0.0.bias", {8}, 0.1);
  add_norm("features.0.1", 8);
  add_block("features.1.0", 8);
  add_block("features.1.1", 8);
  add_norm("features.2.0", 8);
  add("features.2.1.weight", {16, 8, 2, 2}, 0.2);
  add("features.2.1.bias", {16}, 0.1);
  add_block("features.3.0", 16);
  add_norm("classifier.0", 16);
  add("classifier.2.weight", {4, 16}, 0.3);
  add("classifier.2.bias", {4}, 0.1);
  linex::save_checkpoint(file,
                         CheckpointNode(CheckpointNode::Dict{{"model", CheckpointNode(weights)}}));
}

/// Words that mean a colour, and some that mean nothing.
void write_word_colour(const fs::path& folder) {
  linex::Random random(2);
  linex::write_file_atomic(folder / "words.txt", "?\nred\ngreen\nblue\nyellow\na\nphoto\nof\n");
  linex::write_file_atomic(folder / "concepts.txt", "red\ngreen\nblue\na photo of yellow\nzebra\n");
  torch::Tensor table = normal(random, {8, 4}, 0.05);
  for (int c = 0; c < 3; ++c) table[1 + c][c] = 1;
  table[4][0] = table[4][1] = 1;
  torch::Tensor patches = normal(random, {4, 3, 8, 8}, 1e-3);
  for (int c = 0; c < 3; ++c) patches[c][c] += 1.0 / 64;
  const CheckpointNode::Dict weights{{"text.words.weight", table},
                                     {"image.patches.weight", patches}};
  linex::save_checkpoint(folder / "word_colour.pt", CheckpointNode(weights));
}

/// Pictures of one colour each, under grain, in four classes; how red and how blue they are.
void write_pictures(const fs::path& folder) {
  constexpr std::int64_t kClasses = 4, kPerClass = 40, kSide = 32;
  linex::Random random(3);
  const torch::Tensor activations = torch::empty({kClasses * kPerClass, 2});
  for (std::int64_t i = 0; i < kClasses * kPerClass; ++i) {
    double colour[3];
    for (double& channel : colour) channel = 40 + 170 * random.uniform();
    activations[i][0] = colour[0] / 255;
    activations[i][1] = colour[2] / 255;
    std::string picture = "P6\n32 32\n255\n";
    for (std::int64_t p = 0; p < kSide * kSide * 3; ++p)
      picture +=
          static_cast<char>(static_cast<unsigned char>(colour[p % 3] + 40 * random.uniform()));
    const fs::path place = folder / "pictures" / ("class" + std::to_string(i / kPerClass));
    fs::create_directories(place);
    linex::write_file_atomic(place / (std::to_string(100 + i) + ".ppm"), picture);
  }
  linex::write_npy(folder / "colours.npy", activations);
}

/// Two concepts; unit 0 is the first, unit 1 the second, unit 2 both.
void write_matrices(const fs::path& folder) {
  const torch::Tensor concepts = torch::empty({40, 2}), activations = torch::empty({40, 3});
  for (std::int64_t row = 0; row < 40; ++row) {
    const auto stripes = static_cast<float>(row % 2), dots = static_cast<float>(row / 2 % 2);
    concepts[row][0] = stripes;
    concepts[row][1] = dots;
    activations[row][0] = 3 * stripes;
    activations[row][1] = 2 * dots;
    activations[row][2] = stripes + dots;
  }
  linex::write_npy(folder / "p.npy", concepts);
  linex::write_npy(folder / "a.npy", activations);
  linex::write_file_atomic(folder / "names.txt", "stripes\ndots\n");
}

}  // namespace

int main(int, char** arguments) {
  const fs::path folder = arguments[1];
  fs::create_directories(folder);
  write_convnext(folder / "convnext.pt");
  write_word_colour(folder);
  write_pictures(folder);
  write_matrices(folder);
}
