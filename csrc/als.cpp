#include "als.h"

#include <algorithm>
#include <cmath>
#include <memory>
#include <stdexcept>
#include <string>
#include <vector>

#include "kernels/linalg.h"
#include "parallel.h"

namespace dcbmr {
namespace {

using Index = std::int64_t;

constexpr Index kGrain = 16;         // rows handed out at a time
constexpr Index kWindow = 8192;      // rows that are sorted by length: their plays lie together
constexpr Index kHugeRow = 16384;    // plays from which all threads share one row
constexpr Index kMinChunk = 8192;    // plays of a huge row that are one thread's share, and
constexpr Index kMaxChunks = 64;     // how many shares there are at the most
constexpr Index kGramianParts = 32;  // partial sums of a Gram matrix

// What a thread needs for its rows.
struct Workspace {
  Workspace(Index stride, Index lanes)
      : system(system_floats(stride)),
        scratch(scratch_floats(stride)),
        interleaved(Buffer::unset(interleaved_floats(stride, lanes))),
        scale(kGrain * stride),
        solved(kGrain * stride),
        rotated(kGrain * stride) {}
  Buffer system, scratch, interleaved;
  Buffer scale;            // (kGrain, stride), where each row has another
  Buffer solved, rotated;  // (kGrain, stride): a block's rows in the others' basis, and out of it
};

class Workspaces {
 public:
  Workspaces(int n_threads, Index stride, Index lanes)
      : stride_(stride), lanes_(lanes), spaces_(static_cast<std::size_t>(n_threads)) {}
  Workspace& operator[](int thread) {
    auto& space = spaces_[static_cast<std::size_t>(thread)];
    if (!space) space = std::make_unique<Workspace>(stride_, lanes_);  // by its own thread
    return *space;
  }

 private:
  Index stride_, lanes_;
  std::vector<std::unique_ptr<Workspace>> spaces_;
};

// (n, stride) of a square matrix of columns times `scales`, its padding first; or of its transpose,
// the padding last.
Buffer padded_rows(const double* matrix, Index n, Index stride, const std::vector<double>& scales,
                   bool transposed) {
  Buffer rows(n * stride);
  for (Index r = 0; r < n; ++r)
    for (Index c = 0; c < n; ++c)
      rows.data()[transposed ? c * stride + r : r * stride + stride - n + c] =
          static_cast<float>(matrix[r * n + c] * scales[static_cast<std::size_t>(c)]);
  return rows;
}

// The same system in float64, without blocking: for the rare row that float32 cannot solve.
void solve_in_double(const Plays& plays, Index row, float* w) {
  const Index f = plays.n_factors, pad = plays.stride - f;
  std::fill_n(w, pad, 0.0F);
  std::vector<double> system(static_cast<std::size_t>(f * f));
  std::vector<double> rhs(static_cast<std::size_t>(f)), z(rhs);
  for (Index r = 0; r < f; ++r) system[static_cast<std::size_t>(r * f + r)] = 1;
  for (Index i = 0; i < plays.n; ++i) {
    const double surplus = static_cast<double>(plays.surplus[i]);
    const double s = surplus + 1 - static_cast<double>(plays.unobserved_weight);
    for (Index c = 0; c < f; ++c)
      z[static_cast<std::size_t>(c)] =
          static_cast<double>(plays.factors[plays.indices[i] * plays.stride + pad + c]) *
          (plays.scale ? static_cast<double>(plays.scale[pad + c]) : 1);
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

}  // namespace

// One call of solve_rows.
class HalfSweep {
 public:
  HalfSweep(const FixedFactors& others, const PlayRows& rows, const SolveOptions& options,
            Index begin, Index end, float* out)
      : others_(others),
        rows_(rows),
        options_(options),
        begin_(begin),
        end_(end),
        out_(out),
        n_factors_(others.n_factors_),
        stride_(others.stride_),
        pad_(stride_ - n_factors_),
        linalg_(linalg_kernel(others.isa_)),
        cg_(cg_kernel(others.isa_)),
        interleaved_(interleaved_kernel(others.isa_)),
        sums_(static_cast<std::size_t>(end - begin)),
        spaces_(options.n_threads, stride_, linalg_.lanes) {
    for (Index first = begin; first < end; first += kWindow)
      put_in_order(first, std::min(first + kWindow, end));
  }

  std::vector<RowSums> run() {
    for (Index row = begin_; row < end_; ++row)
      if (is_huge(row)) solve_huge_row(row);

    parallel_for(static_cast<Index>(blocks_.size()), 1, options_.n_threads,
                 [&](Index begin, Index, int thread) {
                   solve_block(blocks_[static_cast<std::size_t>(begin)], spaces_[thread]);
                 });
    // In the order of the rows, whatever the one that they were solved in.
    std::vector<RowSums> sums(static_cast<std::size_t>((end_ - begin_ + kSumRows - 1) / kSumRows));
    for (Index row = begin_; row < end_; ++row) {
      const RowSums& mine = sums_of(row);
      RowSums& all = sums[static_cast<std::size_t>((row - begin_) / kSumRows)];
      all.observed += mine.observed;
      all.unobserved += mine.unobserved;
      all.regularization += mine.regularization;
      all.n_retried += mine.n_retried;
    }
    return sums;
  }

 private:
  // At most kGrain rows of `order_`, from `begin` on.
  struct Block {
    Index begin, n_rows;
    bool interleaved;
  };

  RowSums& sums_of(Index row) { return sums_[static_cast<std::size_t>(row - begin_)]; }
  Index n_plays(Index row) const { return rows_.indptr[row + 1] - rows_.indptr[row]; }
  bool is_huge(Index row) const { return n_plays(row) >= kHugeRow; }
  bool is_interleaved(Index row) const {
    return options_.cg_steps == 0 && n_plays(row) > 0 &&
           dcbmr::is_interleaved(n_plays(row), n_factors_);
  }

  // Of rows begin..end-1, first those that are solved one at a time, but for the huge ones; then
  // those solved several at a time, by their length, so that the lanes of a vector have the same to
  // do.
  void put_in_order(Index begin, Index end) {
    std::vector<Index> of_length(kInterleavedPlays + 2);  // where the rows of each length begin
    const Index before = static_cast<Index>(order_.size());
    for (Index row = begin; row < end; ++row)
      if (is_interleaved(row))
        ++of_length[static_cast<std::size_t>(n_plays(row) + 1)];
      else if (!is_huge(row))
        order_.push_back(row);
    add_blocks(before, static_cast<Index>(order_.size()), false);
    of_length[0] = static_cast<Index>(order_.size());
    for (std::size_t n = 1; n < of_length.size(); ++n) of_length[n] += of_length[n - 1];
    order_.resize(static_cast<std::size_t>(of_length.back()));
    // Systems of their number of plays, and of the factors' number, are not mixed.
    const Index longest = std::min(n_factors_, kInterleavedPlays);
    const Index first = of_length[0], middle = of_length[static_cast<std::size_t>(longest + 1)];
    add_blocks(first, middle, true);
    add_blocks(middle, of_length.back(), true);
    for (Index row = begin; row < end; ++row)
      if (is_interleaved(row))
        order_[static_cast<std::size_t>(of_length[static_cast<std::size_t>(n_plays(row))]++)] = row;
  }
  void add_blocks(Index begin, Index end, bool interleaved) {
    for (; begin < end; begin += kGrain)
      blocks_.push_back({begin, std::min(kGrain, end - begin), interleaved});
  }

  double regularization(Index row) const {
    return options_.regularization ? options_.regularization[row] : others_.regularization_;
  }

  // From the basis to that of a row whose lambda is another. The padding comes first.
  void fill_scale(double regularization, float* scale) const {
    for (std::size_t c = static_cast<std::size_t>(pad_); c < others_.eigenvalues_.size(); ++c)
      scale[c] = static_cast<float>(
          1 / std::sqrt(others_.squares_[c] *
                        (others_.unobserved_weight_ * others_.eigenvalues_[c] + regularization)));
  }

  // Of one row; its scale is made in `own` where each row has another.
  Plays plays_of(Index row, float* own) const {
    if (options_.regularization) fill_scale(regularization(row), own);
    const Index first = rows_.indptr[row];
    return {others_.rotated_.data(),
            stride_,
            n_factors_,
            options_.regularization ? own : nullptr,
            static_cast<float>(others_.unobserved_weight_),
            rows_.indices + first,
            rows_.surplus + first,
            n_plays(row),
            rows_.indptr[end_] - first};
  }

  // From w to the row in the others' basis, x = scale w, and what the row adds to the objective but
  // for its plays. A row that float32 did not solve is solved here.
  void finish_row(Index row, const Plays& plays, bool solved, float* x) {
    RowSums& sums = sums_of(row);
    if (!solved) {
      solve_in_double(plays, row, x);
      ++sums.n_retried;
    }
    if (plays.scale)
      for (Index c = 0; c < stride_; ++c) x[c] *= plays.scale[c];
    double squares[2] = {0, 0};
    cg_.add_squares(stride_, others_.squares_.data(), x, squares);
    sums.regularization = regularization(row) * squares[0];
    sums.unobserved = squares[1];
  }

  void add_observed(Index row, const double* errors) {
    RowSums& sums = sums_of(row);
    sums.observed += errors[0];
    sums.unobserved -= others_.unobserved_weight_ * errors[1];
  }

  void add_errors(Index row, const Plays& plays, const float* x) {
    if (!options_.with_errors) return;
    double errors[2] = {0, 0};
    cg_.add_errors(plays, x, errors);
    add_observed(row, errors);
  }

  void solve_row(Index row, Workspace& space, float* x) {
    const Plays plays = plays_of(row, space.scale.data());
    float* const system = space.system.data();
    float* const scratch = space.scratch.data();
    if (plays.n == 0) {
      std::fill_n(x, stride_, 0.0F);
      return;
    }
    bool solved;
    if (options_.cg_steps > 0) {
      solved = cg_.solve_cg(plays, options_.cg_steps, x, scratch);
    } else if (plays.n <= n_factors_) {
      solved = linalg_.solve_dual(plays, system, x, scratch);
    } else {
      linalg_.sum_plays(plays, system, x, scratch);
      solved = linalg_.solve_system(n_factors_, system, x, scratch);
    }
    finish_row(row, plays, solved, x);
    add_errors(row, plays, x);
  }

  // Of the rows that are likely to be next: sorted by length, they do not follow each other.
  void prefetch_plays(const Index* rows) const {
    const Index* const end = order_.data() + order_.size();
    for (const Index* const last = rows + std::min(interleaved_.lanes, end - rows); rows < last;
         ++rows)
      for (Index i = rows_.indptr[*rows]; i < rows_.indptr[*rows + 1]; i += 16) {
        __builtin_prefetch(rows_.indices + i);
        __builtin_prefetch(rows_.surplus + i);
      }
  }

  // As many rows as a vector has lanes, at most.
  void solve_interleaved(const Index* rows, Index n_rows, Workspace& space, float* x) {
    Plays plays[kGrain];
    for (Index i = 0; i < interleaved_.lanes; ++i)
      if (i < n_rows) {
        plays[i] = plays_of(rows[i], space.scale.data() + i * stride_);
      } else {
        plays[i] = plays[0];
        plays[i].n = 0;
      }
    prefetch_plays(rows + n_rows);
    const unsigned failed = interleaved_.solve(plays, x, space.interleaved.data());
    for (Index i = 0; i < n_rows; ++i, x += stride_) {
      finish_row(rows[i], plays[i], !(failed >> i & 1), x);
      add_errors(rows[i], plays[i], x);
    }
  }

  // Into the others' basis where the rows are a start, solved there, and out of it.
  void solve_block(const Block& block, Workspace& space) {
    const Index* const rows = order_.data() + block.begin;
    float* const solved = space.solved.data();
    if (options_.cg_steps > 0) {
      float* const start = space.rotated.data();
      for (Index i = 0; i < block.n_rows; ++i)
        std::copy_n(out_ + rows[i] * n_factors_, n_factors_, start + i * stride_);
      linalg_.multiply_rows(start, block.n_rows, stride_, n_factors_, others_.start_.data(),
                            stride_, solved);
    }
    // What the block is written to: stores that miss are waited for at the lock of the next block.
    for (Index i = 0; i < block.n_rows; ++i)
      for (Index c = 0; c < n_factors_; c += 16)
        __builtin_prefetch(out_ + rows[i] * n_factors_ + c, 1);
    const Index together = block.interleaved ? interleaved_.lanes : 1;
    for (Index i = 0; i < block.n_rows; i += together)
      if (block.interleaved)
        solve_interleaved(rows + i, std::min(together, block.n_rows - i), space,
                          solved + i * stride_);
      else
        solve_row(rows[i], space, solved + i * stride_);
    const float* const rotated = rotate_back(solved, block.n_rows, space);
    for (Index i = 0; i < block.n_rows; ++i)
      std::copy_n(rotated + i * stride_, n_factors_, out_ + rows[i] * n_factors_);
  }

  // Out of the others' basis: rows of stride_ floats, the padding last.
  const float* rotate_back(const float* solved, Index n_rows, Workspace& space) const {
    linalg_.multiply_rows(solved + pad_, n_rows, stride_, n_factors_, others_.back_.data(), stride_,
                          space.rotated.data());
    return space.rotated.data();
  }

  // A row that is worth sharing: each chunk of its plays is summed by one thread, and the sums are
  // added in the order of the chunks.
  void solve_huge_row(Index row) {
    Workspace& space = spaces_[0];
    const Plays plays = plays_of(row, space.scale.data());
    const Index chunk = std::max(kMinChunk, (plays.n + kMaxChunks - 1) / kMaxChunks);
    const Index n_chunks = (plays.n + chunk - 1) / chunk;
    const Index system_size = system_floats(stride_);
    const auto part = [&](Index begin, Index end) {
      Plays some = plays;
      some.indices += begin;
      some.surplus += begin;
      some.n = end - begin;
      some.n_ahead = plays.n_ahead - begin;
      return some;
    };
    Buffer systems(n_chunks * system_size), sides(n_chunks * stride_);
    const auto sum_chunk = [&](Index begin, Index end, int thread) {
      const Index k = begin / chunk;
      linalg_.sum_plays(part(begin, end), systems.data() + k * system_size,
                        sides.data() + k * stride_, spaces_[thread].scratch.data());
    };
    parallel_for(plays.n, chunk, options_.n_threads, sum_chunk);
    for (Index k = 1; k < n_chunks; ++k) {
      for (Index i = 0; i < system_size; ++i)
        systems.data()[i] += systems.data()[k * system_size + i];
      for (Index c = 0; c < stride_; ++c) sides.data()[c] += sides.data()[k * stride_ + c];
    }
    float* const x = sides.data();
    const bool solved = linalg_.solve_system(n_factors_, systems.data(), x, space.scratch.data());
    finish_row(row, plays, solved, x);
    if (options_.with_errors) {
      std::vector<double> errors(static_cast<std::size_t>(2 * n_chunks));
      parallel_for(plays.n, chunk, options_.n_threads, [&](Index begin, Index end, int) {
        cg_.add_errors(part(begin, end), x, errors.data() + 2 * (begin / chunk));
      });
      for (Index k = 0; k < n_chunks; ++k) add_observed(row, errors.data() + 2 * k);
    }
    std::copy_n(rotate_back(x, 1, space), n_factors_, out_ + row * n_factors_);
  }

  const FixedFactors& others_;
  const PlayRows& rows_;
  const SolveOptions& options_;
  const Index begin_, end_;
  float* const out_;
  const Index n_factors_, stride_, pad_;
  const LinalgKernel& linalg_;
  const CgKernel& cg_;
  const InterleavedKernel& interleaved_;
  std::vector<RowSums> sums_;  // of each row
  std::vector<Index> order_;   // rows
  std::vector<Block> blocks_;
  Workspaces spaces_;
};

void gramian(const float* rows, Index n_rows, Index n_factors, double* out, int n_threads) {
  const LinalgKernel& linalg = linalg_kernel();
  const Index size = n_factors * n_factors;
  const Index part_rows = std::max<Index>(4096, (n_rows + kGramianParts - 1) / kGramianParts);
  const Index n_parts = std::max<Index>(1, (n_rows + part_rows - 1) / part_rows);
  std::vector<double> parts(static_cast<std::size_t>(n_parts * size));
  Workspaces spaces(n_threads, padded(n_factors, linalg.lanes), linalg.lanes);
  parallel_for(n_rows, part_rows, n_threads, [&](Index begin, Index end, int thread) {
    Workspace& space = spaces[thread];
    // float32 within 4096 rows, float64 beyond
    for (Index first = begin; first < end; first += 4096)
      linalg.add_gramian(rows + first * n_factors, std::min<Index>(4096, end - first), n_factors,
                         space.system.data(), space.scratch.data(),
                         parts.data() + begin / part_rows * size);
  });
  std::copy_n(parts.data(), size, out);
  for (Index part = 1; part < n_parts; ++part)
    for (Index i = 0; i < size; ++i) out[i] += parts[static_cast<std::size_t>(part * size + i)];
}

FixedFactors::FixedFactors(const float* factors, Index n_rows, Index n_factors,
                           const double* eigenvalues, const double* eigenvectors,
                           double regularization, double unobserved_weight, int n_threads)
    : isa_(isa()),
      n_rows_(n_rows),
      n_factors_(n_factors),
      stride_(padded(n_factors, linalg_kernel(isa_).lanes)),
      regularization_(regularization),
      unobserved_weight_(unobserved_weight),
      eigenvalues_(static_cast<std::size_t>(stride_)),
      squares_(2 * eigenvalues_.size()),
      rotated_(Buffer::unset(n_rows * stride_)) {
  std::vector<double> scales(static_cast<std::size_t>(n_factors)), inverse(scales);
  for (std::size_t c = 0; c < scales.size(); ++c) {
    const std::size_t at = static_cast<std::size_t>(stride_ - n_factors) + c;
    eigenvalues_[at] = std::max(eigenvalues[c], 0.0);
    squares_[at] = 1 / (unobserved_weight * eigenvalues_[at] + regularization);
    squares_[at + static_cast<std::size_t>(stride_)] =
        unobserved_weight * eigenvalues_[at] * squares_[at];
    scales[c] = std::sqrt(squares_[at]);
    inverse[c] = 1 / scales[c];
  }
  start_ = padded_rows(eigenvectors, n_factors, stride_, inverse, false);
  back_ = padded_rows(eigenvectors, n_factors, stride_, scales, true);
  const Buffer basis = padded_rows(eigenvectors, n_factors, stride_, scales, false);
  const LinalgKernel& linalg = linalg_kernel(isa_);
  parallel_for(n_rows, 256, n_threads, [&](Index begin, Index end, int) {
    linalg.multiply_rows(factors + begin * n_factors, end - begin, n_factors, n_factors,
                         basis.data(), stride_, rotated_.data() + begin * stride_);
  });
}

std::vector<RowSums> FixedFactors::solve_rows(const PlayRows& plays, const SolveOptions& options,
                                              Index begin, Index end, float* out) const {
  return HalfSweep(*this, plays, options, begin, end, out).run();
}

}  // namespace dcbmr
