#include "parallel.h"

#include <pthread.h>

namespace dcbmr {
namespace {

std::atomic<bool> is_child{false};
const int registered = pthread_atfork(nullptr, nullptr, [] { is_child.store(true); });

}  // namespace

bool forked() { return registered == 0 && is_child.load(std::memory_order_relaxed); }

}  // namespace dcbmr
