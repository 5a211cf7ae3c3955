#include "kernels/mel.h"

#include "kernels/vector.h"

namespace dcbmr::DCBMR_ISA {
namespace {

// Natural logarithm of normal positive numbers, within 2 units in the last place. With
// x = 2^e m, m in [sqrt(1/2), sqrt(2)), and s = (m - 1) / (m + 1):  log m = 2 artanh s, whose
// series in s^2 <= 0.03 needs five terms.
inline Lanes log_lanes(Lanes x) {
  constexpr int kHalfRootBits = 0x3f3504f3;  // sqrt(1/2)
  IntLanes bits;
  __builtin_memcpy(&bits, &x, sizeof bits);
  const IntLanes exponent = (bits - kHalfRootBits) >> 23;
  bits -= exponent << 23;
  Lanes m;
  __builtin_memcpy(&m, &bits, sizeof m);
  const Lanes e = __builtin_convertvector(exponent, Lanes);
  const Lanes s = (m - 1.0f) / (m + 1.0f), s2 = s * s;
  const Lanes series = (((1.0f / 9 * s2 + 1.0f / 7) * s2 + 0.2f) * s2 + 1.0f / 3) * s2;
  // log 2 in two parts, the first short enough that e times it is exact.
  return e * 0.693359375f + (e * -2.12194440e-4f + 2 * s * series + 2 * s);
}

void apply_bank(const MelTables& bank, const float* power, const int* rows, float* mel) {
  const float* weights = bank.weights;
  Lanes falling{};
  for (int m = 0; m <= bank.n_mels; ++m) {
    const MelGap gap = bank.gaps[m];
    const int* const at = rows + gap.first_bin;
    Lanes rising{};
    for (int i = 0; i < gap.n_bins; ++i, weights += 2) {
      const Lanes bin = load(power + at[i] * kLanes);
      falling += weights[0] * bin;
      rising += weights[1] * bin;
    }
    if (m > 0) store(mel + (m - 1) * kLanes, falling);
    falling = rising;
  }
}

void compress(const float* mel, int n, float* out) {
  for (int i = 0; i < n * kLanes; i += kLanes)
    store(out + i, log_lanes(1.0f + 1e4f * load(mel + i)));
}

void decibels(const float* mel, int n, float* out) {
  constexpr float kPerLog = 4.342944819032518f;  // 10 / log 10
  for (int i = 0; i < n * kLanes; i += kLanes) {
    const Lanes x = load(mel + i), floor = Lanes{} + 1e-10f;
    store(out + i, kPerLog * log_lanes(x > floor ? x : floor));
  }
}

// Sums in two levels: c0 sums a hundred numbers of one sign, and the field compares to 1e-3 dB.
template <int n_sums>
inline void project(const float* in, int n_in, const float* matrix, int n_columns, float* out) {
  constexpr int kBlock = 16;
  Lanes sums[n_sums]{};
  for (int begin = 0; begin < n_in; begin += kBlock) {
    const int end = n_in - begin < kBlock ? n_in : begin + kBlock;
    Lanes part[n_sums]{};
    for (int m = begin; m < end; ++m) {
      const Lanes x = load(in + m * kLanes);
#pragma GCC unroll 8
      for (int c = 0; c < n_sums; ++c) part[c] += matrix[m * n_columns + c] * x;
    }
#pragma GCC unroll 8
    for (int c = 0; c < n_sums; ++c) sums[c] += part[c];
  }
#pragma GCC unroll 8
  for (int c = 0; c < n_sums; ++c) store(out + c * kLanes, sums[c]);
}

void cepstra(const float* decibels, int n_mels, const float* dct, int n_mfcc, float* cepstra) {
  int c = 0;
  for (; c + 8 <= n_mfcc; c += 8)
    project<8>(decibels, n_mels, dct + c, n_mfcc, cepstra + c * kLanes);
  for (; c < n_mfcc; ++c) project<1>(decibels, n_mels, dct + c, n_mfcc, cepstra + c * kLanes);
}

void scatter(const float* matrix, int n_dims, int n_frames, float* out, std::int64_t stride) {
  for (int d = 0; d < n_dims; d += kLanes) {
    const int width = n_dims - d < kLanes ? n_dims - d : kLanes;
    Lanes rows[kLanes];
#pragma GCC unroll 16
    for (int i = 0; i < kLanes; ++i)
      rows[i] = i < width ? load(matrix + (d + i) * kLanes) : Lanes{};
    transpose(rows);
    for (int i = 0; i < n_frames && i < kLanes; ++i) {
      float* to = out + i * stride + d;
      if (width == kLanes)
        store(to, rows[i]);
      else
        __builtin_memcpy(to, &rows[i], static_cast<unsigned>(width) * sizeof(float));
    }
  }
}

void with_deltas(const float* rows, std::int64_t stride, std::int64_t n_frames, int n_dims,
                 int n_orders, float* out) {
  // Over k = -4..4 with weight k / 60, and with weight 2 (k^2 - 20/3) / 308.
  constexpr float kCurvature[] = {-40 / 924.f, -34 / 924.f, -16 / 924.f, 14 / 924.f, 56 / 924.f};
  for (std::int64_t t = 0; t < n_frames; ++t) {
    const float* centre = rows + t * stride;
    for (int d = 0; d < n_dims; d += kLanes) {
      const auto size =
          static_cast<unsigned>(n_dims - d < kLanes ? n_dims - d : kLanes) * sizeof(float);
      const Lanes x = load(centre + d);
      Lanes slope{}, curvature = kCurvature[0] * x;
      for (int k = 1; n_orders > 0 && k <= kDeltaReach; ++k) {
        const Lanes after = load(centre + k * stride + d), before = load(centre - k * stride + d);
        slope += (static_cast<float>(k) / 60.f) * (after - before);
        curvature += kCurvature[k] * (after + before);
      }
      __builtin_memcpy(out + d, &x, size);
      if (n_orders > 0) __builtin_memcpy(out + n_dims + d, &slope, size);
      if (n_orders > 1) __builtin_memcpy(out + 2 * n_dims + d, &curvature, size);
    }
    out += (1 + n_orders) * n_dims;
  }
}

std::int64_t first_nonfinite(const float* samples, std::int64_t n) {
  constexpr std::int64_t kBlock = 4096;
  constexpr unsigned kExponent = 0x7f800000;
  for (std::int64_t begin = 0; begin < n; begin += kBlock) {
    const std::int64_t end = n - begin < kBlock ? n : begin + kBlock;
    int bad = 0;
    for (std::int64_t i = begin; i < end; ++i) {
      unsigned bits;
      __builtin_memcpy(&bits, samples + i, sizeof bits);
      bad |= (bits & kExponent) == kExponent;
    }
    if (!bad) continue;
    for (std::int64_t i = begin; i < end; ++i)
      if (!__builtin_isfinite(samples[i])) return i;
  }
  return -1;
}

}  // namespace

const MelKernel mel_kernel{kLanes,  apply_bank, compress,    decibels,
                           cepstra, scatter,    with_deltas, first_nonfinite};

}  // namespace dcbmr::DCBMR_ISA
