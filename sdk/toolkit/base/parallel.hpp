// The only place where linex starts threads for computing.
#pragma once

#include <ATen/Parallel.h>
#include <omp.h>

#include <atomic>
#include <cstdint>
#include <exception>
#include <mutex>
#include <thread>
#include <vector>

// MKL's, where LibTorch holds it: the limit of the calling thread alone, 0 for none. Returns the
// last.
extern "C" int MKL_Set_Num_Threads_Local(int threads) __attribute__((weak));

namespace linex {

namespace detail {
/// MKL computes on one thread in it. It looks at omp_set_num_threads() only until LibTorch has told
/// it a number.
class OneMklThread {
 public:
  OneMklThread() : before_(MKL_Set_Num_Threads_Local ? MKL_Set_Num_Threads_Local(1) : 0) {}
  ~OneMklThread() {
    if (MKL_Set_Num_Threads_Local) MKL_Set_Num_Threads_Local(before_);
  }
  OneMklThread(const OneMklThread&) = delete;
  OneMklThread& operator=(const OneMklThread&) = delete;

 private:
  int before_;
};

/// Calls work() once on each of `threads` threads and waits for them.
template <class Work>
void on_threads(int threads, const Work& work) {
#if defined(__SANITIZE_THREAD__)
  // ThreadSanitizer does not see how libgomp's threads wait for each other.
  std::vector<std::thread> all;
  for (int i = 0; i < threads; ++i) all.emplace_back([&] { work(); });
  for (std::thread& thread : all) thread.join();
#else
#pragma omp parallel num_threads(threads)
  work();
#endif
}
}  // namespace detail

/// `threads`, or 1 where `operations` are too few to be worth waking them (some microseconds on an
/// idle machine, a time slice on a busy one).
inline int threads_for(std::int64_t operations, int threads) {
  return operations < (std::int64_t{1} << 20) ? 1 : threads;
}

/// Calls body(i) for i in [0, n) on up to `threads` threads, dynamically. Matrix products inside
/// run on one thread, also for threads = 1, so a result that depends only on i does not depend on
/// the thread count. The first exception is rethrown after all threads have joined.
template <class Body>
void parallel_for(std::int64_t n, int threads, const Body& body) {
  std::exception_ptr failure;
  std::mutex failure_lock;
  std::atomic<bool> failed{false};
  std::atomic<std::int64_t> next{0};
  detail::on_threads(threads > 1 ? threads : 1, [&] {
    // A region of one thread does not count as parallel: BLAS would start its own threads there.
    // oneDNN plans convolutions for omp_get_max_threads() even inside a region and would wait for
    // threads that never come. The setting belongs to this thread's implicit task and ends with it;
    // LibTorch sets it, too, the first time a thread asks, so let it do that before.
    at::get_num_threads();
    omp_set_num_threads(1);
    const detail::OneMklThread one;
    for (std::int64_t i; !failed.load(std::memory_order_relaxed) && (i = next.fetch_add(1)) < n;) {
      try {
        body(i);
      } catch (...) {
        const std::lock_guard<std::mutex> lock(failure_lock);
        if (!failed.exchange(true)) failure = std::current_exception();
      }
    }
  });
  if (failure) std::rethrow_exception(failure);
}

}  // namespace linex
