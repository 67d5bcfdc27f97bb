#include "core/run/input_digests.hpp"

#include <set>
#include <string>

#include "core/run/run_key.hpp"
#include "linex/error.hpp"
#include "toolkit/base/byte_stream.hpp"
#include "toolkit/base/file_digest.hpp"
#include "toolkit/base/parallel.hpp"
#include "toolkit/base/share.hpp"

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
  std::vector<Input> inputs;
  for (std::size_t i = 0; i < matrices.size(); ++i)
    inputs.push_back({matrices[i].nbytes(), static_cast<std::int64_t>(i), ""});
  const std::vector<fs::path> files = place.files();
  for (const fs::path& path : std::set<fs::path>(files.begin(), files.end())) {
    std::error_code failure;
    if (!fs::is_regular_file(path, failure)) continue;
    const std::uint64_t bytes = fs::file_size(path, failure);
    // What has no stamp would be read again all the same.
    const std::string stamp = stamp_of_file(path);
    if (failure || stamp.empty() || !known_digest(stamp).empty()) continue;
    inputs.push_back({bytes, -1, path.string()});
  }
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

/// A piece of an input.
struct Piece {
  std::size_t input = 0;
  std::int64_t piece = 0;
};
std::vector<Piece> pieces_of(const std::vector<Input>& inputs) {
  std::vector<Piece> pieces;
  for (std::size_t i = 0; i < inputs.size(); ++i)
    for (std::int64_t piece = 0; piece < digest_pieces(inputs[i].bytes); ++piece)
      pieces.push_back({i, piece});
  return pieces;
}

/// "" for one of a file that this rank cannot read.
std::string digest_of(const Input& input, std::int64_t piece,
                      const std::vector<torch::Tensor>& matrices) try {
  if (input.matrix >= 0)
    return digest_of_piece(matrices[static_cast<std::size_t>(input.matrix)], piece);
  return digest_of_piece(fs::path(input.file), piece);
} catch (const Error&) {
  return "";
}

/// What every rank has found for its share, in order.
std::vector<std::string> gathered(const RunCluster& cluster, const std::vector<std::string>& mine) {
  if (!cluster.several()) return mine;
  ByteWriter bytes;
  for (const std::string& digest : mine) bytes.put(digest);
  std::vector<std::string> all;
  for (const std::string& part : cluster.gather(bytes.bytes())) {
    ByteReader reader(part);
    while (!reader.at_end()) reader.take(all.emplace_back());
  }
  return all;
}

}  // namespace

std::vector<std::string> digest_inputs(const Workplace& place,
                                       const std::vector<torch::Tensor>& matrices) {
  const RunCluster& cluster = place.cluster();
  std::vector<torch::Tensor> contiguous;
  for (const torch::Tensor& matrix : matrices) contiguous.push_back(matrix.contiguous());
  const std::vector<Input> inputs = agreed(cluster, inputs_of(place, contiguous));
  std::vector<std::string> stamps;
  for (const Input& input : inputs)
    stamps.push_back(input.matrix < 0 ? stamp_of_file(input.file) : "");

  const std::vector<Piece> pieces = pieces_of(inputs);
  const Share share =
      share_of(static_cast<std::int64_t>(pieces.size()), 1, cluster.rank(), cluster.size());
  std::vector<std::string> mine(static_cast<std::size_t>(share.size()));
  parallel_for(share.size(), place.settings().threads, [&](std::int64_t i) {
    const Piece& piece = pieces[static_cast<std::size_t>(share.begin + i)];
    mine[static_cast<std::size_t>(i)] = digest_of(inputs[piece.input], piece.piece, contiguous);
  });
  const std::vector<std::string> found = gathered(cluster, mine);

  std::vector<std::string> of_matrices(matrices.size());
  std::size_t next = 0;
  for (std::size_t i = 0; i < inputs.size(); ++i) {
    std::vector<std::string> of_input;
    bool whole = true;
    for (std::int64_t piece = 0; piece < digest_pieces(inputs[i].bytes); ++piece, ++next) {
      whole = whole && !found[next].empty();
      of_input.push_back(found[next]);
    }
    if (!whole) continue;
    const std::string digest = digest_of_pieces(of_input);
    if (inputs[i].matrix >= 0)
      of_matrices[static_cast<std::size_t>(inputs[i].matrix)] = digest;
    else
      remember_digest(inputs[i].file, stamps[i], digest);
  }
  return of_matrices;
}

}  // namespace linex
