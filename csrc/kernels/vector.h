// A vector of as many floats as the instruction set holds, for kernel sources only (see isa.h).
//
// These are the vectors that GCC and Clang build in, with their operators; a shuffle is the one
// thing that the two spell differently. transpose() apart, the audio kernels move no data across
// lanes: they put one frame into each, so that a frame's numbers depend neither on its lane nor on
// its neighbours.
#pragma once

#include <cstdint>
#include <utility>

#if defined(__SSE2__)
#include <immintrin.h>
#elif defined(__aarch64__)
#include <arm_neon.h>
#endif

namespace dcbmr::DCBMR_ISA {

using Index = std::int64_t;

#if defined(__AVX512F__)
constexpr int kLanes = 16;
#elif defined(__AVX2__)
constexpr int kLanes = 8;
#else
constexpr int kLanes = 4;
#endif

typedef float Lanes __attribute__((vector_size(kLanes * sizeof(float))));
typedef std::int32_t IntLanes __attribute__((vector_size(kLanes * sizeof(std::int32_t))));

// Unaligned access; with AVX an aligned address costs nothing more.
inline Lanes load(const float* from) {
  Lanes lanes;
  __builtin_memcpy(&lanes, from, sizeof lanes);
  return lanes;
}
inline void store(float* to, Lanes lanes) { __builtin_memcpy(to, &lanes, sizeof lanes); }

// Where the address is aligned to the vector, SSE can read it within an operation.
inline Lanes load_aligned(const float* from) {
  return load(static_cast<const float*>(__builtin_assume_aligned(from, sizeof(Lanes))));
}
inline void store_aligned(float* to, Lanes lanes) {
  store(static_cast<float*>(__builtin_assume_aligned(to, sizeof(Lanes))), lanes);
}

// The same vector, in a register. Of a number that two operations take, GCC loads it in both; where
// the ports that load are what is short, once is faster.
inline Lanes loaded_once(Lanes lanes) {
#if defined(__SSE2__)
  asm("" : "+v"(lanes));
#elif defined(__aarch64__)
  asm("" : "+w"(lanes));
#endif
  return lanes;
}

inline Lanes splat(float value) { return value - Lanes{}; }
inline Lanes max(Lanes a, Lanes b) { return a > b ? a : b; }
inline Lanes min(Lanes a, Lanes b) { return a < b ? a : b; }

// a * b + c, rounded once where the set can: said outright where a number must not depend on
// whether the compiler fuses the two.
inline Lanes multiply_add(Lanes a, Lanes b, Lanes c) {
#if defined(__AVX512F__)
  return (Lanes)_mm512_fmadd_ps((__m512)a, (__m512)b, (__m512)c);
#elif defined(__AVX2__)
  return (Lanes)_mm256_fmadd_ps((__m256)a, (__m256)b, (__m256)c);
#elif defined(__aarch64__)
  return (Lanes)vfmaq_f32((float32x4_t)c, (float32x4_t)a, (float32x4_t)b);
#else
  return a * b + c;
#endif
}
inline float multiply_add(float a, float b, float c) {
#if defined(__AVX2__) || defined(__aarch64__)
  return __builtin_fmaf(a, b, c);
#else
  return a * b + c;
#endif
}

// A bit for each lane of a that is above the one of b.
inline unsigned bits_above(Lanes a, Lanes b) {
#if defined(__AVX512F__)
  return _mm512_cmp_ps_mask((__m512)a, (__m512)b, _CMP_GT_OQ);
#elif defined(__AVX2__)
  return static_cast<unsigned>(_mm256_movemask_ps((__m256)(a > b)));
#elif defined(__SSE2__)
  return static_cast<unsigned>(_mm_movemask_ps((__m128)(a > b)));
#else
  const IntLanes bits = (a > b) & IntLanes{1, 2, 4, 8};
  return static_cast<unsigned>(bits[0] + bits[1] + bits[2] + bits[3]);
#endif
}

// Writes which of the lanes have their bit set, counted from `first`, and returns how many do. What
// is behind them up to `to + kLanes` may be overwritten.
inline Index write_lanes(unsigned bits, Index first, std::int32_t* to) {
#if defined(__AVX512F__)
  const IntLanes lanes = IntLanes{0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15};
  const IntLanes numbers = lanes + static_cast<std::int32_t>(first);
  _mm512_storeu_si512(to,
                      _mm512_maskz_compress_epi32(static_cast<__mmask16>(bits), (__m512i)numbers));
  return __builtin_popcount(bits);
#else
  Index n = 0;
  for (; bits; bits &= bits - 1) to[n++] = static_cast<std::int32_t>(first) + __builtin_ctz(bits);
  return n;
#endif
}

// Adds `more` to the counts of the lanes where a comparison holds.
inline IntLanes add_where(IntLanes holds, IntLanes counts, IntLanes more) {
#if defined(__AVX512F__)
  return holds ? counts + more : counts;  // in one operation
#else
  return counts + (holds & more);
#endif
}

// Lane i is lane from[i] of a, or of b from kLanes on.
template <int... from, class Vector>
inline Vector shuffle(Vector a, Vector b) {
#if defined(__clang__)
  return __builtin_shufflevector(a, b, from...);
#else
  return __builtin_shuffle(a, b, IntLanes{from...});
#endif
}

constexpr auto kEachLane = std::make_integer_sequence<int, kLanes>();

// Swaps the off-diagonal blocks of size `step` between two rows of a matrix.
template <int step, int... j>
inline void exchange(Lanes& a, Lanes& b, std::integer_sequence<int, j...>) {
  const Lanes upper = shuffle<((j & step) ? kLanes + j - step : j)...>(a, b);
  b = shuffle<((j & step) ? kLanes + j : j + step)...>(a, b);
  a = upper;
}

// Of each four lanes the first two of a and b in turn, or the last two: one operation everywhere.
template <int half, int... j>
inline Lanes unpacked(Lanes a, Lanes b, std::integer_sequence<int, j...>) {
  return shuffle<(j / 4 * 4 + half * 2 + j % 4 / 2 + j % 2 * kLanes)...>(a, b);
}

// Of each four lanes of four rows: transposed where they are.
inline void transpose_fours(Lanes& a, Lanes& b, Lanes& c, Lanes& d) {
  const Lanes even[] = {unpacked<0>(a, c, kEachLane), unpacked<1>(a, c, kEachLane)};
  const Lanes odd[] = {unpacked<0>(b, d, kEachLane), unpacked<1>(b, d, kEachLane)};
  a = unpacked<0>(even[0], odd[0], kEachLane);
  b = unpacked<1>(even[0], odd[0], kEachLane);
  c = unpacked<0>(even[1], odd[1], kEachLane);
  d = unpacked<1>(even[1], odd[1], kEachLane);
}

// Blocks of 4 x 4 change places, then each is transposed where it is.
template <int step = kLanes / 2>
inline void transpose(Lanes (&rows)[kLanes]) {
  if constexpr (step >= 4) {
#pragma GCC unroll 16
    for (int i = 0; i < kLanes; ++i)
      if (!(i & step)) exchange<step>(rows[i], rows[i + step], kEachLane);
    transpose<step / 2>(rows);
  } else {
#pragma GCC unroll 4
    for (int i = 0; i < kLanes; i += 4)
      transpose_fours(rows[i], rows[i + 1], rows[i + 2], rows[i + 3]);
  }
}

// Four floats from each of kLanes / 4 places, which are 4 pointers apart.
inline Lanes load_fours(const float* const* from, Index at) {
#if defined(__AVX512F__)
  __m512 lanes = _mm512_castps128_ps512(_mm_loadu_ps(from[0] + at));
  lanes = _mm512_insertf32x4(lanes, _mm_loadu_ps(from[4] + at), 1);
  lanes = _mm512_insertf32x4(lanes, _mm_loadu_ps(from[8] + at), 2);
  return (Lanes)_mm512_insertf32x4(lanes, _mm_loadu_ps(from[12] + at), 3);
#elif defined(__AVX2__)
  const __m256 lanes = _mm256_castps128_ps256(_mm_loadu_ps(from[0] + at));
  return (Lanes)_mm256_insertf128_ps(lanes, _mm_loadu_ps(from[4] + at), 1);
#else
  return load(from[0] + at);
#endif
}

// Columns c .. c + 3 of kLanes rows, one row in each lane. The loads do the half of transpose()
// that brings fours together.
inline void load_columns(const float* const* rows, Index c, Lanes (&columns)[4]) {
#pragma GCC unroll 4
  for (int k = 0; k < 4; ++k) columns[k] = load_fours(rows + k, c);
  transpose_fours(columns[0], columns[1], columns[2], columns[3]);
}

template <int n, class Vector, int... j>
inline Vector rotated(Vector lanes, std::integer_sequence<int, j...>) {
  return shuffle<((j + n) % kLanes)...>(lanes, lanes);
}

// All lanes joined to one, by halves.
template <int n = kLanes / 2, class Vector, class Join>
inline auto joined(Vector lanes, Join join) {
  const Vector halves = join(lanes, rotated<n>(lanes, kEachLane));
  if constexpr (n > 1)
    return joined<n / 2>(halves, join);
  else
    return halves[0];
}

template <class Vector>
inline auto lane_sum(Vector lanes) {
  return joined(lanes, [](Vector a, Vector b) { return a + b; });
}

}  // namespace dcbmr::DCBMR_ISA
