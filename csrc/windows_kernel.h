// The hot loops of windows.cpp; see isa.h for how it is compiled and chosen.
#pragma once

#include <cstdint>

namespace dcbmr {

#define DCBMR_DECLARE(set)                                                        \
  namespace set {                                                                 \
  /* Converts n half-precision numbers (IEEE 754 binary16) to single, exactly. */ \
  void widen(const std::uint16_t* half, std::int64_t n, float* out);              \
  /* Converts n single-precision numbers to the nearest half-precision ones. */   \
  void narrow(const float* single, std::int64_t n, std::uint16_t* half);          \
  }
DCBMR_DECLARE(portable)
DCBMR_DECLARE(avx2)
DCBMR_DECLARE(avx512)
#undef DCBMR_DECLARE

}  // namespace dcbmr
