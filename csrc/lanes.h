// A vector of as many floats as the instruction set holds, for kernel sources only (see isa.h).
//
// The audio kernels put one frame into each lane: every operation is the same for all frames, no
// shuffle is needed inside a transform, and a frame's numbers depend neither on its lane nor on its
// neighbours. Only transpose() moves data across lanes, on the way in and out.
#pragma once

#include <utility>

namespace dcbmr::DCBMR_ISA {

#if defined(__AVX512F__)
constexpr int kLanes = 16;
#elif defined(__AVX2__)
constexpr int kLanes = 8;
#else
constexpr int kLanes = 4;
#endif

using Lanes = float __attribute__((vector_size(kLanes * sizeof(float))));
using IntLanes = int __attribute__((vector_size(kLanes * sizeof(int))));

// Unaligned access; an aligned address costs nothing more.
inline Lanes load(const float* from) {
  Lanes lanes;
  __builtin_memcpy(&lanes, from, sizeof lanes);
  return lanes;
}
inline void store(float* to, Lanes lanes) { __builtin_memcpy(to, &lanes, sizeof lanes); }

// Swaps the off-diagonal blocks of size `step` between two rows of a matrix.
template <int step, int... j>
inline void exchange(Lanes& a, Lanes& b, std::integer_sequence<int, j...>) {
  const Lanes upper = __builtin_shufflevector(a, b, ((j & step) ? kLanes + j - step : j)...);
  b = __builtin_shufflevector(a, b, ((j & step) ? kLanes + j : j + step)...);
  a = upper;
}

template <int step = kLanes / 2>
inline void transpose(Lanes (&rows)[kLanes]) {
#pragma GCC unroll 16
  for (int i = 0; i < kLanes; ++i)
    if (!(i & step))
      exchange<step>(rows[i], rows[i + step], std::make_integer_sequence<int, kLanes>());
  if constexpr (step > 1) transpose<step / 2>(rows);
}

template <int n, int... j>
inline Lanes turned(Lanes lanes, std::integer_sequence<int, j...>) {
  return __builtin_shufflevector(lanes, lanes, ((j + n) % kLanes)...);
}

// The sum over the lanes, by halves.
template <int n = kLanes / 2>
inline float lane_sum(Lanes lanes) {
  const Lanes sums = lanes + turned<n>(lanes, std::make_integer_sequence<int, kLanes>());
  if constexpr (n > 1)
    return lane_sum<n / 2>(sums);
  else
    return sums[0];
}

}  // namespace dcbmr::DCBMR_ISA
