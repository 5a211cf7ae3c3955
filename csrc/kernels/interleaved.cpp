#include "kernels/interleaved.h"

#include <algorithm>

#include "kernels/linalg.h"
#include "kernels/plays.h"

namespace dcbmr::DCBMR_ISA {
namespace {

constexpr Index kDepth = 16;                  // columns whose products are summed at a time
constexpr Index kHeight = kInterleaved + 16;  // rows of a system, with any padding

// W rows, in turn: number i of row u is at i W + u.
class Rows {
 public:
  Rows(const Plays* plays, float* scratch)
      : plays_(plays), nothing_(scratch), scale_(scratch + plays[0].stride) {
    std::memset(scratch, 0, sizeof(float) * static_cast<std::size_t>(plays[0].stride));
    for (Index c = 0; plays_[0].scale && c < width(); c += W) {
      Lanes block[W];
#pragma GCC unroll 16
      for (Index u = 0; u < W; ++u) block[u] = load(plays[u].scale + unused() + c);
      transpose(block);
#pragma GCC unroll 16
      for (Index k = 0; k < W; ++k) store(scale_ + (c + k) * W, block[k]);
    }
  }
  Index width() const { return covered(plays_[0]); }
  Index unused() const { return plays_[0].stride - width(); }  // columns of padding before those
  Index longest() const {
    Index n = 0;
    for (Index u = 0; u < W; ++u) n = larger(n, plays_[u].n);
    return n;
  }

  // Of plays first .. first + n - 1 of every row where their factors are, s and c, which have room
  // for whole vectors. Past the end of a row the factors and c are 0.
  void read(Index first, Index n, const float** at, float* s, float* c) const {
    for (Index u = 0; u < W; ++u) {
      const Plays& plays = plays_[u];
      const Index inside = larger(smaller(n, plays.n - first), 0), stride = plays.stride;
      // row_of(), with all that is the same for every play outside of the loop.
      const float* const factors = plays.factors + unused();
      const std::int32_t* const indices = plays.indices + first;
      for (Index i = 0; i < inside; ++i) {
        const float* const row = factors + indices[i] * stride;
        at[i * W + u] = row;
        __builtin_prefetch(row);
      }
      for (Index i = inside; i < n; ++i) at[i * W + u] = nothing_;
    }
    const float more = 1 - plays_[0].unobserved_weight;
    for (Index i = 0; i < n; i += W) {
      Lanes surplus[W];
#pragma GCC unroll 16
      for (Index u = 0; u < W; ++u) surplus[u] = surplus_of(plays_[u], first + i);
      transpose(surplus);
#pragma GCC unroll 16
      for (Index k = 0; k < W; ++k) {
        store(s + (i + k) * W, max(surplus[k] + more, splat(1e-12F)));
        store(c + (i + k) * W, 1 + surplus[k]);
      }
    }
  }

  // Columns c .. c + W - 1 of a play of each row.
  void columns(const float* const* at, Index c, Lanes (&block)[W]) const {
#pragma GCC unroll 16
    for (Index u = 0; u < W; ++u) block[u] = load(at[u] + c);
    transpose(block);
    if (plays_[0].scale) {
#pragma GCC unroll 16
      for (Index k = 0; k < W; ++k) block[k] *= load(scale_ + (c + k) * W);
    }
  }

 private:
  // Of W plays; -1 past the end.
  static Lanes surplus_of(const Plays& plays, Index first) {
    if (first + W <= plays.n) return load(plays.surplus + first);
    Lanes some = splat(-1);
    for (Index i = first; i < plays.n; ++i) some[i - first] = plays.surplus[i];
    return some;
  }

  const Plays* plays_;
  float* nothing_;  // factors
  float* scale_;
};

// Z^T (S^-1 + Z Z^T)^-1 S^-1 c. The products are summed over kDepth factors at a time, which stay
// in the first cache beside the systems.
IntLanes solve_by_plays(const Plays* plays, const Rows& rows, float* w, float* scratch) {
  const Index n_strips = strips(rows.longest()), n = n_strips * kStrip, width = rows.width();
  const Index padding = width - plays[0].n_factors;
  float* const diagonal = scratch;
  float* const x = diagonal + kHeight * W;
  float* const inverse = x + kHeight * W;
  float* const packed = inverse + kHeight * W;
  float* const system = packed + kHeight * 2 * kDepth * W;
  const float* at[kHeight * W];
  rows.read(0, n, at, diagonal, x);
  for (Index i = 0; i < n; ++i) {
    const Lanes reciprocal = 1 / load(diagonal + i * W);
    store(diagonal + i * W, reciprocal);
    store(x + i * W, load(x + i * W) * reciprocal);
  }
  // A cache line of every row at a time, and the next ahead; what does not fill one goes with the
  // first.
  Index depth = smaller(width, kDepth + width % kDepth);
  for (Index first = 0; first < width; first += depth, depth = kDepth) {
    for (Index i = 0; i < n; ++i) {
      if (first + depth < width)
        for (Index u = 0; u < W; ++u) __builtin_prefetch(at[i * W + u] + first + depth);
      for (Index c = 0; c < depth; c += W) {
        Lanes block[W];
        rows.columns(at + i * W, first + c, block);
        float* const to = packed + number_at(i, c, depth);
#pragma GCC unroll 16
        for (Index k = 0; k < W; ++k) store(to + k * kColumn, block[k]);
      }
    }
    if (first == 0)
      add_products<Into::set, false>(n_strips, depth - padding, packed + padding * kColumn, depth,
                                     system, nullptr, x);
    else
      add_products<Into::add, false>(n_strips, depth, packed, depth, system, nullptr, x);
  }
  const IntLanes sound = solve_strips(n_strips, system, diagonal, x, inverse);
  for (Index first = 0; first < n; first += W) {  // weights of the plays, row by row
    Lanes block[W];
#pragma GCC unroll 16
    for (Index i = 0; i < W; ++i) block[i] = load(x + (first + i) * W);
    transpose(block);
#pragma GCC unroll 16
    for (Index u = 0; u < W; ++u) store(packed + u * kHeight + first, block[u]);
  }
  for (Index u = 0; u < W; ++u) {
    float* const row = w + u * plays[u].stride + rows.unused();
    std::memset(row, 0, sizeof(float) * static_cast<std::size_t>(width));
    for (Index first = 0; first < plays[u].n; first += kScored) {
      const Group group(plays[u], first);
      Few weights;
      std::memcpy(&weights, packed + u * kHeight + first, sizeof weights);
      group.add(width, group.inside ? weights : Few{}, row);
    }
    if (plays[u].scale)
      for (Index c = 0; c < width; c += W) store(row + c, load(row + c) * scale_of(plays[u], c));
  }
  return sound;
}

// (I + P^T P)^-1 P^T g, the products summed over kDepth plays at a time.
IntLanes solve_by_factors(const Plays* plays, const Rows& rows, float* w, float* scratch) {
  const Index n_factors = plays[0].n_factors, n_strips = strips(n_factors), n = rows.longest();
  const Index width = rows.width(), padding = width - n_factors;
  float* const x = scratch;
  float* const inverse = x + kHeight * W;
  float* const diagonal = inverse + kHeight * W;
  float* const packed = diagonal + kHeight * W;
  float* const system = packed + kHeight * kDepth * W;
  std::fill_n(diagonal, n_strips * kColumn, 1.0F);
  std::fill_n(packed + (n_strips - 1) * kDepth * kColumn, kDepth * kColumn, 0.0F);
  Index place[kHeight];  // of a column: its row in the strips
  for (Index c = 0; c < width; ++c)
    place[c] = number_at(c < padding ? kHeight - 4 : c - padding, 0, kDepth);
  for (Index first = 0; first < n; first += kDepth) {
    const float* at[kDepth * W];
    float root[kDepth * W], target[kDepth * W];
    const Index depth = smaller(kDepth, n - first);
    rows.read(first, depth, at, root, target);
    for (Index i = 0; i < depth; ++i) {
      const Lanes s = square_root(load(root + i * W));
      store(root + i * W, s);
      store(target + i * W, load(target + i * W) / s);
    }
    for (Index i = 0; i < depth; ++i) {
      const Lanes factor = load(root + i * W);
      float* const to = packed + i * kColumn;
      for (Index c = 0; c < width; c += W) {
        Lanes block[W];
        rows.columns(at + i * W, c, block);
#pragma GCC unroll 16
        for (Index k = 0; k < W; ++k) store(to + place[c + k], block[k] * factor);
      }
    }
    if (first == 0)
      add_products<Into::set, true>(n_strips, depth, packed, kDepth, system, target, x);
    else
      add_products<Into::add, true>(n_strips, depth, packed, kDepth, system, target, x);
  }
  const IntLanes sound = solve_strips(n_strips, system, diagonal, x, inverse);
  for (Index c = 0; c < width; c += W) {
    Lanes block[W];
#pragma GCC unroll 16
    for (Index k = 0; k < W; ++k)
      block[k] = c + k < padding ? Lanes{} : load(x + (c + k - padding) * W);
    transpose(block);
#pragma GCC unroll 16
    for (Index u = 0; u < W; ++u) store(w + u * plays[0].stride + rows.unused() + c, block[u]);
  }
  return sound;
}

unsigned solve_interleaved(const Plays* plays, float* w, float* scratch) {
  const Rows rows(plays, scratch);
  scratch += plays[0].stride * (W + 1);
  const IntLanes sound = rows.longest() <= plays[0].n_factors
                             ? solve_by_plays(plays, rows, w, scratch)
                             : solve_by_factors(plays, rows, w, scratch);
  return bits_above(sound ? Lanes{} : splat(1), Lanes{});
}

}  // namespace

const InterleavedKernel interleaved_kernel{W, solve_interleaved};

}  // namespace dcbmr::DCBMR_ISA
