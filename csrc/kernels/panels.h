// Symmetric matrices in panels (see linalg.h), for kernel sources only: products and Cholesky.
//
// A matrix of m rows is padded to whole panels in front: its padding is the first rows and columns,
// which cost least there, since the upper triangle has its longest rows at the top.
#pragma once

#include <cstdint>
#include <cstring>

#include "kernels/vector.h"

namespace dcbmr::DCBMR_ISA {

constexpr Index W = kLanes;  // floats in a vector
constexpr Index kRows =
    W < 16 ? 4 : 8;  // rows of a register tile; kRows x 3 vectors stay in registers
constexpr Index kFewRows = W < 16 ? 4 : 2;  // of one at the top, where padding leaves few
constexpr Index kGroup = 3;                 // panels that a register tile spans

inline Index panels(Index n) { return (n + W - 1) / W; }
inline Index smaller(Index a, Index b) { return a < b ? a : b; }
inline Index larger(Index a, Index b) { return a > b ? a : b; }

enum class Into { set, add, subtract };

// A pivot that is less than this of its diagonal is what rounding left: 16 of 24 bits are lost.
constexpr float kLost = 0x1p-16F;

// c (rows x n_panels W) = or += or -= sum over k < n of a[k]^T b[k]: the one inner loop of the
// matrix products below. a, b and c are panels; b_stride and c_stride lead from a panel to the
// next.
template <int rows, int n_panels, Into into>
inline void tile(Index n, const float* a, const float* b, Index b_stride, float* c,
                 Index c_stride) {
  Lanes sums[rows][n_panels] = {};
  for (Index k = 0; k < n; ++k) {
    Lanes row[n_panels];
#pragma GCC unroll 3
    for (int p = 0; p < n_panels; ++p) row[p] = load(b + p * b_stride + k * W);
#pragma GCC unroll 8
    for (Index r = 0; r < rows; ++r) {
      const Lanes factor = splat(a[k * W + r]);
#pragma GCC unroll 3
      for (int p = 0; p < n_panels; ++p) sums[r][p] += factor * row[p];
    }
  }
#pragma GCC unroll 8
  for (Index r = 0; r < rows; ++r)
#pragma GCC unroll 3
    for (int p = 0; p < n_panels; ++p) {
      float* to = c + p * c_stride + r * W;
      if constexpr (into == Into::set) store(to, sums[r][p]);
      if constexpr (into == Into::add) store(to, load(to) + sums[r][p]);
      if constexpr (into == Into::subtract) store(to, load(to) - sums[r][p]);
    }
}

// The same for up to kGroup panels.
template <int rows, Into into>
inline void tile(Index n_panels, Index n, const float* a, const float* b, Index b_stride, float* c,
                 Index c_stride) {
  if (n_panels == 3)
    tile<rows, 3, into>(n, a, b, b_stride, c, c_stride);
  else if (n_panels == 2)
    tile<rows, 2, into>(n, a, b, b_stride, c, c_stride);
  else
    tile<rows, 1, into>(n, a, b, b_stride, c, c_stride);
}

// And for n_rows, a multiple of kFewRows and at most W.
template <Into into>
inline void tiles(Index n_rows, Index n_panels, Index n, const float* a, const float* b,
                  Index b_stride, float* c, Index c_stride) {
  // A tile of few panels waits for its own sums unless it has more rows.
  if constexpr (W == 8)
    if (n_panels == 1 && n_rows == W) return tile<W, 1, into>(n, a, b, b_stride, c, c_stride);
  Index r = 0;
  for (; r < n_rows % kRows; r += kFewRows)
    tile<kFewRows, into>(n_panels, n, a + r, b, b_stride, c + r * W, c_stride);
  for (; r < n_rows; r += kRows)
    tile<kRows, into>(n_panels, n, a + r, b, b_stride, c + r * W, c_stride);
}

// system (m x m) = or += packed^T packed; panels of `packed` are packed_rows rows high, n of them
// used. Rows of padding above the first tile are left alone.
template <Into into>
inline void product(const float* packed, Index packed_rows, Index n, Index m, float* system) {
  const Index n_panels = panels(m), height = n_panels * W, pad = height - m;
  Index first = 0;
  for (Index end = (n_panels - 1) % kGroup + 1; end <= n_panels; end += kGroup) {
    for (Index p = 0; p < end; ++p) {  // the rows of panel p
      const Index skip = p == 0 ? pad / kFewRows * kFewRows : 0, start = larger(first, p);
      tiles<into>(W - skip, end - start, n, packed + p * packed_rows * W + skip,
                  packed + start * packed_rows * W, packed_rows * W,
                  system + start * height * W + (p * W + skip) * W, height * W);
    }
    first = end;
  }
}

// Lane r is 1, the others 0.
inline Lanes unit_lane(Index r) {
  Lanes lanes{};
  lanes[r] = 1;
  return lanes;
}
// Which lanes follow lane r.
inline IntLanes lanes_after(Index r) {
  IntLanes lanes{};
#pragma GCC unroll 16
  for (int i = 0; i < W; ++i) lanes[i] = i > r ? -1 : 0;
  return lanes;
}

// The W rows of a diagonal block, with I added: U overwrites them, unit (W, W) the rows of U over
// their diagonal, reciprocals the diagonal's inverse, and U^-T x overwrites x. The first `skip`
// rows and columns are padding. Lanes of the result are not 0 where a pivot, which in exact
// arithmetic is at least 1, says that float32 has lost the row; `whole` is the matrix's diagonal.
inline Lanes factorize_block(Index skip, Lanes whole, float* block, float* unit, float* reciprocals,
                             float* x) {
  Lanes rows[W], pivots = {}, rest = load(x);
#pragma GCC unroll 16
  for (Index r = 0; r < W; ++r) rows[r] = load(block + r * W) + unit_lane(r);
#pragma GCC unroll 16
  for (Index r = 0; r < W; ++r) {
    pivots = unit_lane(r) != 0 ? rows[r] : pivots;
    store(block + r * W, rows[r]);
    store(unit + r * W, Lanes{});
    if (r < skip) continue;
    // The chain from pivot to pivot: divide, scale, subtract.
    const Lanes scaled = rows[r] * (1 / rows[r][r]);
    store(unit + r * W, scaled);
#pragma GCC unroll 16
    for (Index q = r + 1; q < W; ++q) rows[q] -= block[r * W + q] * scaled;
    rest = lanes_after(r) ? rest - scaled * rest[r] : rest;
  }
  store(reciprocals, pivots);
  for (Index r = 0; r < W; ++r) reciprocals[r] = 1 / __builtin_sqrtf(reciprocals[r]);
#pragma GCC unroll 16
  for (Index r = 0; r < W; ++r) store(block + r * W, rows[r] * reciprocals[r]);
  store(x, rest * load(reciprocals));
  const IntLanes sound =
      (pivots > max(splat(0.5F), kLost * (whole + 1))) & (pivots < __builtin_inff());
  return sound ? Lanes{} : splat(1);
}

// The W rows of a panel to the right of a factored block; `rest` is the panel's part of x, from
// which that of the block's rows is subtracted. Inlined, it would be slower: GCC moves all elements
// of `unit` as vectors out of the loop over the panels, and onto the stack.
__attribute__((noinline)) inline void factorize_right(const float* unit, const float* reciprocals,
                                                      const float* x, float* right, float* rest) {
  Lanes rows[W], value = load(rest);
#pragma GCC unroll 16
  for (Index r = 0; r < W; ++r) rows[r] = load(right + r * W);
#pragma GCC unroll 16
  for (Index r = 0; r < W; ++r) {
#pragma GCC unroll 16
    for (Index q = r + 1; q < W; ++q) rows[q] -= unit[r * W + q] * rows[r];
    rows[r] *= reciprocals[r];
    store(right + r * W, rows[r]);
    value -= x[r] * rows[r];
  }
  store(rest, value);
}

// (I + M)^-1 x overwrites x, whose padding is zero, by I + M = U^T U, left-looking by blocks of W
// rows; U overwrites the upper triangle of M. M is positive. `inverse` has room for one row. False
// where float32 does not do.
inline bool solve(Index m, float* system, float* x, float* inverse) {
  const Index n_panels = panels(m), height = n_panels * W, pad = height - m;
  for (Index p = 0; p < n_panels; ++p)
    for (Index r = 0; r < pad / kFewRows * kFewRows; ++r)
      store(system + p * height * W + r * W, Lanes{});
  alignas(64) float unit[W * W];
  Lanes faults = {};
  for (Index j = 0; j < n_panels; ++j) {
    float* above = system + j * height * W;  // panel j: its rows before the block are factored
    Lanes whole{};
#pragma GCC unroll 16
    for (Index r = 0; r < W; ++r) whole[r] = above[j * W * W + r * W + r];
    if (j > 0)
      for (Index first = j; first < n_panels; first += kGroup) {
        const Index count = smaller(kGroup, n_panels - first);
        float* right = system + first * height * W;
        tiles<Into::subtract>(W, count, j * W - pad, above + pad * W, right + pad * W, height * W,
                              right + j * W * W, height * W);
      }
    faults += factorize_block(j == 0 ? pad : 0, whole, above + j * W * W, unit, inverse + j * W,
                              x + j * W);
    for (Index p = j + 1; p < n_panels; ++p)
      factorize_right(unit, inverse + j * W, x + j * W, system + p * height * W + j * W * W,
                      x + p * W);
  }
  for (Index j = n_panels; j-- > 0;) {  // U x = x
    Lanes value = load(x + j * W);
    if (j + 1 < n_panels) {
      Lanes products[W] = {};
      for (Index p = j + 1; p < n_panels; ++p) {
        const float* right = system + p * height * W + j * W * W;
        const Lanes known = load(x + p * W);
#pragma GCC unroll 16
        for (Index r = 0; r < W; ++r) products[r] += known * load(right + r * W);
      }
      transpose(products);
#pragma GCC unroll 16
      for (Index r = 0; r < W; ++r) value -= products[r];
    }
    const float* block = system + j * height * W + j * W * W;
    const float* reciprocals = inverse + j * W;
    Lanes columns[W];
#pragma GCC unroll 16
    for (Index r = 0; r < W; ++r)
      columns[r] = lanes_after(r) ? load(block + r * W) * reciprocals[r] : Lanes{};
    transpose(columns);
    // Rows are divided by the diagonal first: it leaves the chain from lane to lane.
    value *= load(reciprocals);
#pragma GCC unroll 16
    for (Index r = W - 1; r > 0; --r) value -= columns[r] * value[r];
    store(x + j * W, value);
    faults += 0 * value;
  }
  return lane_sum(faults) == 0;
}

}  // namespace dcbmr::DCBMR_ISA
