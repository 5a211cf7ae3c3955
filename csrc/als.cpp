#include "als.h"

#include <algorithm>
#include <cmath>
#include <memory>
#include <new>
#include <stdexcept>
#include <string>
#include <vector>

#include "isa.h"
#include "linalg.h"
#include "parallel.h"

namespace dcbmr {
namespace {

using Index = std::int64_t;

constexpr Index kGrain = 16;         // rows handed out at a time
constexpr Index kHugeRow = 16384;    // plays from which all threads share one row
constexpr Index kMinChunk = 8192;    // plays of a huge row that are one thread's share, and
constexpr Index kMaxChunks = 64;     // how many shares there are at the most
constexpr Index kGramianParts = 32;  // partial sums of a Gram matrix

// Floats on a cache line of their own.
class Buffer {
 public:
  explicit Buffer(Index size)
      : data_(static_cast<float*>(
            ::operator new(sizeof(float) * static_cast<std::size_t>(size), std::align_val_t{64}))) {
    std::fill_n(data_.get(), size, 0.0F);
  }
  float* data() const { return data_.get(); }

 private:
  struct Free {
    void operator()(float* data) const { ::operator delete(data, std::align_val_t{64}); }
  };
  std::unique_ptr<float[], Free> data_;
};

// What a thread needs for its rows.
struct Workspace {
  explicit Workspace(Index n_factors)
      : system(system_floats(n_factors)),
        scratch(scratch_floats(n_factors)),
        scale(padded(n_factors)),
        solved(kGrain * padded(n_factors)),
        rotated(kGrain * padded(n_factors)) {}
  Buffer system, scratch, scale;
  Buffer solved, rotated;  // (kGrain, stride): a block's rows in the eigenbasis, and out of it
};

class Workspaces {
 public:
  Workspaces(int n_threads, Index n_factors)
      : n_factors_(n_factors), spaces_(static_cast<std::size_t>(n_threads)) {}
  Workspace& operator[](int thread) {
    auto& space = spaces_[static_cast<std::size_t>(thread)];
    if (!space) space = std::make_unique<Workspace>(n_factors_);  // by its own thread
    return *space;
  }

 private:
  Index n_factors_;
  std::vector<std::unique_ptr<Workspace>> spaces_;
};

double row_regularization(const HalfSweep& sweep, Index row) {
  return sweep.regularization[sweep.regularization_per_row ? row : 0];
}

// Where the columns of a row in the eigenbasis begin: its padding comes first.
Index pad_of(const HalfSweep& sweep) { return padded(sweep.n_factors) - sweep.n_factors; }

void fill_scale(const HalfSweep& sweep, double regularization, float* scale) {
  scale += pad_of(sweep);
  for (Index c = 0; c < sweep.n_factors; ++c)
    scale[c] = static_cast<float>(
        1 / std::sqrt(sweep.unobserved_weight * sweep.eigenvalues[c] + regularization));
}

Plays plays_of(const HalfSweep& sweep, Index row, const float* scale) {
  const Index first = sweep.indptr[row];
  return {sweep.rotated,
          padded(sweep.n_factors),
          sweep.n_factors,
          scale,
          static_cast<float>(sweep.unobserved_weight),
          sweep.indices + first,
          sweep.surplus + first,
          sweep.indptr[row + 1] - first,
          sweep.indptr[sweep.end] - first};
}

// The same system in float64, without blocking: for the rare row that float32 cannot factorize.
void solve_in_double(const Plays& plays, Index row, float* w) {
  const Index f = plays.n_factors, pad = plays.stride - f;
  std::vector<double> system(static_cast<std::size_t>(f * f));
  std::vector<double> rhs(static_cast<std::size_t>(f)), z(rhs);
  for (Index r = 0; r < f; ++r) system[static_cast<std::size_t>(r * f + r)] = 1;
  for (Index i = 0; i < plays.n; ++i) {
    const double surplus = static_cast<double>(plays.surplus[i]);
    const double s = surplus + 1 - static_cast<double>(plays.unobserved_weight);
    for (Index c = 0; c < f; ++c)
      z[static_cast<std::size_t>(c)] =
          static_cast<double>(plays.factors[plays.indices[i] * plays.stride + pad + c]) *
          static_cast<double>(plays.scale[pad + c]);
    for (Index r = 0; r < f; ++r) {
      const double factor = z[static_cast<std::size_t>(r)];
      rhs[static_cast<std::size_t>(r)] += (1 + surplus) * factor;
      for (Index c = 0; c <= r; ++c)
        system[static_cast<std::size_t>(r * f + c)] += s * factor * z[static_cast<std::size_t>(c)];
    }
  }
  double* const a = system.data();
  double* const x = rhs.data();
  for (Index r = 0; r < f; ++r) {  // L L^T, and L x = rhs on the way
    for (Index c = 0; c <= r; ++c) {
      double value = a[r * f + c];
      for (Index k = 0; k < c; ++k) value -= a[r * f + k] * a[c * f + k];
      a[r * f + c] = c < r ? value / a[c * f + c] : std::sqrt(value);
    }
    if (!(a[r * f + r] > 0) || !std::isfinite(a[r * f + r]))
      throw std::runtime_error("row " + std::to_string(row) +
                               ": its system is singular in float64 too; increase the "
                               "regularization, or decrease alpha");
    for (Index k = 0; k < r; ++k) x[r] -= a[r * f + k] * x[k];
    x[r] /= a[r * f + r];
  }
  for (Index r = f; r-- > 0;) {
    for (Index k = r + 1; k < f; ++k) x[r] -= a[k * f + r] * x[k];
    x[r] /= a[r * f + r];
    w[pad + r] = static_cast<float>(x[r]);
  }
}

// From w to the row in the eigenbasis, x = scale w, and what the row adds to the objective but for
// its plays.
void finish_row(const HalfSweep& sweep, double regularization, const float* scale, float* x,
                RowSums& sums) {
  double squares = 0, everywhere = 0;
  scale += pad_of(sweep);
  x += pad_of(sweep);
  for (Index c = 0; c < sweep.n_factors; ++c) {
    x[c] *= scale[c];
    const double square = static_cast<double>(x[c]) * static_cast<double>(x[c]);
    squares += square;
    everywhere += sweep.eigenvalues[c] * square;
  }
  sums.regularization += regularization * squares;
  sums.unobserved += sweep.unobserved_weight * everywhere;
}

void add_observed(const HalfSweep& sweep, const double* errors, RowSums& sums) {
  sums.observed += errors[0];
  sums.unobserved -= sweep.unobserved_weight * errors[1];
}

// Out of the eigenbasis, into the caller's rows.
void write_rows(const HalfSweep& sweep, const float* solved, Index n_rows, float* rotated,
                float* out) {
  const Index stride = padded(sweep.n_factors);
  DCBMR_DISPATCH(multiply_rows)(solved + pad_of(sweep), n_rows, stride, sweep.n_factors, sweep.back,
                                stride, rotated);
  for (Index r = 0; r < n_rows; ++r)
    std::copy_n(rotated + r * stride, sweep.n_factors, out + r * sweep.n_factors);
}

void solve_row(const HalfSweep& sweep, Index row, bool with_errors, Workspace& space, float* x,
               RowSums& sums) {
  const double regularization = row_regularization(sweep, row);
  if (sweep.regularization_per_row) fill_scale(sweep, regularization, space.scale.data());
  const Plays plays = plays_of(sweep, row, space.scale.data());
  float* const system = space.system.data();
  float* const scratch = space.scratch.data();
  if (plays.n == 0) {
    std::fill_n(x, plays.stride, 0.0F);
    return;
  }
  bool solved = true;
  if (sweep.cg_steps > 0) {
    DCBMR_DISPATCH(solve_cg)(plays, sweep.cg_steps, x, scratch);
  } else if (plays.n <= plays.n_factors) {
    solved = DCBMR_DISPATCH(solve_dual)(plays, system, x, scratch);
  } else {
    DCBMR_DISPATCH(sum_plays)(plays, system, x, scratch);
    solved = DCBMR_DISPATCH(solve_system)(plays.n_factors, system, x, scratch);
  }
  if (!solved) {
    solve_in_double(plays, row, x);
    ++sums.n_retried;
  }
  finish_row(sweep, regularization, plays.scale, x, sums);
  if (with_errors) {
    double errors[2] = {0, 0};
    DCBMR_DISPATCH(add_errors)(plays, x, errors);
    add_observed(sweep, errors, sums);
  }
}

// A row that is worth sharing: each chunk of its plays is summed by one thread, and the sums are
// added in the order of the chunks.
void solve_huge_row(const HalfSweep& sweep, Index row, bool with_errors, int n_threads,
                    Workspaces& spaces, float* out, RowSums& sums) {
  Workspace& space = spaces[0];
  const double regularization = row_regularization(sweep, row);
  fill_scale(sweep, regularization, space.scale.data());
  const Plays plays = plays_of(sweep, row, space.scale.data());
  const Index chunk = std::max(kMinChunk, (plays.n + kMaxChunks - 1) / kMaxChunks);
  const Index n_chunks = (plays.n + chunk - 1) / chunk;
  const Index system_size = system_floats(plays.n_factors);
  const auto part = [&](Index begin, Index end) {
    Plays some = plays;
    some.indices += begin;
    some.surplus += begin;
    some.n = end - begin;
    some.n_ahead = plays.n_ahead - begin;
    return some;
  };
  Buffer systems(n_chunks * system_size), sides(n_chunks * plays.stride);
  parallel_for(plays.n, chunk, n_threads, [&](Index begin, Index end, int thread) {
    const Index k = begin / chunk;
    DCBMR_DISPATCH(sum_plays)(part(begin, end), systems.data() + k * system_size,
                              sides.data() + k * plays.stride, spaces[thread].scratch.data());
  });
  for (Index k = 1; k < n_chunks; ++k) {
    for (Index i = 0; i < system_size; ++i)
      systems.data()[i] += systems.data()[k * system_size + i];
    for (Index c = 0; c < plays.stride; ++c) sides.data()[c] += sides.data()[k * plays.stride + c];
  }
  float* const x = sides.data();
  if (!DCBMR_DISPATCH(solve_system)(plays.n_factors, systems.data(), x, space.scratch.data())) {
    solve_in_double(plays, row, x);
    ++sums.n_retried;
  }
  finish_row(sweep, regularization, plays.scale, x, sums);
  if (with_errors) {
    std::vector<double> errors(static_cast<std::size_t>(2 * n_chunks));
    parallel_for(plays.n, chunk, n_threads, [&](Index begin, Index end, int) {
      DCBMR_DISPATCH(add_errors)(part(begin, end), x, errors.data() + 2 * (begin / chunk));
    });
    for (Index k = 0; k < n_chunks; ++k) add_observed(sweep, errors.data() + 2 * k, sums);
  }
  write_rows(sweep, x, 1, space.rotated.data(), out + row * sweep.n_factors);
}

void add_sums(const RowSums& some, RowSums& all) {
  all.observed += some.observed;
  all.unobserved += some.unobserved;
  all.regularization += some.regularization;
  all.n_retried += some.n_retried;
}

}  // namespace

void gramian(const float* rows, Index n_rows, Index n_factors, double* out, int n_threads) {
  const Index size = n_factors * n_factors;
  const Index part_rows = std::max<Index>(4096, (n_rows + kGramianParts - 1) / kGramianParts);
  const Index n_parts = std::max<Index>(1, (n_rows + part_rows - 1) / part_rows);
  std::vector<double> parts(static_cast<std::size_t>(n_parts * size));
  Workspaces spaces(n_threads, n_factors);
  parallel_for(n_rows, part_rows, n_threads, [&](Index begin, Index end, int thread) {
    Workspace& space = spaces[thread];
    // float32 within 4096 rows, float64 beyond
    for (Index first = begin; first < end; first += 4096)
      DCBMR_DISPATCH(add_gramian)(rows + first * n_factors, std::min<Index>(4096, end - first),
                                  n_factors, space.system.data(), space.scratch.data(),
                                  parts.data() + begin / part_rows * size);
  });
  std::copy_n(parts.data(), size, out);
  for (Index part = 1; part < n_parts; ++part)
    for (Index i = 0; i < size; ++i) out[i] += parts[static_cast<std::size_t>(part * size + i)];
}

void rotate(const float* rows, Index n_rows, Index n_factors, const float* basis, float* out,
            int n_threads) {
  const Index stride = padded(n_factors);
  parallel_for(n_rows, 256, n_threads, [&](Index begin, Index end, int) {
    DCBMR_DISPATCH(multiply_rows)(rows + begin * n_factors, end - begin, n_factors, n_factors,
                                  basis, stride, out + begin * stride);
  });
}

RowSums solve_rows(const HalfSweep& sweep, bool with_errors, float* out, int n_threads) {
  const Index stride = padded(sweep.n_factors);
  const Index n_rows = sweep.end - sweep.begin;
  Workspaces spaces(n_threads, sweep.n_factors);
  const auto is_huge = [&](Index row) {
    return sweep.indptr[row + 1] - sweep.indptr[row] >= kHugeRow;
  };
  RowSums sums;
  for (Index row = sweep.begin; row < sweep.end; ++row)
    if (is_huge(row)) solve_huge_row(sweep, row, with_errors, n_threads, spaces, out, sums);
  if (!sweep.regularization_per_row)
    for (int thread = 0; thread < n_threads; ++thread)
      fill_scale(sweep, sweep.regularization[0], spaces[thread].scale.data());

  std::vector<RowSums> parts(static_cast<std::size_t>((n_rows + kGrain - 1) / kGrain));
  parallel_for(n_rows, kGrain, n_threads, [&](Index begin, Index end, int thread) {
    Workspace& space = spaces[thread];
    RowSums& part = parts[static_cast<std::size_t>(begin / kGrain)];
    if (sweep.cg_steps > 0)
      DCBMR_DISPATCH(multiply_rows)(out + (sweep.begin + begin) * sweep.n_factors, end - begin,
                                    sweep.n_factors, sweep.n_factors, sweep.basis, stride,
                                    space.solved.data());
    for (Index r = begin; r < end; ++r)
      if (!is_huge(sweep.begin + r))
        solve_row(sweep, sweep.begin + r, with_errors, space,
                  space.solved.data() + (r - begin) * stride, part);
    DCBMR_DISPATCH(multiply_rows)(space.solved.data() + pad_of(sweep), end - begin, stride,
                                  sweep.n_factors, sweep.back, stride, space.rotated.data());
    for (Index r = begin; r < end; ++r)
      if (!is_huge(sweep.begin + r))
        std::copy_n(space.rotated.data() + (r - begin) * stride, sweep.n_factors,
                    out + (sweep.begin + r) * sweep.n_factors);
  });
  for (const RowSums& part : parts) add_sums(part, sums);
  return sums;
}

}  // namespace dcbmr
