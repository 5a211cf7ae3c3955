#include "kernels/kmeans.h"

#include <cstring>

#include "kernels/vector.h"

namespace dcbmr::DCBMR_ISA {
namespace {

// A tile is as many scores as the registers hold beside a vector of words and one coordinate.
#if defined(__AVX512F__) || defined(__aarch64__)
constexpr int kFrames = 8, kVectors = 3;
#elif defined(__AVX2__)
constexpr int kFrames = 4, kVectors = 3;
#else
constexpr int kFrames = 4, kVectors = 2;
#endif
constexpr int kGroup = kVectors * kLanes;
static_assert(kBlockFrames % kLanes == 0);

// The best of the words that each lane has seen, by their place among the packed words.
struct Best {
  Lanes score;
  IntLanes place;
};

// Scores of `n` frames, the columns `list`, for the words of one group (n_dims, kVectors, kLanes).
template <int n>
inline void search_tile(const float* __restrict words, const float* __restrict bias,
                        const float* __restrict frames, std::int64_t n_dims, const int* list,
                        IntLanes place, Best* best) {
  const float* x[n];
  Lanes score[n][kVectors];
#pragma GCC unroll 8
  for (int f = 0; f < n; ++f) {
    x[f] = frames + list[f];
#pragma GCC unroll 4
    for (int v = 0; v < kVectors; ++v) score[f][v] = load_aligned(bias + v * kLanes);
  }
#pragma GCC unroll 1
  for (std::int64_t d = 0; d < n_dims; ++d) {
    Lanes word[kVectors];
#pragma GCC unroll 4
    for (int v = 0; v < kVectors; ++v) word[v] = load_aligned(words + (d * kVectors + v) * kLanes);
#pragma GCC unroll 8
    for (int f = 0; f < n; ++f)
#pragma GCC unroll 4
      for (int v = 0; v < kVectors; ++v) score[f][v] += word[v] * x[f][d * kBlockFrames];
  }
#pragma GCC unroll 8
  for (int f = 0; f < n; ++f) {
    Best b = best[list[f]];
#pragma GCC unroll 4
    for (int v = 0; v < kVectors; ++v) {
      const IntLanes better = score[f][v] > b.score;
      b.score = better ? score[f][v] : b.score;
      b.place = better ? place + v * kLanes : b.place;
    }
    best[list[f]] = b;
  }
}

// The same for any number of frames; `list` has room for kFrames more.
inline void search_group(const PackedWords& words, std::int64_t group, const float* frames,
                         int* list, int n, Best* best) {
  IntLanes place;
  for (int lane = 0; lane < kLanes; ++lane) place[lane] = static_cast<int>(group) * kGroup + lane;
  const float* const packed = words.words + group * kGroup * words.n_dims;
  const float* const bias = words.bias + group * kGroup;
  // A frame that fills a tile up is searched twice, which changes nothing.
  for (int i = n; i < n + kFrames; ++i) list[i] = list[n - 1];
  for (int i = 0; i < n; i += kFrames)
    if (n - i > kFrames / 2)
      search_tile<kFrames>(packed, bias, frames, words.n_dims, list + i, place, best);
    else
      search_tile<kFrames / 2>(packed, bias, frames, words.n_dims, list + i, place, best);
}

inline float best_score(const Best& best) {
  float score = best.score[0];
  for (int lane = 1; lane < kLanes; ++lane)
    score = best.score[lane] > score ? best.score[lane] : score;
  return score;
}

void nearest_words(const PackedWords& words, float* frames, int n_frames, float* bounds,
                   std::int32_t* labels) {
  constexpr int kPerBlock = kBlockFrames / kLanes;
  const int n_box = words.n_box;
  float* const rest = frames + words.n_dims * kBlockFrames;

  // ‖x‖² and the norm of the coordinates that the boxes do not tell apart.
  alignas(64) float norm[kBlockFrames];
  for (int f = 0; f < kBlockFrames; f += kLanes) {
    Lanes boxed{}, other{};
    for (std::int64_t d = 0; d < words.n_dims; ++d) {
      const Lanes x = load_aligned(frames + d * kBlockFrames + f);
      (d < n_box ? boxed : other) += x * x;
    }
    store_aligned(norm + f, boxed + other);
    for (int lane = 0; lane < kLanes; ++lane) rest[f + lane] = __builtin_sqrtf(other[lane]);
  }

  // How near each group can be, and the group that can be nearest.
  Lanes lowest[kPerBlock];
  IntLanes nearest[kPerBlock];
  for (int v = 0; v < kPerBlock; ++v) lowest[v] = splat(__builtin_inff()), nearest[v] = IntLanes{};
  for (std::int64_t g = 0; g < words.n_groups; ++g) {
    const float* const box = words.boxes + g * (n_box + 1) * 2;
    for (int v = 0; v < kPerBlock; ++v) {
      Lanes bound{};
      const auto add = [&](const float* x, const float* range) {
        const Lanes value = load_aligned(x + v * kLanes);
        const Lanes gap = max(max(range[0] - value, value - range[1]), Lanes{});
        bound += gap * gap;
      };
      for (int d = 0; d < n_box; ++d) add(frames + d * kBlockFrames, box + 2 * d);
      add(rest, box + 2 * n_box);
      store_aligned(bounds + g * kBlockFrames + v * kLanes, bound);
      const IntLanes nearer = bound < lowest[v];
      lowest[v] = nearer ? bound : lowest[v];
      nearest[v] = nearer ? IntLanes{} + static_cast<int>(g) : nearest[v];
    }
  }

  // Search that group first, so that the others have something to be farther than.
  Best best[kBlockFrames];
  for (int f = 0; f < kBlockFrames; ++f) best[f] = {splat(-__builtin_inff()), IntLanes{}};
  int list[kBlockFrames + kFrames];
  int group[kBlockFrames];
  std::memcpy(group, nearest, sizeof group);
  for (int f = 0; f < n_frames; ++f) {
    if (group[f] < 0) continue;
    const int g = group[f];
    int n = 0;
    for (int i = f; i < n_frames; ++i)
      if (group[i] == g) {
        list[n++] = i;
        group[i] = -1;
        bounds[g * kBlockFrames + i] = __builtin_inff();
      }
    search_group(words, g, frames, list, n, best);
  }

  // Rounding of the scores and of the bounds must skip no group: both err by less than this.
  const float slack = 2 * __FLT_EPSILON__ * static_cast<float>(words.n_dims + 8);
  alignas(64) float limit[kBlockFrames];
  for (int f = 0; f < kBlockFrames; ++f)
    limit[f] = f < n_frames
                   ? norm[f] - 2 * best_score(best[f]) + slack * (norm[f] + words.largest_norm)
                   : -1;
  for (std::int64_t g = 0; g < words.n_groups; ++g) {
    const float* const bound = bounds + g * kBlockFrames;
    IntLanes any{};
    for (int f = 0; f < kBlockFrames; f += kLanes)
      any |= load_aligned(bound + f) <= load_aligned(limit + f);
    std::int64_t needed[sizeof any / sizeof(std::int64_t)], some = 0;
    std::memcpy(needed, &any, sizeof any);
    for (const std::int64_t word : needed) some |= word;
    if (!some) continue;
    int n = 0;
    for (int f = 0; f < n_frames; ++f) {
      list[n] = f;
      n += bound[f] <= limit[f];
    }
    search_group(words, g, frames, list, n, best);
  }

  for (int f = 0; f < n_frames; ++f) {
    const float score = best_score(best[f]);
    std::int32_t label = INT32_MAX;
    for (int lane = 0; lane < kLanes; ++lane) {
      const std::int32_t number = words.numbers[best[f].place[lane]];
      if (best[f].score[lane] == score && number < label) label = number;
    }
    labels[f] = label;
  }
}

float squared_distance(const float* a, const float* b, const float* scale, std::int64_t n) {
  const auto gap = [&](std::int64_t d) { return scale[d] * (a[d] - b[d]); };
  // Four partial sums: short chains of additions, in an order that is fixed.
  float sum[4] = {};
  std::int64_t d = 0;
  for (; d + 4 <= n; d += 4)
    for (int j = 0; j < 4; ++j) sum[j] += gap(d + j) * gap(d + j);
  for (; d < n; ++d) sum[0] += gap(d) * gap(d);
  return (sum[0] + sum[1]) + (sum[2] + sum[3]);
}

}  // namespace

const KmeansKernel kmeans_kernel{kGroup, nearest_words, squared_distance};

}  // namespace dcbmr::DCBMR_ISA
