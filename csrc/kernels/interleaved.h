// Symmetric systems of W rows at once, one row in each lane, for kernel sources only.
//
// What is a number of a small system is a vector here: nothing waits for the chain from pivot to
// pivot of one row alone, and a lane's result depends neither on its place nor on its neighbours.
// A matrix is kept in strips of kStrip rows, each column by column. Of a system the lower triangle
// is kept: strip i has its first kStrip (i + 1) columns.
#pragma once

#include <cstdint>
#include <cstring>

#include "kernels/panels.h"

namespace dcbmr::DCBMR_ISA {

constexpr Index kStrip = W < 16 ? 3 : 4;  // kStrip x kStrip vectors and a row stay in registers
constexpr Index kColumn = kStrip * W;     // floats of a strip's column

inline Index strips(Index n) { return (n + kStrip - 1) / kStrip; }
inline Index strip_at(Index i) { return i * (i + 1) / 2 * kStrip * kColumn; }  // of a system
inline Index number_at(Index row, Index column, Index depth) {  // in strips of `depth` columns
  return row / kStrip * depth * kColumn + column * kColumn + row % kStrip * W;
}

inline Lanes square_root(Lanes x) {
  float values[W];
  store(values, x);
  for (Index i = 0; i < W; ++i) values[i] = __builtin_sqrtf(values[i]);
  return load(values);
}

template <Into into>
inline Lanes combined(Lanes sum, Lanes a, Lanes b) {
  return into == Into::subtract ? sum - a * b : sum + a * b;
}

// c (kStrip x kStrip) = or += or -= a b^T over the first n columns, at least one, of two strips.
template <Into into>
inline void strip_product(Index n, const float* a, const float* b, float* c) {
  Lanes sums[kStrip][kStrip] = {};
  if (into != Into::set)
#pragma GCC unroll 4
    for (int q = 0; q < kStrip; ++q)
#pragma GCC unroll 4
      for (int r = 0; r < kStrip; ++r) sums[q][r] = load(c + q * kColumn + r * W);
  Index k = 0;
  do {
    Lanes left[kStrip];
#pragma GCC unroll 4
    for (int r = 0; r < kStrip; ++r) left[r] = load(a + k * kColumn + r * W);
#pragma GCC unroll 4
    for (int q = 0; q < kStrip; ++q) {
      const Lanes right = load(b + k * kColumn + q * W);
#pragma GCC unroll 4
      for (int r = 0; r < kStrip; ++r) sums[q][r] = combined<into>(sums[q][r], left[r], right);
    }
  } while (++k < n);
#pragma GCC unroll 4
  for (int q = 0; q < kStrip; ++q)
#pragma GCC unroll 4
    for (int r = 0; r < kStrip; ++r) store(c + q * kColumn + r * W, sums[q][r]);
}

// The lower triangle of c = or += or -= a a^T over the first n columns of a strip. A triangle alone
// waits for its own sums: `with_x`, x (kStrip) = or += or -= a v costs next to nothing beside it.
template <Into into, bool with_x>
inline void strip_square(Index n, const float* a, float* c, const float* v, float* x) {
  Lanes sums[kStrip][kStrip] = {}, more[kStrip] = {};
  if (into != Into::set)
#pragma GCC unroll 4
    for (int q = 0; q < kStrip; ++q) {
#pragma GCC unroll 4
      for (int r = q; r < kStrip; ++r) sums[q][r] = load(c + q * kColumn + r * W);
      if (with_x) more[q] = load(x + q * W);
    }
  Index k = 0;
  do {
    Lanes left[kStrip];
#pragma GCC unroll 4
    for (int r = 0; r < kStrip; ++r) left[r] = load(a + k * kColumn + r * W);
    const Lanes factor = with_x ? load(v + k * W) : Lanes{};
#pragma GCC unroll 4
    for (int q = 0; q < kStrip; ++q) {
#pragma GCC unroll 4
      for (int r = q; r < kStrip; ++r) sums[q][r] = combined<into>(sums[q][r], left[r], left[q]);
      if (with_x) more[q] = combined<into>(more[q], left[q], factor);
    }
  } while (++k < n);
#pragma GCC unroll 4
  for (int q = 0; q < kStrip; ++q) {
#pragma GCC unroll 4
    for (int r = q; r < kStrip; ++r) store(c + q * kColumn + r * W, sums[q][r]);
    if (with_x) store(x + q * W, more[q]);
  }
}

// system = or += packed packed^T over `depth` columns of strips that have room for `capacity`, and
// `with_x` x = or += packed v.
template <Into into, bool with_x>
inline void add_products(Index n_strips, Index depth, const float* packed, Index capacity,
                         float* system, const float* v, float* x) {
  const Index strip_floats = capacity * kColumn;
  for (Index i = 0; i < n_strips; ++i) {
    const float* const strip = packed + i * strip_floats;
    float* to = system + strip_at(i);
    for (Index j = 0; j < i; ++j, to += kStrip * kColumn)
      strip_product<into>(depth, strip, packed + j * strip_floats, to);
    strip_square<into, with_x>(depth, strip, to, v, x + i * kColumn);
  }
}

// (D + M)^-1 x overwrites x by D + M = L L^T, D a diagonal; L overwrites the lower triangle of M.
// `inverse` has room for as much as x. Lanes of the result are -1 where float32 does for the row.
inline IntLanes solve_strips(Index n_strips, float* system, const float* diagonal, float* x,
                             float* inverse) {
  IntLanes sound = ~IntLanes{};
  for (Index i = 0; i < n_strips; ++i) {
    float* const strip = system + strip_at(i);
    for (Index j = 0; j < i; ++j) {
      float* const block = strip + j * kStrip * kColumn;
      const float* const above = system + strip_at(j);
      const float* const corner = above + j * kStrip * kColumn;
      if (j > 0) strip_product<Into::subtract>(j * kStrip, strip, above, block);
#pragma GCC unroll 4
      for (int r = 0; r < kStrip; ++r) {  // times the inverse of the corner's transpose
        Lanes row[kStrip];
#pragma GCC unroll 4
        for (int q = 0; q < kStrip; ++q) {
          row[q] = load(block + q * kColumn + r * W);
#pragma GCC unroll 4
          for (int k = 0; k < q; ++k) row[q] -= row[k] * load(corner + k * kColumn + q * W);
          row[q] *= load(inverse + (j * kStrip + q) * W);
          store(block + q * kColumn + r * W, row[q]);
        }
      }
    }
    float* const corner = strip + i * kStrip * kColumn;
    Lanes whole[kStrip];  // the diagonal
#pragma GCC unroll 4
    for (int r = 0; r < kStrip; ++r)
      whole[r] = load(corner + r * kColumn + r * W) + load(diagonal + (i * kStrip + r) * W);
    if (i > 0) strip_square<Into::subtract, true>(i * kStrip, strip, corner, x, x + i * kColumn);
    Lanes rest[kStrip];  // of x
#pragma GCC unroll 4
    for (int r = 0; r < kStrip; ++r) rest[r] = load(x + (i * kStrip + r) * W);
    Lanes lower[kStrip][kStrip], reciprocals[kStrip];
#pragma GCC unroll 4
    for (int r = 0; r < kStrip; ++r) {
      const Lanes least = load(diagonal + (i * kStrip + r) * W);
      Lanes pivot = load(corner + r * kColumn + r * W) + least;
#pragma GCC unroll 4
      for (int q = 0; q < r; ++q) {
        Lanes value = load(corner + q * kColumn + r * W);
#pragma GCC unroll 4
        for (int k = 0; k < q; ++k) value -= lower[r][k] * lower[q][k];
        lower[r][q] = value * reciprocals[q];
        store(corner + q * kColumn + r * W, lower[r][q]);
        pivot -= lower[r][q] * lower[r][q];
        rest[r] -= lower[r][q] * rest[q];
      }
      // In exact arithmetic a pivot is at least what D has there.
      sound &= (pivot > max(0.5F * least, kLost * whole[r])) & (pivot < __builtin_inff());
      reciprocals[r] = 1 / square_root(pivot);
      rest[r] *= reciprocals[r];
      store(inverse + (i * kStrip + r) * W, reciprocals[r]);
      store(x + (i * kStrip + r) * W, rest[r]);
    }
  }
  for (Index i = n_strips; i-- > 0;) {  // L^T x = x
    Lanes rest[kStrip];
#pragma GCC unroll 4
    for (int r = 0; r < kStrip; ++r) rest[r] = load(x + (i * kStrip + r) * W);
    for (Index j = i + 1; j < n_strips; ++j) {
      const float* const block = system + strip_at(j) + i * kStrip * kColumn;
#pragma GCC unroll 4
      for (int k = 0; k < kStrip; ++k) {
        const Lanes known = load(x + (j * kStrip + k) * W);
#pragma GCC unroll 4
        for (int r = 0; r < kStrip; ++r) rest[r] -= load(block + r * kColumn + k * W) * known;
      }
    }
    const float* const corner = system + strip_at(i) + i * kStrip * kColumn;
#pragma GCC unroll 4
    for (int r = kStrip - 1; r >= 0; --r) {
#pragma GCC unroll 4
      for (int k = kStrip - 1; k > r; --k) rest[r] -= load(corner + r * kColumn + k * W) * rest[k];
      rest[r] *= load(inverse + (i * kStrip + r) * W);
      store(x + (i * kStrip + r) * W, rest[r]);
      sound &= rest[r] - rest[r] == 0;  // finite
    }
  }
  return sound;
}

}  // namespace dcbmr::DCBMR_ISA
