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

void score_few(const float* user, const float* songs, const std::int32_t* which, std::int64_t n,
               std::int64_t n_factors, float* scores) {
  // The same operations in the same order as score(), for four songs side by side.
  constexpr int kSongs = 4, kWidth = kVectors * kLanes;
  for (std::int64_t j = 0; j < n; j += kSongs) {
    const float* song[kSongs];
    float sums[kSongs] = {};
    for (int c = 0; c < kSongs; ++c) {
      const std::int64_t s = which[j + c < n ? j + c : n - 1];
      song[c] = songs + s / kWidth * kWidth * n_factors + s % kWidth;
    }
    for (std::int64_t d = 0; d < n_factors; ++d)
      for (int c = 0; c < kSongs; ++c)
        sums[c] = multiply_add(song[c][d * kWidth], user[d], sums[c]);
    for (int c = 0; c < kSongs && j + c < n; ++c) scores[j + c] = sums[c];
  }
}

void count(const float* scores, std::int64_t n, const float* at, std::int64_t n_at,
           std::int64_t* above, std::int64_t* level) {
  // Both counts of a lane in one number, to be summed at once.
  constexpr std::int32_t kLevel = 1 << 16;
  const IntLanes one = IntLanes{} + 1, one_level = IntLanes{} + kLevel;
  for (std::int64_t j = 0; j < n_at; ++j) {
    const Lanes t = splat(at[j]);
    IntLanes more{}, same{};
    for (std::int64_t i = 0; i < n; i += kLanes) {
      const Lanes s = load(scores + i);
      more = add_where(s > t, more, one);
      same = add_where(s == t, same, one_level);
    }
    const std::int32_t both = lane_sum(more + same);
    above[j] += both % kLevel;
    level[j] += both / kLevel;
  }
}

std::int64_t find_above(const float* scores, std::int64_t n, float floor, std::int32_t* found) {
  const Lanes f = splat(floor);
  std::int64_t n_found = 0;
  for (std::int64_t i = 0; i < n; i += kLanes)
    n_found += write_lanes(bits_above(load(scores + i), f), i, found + n_found);
  return n_found;
}

float low_bound(const float* scores, std::int64_t n, std::int64_t k) {
  // The k best of the groups' best are k songs. Between the least and the best of those the bound
  // is found by halves.
  constexpr int kVectors = RankingKernel::kBound / kLanes;
  Lanes best[kVectors];
  for (int v = 0; v < kVectors; ++v) best[v] = splat(-__builtin_inff());
  for (std::int64_t i = 0; i + RankingKernel::kBound <= n; i += RankingKernel::kBound)
    for (int v = 0; v < kVectors; ++v)
      best[v] = max(load(scores + i + v * kLanes), best[v]);  // a NaN is not taken
  Lanes least = best[0], most = best[0];
  for (int v = 1; v < kVectors; ++v) least = min(least, best[v]), most = max(most, best[v]);
  float low = joined(least, [](Lanes a, Lanes b) { return min(a, b); });
  float high = joined(most, [](Lanes a, Lanes b) { return max(a, b); });
  for (int step = 0; step < 8; ++step) {
    const float middle = low / 2 + high / 2;
    int n_above = 0;
    for (int v = 0; v < kVectors; ++v)
      n_above += __builtin_popcount(bits_above(best[v], splat(middle)));
    (n_above >= k ? low : high) = middle;
  }
  return low;
}

}  // namespace

const RankingKernel ranking_kernel{kUsers, kVectors * kLanes, score,    score_few,
                                   count,  find_above,        low_bound};

}  // namespace dcbmr::DCBMR_ISA
