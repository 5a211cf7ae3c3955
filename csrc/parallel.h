// Loops over ranges on several threads.
#pragma once

#include <algorithm>
#include <atomic>
#include <cstdint>
#include <exception>
#include <mutex>
#include <system_error>
#include <thread>
#include <vector>

#ifdef _OPENMP
#include <omp.h>
#endif

namespace dcbmr {

// Whether this process is a child of fork(). There GNU OpenMP would wait for threads that only the
// parent has.
bool forked();

// Calls body(begin, end, thread) for consecutive ranges of at most `grain` of 0..n-1, handed out in
// order to whichever of `n_threads` threads is free; thread < n_threads names the caller's scratch.
// Which thread takes a range is not fixed: a result that does not depend on n_threads writes only
// what the range owns.
//
// The first exception stops the handing out and is thrown again here, after the join: one must
// never leave a parallel region.
template <class Body>
void parallel_for(std::int64_t n, std::int64_t grain, int n_threads, Body&& body) {
  grain = std::max<std::int64_t>(grain, 1);
  const std::int64_t n_ranges = n / grain + (n % grain != 0);
  n_threads = static_cast<int>(std::clamp<std::int64_t>(n_ranges, 1, std::max(n_threads, 1)));
  std::atomic<std::int64_t> next{0};
  std::exception_ptr failure;
  std::mutex failure_mutex;
  const auto work = [&](int thread) {
    try {
      for (std::int64_t range; (range = next.fetch_add(1)) < n_ranges;)
        body(range * grain, std::min(n, (range + 1) * grain), thread);
    } catch (...) {
      const std::lock_guard<std::mutex> lock(failure_mutex);
      if (!failure) failure = std::current_exception();
      next.store(n_ranges);
    }
  };
#ifdef _OPENMP
  if (n_threads > 1 && !forked()) {
#pragma omp parallel num_threads(n_threads)
    work(omp_get_thread_num());
    if (failure) std::rethrow_exception(failure);
    return;
  }
#endif
  // Threads of this call alone. Where the system has no more of them, those there are do the work.
  std::vector<std::thread> others;
  try {
    for (int thread = 1; thread < n_threads; ++thread) others.emplace_back(work, thread);
  } catch (const std::system_error&) {
  }
  work(0);
  for (std::thread& other : others) other.join();
  if (failure) std::rethrow_exception(failure);
}

}  // namespace dcbmr
