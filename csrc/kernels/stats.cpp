#include "kernels/stats.h"

namespace dcbmr::DCBMR_ISA {
namespace {

void fold(const float* rows, std::int64_t n, int n_columns, const int* edges, int n_groups,
          float* out) {
  for (std::int64_t t = 0; t < n; ++t, rows += n_columns)
    for (int g = 0; g < n_groups; ++g) {
      float sum = rows[edges[g]];
      for (int m = edges[g] + 1; m < edges[g + 1]; ++m) sum += rows[m];
      *out++ = sum / static_cast<float>(edges[g + 1] - edges[g]);
    }
}

void add_moments(const float* rows, std::int64_t n, int width, const float* shift,
                 double* __restrict sums) {
  for (std::int64_t t = 0; t < n; ++t, rows += width)
    for (int i = 0; i < width; ++i) {
      const double x = static_cast<double>(rows[i]) - static_cast<double>(shift[i]);
      sums[i] += x;
      sums[width + i] += x * x;
      sums[2 * width + i] += x * x * x;
    }
}

void add_products(const float* rows, std::int64_t n, int n_columns, int width, const float* shift,
                  double* __restrict sums) {
  constexpr int kStride = StatsKernel::kStride;
  for (int i = 0; i < width; ++i) {
    double row[kStride];
    for (int j = 0; j < kStride; ++j) row[j] = sums[i * kStride + j];
    const float* frame = rows;
    for (std::int64_t t = 0; t < n; ++t, frame += n_columns) {
      const double x = static_cast<double>(frame[i]) - static_cast<double>(shift[i]);
      for (int j = 0; j < width; ++j)
        row[j] += x * (static_cast<double>(frame[j]) - static_cast<double>(shift[j]));
    }
    for (int j = 0; j < kStride; ++j) sums[i * kStride + j] = row[j];
  }
}

void add_counts(const float* rows, std::int64_t n, int n_columns, int width, double low,
                double per_unit, int n_bins, std::uint32_t* counts) {
  const double last = n_bins - 1;
  for (std::int64_t t = 0; t < n; ++t, rows += n_columns)
    for (int i = 0; i < width; ++i) {
      const double place = (static_cast<double>(rows[i]) - low) * per_unit;
      const double within = place < 0 ? 0 : place > last ? last : place;
      ++counts[static_cast<std::int64_t>(i) * n_bins + static_cast<int>(within)];
    }
}

void add_changes(const float* rows, std::int64_t n, int width, double* __restrict sums,
                 double* rise) {
  for (std::int64_t t = 0; t < n; ++t, rows += width) {
    const float* before = rows - width;
    double twice_up[4] = {};  // four sums, none of which waits for another
    for (int i = 0; i < width; ++i) {
      const double change = static_cast<double>(rows[i]) - static_cast<double>(before[i]);
      const double size = __builtin_fabs(change);
      sums[i] += size;
      twice_up[i % 4] += size + change;
    }
    rise[t] = (twice_up[0] + twice_up[1] + twice_up[2] + twice_up[3]) / (2 * width);
  }
}

void add_lags(const double* x, std::int64_t n, int n_lags, double* __restrict sums) {
  for (std::int64_t t = 0; t < n; ++t)
    for (int lag = 0; lag < n_lags; ++lag) sums[lag] += x[t] * x[t - lag];
}

}  // namespace

const StatsKernel stats_kernel{fold, add_moments, add_products, add_counts, add_changes, add_lags};

}  // namespace dcbmr::DCBMR_ISA
