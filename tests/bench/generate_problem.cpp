// Writes a generated problem as recorded matrices, tile by tile.
// usage: generate_problem FOLDER ROWS CONCEPTS UNITS [SEED [WIDTH]]
// With WIDTH, also embeddings of the images and concepts that give the same presence; prints its a.
#include <cstdio>
#include <cstdlib>
#include <optional>
#include <string>

#include "linex/error.hpp"
#include "tests/bench/generated.hpp"
#include "toolkit/base/files.hpp"
#include "toolkit/base/npy.hpp"

int main(int argc, char** argv) {
  if (argc < 5) {
    std::fprintf(stderr, "usage: generate_problem FOLDER ROWS CONCEPTS UNITS [SEED [WIDTH]]\n");
    return 2;
  }
  try {
    const std::filesystem::path folder = argv[1];
    linex::bench::GeneratedOptions options;
    options.rows = std::atoll(argv[2]);
    options.concepts = std::atoll(argv[3]);
    options.units = std::atoll(argv[4]);
    options.seed = argc > 5 ? std::strtoull(argv[5], nullptr, 10) : 1;
    const std::int64_t width = argc > 6 ? std::atoll(argv[6]) : 0;
    std::filesystem::create_directories(folder);
    const linex::bench::Generated problem(options);
    linex::NpyWriter presence(folder / "concepts.npy", {options.rows, options.concepts});
    linex::NpyWriter activations(folder / "activations.npy", {options.rows, options.units});
    std::optional<linex::NpyWriter> images;
    if (width > 0) images.emplace(folder / "images.npy", std::vector{options.rows, width});
    constexpr std::int64_t kTileRows = 2000;
    for (std::int64_t begin = 0; begin < options.rows; begin += kTileRows) {
      const std::int64_t n = std::min(kTileRows, options.rows - begin);
      const auto tile = problem.tile(begin, n);
      if (images) images->append(problem.embeddings(begin, n, width).images);
      presence.append(tile.presence);
      activations.append(tile.activations);
    }
    presence.finish();
    activations.finish();
    if (images) {
      images->finish();
      linex::write_npy(folder / "texts.npy", problem.embeddings(0, 0, width).texts);
      std::printf("%.9g\n", linex::bench::Generated::embeddings_a());
    }
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
