// Which instruction set the hot loops run on.
//
// The sources in kernels/ are compiled once for each set, with DCBMR_ISA defined as the set's name,
// and keep everything they define inside
//
//     namespace dcbmr::DCBMR_ISA { ... }
//
// so that no function compiled for AVX-512 can be linked into the portable path: a kernel source
// must not instantiate templates of the standard library for the same reason.
//
// A kernel's header declares a struct of its sizes and functions, say RfftKernel, and
// DCBMR_KERNEL(RfftKernel, rfft_kernel): a constant of that name for each set, which the kernel's
// source defines. Everybody else asks rfft_kernel() for the one of the set in force, or of another.
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

#if defined(DCBMR_ISA)
#define DCBMR_KERNEL(Kernel, name) \
  namespace DCBMR_ISA {            \
  extern const Kernel name;        \
  }
#elif defined(__x86_64__)
#define DCBMR_KERNEL(Kernel, name)                                                             \
  namespace portable {                                                                         \
  extern const Kernel name;                                                                    \
  }                                                                                            \
  namespace avx2 {                                                                             \
  extern const Kernel name;                                                                    \
  }                                                                                            \
  namespace avx512 {                                                                           \
  extern const Kernel name;                                                                    \
  }                                                                                            \
  inline const Kernel& name(Isa set = isa()) {                                                 \
    return set == Isa::avx512 ? avx512::name : set == Isa::avx2 ? avx2::name : portable::name; \
  }
#else
#define DCBMR_KERNEL(Kernel, name) \
  namespace portable {             \
  extern const Kernel name;        \
  }                                \
  inline const Kernel& name(Isa = isa()) { return portable::name; }
#endif

}  // namespace dcbmr
