// Writes every layer of a network for given images: what compare_convs.py compares.
//
//   tap_layers PLUGIN WEIGHTS IMAGES.npy OUT [OPTION=VALUE]...
//
// IMAGES are float32 (n, 3, h, w), as the network takes them. OUT/layers.txt names the layers, one
// a line; OUT/I.npy is the output of line I (from 0), OUT/logits.npy the logits.
#include <algorithm>
#include <cstdio>
#include <filesystem>
#include <fstream>

#include "tests/test_models.hpp"
#include "toolkit/base/npy.hpp"

namespace {

/// A whole number is one, anything else is text.
void set_option(linex::OptionValues& options, const std::string& word) {
  const std::string key = word.substr(0, word.find('=')), value = word.substr(key.size() + 1);
  const bool number = !value.empty() && std::all_of(value.begin(), value.end(), ::isdigit);
  if (number)
    options.set(key, std::int64_t{std::atoll(value.c_str())});
  else
    options.set(key, value);
}

void run(char** arguments, int options) {
  linex::OptionValues given = linex::test::options({{"weights", arguments[1]}});
  for (int i = 0; i < options; ++i) set_option(given, arguments[4 + i]);
  linex::test::TestModel model(arguments[0], given);
  const std::filesystem::path out = arguments[3];
  const auto layers = model->layers();
  const auto result = model->forward(linex::map_npy(arguments[2]), layers, true);
  std::ofstream names(out / "layers.txt");
  for (std::size_t i = 0; i < layers.size(); ++i) {
    names << layers[i] << '\n';
    linex::write_npy(out / (std::to_string(i) + ".npy"), result.layers[i].contiguous());
  }
  if (result.logits.defined()) linex::write_npy(out / "logits.npy", result.logits.contiguous());
}

}  // namespace

int main(int count, char** arguments) {
  if (count < 5) {
    std::fputs("tap_layers PLUGIN WEIGHTS IMAGES.npy OUT [OPTION=VALUE]...\n", stderr);
    return 2;
  }
  try {
    run(arguments + 1, count - 5);
    return 0;
  } catch (const std::exception& failure) {
    std::fprintf(stderr, "%s\n", failure.what());
    return 3;
  }
}
