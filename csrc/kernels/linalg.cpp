#include "kernels/linalg.h"

#include <cstring>

#include "kernels/plays.h"

namespace dcbmr::DCBMR_ISA {
namespace {

// sqrt(s) and g = c / sqrt(s). A surplus of nothing is lifted to next to nothing: g is finite, and
// sqrt(s) g is c all the same.
void fill_weights(const Plays& plays, Index first, Index n, float* root, float* target) {
  const float more = 1 - plays.unobserved_weight;
  for (Index i = 0; i < n; ++i) {
    const float surplus = plays.surplus[first + i], s = surplus + more;
    root[i] = __builtin_sqrtf(s > 1e-12F ? s : 1e-12F);
    target[i] = (1 + surplus) / root[i];
  }
}

void add_gramian(const float* rows, Index n_rows, Index n_factors, float* system, float* scratch,
                 double* gram) {
  const Index n_panels = panels(n_factors), height = n_panels * W, pad = height - n_factors;
  std::memset(system, 0, sizeof(float) * static_cast<std::size_t>(height * height));
  std::memset(scratch, 0, sizeof(float) * static_cast<std::size_t>(height * kPackedRows));
  for (Index first = 0; first < n_rows; first += kPackedRows) {
    const Index n = smaller(kPackedRows, n_rows - first);
    for (Index i = 0; i < n; ++i) {
      const float* const row = rows + (first + i) * n_factors;
      float* const to = scratch + i * W;
      for (Index c = pad; c < W; ++c) to[c] = row[c - pad];
      for (Index p = 1; p < n_panels; ++p)
        store(to + p * kPackedRows * W, load(row + (p * W - pad)));
    }
    product<Into::add>(scratch, kPackedRows, n, n_factors, system);
  }
  for (Index r = 0; r < n_factors; ++r)
    for (Index c = r; c < n_factors; ++c) {
      const Index at = (c + pad) / W * height * W + (r + pad) * W + (c + pad) % W;
      const double value = static_cast<double>(system[at]);
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
      Lanes sums[kRows][2] = {};
      for (Index k = 0; k < n; ++k) {
        const Lanes low = load(matrix + k * out_stride + c);
        const Lanes high = load(matrix + k * out_stride + c + W);
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
      Lanes sums[kRows] = {};
      for (Index k = 0; k < n; ++k) {
        const Lanes row = load(matrix + k * out_stride + c);
#pragma GCC unroll 8
        for (Index r = 0; r < kRows; ++r) sums[r] += from[r][k] * row;
      }
#pragma GCC unroll 8
      for (Index r = 0; r < kRows; ++r)
        if (r < count) store(out + (first + r) * out_stride + c, sums[r]);
    }
  }
}

// The panels of P from column c on, as many as are asked for and n_panels at the most, of n plays;
// rhs += what they add to P^T g, whose sums are in registers beside.
template <int n_panels>
inline void pack(Index wanted, const Plays& plays, Index first, Index n, const float* root,
                 const float* target, Index c, float* panel, float* rhs) {
  if constexpr (n_panels > 1)
    if (wanted < n_panels)
      return pack<n_panels - 1>(wanted, plays, first, n, root, target, c, panel, rhs);
  Lanes sums[n_panels] = {};
  for (Index i = 0; i < n; ++i) {
    if (c == 0) prefetch(plays, first + i + 16);
    const float* const row = row_of(plays, first + i) + c;
#pragma GCC unroll 8
    for (int p = 0; p < n_panels; ++p) {
      Lanes value = root[i] * load(row + p * W);
      if (plays.scale) value *= load(plays.scale + c + p * W);
      store(panel + (p * kPackedRows + i) * W, value);
      sums[p] += target[i] * value;
    }
  }
#pragma GCC unroll 8
  for (int p = 0; p < n_panels; ++p) store(rhs + c + p * W, load(rhs + c + p * W) + sums[p]);
}

void sum_plays(const Plays& plays, float* system, float* rhs, float* scratch) {
  const Index width = plays.stride;
  std::memset(rhs, 0, sizeof(float) * static_cast<std::size_t>(width));
  for (Index first = 0; first < plays.n; first += kPackedRows) {
    const Index n = smaller(kPackedRows, plays.n - first);
    float root[kPackedRows], target[kPackedRows];
    fill_weights(plays, first, n, root, target);
    for (Index c = 0; c < width; c += 8 * W)
      pack<8>((width - c) / W, plays, first, n, root, target, c, scratch + c * kPackedRows, rhs);
    if (first == 0)
      product<Into::set>(scratch, kPackedRows, n, plays.n_factors, system);
    else
      product<Into::add>(scratch, kPackedRows, n, plays.n_factors, system);
  }
}

bool solve_dual(const Plays& plays, float* system, float* w, float* scratch) {
  const Index n_panels = panels(plays.n), height = n_panels * W, pad = height - plays.n;
  const Index width = plays.stride;
  float* target = scratch;                 // g, then (I + P P^T)^-1 g
  float* root = target + plays.stride;     // sqrt(s)
  float* inverse = root + plays.stride;    //
  float* packed = inverse + plays.stride;  // (n_panels, width, W): P^T
  for (Index i = 0; i < pad; ++i) root[i] = target[i] = 0;
  fill_weights(plays, 0, plays.n, root + pad, target + pad);
  for (Index p = 0; p < n_panels; ++p) {
    const Index begin = p * W - pad;
    for (Index i = 0; i < W; ++i) prefetch(plays, begin + W + i);
    const float* from[W];
#pragma GCC unroll 16
    for (Index i = 0; i < W; ++i) from[i] = row_of(plays, larger(begin + i, 0));  // root 0: no play
    for (Index c = 0; c < width; c += W) {
      const Lanes factor = scale_of(plays, c);
      Lanes block[W];
#pragma GCC unroll 16
      for (Index i = 0; i < W; ++i) block[i] = root[p * W + i] * factor * load(from[i] + c);
      transpose(block);
#pragma GCC unroll 16
      for (Index i = 0; i < W; ++i) store(packed + (p * width + c + i) * W, block[i]);
    }
  }
  const Index skip = width - plays.n_factors;  // columns of padding
  product<Into::set>(packed + skip * W, width, plays.n_factors, plays.n, system);
  if (!solve(plays.n, system, target, inverse)) return false;
  std::memset(w, 0, sizeof(float) * static_cast<std::size_t>(width));
  for (Index i = 0; i < height; ++i) root[i] *= target[i];
  for (Index first = 0; first < plays.n; first += kScored) {
    const Group group(plays, first);
    Few weights;
    std::memcpy(&weights, root + pad + first, sizeof weights);
    group.add(width, group.inside ? weights : Few{}, w);
  }
  for (Index c = 0; c < width; c += W) store(w + c, load(w + c) * scale_of(plays, c));
  return true;
}

}  // namespace

const LinalgKernel linalg_kernel{W, add_gramian, multiply_rows, sum_plays, solve, solve_dual};

}  // namespace dcbmr::DCBMR_ISA
