#include <algorithm>

#include "check.h"
#include "parallel.h"

namespace {

using std::size_t;

bool every_range_once(int n_threads) {
  std::vector<int> taken(1000);
  bool own_threads = true;
  dcbmr::parallel_for(1000, 7, n_threads, [&](std::int64_t begin, std::int64_t end, int thread) {
    if (thread < 0 || thread >= std::max(n_threads, 1)) own_threads = false;
    for (std::int64_t i = begin; i < end; ++i) ++taken[size_t(i)];
  });
  return own_threads && std::all_of(taken.begin(), taken.end(), [](int n) { return n == 1; });
}

void ranges_cover_all() {
  for (const int n_threads : {0, 1, 2, 5}) CHECK(every_range_once(n_threads));
  bool called = false;
  dcbmr::parallel_for(0, 7, 3, [&](std::int64_t, std::int64_t, int) { called = true; });
  CHECK(!called);
}

void exceptions_come_out() {
  for (const int n_threads : {1, 4}) {
    bool caught = false;
    try {
      dcbmr::parallel_for(100, 1, n_threads, [](std::int64_t begin, std::int64_t, int) {
        if (begin == 40) throw std::runtime_error("forty");
      });
    } catch (const std::runtime_error& error) {
      caught = std::string(error.what()) == "forty";
    }
    CHECK(caught);
  }
}

}  // namespace

TESTS(ranges_cover_all, exceptions_come_out)
