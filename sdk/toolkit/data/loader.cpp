#include "toolkit/data/loader.hpp"

#include <algorithm>
#include <condition_variable>
#include <deque>
#include <exception>
#include <mutex>
#include <thread>

#include "linex/error.hpp"
#include "toolkit/base/parallel.hpp"
#include "toolkit/data/preprocess.hpp"

namespace linex {
namespace {

std::string text_of(ImageSize size) {
  return std::to_string(size.height) + "x" + std::to_string(size.width);
}

ImageSize size_of(const torch::Tensor& pixels) { return {pixels.size(0), pixels.size(1)}; }

}  // namespace

torch::Tensor load_batch(const DataSet& data, const std::int64_t* rows, std::int64_t n,
                         const Preprocess& preprocess, int threads, Margin margin) {
  if (n == 0) return torch::empty({0, 3, 0, 0});
  torch::Tensor first = data.pixels(rows[0]);
  const ImageSize size = output_size(preprocess, size_of(first));
  torch::Tensor batch = torch::empty({n, 3, size.height, size.width});
  float* out = batch.data_ptr<float>();
  parallel_for(n, threads, [&](std::int64_t i) {
    const torch::Tensor pixels = i == 0 ? first : data.pixels(rows[i]);
    const ImageSize own = output_size(preprocess, size_of(pixels));
    if (own != size)
      throw input_error("image " + data.name(rows[i]) + " is " + text_of(own) + ", but " +
                        data.name(rows[0]) + " is " + text_of(size) +
                        "; this network needs images of one size");
    preprocess_image(pixels, preprocess, out + i * 3 * size.height * size.width, margin);
  });
  return batch;
}

torch::Tensor load_batch(const DataSet& data, const Rows& rows, const Preprocess& preprocess,
                         int threads, Margin margin) {
  return load_batch(data, rows.data(), static_cast<std::int64_t>(rows.size()), preprocess, threads,
                    margin);
}

int batches_ahead(const std::string& device, int threads) {
  return device != "cpu" || threads > 4 ? 2 : 0;
}

std::int64_t batch_size(const TargetModel& model, const RunSettings& run) {
  return batch_size(std::max<std::int64_t>(1, model.preferred_batch()), run);
}

std::int64_t batch_size(std::int64_t usual, const RunSettings& run) {
  constexpr std::int64_t kPiece = 16;
  if (run.batch <= 0) return usual;
  if (run.device != "cpu") return run.batch;
  return (run.batch + kPiece - 1) / kPiece * kPiece;
}

struct BatchLoader::State {
  std::shared_ptr<const DataSet> data;
  Rows rows;
  Preprocess preprocess;
  LoadOptions options;

  std::int64_t delivered = 0;  // position of the next batch the caller gets

  // Shared with the background thread, under `lock`.
  std::mutex lock;
  std::condition_variable changed;
  std::deque<Batch> ready;
  std::exception_ptr failure;
  bool stop = false;
  std::thread worker;

  std::int64_t total() const { return static_cast<std::int64_t>(rows.size()); }

  Batch load(std::int64_t begin) const {
    const std::int64_t n = std::min(options.batch, total() - begin);
    return {begin,
            load_batch(*data, rows.data() + begin, n, preprocess, options.threads, options.margin)};
  }

  void work() {
    for (std::int64_t begin = 0; begin < total(); begin += options.batch) {
      {
        std::unique_lock<std::mutex> guard(lock);
        changed.wait(
            guard, [&] { return stop || ready.size() < static_cast<std::size_t>(options.ahead); });
        if (stop) return;
      }
      try {
        Batch batch = load(begin);
        const std::lock_guard<std::mutex> guard(lock);
        ready.push_back(std::move(batch));
      } catch (...) {
        const std::lock_guard<std::mutex> guard(lock);
        failure = std::current_exception();
        stop = true;
      }
      changed.notify_all();
    }
  }
};

BatchLoader::BatchLoader(std::shared_ptr<const DataSet> data, Rows rows, Preprocess preprocess,
                         LoadOptions options)
    : state_(std::make_unique<State>()) {
  state_->data = std::move(data);
  state_->rows = std::move(rows);
  state_->preprocess = preprocess;
  state_->options = options;
  state_->options.batch = std::max<std::int64_t>(options.batch, 1);
  if (options.ahead > 0) state_->worker = std::thread([state = state_.get()] { state->work(); });
}

BatchLoader::~BatchLoader() {
  if (!state_->worker.joinable()) return;
  {
    const std::lock_guard<std::mutex> guard(state_->lock);
    state_->stop = true;
  }
  state_->changed.notify_all();
  state_->worker.join();
}

BatchLoader::Batch BatchLoader::next() {
  State& state = *state_;
  if (state.delivered >= state.total()) return {state.total(), {}};
  Batch batch;
  if (state.options.ahead > 0) {
    std::unique_lock<std::mutex> guard(state.lock);
    state.changed.wait(guard, [&] { return !state.ready.empty() || state.failure; });
    // Batches before the one that failed are still good.
    if (state.ready.empty()) std::rethrow_exception(state.failure);
    batch = std::move(state.ready.front());
    state.ready.pop_front();
    guard.unlock();
    state.changed.notify_all();
  } else {
    batch = state.load(state.delivered);
  }
  state.delivered = batch.begin + batch.images.size(0);
  return batch;
}

}  // namespace linex
