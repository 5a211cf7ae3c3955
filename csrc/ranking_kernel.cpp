#include "ranking_kernel.h"

#include <cstring>

#if defined(__AVX2__)
#include <immintrin.h>
#elif defined(__aarch64__)
#include <arm_neon.h>
#endif

namespace dcbmr::DCBMR_ISA {
namespace {

#if defined(__AVX512F__)
constexpr int kLanes = 16, kUsers = 12, kVectors = 2;
#elif defined(__AVX2__)
constexpr int kLanes = 8, kUsers = 6, kVectors = 2;
#elif defined(__aarch64__)
constexpr int kLanes = 4, kUsers = 8, kVectors = 2;
#else
constexpr int kLanes = 4, kUsers = 4, kVectors = 2;
#endif

typedef float Floats __attribute__((vector_size(kLanes * sizeof(float))));
typedef std::int32_t Ints __attribute__((vector_size(kLanes * sizeof(std::int32_t))));

inline Floats load(const float* from) {
  Floats value;
  std::memcpy(&value, from, sizeof value);
  return value;
}

// a * b + c, rounded once where the set can. Said outright: were it left to the compiler, a score
// would depend on which loop it was made in, and a song must be level with itself.
inline Floats multiply_add(Floats a, Floats b, Floats c) {
#if defined(__AVX512F__)
  return (Floats)_mm512_fmadd_ps((__m512)a, (__m512)b, (__m512)c);
#elif defined(__AVX2__)
  return (Floats)_mm256_fmadd_ps((__m256)a, (__m256)b, (__m256)c);
#elif defined(__aarch64__)
  return (Floats)vfmaq_f32((float32x4_t)c, (float32x4_t)a, (float32x4_t)b);
#else
  return a * b + c;
#endif
}

inline std::int64_t sum(Ints values) {
  std::int32_t total = 0;
  for (int lane = 0; lane < kLanes; ++lane) total += values[lane];
  return total;
}

}  // namespace

const ScoreTile score_tile{kUsers, kVectors * kLanes};

void score(const float* __restrict users, const float* __restrict songs, std::int64_t n_groups,
           std::int64_t n_factors, float* __restrict scores, std::int64_t stride) {
  for (std::int64_t g = 0; g < n_groups; ++g) {
    Floats sums[kUsers][kVectors] = {};
#pragma GCC unroll 1
    for (std::int64_t d = 0; d < n_factors; ++d) {
      Floats song[kVectors];
#pragma GCC unroll 4
      for (int v = 0; v < kVectors; ++v)
        song[v] = load(songs + ((g * n_factors + d) * kVectors + v) * kLanes);
#pragma GCC unroll 16
      for (int u = 0; u < kUsers; ++u)
#pragma GCC unroll 4
        for (int v = 0; v < kVectors; ++v)
          sums[u][v] = multiply_add(song[v], users[d * kUsers + u] - Floats{}, sums[u][v]);
    }
#pragma GCC unroll 16
    for (int u = 0; u < kUsers; ++u)
#pragma GCC unroll 4
      for (int v = 0; v < kVectors; ++v)
        std::memcpy(scores + u * stride + (g * kVectors + v) * kLanes, &sums[u][v], sizeof(Floats));
  }
}

float score_one(const float* user, const float* song, std::int64_t song_step,
                std::int64_t n_factors) {
  // The same operations in the same order as score().
  float sum = 0;
  for (std::int64_t d = 0; d < n_factors; ++d)
#if defined(__AVX2__) || defined(__aarch64__)
    sum = __builtin_fmaf(song[d * song_step], user[d], sum);
#else
    sum += song[d * song_step] * user[d];
#endif
  return sum;
}

void count(const float* scores, std::int64_t n, const float* at, std::int64_t n_at,
           std::int64_t* above, std::int64_t* level) {
  for (std::int64_t j = 0; j < n_at; ++j) {
    const float t = at[j];
    Ints more{}, equal{};
    std::int64_t i = 0;
    for (; i + kLanes <= n; i += kLanes) {
      const Floats s = load(scores + i);
      more -= s > t;  // a comparison that holds is -1 in its lane
      equal -= s == t;
    }
    above[j] += sum(more);
    level[j] += sum(equal);
    for (; i < n; ++i) {
      above[j] += scores[i] > t;
      level[j] += scores[i] == t;
    }
  }
}

std::int64_t find_above(const float* scores, std::int64_t begin, std::int64_t n, float floor) {
  constexpr int kStep = 4 * kLanes;
  for (; begin + kStep <= n; begin += kStep) {
    Ints any{};
    for (int v = 0; v < 4; ++v) any |= load(scores + begin + v * kLanes) > floor;
    if (sum(any) != 0) break;
  }
  for (; begin < n; ++begin)
    if (scores[begin] > floor) return begin;
  return n;
}

}  // namespace dcbmr::DCBMR_ISA
