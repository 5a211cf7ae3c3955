#include "kmeans_kernel.h"

#include <cstring>

namespace dcbmr::DCBMR_ISA {
namespace {

// A tile is as many scores as the registers hold beside one vector of each group of words and one
// frame's coordinate.
#if defined(__AVX512F__)
constexpr int kLanes = 16, kFrames = 8, kVectors = 3;
#elif defined(__AVX2__)
constexpr int kLanes = 8, kFrames = 4, kVectors = 3;
#elif defined(__aarch64__)
constexpr int kLanes = 4, kFrames = 8, kVectors = 3;
#else
constexpr int kLanes = 4, kFrames = 4, kVectors = 2;
#endif
static_assert(kBlockFrames % kFrames == 0 && kLanes <= kMaxLanes);

typedef float Floats __attribute__((vector_size(kLanes * sizeof(float))));
typedef std::int32_t Ints __attribute__((vector_size(kLanes * sizeof(std::int32_t))));

Floats load(const float* from) {
  Floats value;
  std::memcpy(&value, __builtin_assume_aligned(from, sizeof value), sizeof value);
  return value;
}

// The best of the words that each lane has seen.
struct Best {
  Floats score;
  Ints word;
};

// `words` is one group (n_dims, kVectors, kLanes) whose first word is `first`; `frames` is one tile
// (n_dims, kFrames).
inline void search(const float* __restrict words, const float* __restrict bias,
                   const float* __restrict frames, std::int64_t n_dims, Ints first,
                   Best* __restrict best) {
  Floats score[kFrames][kVectors];
#pragma GCC unroll 8
  for (int f = 0; f < kFrames; ++f)
#pragma GCC unroll 4
    for (int v = 0; v < kVectors; ++v) score[f][v] = load(bias + v * kLanes);
#pragma GCC unroll 1
  for (std::int64_t d = 0; d < n_dims; ++d) {
    Floats word[kVectors];
#pragma GCC unroll 4
    for (int v = 0; v < kVectors; ++v) word[v] = load(words + (d * kVectors + v) * kLanes);
#pragma GCC unroll 8
    for (int f = 0; f < kFrames; ++f)
#pragma GCC unroll 4
      for (int v = 0; v < kVectors; ++v) score[f][v] += word[v] * frames[d * kFrames + f];
  }
#pragma GCC unroll 8
  for (int f = 0; f < kFrames; ++f)
#pragma GCC unroll 4
    for (int v = 0; v < kVectors; ++v) {
      const Ints better = score[f][v] > best[f].score;
      best[f].score = better ? score[f][v] : best[f].score;
      best[f].word = better ? first + v * kLanes : best[f].word;
    }
}

}  // namespace

const Tile search_tile{kFrames, kVectors * kLanes};

void nearest_words(const PackedWords& words, const float* frames, int n_tiles,
                   std::int32_t* labels) {
  Best best[kBlockFrames];
  const Floats lowest = Floats{} - __builtin_inff();
  for (int f = 0; f < n_tiles * kFrames; ++f) best[f] = {lowest, Ints{}};
  Ints first;
  for (int lane = 0; lane < kLanes; ++lane) first[lane] = lane;
  // A group of words stays in the first cache while every tile of the block passes by.
  constexpr int kGroup = kVectors * kLanes;
  for (std::int64_t g = 0; g < words.n_groups; ++g, first += kGroup)
    for (int t = 0; t < n_tiles; ++t)
      search(words.words + g * kGroup * words.n_dims, words.bias + g * kGroup,
             frames + t * kFrames * words.n_dims, words.n_dims, first, best + t * kFrames);
  for (int f = 0; f < n_tiles * kFrames; ++f) {
    float score = best[f].score[0];
    std::int32_t word = best[f].word[0];
    for (int lane = 1; lane < kLanes; ++lane) {
      const float s = best[f].score[lane];
      const std::int32_t w = best[f].word[lane];
      if (s > score || (s == score && w < word)) score = s, word = w;
    }
    labels[f] = word;
  }
}

float squared_distance(const float* a, const float* b, std::int64_t n) {
  // Four partial sums: short chains of additions, in an order that is fixed.
  float sum[4] = {};
  std::int64_t d = 0;
  for (; d + 4 <= n; d += 4)
    for (int j = 0; j < 4; ++j) sum[j] += (a[d + j] - b[d + j]) * (a[d + j] - b[d + j]);
  for (; d < n; ++d) sum[0] += (a[d] - b[d]) * (a[d] - b[d]);
  return (sum[0] + sum[1]) + (sum[2] + sum[3]);
}

}  // namespace dcbmr::DCBMR_ISA
