// The plays of one row, read in groups, for kernel sources only.
#pragma once

#include <cstdint>
#include <cstring>
#include <utility>

#include "kernels/linalg.h"
#include "kernels/panels.h"

namespace dcbmr::DCBMR_ISA {

// Plays that are read side by side, and a number for each.
constexpr Index kScored = W < 8 ? W : 8;
typedef float Few __attribute__((vector_size(kScored * sizeof(float))));
typedef std::int32_t FewInts __attribute__((vector_size(kScored * sizeof(float))));

// As many float64 as fill a vector: of a larger one GCC keeps sums on the stack.
typedef double Doubles __attribute__((vector_size(sizeof(Lanes))));
typedef float HalfLanes __attribute__((vector_size(sizeof(Lanes) / 2)));
inline Doubles load(const double* from) {
  Doubles doubles;
  std::memcpy(&doubles, from, sizeof doubles);
  return doubles;
}
inline Doubles to_double(const float* from) {
  HalfLanes half;
  std::memcpy(&half, from, sizeof half);
  return __builtin_convertvector(half, Doubles);
}
inline double total(Doubles doubles) {
  double sum = 0;
  for (int i = 0; i < W / 2; ++i) sum += doubles[i];
  return sum;
}

// The first halves of a and b, or their second, lane by lane in turn.
template <int half, int... j>
inline Lanes interleave(Lanes a, Lanes b, std::integer_sequence<int, j...>) {
  return shuffle<(half * kLanes / 2 + j / 2 + j % 2 * kLanes)...>(a, b);
}
inline Lanes paired_sums(Lanes a, Lanes b) {
  return interleave<0>(a, b, kEachLane) + interleave<1>(a, b, kEachLane);
}

// The sum over the lanes of each: after a round a vector holds the sums of twice as many, in turn.
template <Index n>
inline Few lane_sums(const Lanes (&v)[n]) {
  if constexpr (n > 1) {
    Lanes sums[n / 2];
#pragma GCC unroll 4
    for (Index i = 0; i < n / 2; ++i) sums[i] = paired_sums(v[i], v[i + n / 2]);
    return lane_sums(sums);
  } else {
    Few halves[W / kScored];
    std::memcpy(halves, &v[0], sizeof halves);
    return W == kScored ? halves[0] : halves[0] + halves[W / kScored - 1];
  }
}

inline const float* row_of(const Plays& plays, Index i) {
  return plays.factors + plays.indices[i] * plays.stride;
}

// What columns c .. c + W - 1 of a row are scaled by.
inline Lanes scale_of(const Plays& plays, Index c) {
  return plays.scale ? load(plays.scale + c) : splat(1);
}

// Runs on into the rows that follow, which are solved next.
inline void prefetch(const Plays& plays, Index i) {
  if (i >= plays.n_ahead) return;
  const float* const row = row_of(plays, i);
  for (Index c = 0; c < plays.stride; c += 16) __builtin_prefetch(row + c);
}

// kScored plays from `first`; past the end the last is repeated.
struct Group {
  const float* rows[kScored];
  Few surplus;
  FewInts inside;  // -1 for a play, 0 past the end
  Group(const Plays& plays, Index first) {
    if (first + kScored <= plays.n) {
#pragma GCC unroll 8
      for (Index i = 0; i < kScored; ++i) rows[i] = row_of(plays, first + i);
      std::memcpy(&surplus, plays.surplus + first, sizeof surplus);
      inside = ~FewInts{};
    } else {
      float padded[kScored];
      std::int32_t flags[kScored];
#pragma GCC unroll 8
      for (Index i = 0; i < kScored; ++i) {
        const Index at = smaller(first + i, plays.n - 1);
        rows[i] = row_of(plays, at);
        padded[i] = plays.surplus[at];
        flags[i] = first + i < plays.n ? -1 : 0;
      }
      std::memcpy(&surplus, padded, sizeof surplus);
      std::memcpy(&inside, flags, sizeof inside);
    }
  }
  // x . factors of each
  Few scores(Index width, const float* x) const {
    Lanes sums[kScored];
#pragma GCC unroll 8
    for (Index i = 0; i < kScored; ++i) sums[i] = Lanes{};
    for (Index c = 0; c < width; c += W) {
      const Lanes value = load(x + c);
#pragma GCC unroll 8
      for (Index i = 0; i < kScored; ++i) sums[i] += value * load(rows[i] + c);
    }
    return lane_sums(sums);
  }
  // to += sum of weights times factors
  void add(Index width, Few weights, float* to) const {
    for (Index c = 0; c < width; c += W) {
      Lanes even = weights[0] * load(rows[0] + c), odd = weights[1] * load(rows[1] + c);
#pragma GCC unroll 8
      for (Index i = 2; i < kScored; i += 2) {
        even += weights[i] * load(rows[i] + c);
        odd += weights[i + 1] * load(rows[i + 1] + c);
      }
      store(to + c, load(to + c) + (even + odd));
    }
  }
};

}  // namespace dcbmr::DCBMR_ISA
