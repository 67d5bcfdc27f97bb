// Writes a generated problem as recorded matrices, tile by tile.
// usage: generate_problem FOLDER ROWS CONCEPTS UNITS [SEED]
#include <cstdio>
#include <cstdlib>
#include <string>

#include "core/base/files.hpp"
#include "core/base/npy.hpp"
#include "linex/error.hpp"
#include "tests/bench/generated.hpp"

int main(int argc, char** argv) {
  if (argc < 5) {
    std::fprintf(stderr, "usage: generate_problem FOLDER ROWS CONCEPTS UNITS [SEED]\n");
    return 2;
  }
  try {
    const std::filesystem::path folder = argv[1];
    linex::bench::GeneratedOptions options;
    options.rows = std::atoll(argv[2]);
    options.concepts = std::atoll(argv[3]);
    options.units = std::atoll(argv[4]);
    options.seed = argc > 5 ? std::strtoull(argv[5], nullptr, 10) : 1;
    std::filesystem::create_directories(folder);
    const linex::bench::Generated problem(options);
    linex::NpyWriter presence(folder / "concepts.npy", {options.rows, options.concepts});
    linex::NpyWriter activations(folder / "activations.npy", {options.rows, options.units});
    constexpr std::int64_t kTileRows = 2000;
    for (std::int64_t begin = 0; begin < options.rows; begin += kTileRows) {
      const auto tile = problem.tile(begin, std::min(kTileRows, options.rows - begin));
      presence.append(tile.presence);
      activations.append(tile.activations);
    }
    presence.finish();
    activations.finish();
    const linex::Split split = problem.split();
    linex::write_npy(folder / "train_ids.npy", torch::tensor(split.train));
    linex::write_npy(folder / "val_ids.npy", torch::tensor(split.val));
    linex::write_npy(folder / "test_ids.npy", torch::tensor(split.test));
    std::string names;
    for (const std::string& name : problem.names()) names += name + "\n";
    linex::write_file_atomic(folder / "concept_names.txt", names);
  } catch (const linex::Error& error) {
    std::fprintf(stderr, "generate_problem: %s\n", error.what());
    return static_cast<int>(error.kind());
  }
  return 0;
}
