#include "core/run/input_digests.hpp"

#include <algorithm>
#include <set>
#include <tuple>

#include "core/run/run_key.hpp"
#include "toolkit/base/byte_stream.hpp"
#include "toolkit/base/files.hpp"
#include "toolkit/base/known_digests.hpp"
#include "toolkit/base/parallel.hpp"

namespace linex {
namespace fs = std::filesystem;

namespace {

/// A file, or the matrix of that number.
struct Input {
  std::uint64_t bytes = 0;
  std::int64_t matrix = -1;
  std::string file;
};

std::vector<Input> inputs_of(const Workplace& place, const std::vector<torch::Tensor>& matrices) {
  constexpr std::uint64_t kLarge = 1 << 20;  // smaller ones are not remembered
  std::vector<Input> inputs;
  for (std::size_t i = 0; i < matrices.size(); ++i)
    inputs.push_back({matrices[i].nbytes(), static_cast<std::int64_t>(i), ""});
  const std::vector<fs::path> files = place.files();
  for (const fs::path& path : std::set<fs::path>(files.begin(), files.end())) {
    std::error_code failure;
    if (!fs::is_regular_file(path, failure)) continue;
    const std::uint64_t bytes = fs::file_size(path, failure);
    if (!failure && bytes >= kLarge) inputs.push_back({bytes, -1, path.string()});
  }
  std::sort(inputs.begin(), inputs.end(), [](const Input& a, const Input& b) {
    return std::tie(b.bytes, a.matrix, a.file) < std::tie(a.bytes, b.matrix, b.file);
  });
  return inputs;
}

/// Those of rank 0, which may see other files than others.
std::vector<Input> agreed(const RunCluster& cluster, std::vector<Input> inputs) {
  if (!cluster.several()) return inputs;
  ByteWriter mine;
  mine.put(static_cast<std::uint64_t>(inputs.size()));
  for (const Input& input : inputs)
    mine.put(input.bytes), mine.put(input.matrix), mine.put(input.file);
  std::string bytes = mine.bytes();
  cluster.broadcast(bytes, 0);
  ByteReader reader(bytes);
  std::uint64_t count = 0;
  reader.take(count);
  inputs.assign(count, {});
  for (Input& input : inputs)
    reader.take(input.bytes), reader.take(input.matrix), reader.take(input.file);
  return inputs;
}

/// The rank of each: to the one that has least to read so far.
std::vector<int> dealt(const std::vector<Input>& inputs, int ranks) {
  std::vector<std::uint64_t> load(static_cast<std::size_t>(ranks));
  std::vector<int> rank;
  for (const Input& input : inputs) {
    const auto least = std::min_element(load.begin(), load.end());
    *least += input.bytes;
    rank.push_back(static_cast<int>(least - load.begin()));
  }
  return rank;
}

}  // namespace

std::vector<std::string> digest_inputs(const Workplace& place,
                                       const std::vector<torch::Tensor>& matrices) {
  const RunCluster& cluster = place.cluster();
  const std::vector<Input> inputs = agreed(cluster, inputs_of(place, matrices));
  const std::vector<int> rank = dealt(inputs, cluster.size());
  std::vector<std::string> digests(inputs.size());
  parallel_for(
      static_cast<std::int64_t>(inputs.size()), place.settings().threads, [&](std::int64_t i) {
        const auto at = static_cast<std::size_t>(i);
        if (rank[at] != cluster.rank()) return;
        const Input& input = inputs[at];
        digests[at] = input.matrix < 0
                          ? content_digest(fs::path(input.file))
                          : content_digest(matrices[static_cast<std::size_t>(input.matrix)]);
      });
  if (cluster.several()) {
    ByteWriter mine;
    for (const std::string& digest : digests) mine.put(digest);
    const std::vector<std::string> all = cluster.gather(mine.bytes());
    std::vector<ByteReader> readers(all.begin(), all.end());
    for (std::size_t i = 0; i < inputs.size(); ++i)
      for (std::size_t from = 0; from < readers.size(); ++from) {
        std::string digest;
        readers[from].take(digest);
        if (static_cast<int>(from) == rank[i]) digests[i] = digest;
      }
  }
  std::vector<std::string> of_matrices(matrices.size());
  for (std::size_t i = 0; i < inputs.size(); ++i) {
    if (inputs[i].matrix >= 0)
      of_matrices[static_cast<std::size_t>(inputs[i].matrix)] = digests[i];
    else if (rank[i] != cluster.rank() && !digests[i].empty())
      remember_sha256_of_file(inputs[i].file, digests[i]);
  }
  return of_matrices;
}

}  // namespace linex
