#include "linalg.h"

#include <cstring>

#include "isa.h"

namespace dcbmr::DCBMR_ISA {
namespace {

using Index = std::int64_t;

#if defined(__AVX512F__)
constexpr Index W = 16;     // floats in a vector
constexpr Index kRows = 8;  // rows of a register tile; kRows x 3 vectors stay in registers
#define DCBMR_LOW 0, 16, 1, 17, 2, 18, 3, 19, 4, 20, 5, 21, 6, 22, 7, 23
#define DCBMR_HIGH 8, 24, 9, 25, 10, 26, 11, 27, 12, 28, 13, 29, 14, 30, 15, 31
#elif defined(__AVX2__)
constexpr Index W = 8;
constexpr Index kRows = 4;
#define DCBMR_LOW 0, 8, 1, 9, 2, 10, 3, 11
#define DCBMR_HIGH 4, 12, 5, 13, 6, 14, 7, 15
#else
constexpr Index W = 4;
constexpr Index kRows = 4;
#define DCBMR_LOW 0, 4, 1, 5
#define DCBMR_HIGH 2, 6, 3, 7
#endif
constexpr Index kGroup = 3;  // panels that a register tile spans

typedef float Vec __attribute__((vector_size(W * sizeof(float))));

inline Vec load(const float* from) {
  Vec value;
  std::memcpy(&value, from, sizeof(Vec));
  return value;
}
inline void store(float* to, Vec value) { std::memcpy(to, &value, sizeof(Vec)); }
inline Vec splat(float value) { return value - Vec{}; }
inline Index panels(Index n) { return (n + W - 1) / W; }
inline Index smaller(Index a, Index b) { return a < b ? a : b; }
inline Index larger(Index a, Index b) { return a > b ? a : b; }

inline Vec low(Vec a, Vec b) { return __builtin_shufflevector(a, b, DCBMR_LOW); }
inline Vec high(Vec a, Vec b) { return __builtin_shufflevector(a, b, DCBMR_HIGH); }

// The sums over the lanes of four vectors.
inline void sums_of(const Vec (&v)[4], float (&sums)[4]) {
  const Vec first = low(v[0], v[2]) + high(v[0], v[2]), second = low(v[1], v[3]) + high(v[1], v[3]);
  Vec all = low(first, second) + high(first, second);  // lane i belongs to vector i % 4
#pragma GCC unroll 2
  for (Index lanes = W; lanes > 4; lanes /= 2) all = low(all, all) + high(all, all);
#pragma GCC unroll 4
  for (Index i = 0; i < 4; ++i) sums[i] = all[i * W / 4];
}

// Lanes of the vectors become vectors: log2(W) rounds of a perfect shuffle.
inline void transpose(Vec (&v)[W]) {
#pragma GCC unroll 4
  for (Index round = 1; round < W; round *= 2) {
    Vec next[W];
#pragma GCC unroll 16
    for (Index i = 0; i < W / 2; ++i) {
      next[2 * i] = low(v[i], v[i + W / 2]);
      next[2 * i + 1] = high(v[i], v[i + W / 2]);
    }
#pragma GCC unroll 16
    for (Index i = 0; i < W; ++i) v[i] = next[i];
  }
}

// c (kRows x n_panels W) += or -= sum over k < n of a[k]^T b[k]: the one inner loop of the matrix
// products below. a, b and c are panels; b_stride and c_stride lead from a panel to the next.
template <int n_panels, bool subtract>
inline void tile(Index n, const float* a, const float* b, Index b_stride, float* c,
                 Index c_stride) {
  Vec sums[kRows][n_panels] = {};
  for (Index k = 0; k < n; ++k) {
    Vec row[n_panels];
#pragma GCC unroll 3
    for (int p = 0; p < n_panels; ++p) row[p] = load(b + p * b_stride + k * W);
#pragma GCC unroll 8
    for (Index r = 0; r < kRows; ++r) {
      const Vec factor = splat(a[k * W + r]);
#pragma GCC unroll 3
      for (int p = 0; p < n_panels; ++p) sums[r][p] += factor * row[p];
    }
  }
#pragma GCC unroll 8
  for (Index r = 0; r < kRows; ++r)
#pragma GCC unroll 3
    for (int p = 0; p < n_panels; ++p) {
      float* to = c + p * c_stride + r * W;
      store(to, subtract ? load(to) - sums[r][p] : load(to) + sums[r][p]);
    }
}

template <bool subtract>
inline void tiles(Index n_panels, Index n, const float* a, const float* b, Index b_stride, float* c,
                  Index c_stride) {
  if (n_panels == 3)
    tile<3, subtract>(n, a, b, b_stride, c, c_stride);
  else if (n_panels == 2)
    tile<2, subtract>(n, a, b, b_stride, c, c_stride);
  else
    tile<1, subtract>(n, a, b, b_stride, c, c_stride);
}

// system (m x m) += packed^T packed; panels of `packed` are packed_rows rows high, n of them used.
void add_product(const float* packed, Index packed_rows, Index n, Index m, float* system) {
  const Index n_panels = panels(m), height = n_panels * W;
  for (Index first = 0; first < n_panels; first += kGroup) {
    const Index end = smaller(first + kGroup, n_panels);
    for (Index r = 0; r < smaller(end * W, m); r += kRows) {
      const Index start = larger(first, r / W);
      tiles<false>(end - start, n, packed + r / W * packed_rows * W + r % W,
                   packed + start * packed_rows * W, packed_rows * W,
                   system + start * height * W + r * W, height * W);
    }
  }
}

void add_identity(Index m, float* system) {
  const Index height = panels(m) * W;
  for (Index r = 0; r < height; ++r) system[r / W * height * W + r * W + r % W] += 1;
}

// M = U^T U, left-looking by blocks of W rows; U overwrites the upper triangle and inverse the
// reciprocals of its diagonal. M is I and something positive, so no exact pivot is below 1: one
// below a half says that float32 has lost the row.
bool factorize(Index m, float* system, float* inverse) {
  const Index n_panels = panels(m), height = n_panels * W;
  for (Index j = 0; j < n_panels; ++j) {
    float* above = system + j * height * W;  // panel j: its rows before the block are factored
    if (j > 0)
      for (Index first = j; first < n_panels; first += kGroup) {
        const Index count = smaller(kGroup, n_panels - first);
        float* right = system + first * height * W;
        for (Index r = 0; r < W; r += kRows)
          tiles<true>(count, j * W, above + r, right, height * W, right + (j * W + r) * W,
                      height * W);
      }
    float* block = above + j * W * W;
    Vec rows[W], pivots = {};
#pragma GCC unroll 16
    for (Index r = 0; r < W; ++r) rows[r] = load(block + r * W);
    // Square roots wait until all pivots are known: each would lengthen the chain that leads from
    // a pivot to the next.
#pragma GCC unroll 16
    for (Index r = 0; r < W; ++r) {
      const float pivot = rows[r][r];
      pivots[r] = pivot;
      const Vec multiples = rows[r] * (1 / pivot);
#pragma GCC unroll 16
      for (Index q = r + 1; q < W; ++q) rows[q] -= multiples[q] * rows[r];
    }
    float reciprocal[W];
    bool sound = true;
#pragma GCC unroll 16
    for (Index r = 0; r < W; ++r) {
      sound &= pivots[r] > 0.5F && pivots[r] < __builtin_inff();
      reciprocal[r] = 1 / __builtin_sqrtf(pivots[r]);
      store(block + r * W, rows[r] * reciprocal[r]);
    }
    if (!sound) return false;
    std::memcpy(inverse + j * W, reciprocal, sizeof reciprocal);
    for (Index p = j + 1; p < n_panels; ++p) {
      float* right = system + p * height * W + j * W * W;
      Vec solved[W];
#pragma GCC unroll 16
      for (Index r = 0; r < W; ++r) {
        Vec value = load(right + r * W);
#pragma GCC unroll 16
        for (Index q = 0; q < r; ++q) value -= block[q * W + r] * solved[q];
        solved[r] = value * reciprocal[r];
        store(right + r * W, solved[r]);
      }
    }
  }
  return true;
}

// The lanes past the r-th.
inline Vec clear_until(Vec v, Index r) {
#pragma GCC unroll 16
  for (Index i = 0; i <= r; ++i) v[i] = 0;
  return v;
}

// D x = x where D is a diagonal block of U^T (its columns: rows of U) or of U, whose columns `rows`
// are, without the diagonal, which `reciprocals` inverts. Scaling by the diagonal first shortens
// the chain from lane to lane.
inline Vec substitute_block(const Vec (&rows)[W], Vec reciprocals, Vec x, bool upwards) {
  x *= reciprocals;
#pragma GCC unroll 16
  for (Index k = 0; k < W; ++k) {
    const Index r = upwards ? W - 1 - k : k;
    const Vec others = rows[r] * reciprocals;
    x -= others * x[r];
  }
  return x;
}

// U^T U x = x, both substitutions in place. False if the result is not finite.
bool substitute(Index m, const float* system, const float* inverse, float* x) {
  const Index n_panels = panels(m), height = n_panels * W;
  for (Index j = 0; j < n_panels; ++j) {
    const float* block = system + j * height * W + j * W * W;
    Vec rows[W];
#pragma GCC unroll 16
    for (Index r = 0; r < W; ++r) rows[r] = clear_until(load(block + r * W), r);
    const Vec solved = substitute_block(rows, load(inverse + j * W), load(x + j * W), false);
    store(x + j * W, solved);
    for (Index p = j + 1; p < n_panels; ++p) {
      const float* right = system + p * height * W + j * W * W;
      Vec rest = load(x + p * W), more = {};
#pragma GCC unroll 16
      for (Index r = 0; r < W; r += 2) {
        rest -= x[j * W + r] * load(right + r * W);
        more -= x[j * W + r + 1] * load(right + (r + 1) * W);
      }
      store(x + p * W, rest + more);
    }
  }
  for (Index j = n_panels; j-- > 0;) {
    Vec products[W] = {};
    for (Index p = j + 1; p < n_panels; ++p) {
      const float* right = system + p * height * W + j * W * W;
      const Vec known = load(x + p * W);
#pragma GCC unroll 16
      for (Index r = 0; r < W; ++r) products[r] += known * load(right + r * W);
    }
    transpose(products);
    Vec value = load(x + j * W);
#pragma GCC unroll 16
    for (Index r = 0; r < W; ++r) value -= products[r];
    const float* block = system + j * height * W + j * W * W;
    Vec columns[W];
#pragma GCC unroll 16
    for (Index r = 0; r < W; ++r) columns[r] = clear_until(load(block + r * W), r);
    transpose(columns);
    store(x + j * W, substitute_block(columns, load(inverse + j * W), value, true));
  }
  Vec zeros = {};
  for (Index j = 0; j < n_panels; ++j) zeros += 0 * load(x + j * W);
  for (Index i = 0; i < W; ++i)
    if (zeros[i] != 0) return false;
  return true;
}

// sqrt(s) and g = c / sqrt(s). A surplus of nothing is lifted to next to nothing: g is finite, and
// sqrt(s) g is c all the same.
struct Weight {
  float root, target;
};
inline Weight weight(float surplus, float unobserved_weight) {
  const float s = surplus + (1 - unobserved_weight);
  const float root = __builtin_sqrtf(s > 1e-12F ? s : 1e-12F);
  return {root, (1 + surplus) / root};
}

inline const float* row_of(const Plays& plays, Index i) {
  return plays.factors + plays.indices[i] * plays.stride;
}

inline void prefetch(const Plays& plays, Index i) {
  if (i >= plays.n) return;
  const float* row = row_of(plays, i);
  for (Index c = 0; c < plays.stride; c += 16) __builtin_prefetch(row + c);
}

// Four plays from `first`; past the end the last is repeated.
struct Four {
  const float* rows[4];
  Four(const Plays& plays, Index first) {
#pragma GCC unroll 4
    for (Index i = 0; i < 4; ++i) rows[i] = row_of(plays, smaller(first + i, plays.n - 1));
  }
};

// x . factors of four plays.
inline void scores_of(const Four& four, Index width, const float* x, float (&scores)[4]) {
  Vec products[4] = {};
  for (Index c = 0; c < width; c += W) {
    const Vec value = load(x + c);
#pragma GCC unroll 4
    for (Index i = 0; i < 4; ++i) products[i] += value * load(four.rows[i] + c);
  }
  sums_of(products, scores);
}

// to += sum over the plays of (c - s e) y where `target`, and else of s e y, e = x . y
template <bool target>
inline void add_scored(const Plays& plays, const float* x, float* to) {
  const Index width = panels(plays.n_factors) * W;
  for (Index first = 0; first < plays.n; first += 4) {
    const Four four(plays, first);
    if (target)
      for (Index i = 16; i < 20; ++i) prefetch(plays, first + i);
    float factors[4];
    scores_of(four, width, x, factors);
#pragma GCC unroll 4
    for (Index i = 0; i < 4; ++i) {
      const float surplus = plays.surplus[smaller(first + i, plays.n - 1)];
      const float product = (surplus + (1 - plays.unobserved_weight)) * factors[i];
      factors[i] = first + i >= plays.n ? 0 : target ? 1 + surplus - product : product;
    }
    for (Index c = 0; c < width; c += W) {
      Vec even = factors[0] * load(four.rows[0] + c), odd = factors[1] * load(four.rows[1] + c);
      even += factors[2] * load(four.rows[2] + c);
      odd += factors[3] * load(four.rows[3] + c);
      store(to + c, load(to + c) + (even + odd));
    }
  }
}

inline float total(Vec v) {
  float sums[4];
  sums_of({v, v, v, v}, sums);
  return sums[0];
}

}  // namespace

void add_gramian(const float* rows, Index n_rows, Index n_factors, float* system, float* scratch,
                 double* gram) {
  const Index n_panels = panels(n_factors), height = n_panels * W;
  std::memset(system, 0, sizeof(float) * static_cast<std::size_t>(height * height));
  std::memset(scratch, 0, sizeof(float) * static_cast<std::size_t>(height * kPackedRows));
  for (Index first = 0; first < n_rows; first += kPackedRows) {
    const Index n = smaller(kPackedRows, n_rows - first);
    for (Index i = 0; i < n; ++i)
      for (Index c = 0; c < n_factors; c += W)
        std::memcpy(scratch + c * kPackedRows + i * W, rows + (first + i) * n_factors + c,
                    sizeof(float) * static_cast<std::size_t>(smaller(W, n_factors - c)));
    add_product(scratch, kPackedRows, n, n_factors, system);
  }
  for (Index r = 0; r < n_factors; ++r)
    for (Index c = r; c < n_factors; ++c) {
      const double value = static_cast<double>(system[c / W * height * W + r * W + c % W]);
      gram[r * n_factors + c] += value;
      if (c != r) gram[c * n_factors + r] += value;
    }
}

void multiply_rows(const float* in, Index n_rows, Index in_stride, Index n, const float* matrix,
                   Index out_stride, float* out) {
  for (Index first = 0; first < n_rows; first += kRows) {
    const Index count = smaller(kRows, n_rows - first);
    const float* from[kRows];  // rows past the end repeat the last
    for (Index r = 0; r < kRows; ++r) from[r] = in + (first + smaller(r, count - 1)) * in_stride;
    Index c = 0;
    for (; c + 2 * W <= out_stride; c += 2 * W) {
      Vec sums[kRows][2] = {};
      for (Index k = 0; k < n; ++k) {
        const Vec low = load(matrix + k * out_stride + c);
        const Vec high = load(matrix + k * out_stride + c + W);
#pragma GCC unroll 8
        for (Index r = 0; r < kRows; ++r) {
          sums[r][0] += from[r][k] * low;
          sums[r][1] += from[r][k] * high;
        }
      }
#pragma GCC unroll 8
      for (Index r = 0; r < kRows; ++r)
        if (r < count) {
          store(out + (first + r) * out_stride + c, sums[r][0]);
          store(out + (first + r) * out_stride + c + W, sums[r][1]);
        }
    }
    for (; c < out_stride; c += W) {
      Vec sums[kRows] = {};
      for (Index k = 0; k < n; ++k) {
        const Vec row = load(matrix + k * out_stride + c);
#pragma GCC unroll 8
        for (Index r = 0; r < kRows; ++r) sums[r] += from[r][k] * row;
      }
#pragma GCC unroll 8
      for (Index r = 0; r < kRows; ++r)
        if (r < count) store(out + (first + r) * out_stride + c, sums[r]);
    }
  }
}

void add_plays(const Plays& plays, float* system, float* rhs, float* scratch) {
  const Index width = panels(plays.n_factors) * W;
  for (Index first = 0; first < plays.n; first += kPackedRows) {
    const Index n = smaller(kPackedRows, plays.n - first);
    for (Index i = 0; i < n; ++i) {
      prefetch(plays, first + i + 4);
      const float* row = row_of(plays, first + i);
      const Weight w = weight(plays.surplus[first + i], plays.unobserved_weight);
      for (Index c = 0; c < width; c += W) {
        const Vec value = w.root * load(plays.scale + c) * load(row + c);
        store(scratch + c * kPackedRows + i * W, value);
        store(rhs + c, load(rhs + c) + w.target * value);
      }
    }
    add_product(scratch, kPackedRows, n, plays.n_factors, system);
  }
}

bool solve_system(Index n_factors, float* system, float* rhs, float* scratch) {
  add_identity(n_factors, system);
  if (!factorize(n_factors, system, scratch)) return false;
  return substitute(n_factors, system, scratch, rhs);
}

bool solve_dual(const Plays& plays, float* system, float* w, float* scratch) {
  const Index n_panels = panels(plays.n), height = n_panels * W;
  float* target = scratch;                 // g, then (I + P P^T)^-1 g
  float* root = target + plays.stride;     // sqrt(s)
  float* inverse = root + plays.stride;    //
  float* packed = inverse + plays.stride;  // (n_panels, stride, W): P^T
  for (Index i = 0; i < height; ++i) {
    const Weight value =
        i < plays.n ? weight(plays.surplus[i], plays.unobserved_weight) : Weight{0, 0};
    root[i] = value.root;
    target[i] = value.target;
  }
  const Index width = panels(plays.n_factors) * W;
  for (Index i = 0; i < smaller(W, plays.n); ++i) prefetch(plays, i);
  for (Index p = 0; p < n_panels; ++p) {
    for (Index i = 0; i < W; ++i) prefetch(plays, (p + 1) * W + i);
    const float* from[W];
    for (Index i = 0; i < W; ++i)  // sqrt(s) = 0 where there is no row
      from[i] = row_of(plays, smaller(p * W + i, plays.n - 1));
    for (Index c = 0; c < width; c += W) {
      const Vec scale = load(plays.scale + c);
      Vec block[W];
#pragma GCC unroll 16
      for (Index i = 0; i < W; ++i) block[i] = root[p * W + i] * scale * load(from[i] + c);
      transpose(block);
#pragma GCC unroll 16
      for (Index i = 0; i < W; ++i) store(packed + (p * plays.stride + c + i) * W, block[i]);
    }
  }
  std::memset(system, 0, sizeof(float) * static_cast<std::size_t>(height * height));
  add_product(packed, plays.stride, plays.n_factors, plays.n, system);
  add_identity(plays.n, system);
  if (!factorize(plays.n, system, inverse)) return false;
  if (!substitute(plays.n, system, inverse, target)) return false;
  std::memset(w, 0, sizeof(float) * static_cast<std::size_t>(plays.stride));
  for (Index i = 0; i < plays.n; ++i) {
    const float* row = row_of(plays, i);
    const Vec factor = splat(target[i] * root[i]);
    for (Index c = 0; c < width; c += W) store(w + c, load(w + c) + factor * load(row + c));
  }
  for (Index c = 0; c < width; c += W) store(w + c, load(w + c) * load(plays.scale + c));
  return true;
}

void solve_cg(const Plays& plays, int n_steps, float* x, float* scratch) {
  const Index width = panels(plays.n_factors) * W;
  float* residual = scratch;
  float* direction = residual + plays.stride;
  float* scaled = direction + plays.stride;  // scale times direction
  float* image = scaled + plays.stride;      // the system times direction
  std::memset(scratch, 0, sizeof(float) * static_cast<std::size_t>(4 * plays.stride));
  for (Index i = 0; i < 16; ++i) prefetch(plays, i);
  // In w = x / scale the residual is scale (sum (c - s e) y) - w, e = x . y.
  add_scored<true>(plays, x, residual);
  float squares = 0;
  for (Index c = 0; c < plays.n_factors; ++c) {
    x[c] /= plays.scale[c];
    residual[c] = plays.scale[c] * residual[c] - x[c];
    direction[c] = residual[c];
    squares += residual[c] * residual[c];
  }
  const float enough = 1e-12F * squares;
  for (int step = 0; step < n_steps && squares > enough; ++step) {
    for (Index c = 0; c < width; c += W) {
      store(scaled + c, load(plays.scale + c) * load(direction + c));
      store(image + c, Vec{});
    }
    add_scored<false>(plays, scaled, image);
    Vec products = {};
    for (Index c = 0; c < width; c += W) {
      const Vec value = load(plays.scale + c) * load(image + c) + load(direction + c);
      store(image + c, value);
      products += value * load(direction + c);
    }
    const float length = squares / total(products);
    products = Vec{};
    for (Index c = 0; c < width; c += W) {
      store(x + c, load(x + c) + length * load(direction + c));
      const Vec value = load(residual + c) - length * load(image + c);
      store(residual + c, value);
      products += value * value;
    }
    const float rest = total(products), turn = rest / squares;
    for (Index c = 0; c < width; c += W)
      store(direction + c, load(residual + c) + turn * load(direction + c));
    squares = rest;
  }
}

void add_errors(const Plays& plays, const float* x, double* sums) {
  double observed = 0, squares = 0;
  for (Index first = 0; first < plays.n; first += 4) {
    float scores[4];
    scores_of(Four(plays, first), panels(plays.n_factors) * W, x, scores);
    for (Index i = first; i < smaller(first + 4, plays.n); ++i) {
      const double score = static_cast<double>(scores[i - first]);
      observed += (1 + static_cast<double>(plays.surplus[i])) * (1 - score) * (1 - score);
      squares += score * score;
    }
  }
  sums[0] += observed;
  sums[1] += squares;
}

}  // namespace dcbmr::DCBMR_ISA
