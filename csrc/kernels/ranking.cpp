#include "kernels/ranking.h"

#include "kernels/vector.h"

namespace dcbmr::DCBMR_ISA {
namespace {

#if defined(__AVX512F__)
constexpr int kUsers = 12, kVectors = 2;
#elif defined(__AVX2__)
constexpr int kUsers = 6, kVectors = 2;
#elif defined(__aarch64__)
constexpr int kUsers = 8, kVectors = 2;
#else
constexpr int kUsers = 4, kVectors = 2;
#endif

inline std::int64_t sum(IntLanes values) {
  std::int32_t total = 0;
  for (int lane = 0; lane < kLanes; ++lane) total += values[lane];
  return total;
}

// A song must be level with itself, in whatever loop its score was made: hence multiply_add.
void score(const float* __restrict users, const float* __restrict songs, std::int64_t n_groups,
           std::int64_t n_factors, float* __restrict scores, std::int64_t stride) {
  for (std::int64_t g = 0; g < n_groups; ++g) {
    Lanes sums[kUsers][kVectors] = {};
#pragma GCC unroll 1
    for (std::int64_t d = 0; d < n_factors; ++d) {
      Lanes song[kVectors];
#pragma GCC unroll 4
      for (int v = 0; v < kVectors; ++v)
        song[v] = load(songs + ((g * n_factors + d) * kVectors + v) * kLanes);
#pragma GCC unroll 16
      for (int u = 0; u < kUsers; ++u)
#pragma GCC unroll 4
        for (int v = 0; v < kVectors; ++v)
          sums[u][v] = multiply_add(song[v], splat(users[d * kUsers + u]), sums[u][v]);
    }
#pragma GCC unroll 16
    for (int u = 0; u < kUsers; ++u)
#pragma GCC unroll 4
      for (int v = 0; v < kVectors; ++v)
        store(scores + u * stride + (g * kVectors + v) * kLanes, sums[u][v]);
  }
}

float score_one(const float* user, const float* song, std::int64_t song_step,
                std::int64_t n_factors) {
  // The same operations in the same order as score().
  float sum = 0;
  for (std::int64_t d = 0; d < n_factors; ++d)
    sum = multiply_add(song[d * song_step], user[d], sum);
  return sum;
}

void count(const float* scores, std::int64_t n, const float* at, std::int64_t n_at,
           std::int64_t* above, std::int64_t* level) {
  for (std::int64_t j = 0; j < n_at; ++j) {
    const float t = at[j];
    IntLanes more{}, equal{};
    std::int64_t i = 0;
    for (; i + kLanes <= n; i += kLanes) {
      const Lanes s = load(scores + i);
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
    IntLanes any{};
    for (int v = 0; v < 4; ++v) any |= load(scores + begin + v * kLanes) > floor;
    if (sum(any) != 0) break;
  }
  for (; begin < n; ++begin)
    if (scores[begin] > floor) return begin;
  return n;
}

}  // namespace

const RankingKernel ranking_kernel{kUsers, kVectors * kLanes, score, score_one, count, find_above};

}  // namespace dcbmr::DCBMR_ISA
