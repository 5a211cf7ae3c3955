#include "isa.h"

#include <atomic>
#include <cstdlib>
#include <stdexcept>
#include <string>

namespace dcbmr {
namespace {

Isa best() {
#if defined(__x86_64__)
  __builtin_cpu_init();
  if (__builtin_cpu_supports("x86-64-v4")) return Isa::avx512;
  if (__builtin_cpu_supports("x86-64-v3")) return Isa::avx2;
#endif
  return Isa::portable;
}

Isa checked(Isa wanted) {
  if (wanted > best())
    throw std::invalid_argument(std::string("this processor has no ") + isa_name(wanted) +
                                "; its best is " + isa_name(best()));
  return wanted;
}

Isa initial() {
  const char* name = std::getenv("DCBMR_ISA");
  return name && *name ? checked(isa_from_name(name)) : best();
}

std::atomic<Isa>& current() {
  static std::atomic<Isa> value{initial()};
  return value;
}

}  // namespace

Isa isa() { return current().load(std::memory_order_relaxed); }
void set_isa(Isa wanted) { current().store(checked(wanted)); }

const char* isa_name(Isa isa) {
  return isa == Isa::avx512 ? "avx512" : isa == Isa::avx2 ? "avx2" : "portable";
}

Isa isa_from_name(const char* name) {
  for (Isa isa : {Isa::portable, Isa::avx2, Isa::avx512})
    if (std::string(name) == isa_name(isa)) return isa;
  throw std::invalid_argument("instruction set '" + std::string(name) +
                              "': wanted portable, avx2 or avx512");
}

}  // namespace dcbmr
