#include "kernels/rfft.h"

#include "kernels/vector.h"

namespace dcbmr::DCBMR_ISA {
namespace {

struct Complex {
  Lanes re, im;
};

inline Complex operator+(Complex a, Complex b) { return {a.re + b.re, a.im + b.im}; }
inline Complex operator-(Complex a, Complex b) { return {a.re - b.re, a.im - b.im}; }
inline Complex minus_i(Complex a) { return {a.im, -a.re}; }
inline Complex turned(Complex a, const float* root) {
  return {a.re * root[0] - a.im * root[1], a.re * root[1] + a.im * root[0]};
}

inline Complex get(const float* at) { return {load(at), load(at + kLanes)}; }
inline void put(float* at, Complex a) {
  store(at, a.re);
  store(at + kLanes, a.im);
}

// The DFT of four numbers, in place, in natural order.
inline void butterfly(Complex& a, Complex& b, Complex& c, Complex& d) {
  const Complex even = a + c, odd = b + d, even_turned = a - c, odd_turned = minus_i(b - d);
  a = even + odd;
  b = even_turned + odd_turned;
  c = even - odd;
  d = even_turned - odd_turned;
}

inline void dft(Complex (&x)[4]) { butterfly(x[0], x[1], x[2], x[3]); }

// The DFT of eight: two of four, the odd outputs turned by eighths.
inline void dft(Complex (&x)[8]) {
  constexpr float kHalfRoot = 0.70710678118654752440f;
  const Complex sum[4] = {x[0] + x[4], x[1] + x[5], x[2] + x[6], x[3] + x[7]};
  const Complex d1 = x[1] - x[5], d3 = x[3] - x[7];
  Complex odd[4] = {x[0] - x[4],
                    {(d1.re + d1.im) * kHalfRoot, (d1.im - d1.re) * kHalfRoot},
                    minus_i(x[2] - x[6]),
                    {(d3.im - d3.re) * kHalfRoot, (d3.re + d3.im) * -kHalfRoot}};
  Complex even[4] = {sum[0], sum[1], sum[2], sum[3]};
  dft(even);
  dft(odd);
#pragma GCC unroll 4
  for (int q = 0; q < 4; ++q) {
    x[2 * q] = even[q];
    x[2 * q + 1] = odd[q];
  }
}

// One pass over a block of n numbers; `block` holds (n, {re, im}, lanes).
template <int radix, bool turn>
inline void pass(float* block, int n, const float* roots) {
  const int step = n / radix;
  for (int j = 0; j < step; ++j) {
    Complex x[radix];
    float* at = block + j * 2 * kLanes;
#pragma GCC unroll 8
    for (int q = 0; q < radix; ++q) x[q] = get(at + q * step * 2 * kLanes);
    dft(x);
    put(at, x[0]);
#pragma GCC unroll 8
    for (int q = 1; q < radix; ++q)
      put(at + q * step * 2 * kLanes, turn ? turned(x[q], roots + 2 * (q - 1)) : x[q]);
    if (turn) roots += 2 * (radix - 1);
  }
}

void transform(float* block, int n, const int* radices, const float* roots) {
  const int radix = *radices;
  if (n == radix) {
    radix == 8 ? pass<8, false>(block, n, roots) : pass<4, false>(block, n, roots);
    return;
  }
  radix == 8 ? pass<8, true>(block, n, roots) : pass<4, true>(block, n, roots);
  const int step = n / radix;
  for (int q = 0; q < radix; ++q)
    transform(block + q * step * 2 * kLanes, step, radices + 1, roots + 2 * step * (radix - 1));
}

// work[s] = window[s] * sample s of every frame
inline void gather(const RfftTables& tables, const float* const* frames, float* work) {
  const float* window = tables.window;
  for (int s = 0; s < tables.n_fft; s += kLanes) {
    const Lanes weights = load(window + s);
    Lanes rows[kLanes];
#pragma GCC unroll 16
    for (int i = 0; i < kLanes; ++i) rows[i] = load(frames[i] + s) * weights;
    transpose(rows);
#pragma GCC unroll 16
    for (int i = 0; i < kLanes; ++i) store(work + (s + i) * kLanes, rows[i]);
  }
}

// From Z, the transform of z = (even samples + i odd samples) / 2, to the power of X:
//   s = Z[k] + conj Z[n-k],  t = -i exp(-2 pi i k / 2n) (Z[k] - conj Z[n-k])
//   X[k] = s + t,  X[n-k] = conj(s - t)
inline void separate(const RfftTables& tables, const float* work, float* power) {
  const int n = tables.n_fft / 2;
  const int* positions = tables.positions;
  const Complex z = get(work);
  const Lanes first = z.re + z.im, last = z.re - z.im;
  store(power, 4 * first * first);
  store(power + n * kLanes, 4 * last * last);
  for (int k = 1; k <= n / 2; ++k) {
    const Complex a = get(work + positions[k] * 2 * kLanes);
    const Complex b = get(work + positions[n - k] * 2 * kLanes);
    const Complex s{a.re + b.re, a.im - b.im};
    const Complex t = turned({a.re - b.re, a.im + b.im}, tables.separation + 2 * k);
    const Complex low = s + t, high = s - t;
    store(power + k * kLanes, low.re * low.re + low.im * low.im);
    store(power + (n - k) * kLanes, high.re * high.re + high.im * high.im);
  }
}

void power_spectra(const RfftTables& tables, const float* const* frames, float* work,
                   float* power) {
  gather(tables, frames, work);
  transform(work, tables.n_fft / 2, tables.radices, tables.twiddles);
  separate(tables, work, power);
}

}  // namespace

const RfftKernel rfft_kernel{kLanes, power_spectra};

}  // namespace dcbmr::DCBMR_ISA
