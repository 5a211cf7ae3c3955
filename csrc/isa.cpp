#include "isa.h"

#include <atomic>
#include <cstdlib>
#include <stdexcept>
#include <string>

#if defined(__x86_64__)
#include <cpuid.h>
#endif

namespace dcbmr {
namespace {

#if defined(__x86_64__)
// x86-64-v3 and v4, feature by feature: Clang knows the levels by name from 18 on. What the
// built-in does not name everywhere is read from CPUID itself.
bool has_v3() {
  unsigned a, b, c, d;
  if (!__get_cpuid(1, &a, &b, &c, &d) || !(c & bit_MOVBE) || !(c & bit_F16C)) return false;
  if (!__get_cpuid(0x80000001, &a, &b, &c, &d) || !(c & bit_LZCNT)) return false;
  return __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma") &&
         __builtin_cpu_supports("bmi") && __builtin_cpu_supports("bmi2");
}
bool has_v4() {
  return has_v3() && __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") &&
         __builtin_cpu_supports("avx512cd") && __builtin_cpu_supports("avx512dq") &&
         __builtin_cpu_supports("avx512vl");
}
#endif

Isa best() {
#if defined(__x86_64__)
  __builtin_cpu_init();
  if (has_v4()) return Isa::avx512;
  if (has_v3()) return Isa::avx2;
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
