// The hot loops of windows.cpp: half precision (IEEE 754 binary16) to single and back.
#pragma once

#include <cstdint>

#include "isa.h"

namespace dcbmr {

struct HalfKernel {
  // Converts n half-precision numbers to single, exactly.
  void (*widen)(const std::uint16_t* half, std::int64_t n, float* out);

  // Converts n single-precision numbers to the nearest half-precision ones.
  void (*narrow)(const float* single, std::int64_t n, std::uint16_t* half);
};
DCBMR_KERNEL(HalfKernel, half_kernel)

}  // namespace dcbmr
