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
    if (!plays_[0].scale) return;
    const float* scales[W];
    for (Index u = 0; u < W; ++u) scales[u] = plays[u].scale + unused();
    for (Index c = 0; c < width(); c += 4) {
      Lanes block[4];
      load_columns(scales, c, block);
#pragma GCC unroll 4
      for (Index k = 0; k < 4; ++k) store(scale_ + (c + k) * W, block[k]);
    }
  }
  Index width() const { return (plays_[0].n_factors + 3) / 4 * 4; }
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

  // Calls take(c, column c) for columns begin .. end - 1 of a play of each row, a multiple of 4.
  template <class Take>
  void columns(const float* const* at, Index begin, Index end, Take take) const {
    const float* const scale = plays_[0].scale ? scale_ : nullptr;
    const auto scaled = [=](Index c, Lanes column) {
      take(c, scale ? column * load(scale + c * W) : column);
    };
    Index c = begin;
    for (; (end - c) % W; c += 4) {  // what does not fill a vector
      Lanes block[4];
      load_columns(at, c, block);
#pragma GCC unroll 4
      for (Index k = 0; k < 4; ++k) scaled(c + k, block[k]);
    }
    for (; c < end; c += W) {
      Lanes block[W];
#pragma GCC unroll 16
      for (Index u = 0; u < W; ++u) block[u] = load(at[u] + c);
      transpose(block);
#pragma GCC unroll 16
      for (Index k = 0; k < W; ++k) scaled(c + k, block[k]);
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
template <int height>
IntLanes solve_by_plays(const Plays* plays, const Rows& rows, float* w, float* scratch) {
  const Index n_strips = strips<height>(rows.longest()), n = n_strips * height;
  const Index width = rows.width(), padding = width - plays[0].n_factors;
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
      float* const to = packed + number_at<height>(i, 0, depth);
      rows.columns(at + i * W, first, first + depth, [&](Index c, Lanes column) {
        store(to + (c - first) * kColumn<height>, column);
      });
    }
    if (first == 0)
      add_products<height, Into::set, false>(
          n_strips, depth - padding, packed + padding * kColumn<height>, depth, system, nullptr, x);
    else
      add_products<height, Into::add, false>(n_strips, depth, packed, depth, system, nullptr, x);
  }
  const IntLanes sound = solve_strips<height>(n_strips, system, diagonal, x, inverse);
  for (Index first = 0; first < n; first += W) {  // weights of the plays, row by row
    Lanes block[W];
#pragma GCC unroll 16
    for (Index i = 0; i < W; ++i) block[i] = load(x + (first + i) * W);
    transpose(block);
#pragma GCC unroll 16
    for (Index u = 0; u < W; ++u) store(packed + u * kHeight + first, block[u]);
  }
  const Index stride = plays[0].stride;
  for (Index u = 0; u < W; ++u) {
    float* const row = w + u * stride;
    std::memset(row, 0, sizeof(float) * static_cast<std::size_t>(stride));
    for (Index first = 0; first < plays[u].n; first += kScored) {
      const Group group(plays[u], first);
      Few weights;
      std::memcpy(&weights, packed + u * kHeight + first, sizeof weights);
      group.add(stride, group.inside ? weights : Few{}, row);
    }
    if (plays[u].scale)
      for (Index c = 0; c < stride; c += W) store(row + c, load(row + c) * scale_of(plays[u], c));
  }
  return sound;
}

// (I + P^T P)^-1 P^T g, the products summed over kDepth plays at a time.
template <int height>
IntLanes solve_by_factors(const Plays* plays, const Rows& rows, float* w, float* scratch) {
  const Index n_factors = plays[0].n_factors, n_strips = strips<height>(n_factors);
  const Index n = rows.longest();
  const Index width = rows.width(), padding = width - n_factors;
  float* const x = scratch;
  float* const inverse = x + kHeight * W;
  float* const diagonal = inverse + kHeight * W;
  float* const packed = diagonal + kHeight * W;
  float* const system = packed + kHeight * kDepth * W;
  std::fill_n(diagonal, n_strips * kColumn<height>, 1.0F);
  std::fill_n(packed + (n_strips - 1) * kDepth * kColumn<height>, kDepth * kColumn<height>, 0.0F);
  Index place[kHeight];  // of a column: its row in the strips; of padding, one behind all others
  for (Index c = 0; c < width; ++c)
    place[c] = number_at<height>(c < padding ? n_strips * height : c - padding, 0, kDepth);
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
      float* const to = packed + i * kColumn<height>;
      rows.columns(at + i * W, 0, width,
                   [&](Index c, Lanes column) { store(to + place[c], column * factor); });
    }
    if (first == 0)
      add_products<height, Into::set, true>(n_strips, depth, packed, kDepth, system, target, x);
    else
      add_products<height, Into::add, true>(n_strips, depth, packed, kDepth, system, target, x);
  }
  const IntLanes sound = solve_strips<height>(n_strips, system, diagonal, x, inverse);
  for (Index c = -plays[0].stride; c < 0; c += W) {  // up to the end of the rows
    Lanes block[W];
#pragma GCC unroll 16
    for (Index k = 0; k < W; ++k)
      block[k] = c + k < -n_factors ? Lanes{} : load(x + (n_factors + c + k) * W);
    transpose(block);
#pragma GCC unroll 16
    for (Index u = 0; u < W; ++u) store(w + (u + 1) * plays[0].stride + c, block[u]);
  }
  return sound;
}

template <int height>
IntLanes solve_rows(const Plays* plays, const Rows& rows, float* w, float* scratch) {
  return rows.longest() <= plays[0].n_factors ? solve_by_plays<height>(plays, rows, w, scratch)
                                              : solve_by_factors<height>(plays, rows, w, scratch);
}

unsigned solve_interleaved(const Plays* plays, float* w, float* scratch) {
  const Rows rows(plays, scratch);
  scratch += plays[0].stride * (W + 1);
  // Tall strips load less for each product; others may have less padding.
  const Index n = smaller(rows.longest(), plays[0].n_factors);
  const bool tall = strips<kTallStrip>(n) * kTallStrip <= strips<kStrip>(n) * kStrip;
  const IntLanes sound = tall ? solve_rows<kTallStrip>(plays, rows, w, scratch)
                              : solve_rows<kStrip>(plays, rows, w, scratch);
  return bits_above(sound ? Lanes{} : splat(1), Lanes{});
}

}  // namespace

const InterleavedKernel interleaved_kernel{W, solve_interleaved};

}  // namespace dcbmr::DCBMR_ISA
