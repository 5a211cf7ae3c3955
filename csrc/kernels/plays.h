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

// Of each two blocks of `step` lanes the first of a, then of b; or the second.
template <int step, int half, int... j>
inline Lanes blocks(Lanes a, Lanes b, std::integer_sequence<int, j...>) {
  return shuffle<(j / step / 2 * 2 * step + half * step + j % step + j / step % 2 * kLanes)...>(a,
                                                                                                b);
}

// Of each four lanes: the sum of a's, of b's, of c's, of d's.
inline Lanes sums_of_fours(Lanes a, Lanes b, Lanes c, Lanes d) {
  const Lanes ab = unpacked<0>(a, b, kEachLane) + unpacked<1>(a, b, kEachLane);
  const Lanes cd = unpacked<0>(c, d, kEachLane) + unpacked<1>(c, d, kEachLane);
  return blocks<2, 0>(ab, cd, kEachLane) + blocks<2, 1>(ab, cd, kEachLane);
}

// The sum over the lanes of each.
inline Few lane_sums(const Lanes (&v)[kScored]) {
  Lanes sums = sums_of_fours(v[0], v[1], v[2], v[3]);
  if constexpr (kScored == 8) {
    const Lanes more = sums_of_fours(v[4], v[5], v[6], v[7]);
    sums = blocks<4, 0>(sums, more, kEachLane) + blocks<4, 1>(sums, more, kEachLane);
  }
  Few halves[W / kScored];
  std::memcpy(halves, &sums, sizeof halves);
  return W == kScored ? halves[0] : halves[0] + halves[W / kScored - 1];
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
