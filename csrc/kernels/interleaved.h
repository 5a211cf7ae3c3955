// Symmetric systems of W rows at once, one row in each lane, for kernel sources only.
//
// What is a number of a small system is a vector here: nothing waits for the chain from pivot to
// pivot of one row alone, and a lane's result depends neither on its place nor on its neighbours.
// A matrix is kept in strips of so many rows, each column by column. Of a system the lower triangle
// is kept: strip i has its first height (i + 1) columns. The height changes no bit of the solution:
// all sums run over the columns in turn, and in the substitution backwards.
#pragma once

#include <cstdint>
#include <cstring>

#include "kernels/panels.h"

namespace dcbmr::DCBMR_ISA {

// height x height vectors and a row stay in registers.
constexpr int kTallStrip = W < 16 ? 3 : 5;
constexpr int kStrip = W < 16 ? 3 : 4;

template <int height>
constexpr Index kColumn = height * W;  // floats of a strip's column

template <int height>
inline Index strips(Index n) {
  return (n + height - 1) / height;
}
template <int height>
inline Index strip_at(Index i) {  // of a system
  return i * (i + 1) / 2 * height * kColumn<height>;
}
template <int height>
inline Index number_at(Index row, Index column, Index depth) {  // in strips of `depth` columns
  return row / height * depth * kColumn<height> + column * kColumn<height> + row % height * W;
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

// c (height x height) = or += or -= a b^T over the first n columns, at least one, of two strips.
template <int height, Into into>
inline void strip_product(Index n, const float* a, const float* b, float* c) {
  Lanes sums[height][height] = {};
  if (into != Into::set)
#pragma GCC unroll 5
    for (int q = 0; q < height; ++q)
#pragma GCC unroll 5
      for (int r = 0; r < height; ++r) sums[q][r] = load(c + q * kColumn<height> + r * W);
  Index k = 0;
  do {
    Lanes left[height];
#pragma GCC unroll 5
    for (int r = 0; r < height; ++r) left[r] = load(a + k * kColumn<height> + r * W);
#pragma GCC unroll 5
    for (int q = 0; q < height; ++q) {
      const Lanes right = load(b + k * kColumn<height> + q * W);
#pragma GCC unroll 5
      for (int r = 0; r < height; ++r) sums[q][r] = combined<into>(sums[q][r], left[r], right);
    }
  } while (++k < n);
#pragma GCC unroll 5
  for (int q = 0; q < height; ++q)
#pragma GCC unroll 5
    for (int r = 0; r < height; ++r) store(c + q * kColumn<height> + r * W, sums[q][r]);
}

// The lower triangle of c = or += or -= a a^T over the first n columns of a strip. A triangle alone
// waits for its own sums: `with_x`, x (height) = or += or -= a v costs next to nothing beside it.
template <int height, Into into, bool with_x>
inline void strip_square(Index n, const float* a, float* c, const float* v, float* x) {
  Lanes sums[height][height] = {}, more[height] = {};
  if (into != Into::set)
#pragma GCC unroll 5
    for (int q = 0; q < height; ++q) {
#pragma GCC unroll 5
      for (int r = q; r < height; ++r) sums[q][r] = load(c + q * kColumn<height> + r * W);
      if (with_x) more[q] = load(x + q * W);
    }
  Index k = 0;
  do {
    Lanes left[height];
#pragma GCC unroll 5
    for (int r = 0; r < height; ++r) left[r] = load(a + k * kColumn<height> + r * W);
    const Lanes factor = with_x ? load(v + k * W) : Lanes{};
#pragma GCC unroll 5
    for (int q = 0; q < height; ++q) {
#pragma GCC unroll 5
      for (int r = q; r < height; ++r) sums[q][r] = combined<into>(sums[q][r], left[r], left[q]);
      if (with_x) more[q] = combined<into>(more[q], left[q], factor);
    }
  } while (++k < n);
#pragma GCC unroll 5
  for (int q = 0; q < height; ++q) {
#pragma GCC unroll 5
    for (int r = q; r < height; ++r) store(c + q * kColumn<height> + r * W, sums[q][r]);
    if (with_x) store(x + q * W, more[q]);
  }
}

// system = or += packed packed^T over `depth` columns of strips that have room for `capacity`, and
// `with_x` x = or += packed v.
template <int height, Into into, bool with_x>
inline void add_products(Index n_strips, Index depth, const float* packed, Index capacity,
                         float* system, const float* v, float* x) {
  const Index strip_floats = capacity * kColumn<height>;
  for (Index i = 0; i < n_strips; ++i) {
    const float* const strip = packed + i * strip_floats;
    float* to = system + strip_at<height>(i);
    for (Index j = 0; j < i; ++j, to += height * kColumn<height>)
      strip_product<height, into>(depth, strip, packed + j * strip_floats, to);
    strip_square<height, into, with_x>(depth, strip, to, v, x + i * kColumn<height>);
  }
}

// (D + M)^-1 x overwrites x by D + M = L L^T, D a diagonal; L overwrites the lower triangle of M.
// `inverse` has room for as much as x. Lanes of the result are -1 where float32 does for the row.
template <int height>
inline IntLanes solve_strips(Index n_strips, float* system, const float* diagonal, float* x,
                             float* inverse) {
  IntLanes sound = ~IntLanes{};
  for (Index i = 0; i < n_strips; ++i) {
    float* const strip = system + strip_at<height>(i);
    for (Index j = 0; j < i; ++j) {
      float* const block = strip + j * height * kColumn<height>;
      const float* const above = system + strip_at<height>(j);
      const float* const corner = above + j * height * kColumn<height>;
      if (j > 0) strip_product<height, Into::subtract>(j * height, strip, above, block);
#pragma GCC unroll 5
      for (int r = 0; r < height; ++r) {  // times the inverse of the corner's transpose
        Lanes row[height];
#pragma GCC unroll 5
        for (int q = 0; q < height; ++q) {
          row[q] = load(block + q * kColumn<height> + r * W);
#pragma GCC unroll 5
          for (int k = 0; k < q; ++k) row[q] -= row[k] * load(corner + k * kColumn<height> + q * W);
          row[q] *= load(inverse + (j * height + q) * W);
          store(block + q * kColumn<height> + r * W, row[q]);
        }
      }
    }
    float* const corner = strip + i * height * kColumn<height>;
    Lanes whole[height];  // the diagonal
#pragma GCC unroll 5
    for (int r = 0; r < height; ++r) {
      float* const to = corner + r * kColumn<height> + r * W;
      whole[r] = load(to) + load(diagonal + (i * height + r) * W);
      store(to, whole[r]);
    }
    if (i > 0)
      strip_square<height, Into::subtract, true>(i * height, strip, corner, x,
                                                 x + i * kColumn<height>);
    Lanes rest[height];  // of x
#pragma GCC unroll 5
    for (int r = 0; r < height; ++r) rest[r] = load(x + (i * height + r) * W);
    Lanes lower[height][height], reciprocals[height];
#pragma GCC unroll 5
    for (int r = 0; r < height; ++r) {
      const Lanes least = load(diagonal + (i * height + r) * W);
      Lanes pivot = load(corner + r * kColumn<height> + r * W);
#pragma GCC unroll 5
      for (int q = 0; q < r; ++q) {
        Lanes value = load(corner + q * kColumn<height> + r * W);
#pragma GCC unroll 5
        for (int k = 0; k < q; ++k) value -= lower[r][k] * lower[q][k];
        lower[r][q] = value * reciprocals[q];
        store(corner + q * kColumn<height> + r * W, lower[r][q]);
        pivot -= lower[r][q] * lower[r][q];
        rest[r] -= lower[r][q] * rest[q];
      }
      // In exact arithmetic a pivot is at least what D has there.
      sound &= (pivot > max(0.5F * least, kLost * whole[r])) & (pivot < __builtin_inff());
      reciprocals[r] = 1 / square_root(pivot);
      rest[r] *= reciprocals[r];
      store(inverse + (i * height + r) * W, reciprocals[r]);
      store(x + (i * height + r) * W, rest[r]);
    }
  }
  for (Index i = n_strips; i-- > 0;) {  // L^T x = x
    Lanes rest[height];
#pragma GCC unroll 5
    for (int r = 0; r < height; ++r) rest[r] = load(x + (i * height + r) * W);
    for (Index j = n_strips; j-- > i + 1;) {
      const float* const block = system + strip_at<height>(j) + i * height * kColumn<height>;
#pragma GCC unroll 5
      for (int k = height - 1; k >= 0; --k) {
        const Lanes known = load(x + (j * height + k) * W);
#pragma GCC unroll 5
        for (int r = 0; r < height; ++r)
          rest[r] -= load(block + r * kColumn<height> + k * W) * known;
      }
    }
    const float* const corner = system + strip_at<height>(i) + i * height * kColumn<height>;
#pragma GCC unroll 5
    for (int r = height - 1; r >= 0; --r) {
#pragma GCC unroll 5
      for (int k = height - 1; k > r; --k)
        rest[r] -= load(corner + r * kColumn<height> + k * W) * rest[k];
      rest[r] *= load(inverse + (i * height + r) * W);
      store(x + (i * height + r) * W, rest[r]);
      sound &= rest[r] - rest[r] == 0;  // finite
    }
  }
  return sound;
}

}  // namespace dcbmr::DCBMR_ISA
