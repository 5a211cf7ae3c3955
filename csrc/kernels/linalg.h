// Small dense systems, many of them: the arithmetic of one row of weighted ALS on one core.
//
// Everything here stands on one observation. In the eigenbasis of the other side's Gram matrix,
// with column c divided by sqrt(w0 eigenvalue_c + lambda), the system of a row that played n others
// is
//
//     w = (I + P^T P)^-1 P^T g = P^T (I + P P^T)^-1 g = Z^T (S^-1 + Z Z^T)^-1 S^-1 c
//     P_i = sqrt(s_i) z_i,   g_i = c_i / sqrt(s_i),   S = diag(s)
//
// where z_i are the factors of those others in that basis, c_i their confidence and s_i = c_i - w0
// what it exceeds the weight of an unplayed pair by. So a row costs a Gram matrix and a Cholesky
// factorization of size min(n, n_factors), the matrix has no eigenvalue below 1, and, since P^T P
// is part of a sum that stays below s_max I / w0, float32 is enough for any sane confidence.
//
// Matrices are kept in panels: panel p holds columns p W .. p W + W - 1 of every row, W being the
// width of a vector of the instruction set, so that every inner loop reads memory in order. Only
// the upper triangle (and what shares a panel with it) is computed; the factor is U with
// M = U^T U. Rows of factors in that basis, and every vector beside them, are padded in front:
// the upper triangle is widest in its first rows, where padding spares the most.
#pragma once

#include <cstdint>

#include "isa.h"

namespace dcbmr {

// Rows of factors are padded to whole vectors: what is more would be read for nothing.
constexpr std::int64_t padded(std::int64_t n, std::int64_t lanes) {
  return (n + lanes - 1) / lanes * lanes;
}

// Rows that are packed at a time: three panels of them stay in the first-level cache.
constexpr std::int64_t kPackedRows = 64;

// What one row has played.
struct Plays {
  const float* factors;         // (n_others, stride): the other side in the basis, zeros first
  std::int64_t stride;          // padded(n_factors, lanes)
  std::int64_t n_factors;       //
  const float* scale;           // (stride,): what z is of them where lambda is another; else null
  float unobserved_weight;      // w0: weight of an unplayed pair, 1 in the paper
  const std::int32_t* indices;  // (n,) rows of factors
  const float* surplus;         // (n,) confidence - 1
  std::int64_t n;
  std::int64_t n_ahead;  // indices there are from here on: of this row and those that follow
};

// Floats of scratch (aligned to 64 bytes) that a thread needs for rows of `stride`.
constexpr std::int64_t system_floats(std::int64_t stride) { return stride * stride; }
constexpr std::int64_t scratch_floats(std::int64_t stride) {
  return stride * (stride + kPackedRows + 4);
}

struct LinalgKernel {
  std::int64_t lanes;  // floats in a vector

  // gram (n_factors, n_factors) += rows^T rows
  void (*add_gramian)(const float* rows, std::int64_t n_rows, std::int64_t n_factors, float* system,
                      float* scratch, double* gram);

  // out (n_rows, out_stride) = in (n_rows, n) matrix (n, out_stride); the rows of `in` lie
  // in_stride apart, out_stride is a multiple of lanes.
  void (*multiply_rows)(const float* in, std::int64_t n_rows, std::int64_t in_stride,
                        std::int64_t n, const float* matrix, std::int64_t out_stride, float* out);

  // system = P^T P, in panels, and rhs (stride,) = P^T g
  void (*sum_plays)(const Plays& plays, float* system, float* rhs, float* scratch);

  // Solvers return false where float32 does not do for the row; what they leave then is no row.
  //   solve_system  w of (I + system) w = rhs overwrites rhs, and the factor overwrites system
  //   solve_dual    w of a row with at most n_factors plays, through the system of their number
  bool (*solve_system)(std::int64_t n_factors, float* system, float* rhs, float* scratch);
  bool (*solve_dual)(const Plays& plays, float* system, float* w, float* scratch);
};
DCBMR_KERNEL(LinalgKernel, linalg_kernel)

// Rows that are solved several at a time (kernels/interleaved.h): those whose system has at most
// kInterleaved rows, and that have at most kInterleavedPlays plays. Which way a row goes depends on
// its own length alone, and so do its bits.
constexpr std::int64_t kInterleaved = 64;
constexpr std::int64_t kInterleavedPlays = 256;
constexpr bool is_interleaved(std::int64_t n_plays, std::int64_t n_factors) {
  return n_plays <= kInterleavedPlays && (n_plays <= kInterleaved || n_factors <= kInterleaved);
}
// Floats of scratch for `lanes` of them: no factors, scales, three columns, 32 columns of strips, a
// triangle.
constexpr std::int64_t interleaved_floats(std::int64_t stride, std::int64_t lanes) {
  constexpr std::int64_t height = kInterleaved + 16;
  return stride + lanes * (stride + height * (3 + 32) + height * height / 2);
}

struct InterleavedKernel {
  std::int64_t lanes;  // rows that are solved at a time

  // w (lanes, stride) of as many rows, for which is_interleaved() holds; all of them have at most
  // n_factors plays, or all have more, and the first has some. Returns a bit for each that float32
  // does not do for.
  unsigned (*solve)(const Plays* rows, float* w, float* scratch);
};
DCBMR_KERNEL(InterleavedKernel, interleaved_kernel)

struct CgKernel {
  // n_steps of conjugate gradients from the row x = scale w; leaves w in x. A solver, as above.
  bool (*solve_cg)(const Plays& plays, int n_steps, float* x, float* scratch);

  // sums[0] += sum c (1 - e)^2, sums[1] += sum e^2 over the plays, e = x . factors
  void (*add_errors)(const Plays& plays, const float* x, double* sums);

  // sums[i] += sum weights[i] x^2, two rows of n weights; n is a multiple of the lanes
  void (*add_squares)(std::int64_t n, const double* weights, const float* x, double* sums);
};
DCBMR_KERNEL(CgKernel, cg_kernel)

}  // namespace dcbmr
