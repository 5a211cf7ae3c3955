#include "caught_stderr.h"

#include <algorithm>
#include <cstddef>
#include <cstdio>
#include <mutex>
#include <utility>

namespace dcbmr {
namespace {

constexpr std::size_t kMostBytes = 4096;

struct Caught {
  bool catching = false;
  std::string text;
};
thread_local Caught caught;

#ifdef __GLIBC__

// The stderr of everyone else; once set it stays, for those who are late.
std::FILE* shown = nullptr;

ssize_t take(void*, const char* data, std::size_t size) {
  if (caught.catching)  // room is reserved: nothing is thrown through C
    caught.text.append(data, std::min(size, kMostBytes - caught.text.size()));
  else
    std::fwrite(data, 1, size, shown);
  return static_cast<ssize_t>(size);
}

// glibc's stderr is a variable that may be set; ours asks which thread it is that writes.
void divert(bool on) {
  static std::mutex mutex;
  static int n_catching = 0;
  static std::FILE* const ours = [] {
    std::FILE* const stream = fopencookie(nullptr, "w", {nullptr, take, nullptr, nullptr});
    if (stream) std::setvbuf(stream, nullptr, _IONBF, 0);
    return stream;
  }();
  if (!ours) return;
  const std::lock_guard<std::mutex> lock(mutex);
  if (on && n_catching++ == 0) {
    shown = stderr;
    __atomic_store_n(&stderr, ours, __ATOMIC_RELEASE);
  }
  if (!on && --n_catching == 0) __atomic_store_n(&stderr, shown, __ATOMIC_RELEASE);
}

#else

void divert(bool) {}

#endif

}  // namespace

void catch_stderr() {
  if (caught.catching) return;
  caught.text.reserve(kMostBytes);
  caught.catching = true;
  divert(true);
}

std::string caught_stderr() {
  if (!caught.catching) return {};
  divert(false);
  caught.catching = false;
  return std::exchange(caught.text, {});
}

}  // namespace dcbmr
