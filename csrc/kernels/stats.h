// The sums behind the summary statistics of a song: steps on a range of rows (frames).
//
// Each sum grows row by row, in the order of the rows, so that it does not depend on how they are
// cut into calls.
#pragma once

#include <cstdint>

#include "isa.h"

namespace dcbmr {

struct StatsKernel {
  // Means of neighbouring columns: out[t, g] is the mean of columns edges[g] to edges[g + 1].
  //   rows (n, n_columns)  IN      edges (n_groups + 1,)  IN      out (n, n_groups)  OUT
  void (*fold)(const float* rows, std::int64_t n, int n_columns, const int* edges, int n_groups,
               float* out);

  // sums (3, width) += (x - shift), its square and its cube.
  void (*add_moments)(const float* rows, std::int64_t n, int width, const float* shift,
                      double* sums);

  // sums (width, kStride) += (x_i - shift_i) (x_j - shift_j), for the first `width` of n_columns;
  // width <= kStride. What is beyond `width` in a row stays 0.
  static constexpr int kStride = 16;
  void (*add_products)(const float* rows, std::int64_t n, int n_columns, int width,
                       const float* shift, double* sums);

  // counts (width, n_bins): one more where (x - low) per_unit falls; what is beyond goes into the
  // bins at the ends. The first `width` of n_columns.
  void (*add_counts)(const float* rows, std::int64_t n, int n_columns, int width, double low,
                     double per_unit, int n_bins, std::uint32_t* counts);

  // sums (width,) += |x[t] - x[t - 1]|, and rise[t] is the mean over the columns of what of that is
  // positive. rows[-width] is the row before.
  void (*add_changes)(const float* rows, std::int64_t n, int width, double* sums, double* rise);

  // sums (n_lags,) += x[t] x[t - lag], lag 0 first. The n_lags - 1 numbers before x are read too.
  void (*add_lags)(const double* x, std::int64_t n, int n_lags, double* sums);
};
DCBMR_KERNEL(StatsKernel, stats_kernel)

}  // namespace dcbmr
