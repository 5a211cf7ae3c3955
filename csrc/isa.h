// Which instruction set the hot loops run on.
//
// A kernel source (one named by dcbmr_kernel() in CMakeLists.txt) is compiled once for each set,
// with DCBMR_ISA defined as the set's name, and keeps everything it defines inside
//
//     namespace dcbmr::DCBMR_ISA { ... }
//
// so that no function compiled for AVX-512 can be linked into the portable path: a kernel source
// must not instantiate templates of the standard library for the same reason. Its header declares
// the functions of every set, and the caller picks with dispatch().
#pragma once

namespace dcbmr {

enum class Isa { portable, avx2, avx512 };

// The best set of this processor, unless the environment variable DCBMR_ISA ("portable", "avx2",
// "avx512") or set_isa() names a lesser one.
Isa isa();

// For tests and benchmarks. Throws std::invalid_argument when the processor lacks the set.
void set_isa(Isa isa);

const char* isa_name(Isa isa);
Isa isa_from_name(const char* name);  // throws std::invalid_argument

#if defined(__x86_64__)
#define DCBMR_DISPATCH(function)                              \
  (::dcbmr::isa() == ::dcbmr::Isa::avx512 ? &avx512::function \
   : ::dcbmr::isa() == ::dcbmr::Isa::avx2 ? &avx2::function   \
                                          : &portable::function)
#else
#define DCBMR_DISPATCH(function) (&portable::function)
#endif

}  // namespace dcbmr
