// One half-sweep of weighted alternating least squares: every row's factors, the other side fixed.
//
// For a row u that played n_u others i with confidence c_ui, and with w0 the weight of an unplayed
// pair (1 in the paper), the factors minimise
//
//     sum_i played c_ui (1 - x_u . y_i)^2 + w0 sum_i unplayed (x_u . y_i)^2 + lambda_u |x_u|^2
//
// The caller diagonalises Y^T Y = Q diag(eigenvalues) Q^T once and rotates Y; linalg.h says how a
// row is solved from there.
#pragma once

#include <cstdint>

namespace dcbmr {

// out (n_factors, n_factors), float64 = rows^T rows. The result does not depend on n_threads.
void gramian(const float* rows, std::int64_t n_rows, std::int64_t n_factors, double* out,
             int n_threads);

// out (n_rows, padded(n_factors)) = rows (n_rows, n_factors) times basis (n_factors,
// padded(n_factors)), zero in the padding as the basis is.
void rotate(const float* rows, std::int64_t n_rows, std::int64_t n_factors, const float* basis,
            float* out, int n_threads);

struct HalfSweep {
  std::int64_t n_factors;
  std::int64_t begin, end;       // the rows to solve
  const std::int64_t* indptr;    // (n_rows + 1,)
  const std::int32_t* indices;   // (n_plays,) rows of `rotated`
  const float* surplus;          // (n_plays,) confidence - 1, >= 0
  const float* rotated;          // (n_others, padded(n_factors)): Y Q, zeros first
  const double* eigenvalues;     // (n_factors,) of Y^T Y, none negative
  const float* back;             // (n_factors, padded(n_factors)): Q^T, zeros last
  const double* regularization;  // lambda of each row; of all rows if there is one for all
  bool regularization_per_row;   //
  double unobserved_weight;      // w0
  const float* basis;            // (n_factors, padded(n_factors)): Q, zeros first; for cg_steps > 0
  int cg_steps;  // 0: exact. Else steps of conjugate gradients from the row as it is
};

// The objective's terms over the rows solved, in float64.
struct RowSums {
  double observed = 0;         // sum c (1 - x.y)^2 over the plays; only where asked for
  double unobserved = 0;       // w0 sum (x.y)^2 over the rest; only where asked for
  double regularization = 0;   // sum lambda_u |x_u|^2
  std::int64_t n_retried = 0;  // rows that float32 could not solve, solved in float64
};

// Writes rows begin..end-1 of out (n_rows, n_factors); rows without plays become zero. Huge rows,
// which all threads share, are solved exactly whatever cg_steps. Neither
// n_threads nor the range that a row is solved in changes its bits. Throws std::runtime_error,
// naming the row, where float64 fails too.
RowSums solve_rows(const HalfSweep& sweep, bool with_errors, float* out, int n_threads);

}  // namespace dcbmr
