// Batches of preprocessed images, decoded in parallel and, where it pays, ahead of the network.
#pragma once

#include <torch/types.h>

#include <cstdint>
#include <memory>

#include "linex/context.hpp"
#include "linex/data.hpp"
#include "linex/model.hpp"
#include "toolkit/data/preprocess.hpp"

namespace linex {

/// float32 (n, 3, h, w): images `rows` of `data`, preprocessed. Throws Error(input) naming an image
/// that cannot be read or whose size differs from the others' after preprocessing.
torch::Tensor load_batch(const DataSet& data, const std::int64_t* rows, std::int64_t n,
                         const Preprocess& preprocess, int threads,
                         Margin margin = Margin::half_to_even);
torch::Tensor load_batch(const DataSet& data, const Rows& rows, const Preprocess& preprocess,
                         int threads, Margin margin = Margin::half_to_even);

struct LoadOptions {
  std::int64_t batch = 16;
  int threads = 1;
  /// Batches prepared while the caller computes. Computing and decoding on the same few cores gains
  /// nothing from it, so 0 (each batch is loaded when asked for, by all threads) is right for a CPU
  /// with up to 4 cores; use 2 with more cores or a GPU. See batches_ahead().
  int ahead = 0;
  Margin margin = Margin::half_to_even;
};

/// A good LoadOptions::ahead for a network that runs on `device` with `threads` threads.
int batches_ahead(const std::string& device, int threads);

/// Images a pass: run.batch, else what the model prefers. Networks take a batch on a CPU in pieces
/// of 4 or 16 images (net/execution.hpp), so run.batch is rounded up to whole pieces: an image has
/// the same neighbours whatever the batch, and its values the same bytes.
std::int64_t batch_size(const TargetModel& model, const RunSettings& run);
/// The same for what is no TargetModel and prefers `usual` images.
std::int64_t batch_size(std::int64_t usual, const RunSettings& run);

/// Walks over `rows` in order, batch by batch; the batches do not depend on threads or ahead.
class BatchLoader {
 public:
  struct Batch {
    std::int64_t begin = 0;  ///< position of the first image in `rows`
    torch::Tensor images;    ///< float32 (n, 3, h, w); undefined after the last batch
  };

  BatchLoader(std::shared_ptr<const DataSet> data, Rows rows, Preprocess preprocess,
              LoadOptions options);
  ~BatchLoader();
  BatchLoader(const BatchLoader&) = delete;
  BatchLoader& operator=(const BatchLoader&) = delete;

  /// The next batch. Rethrows here what went wrong while loading it.
  Batch next();

 private:
  struct State;
  std::unique_ptr<State> state_;
};

}  // namespace linex
