// One half-sweep of weighted alternating least squares: every row's factors, the other side fixed.
//
// For a row u that played n_u others i with confidence c_ui, and with w0 the weight of an unplayed
// pair (1 in the paper), the factors minimise
//
//     sum_i played c_ui (1 - x_u . y_i)^2 + w0 sum_i unplayed (x_u . y_i)^2 + lambda_u |x_u|^2
//
// The caller diagonalises Y^T Y = Q diag(e) Q^T once, and w0 Y^T Y + lambda I is I in the basis
// Q diag(w0 e + lambda)^-1/2. FixedFactors keeps Y in it, and kernels/linalg.h says how a row is
// solved from there.
#pragma once

#include <cstdint>
#include <vector>

#include "buffer.h"
#include "isa.h"

namespace dcbmr {

// out (n_factors, n_factors), float64 = rows^T rows. The result does not depend on n_threads.
void gramian(const float* rows, std::int64_t n_rows, std::int64_t n_factors, double* out,
             int n_threads);

// Who played what, in compressed rows: row u played indices[indptr[u]] .. indices[indptr[u+1] - 1].
struct PlayRows {
  std::int64_t n_rows;
  const std::int64_t* indptr;   // (n_rows + 1,)
  const std::int32_t* indices;  // (n_plays,) rows of the other side
  const float* surplus;         // (n_plays,) confidence - 1, >= 0
};

struct SolveOptions {
  const double* regularization;  // lambda of each row, or null: that of the others' basis
  int cg_steps;      // 0: exact. Else steps of conjugate gradients from the row as it is
  bool with_errors;  // whether the objective's terms over the pairs are asked for
  int n_threads;
};

// Rows whose sums are added in one go; what is cut between them has the sums of the whole.
constexpr std::int64_t kSumRows = 16;

// The objective's terms over some rows solved, in float64.
struct RowSums {
  double observed = 0;         // sum c (1 - x.y)^2 over the plays; only where asked for
  double unobserved = 0;       // w0 sum (x.y)^2 over the rest; only where asked for
  double regularization = 0;   // sum lambda_u |x_u|^2
  std::int64_t n_retried = 0;  // rows that float32 could not solve, solved in float64
};

// One side's factors, in the basis where a row without plays has the system I; immutable, so any
// number of threads may solve against them, with the instruction set in force when they were made.
class FixedFactors {
 public:
  // All matrices are row-major and copied.
  //   factors       (n_rows, n_factors)
  //   eigenvalues   (n_factors) of the Gram matrix; what rounding made negative counts as 0
  //   eigenvectors  (n_factors, n_factors), one a column
  // regularization is lambda, positive: of all rows, or near that of most; unobserved_weight is w0.
  FixedFactors(const float* factors, std::int64_t n_rows, std::int64_t n_factors,
               const double* eigenvalues, const double* eigenvectors, double regularization,
               double unobserved_weight, int n_threads);

  std::int64_t n_rows() const { return n_rows_; }
  std::int64_t n_factors() const { return n_factors_; }

  // Writes rows begin..end-1 of out (plays.n_rows, n_factors); rows without plays become zero. Huge
  // rows, which all threads share, are solved exactly whatever cg_steps. Neither n_threads nor the
  // range that a row is solved in changes its bits. Returns the sums of each kSumRows rows from
  // begin on. Throws std::runtime_error, naming the row, where float64 fails too.
  std::vector<RowSums> solve_rows(const PlayRows& plays, const SolveOptions& options,
                                  std::int64_t begin, std::int64_t end, float* out) const;

 private:
  friend class HalfSweep;

  Isa isa_;
  std::int64_t n_rows_, n_factors_, stride_;
  double regularization_, unobserved_weight_;
  // Rows of n_factors padded to stride, whole vectors of the set, zeros first.
  std::vector<double> eigenvalues_;  // (1 row)
  std::vector<double> squares_;      // (2 rows): 1 and w0 e, over w0 e + lambda
  Buffer start_;                     // (n_factors rows): Q sqrt(w0 e + lambda)
  Buffer back_;                      // (n_factors rows): the basis^T, zeros last
  Buffer rotated_;                   // (n_rows rows): Y in the basis
};

}  // namespace dcbmr
