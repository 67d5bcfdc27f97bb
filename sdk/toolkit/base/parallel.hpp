// The only place where linex starts threads for computing.
#pragma once

#include <ATen/Parallel.h>
#include <omp.h>

#include <atomic>
#include <cstdint>
#include <exception>
#include <mutex>

namespace linex {

namespace detail {
/// The order that a region's begin and end give, once more where ThreadSanitizer can see it: it
/// knows nothing of libgomp's barriers. Shared by all regions, as a thread must not read the
/// region's own data before.
#if defined(__SANITIZE_THREAD__)
inline std::atomic<int> seen_barrier{0};
inline void arrive_at_barrier() { seen_barrier.fetch_add(1, std::memory_order_release); }
inline void leave_barrier() { static_cast<void>(seen_barrier.load(std::memory_order_acquire)); }
#else
inline void arrive_at_barrier() {}
inline void leave_barrier() {}
#endif
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
  detail::arrive_at_barrier();
#pragma omp parallel num_threads(threads > 1 ? threads : 1)
  {
    detail::leave_barrier();
    // A region of one thread does not count as parallel: BLAS would start its own threads there.
    // oneDNN plans convolutions for omp_get_max_threads() even inside a region and would wait for
    // threads that never come. The setting belongs to this thread's implicit task and ends with it;
    // LibTorch sets it, too, the first time a thread asks, so let it do that before.
    at::get_num_threads();
    omp_set_num_threads(1);
#pragma omp for schedule(dynamic, 1)
    for (std::int64_t i = 0; i < n; ++i) {
      if (failed.load(std::memory_order_relaxed)) continue;
      try {
        body(i);
      } catch (...) {
        const std::lock_guard<std::mutex> lock(failure_lock);
        if (!failed.exchange(true)) failure = std::current_exception();
      }
    }
    detail::arrive_at_barrier();
  }
  detail::leave_barrier();
  if (failure) std::rethrow_exception(failure);
}

}  // namespace linex
