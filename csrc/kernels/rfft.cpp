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
inline Complex get_once(const float* at) {
  return {loaded_once(load(at)), loaded_once(load(at + kLanes))};
}
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

constexpr int kNumber = 2 * kLanes;  // floats of a complex number of every frame

// Output q of a butterfly, turned by its root but for the first, where there are roots.
template <bool turn>
inline void put_output(int q, Complex x, float* at, int stride, const float* roots) {
  put(at + q * stride, turn && q > 0 ? turned(x, roots + 2 * (q - 1)) : x);
}

// The DFT of `radix` numbers that lie `stride` floats apart, in place.
template <int radix, bool turn>
inline void dft(float* at, int stride, const float* roots) {
  if constexpr (radix == 4) {
    Complex x[4];
#pragma GCC unroll 4
    for (int q = 0; q < 4; ++q) x[q] = get_once(at + q * stride);
    butterfly(x[0], x[1], x[2], x[3]);
#pragma GCC unroll 4
    for (int q = 0; q < 4; ++q) put_output<turn>(q, x[q], at, stride, roots);
  } else {
    // Eight are two of four, the odd outputs turned by eighths. The even ones are out before the
    // odd ones begin: 16 registers hold one half.
    constexpr float kHalfRoot = 0.70710678118654752440f;
    Complex even[4], odd[4];
#pragma GCC unroll 4
    for (int q = 0; q < 4; ++q) {
      const Complex a = get_once(at + q * stride), b = get_once(at + (q + 4) * stride);
      even[q] = a + b;
      odd[q] = a - b;
    }
    butterfly(even[0], even[1], even[2], even[3]);
#pragma GCC unroll 4
    for (int q = 0; q < 4; ++q) put_output<turn>(2 * q, even[q], at, stride, roots);
    odd[1] = {(odd[1].re + odd[1].im) * kHalfRoot, (odd[1].im - odd[1].re) * kHalfRoot};
    odd[2] = minus_i(odd[2]);
    odd[3] = {(odd[3].im - odd[3].re) * kHalfRoot, (odd[3].re + odd[3].im) * -kHalfRoot};
    butterfly(odd[0], odd[1], odd[2], odd[3]);
#pragma GCC unroll 4
    for (int q = 0; q < 4; ++q) put_output<turn>(2 * q + 1, odd[q], at, stride, roots);
  }
}

// A pass over `radix` blocks of `step` numbers that begin `stride` numbers apart.
template <int radix>
inline __attribute__((always_inline)) void pass(float* blocks, int step, int stride,
                                                const float* roots) {
  for (int j = 0; j < step; ++j, roots += 2 * (radix - 1))
    dft<radix, true>(blocks + j * kNumber, stride * kNumber, roots);
}

// The innermost pass, which turns nothing, over n_blocks of `radix` numbers each.
template <int radix>
inline void last_pass(float* blocks, int n_blocks) {
  for (int i = 0; i < n_blocks; ++i)
    dft<radix, false>(blocks + i * radix * kNumber, kNumber, nullptr);
}

// All passes, two at least, over n numbers, of whose first the blocks are `padding` numbers apart.
void transform(float* numbers, int n, int padding, const int* radices, const float* roots) {
  const int radix = radices[0], step = n / radix, stride = step + padding;
  if (radix == 8 && stride == 8)
    pass<8>(numbers, 8, 8, roots);  // at addresses that the compiler knows
  else
    radix == 8 ? pass<8>(numbers, step, stride, roots) : pass<4>(numbers, step, stride, roots);
  roots += 2 * step * (radix - 1);
  if (radices[1] != step) {
    for (int q = 0; q < radix; ++q)
      transform(numbers + q * stride * kNumber, step, 0, radices + 1, roots);
  } else if (padding == 0) {
    step == 8 ? last_pass<8>(numbers, radix) : last_pass<4>(numbers, radix);
  } else {
    for (int q = 0; q < radix; ++q) {
      float* const block = numbers + q * stride * kNumber;
      step == 8 ? last_pass<8>(block, 1) : last_pass<4>(block, 1);
    }
  }
}

// Number j of the transform's input is samples 2j and 2j + 1 of every frame, times the window.
inline void gather(const RfftTables& tables, const float* const* frames, float* work) {
  const int radix = tables.radices[0], n = tables.n_fft / radix;  // blocks of the first pass
  for (int q = 0; q < radix; ++q, work += kRfftPadding * kNumber)
    for (int s = q * n; s < (q + 1) * n; s += kLanes, work += kLanes * kLanes) {
      const Lanes weights = load(tables.window + s);
      Lanes rows[kLanes];
#pragma GCC unroll 16
      for (int i = 0; i < kLanes; ++i) rows[i] = load(frames[i] + s) * weights;
      transpose(rows);
#pragma GCC unroll 16
      for (int i = 0; i < kLanes; ++i) store(work + i * kLanes, rows[i]);
    }
}

// From Z, the transform of z = (even samples + i odd samples) / 2, to the power of X:
//   s = Z[k] + conj Z[n-k],  t = -i exp(-2 pi i k / 2n) (Z[k] - conj Z[n-k])
//   X[k] = s + t,  X[n-k] = conj(s - t)
// Each power takes the place of the number that was last needed for it.
inline void separate(const RfftTables& tables, float* work) {
  const int n = tables.n_fft / 2;
  const int* rows = tables.rows;
  const Complex z = get(work);
  const Lanes first = z.re + z.im, last = z.re - z.im;
  store(work + rows[0] * kLanes, 4 * first * first);
  store(work + rows[n] * kLanes, 4 * last * last);
  for (int k = 1; k <= n / 2; ++k) {
    float *const at = work + rows[k] * kLanes, *const mirrored = work + rows[n - k] * kLanes;
    const Complex a = get(at), b = get(mirrored);
    const Complex s{a.re + b.re, a.im - b.im};
    const Complex t = turned({a.re - b.re, a.im + b.im}, tables.separation + 2 * k);
    const Complex low = s + t, high = s - t;
    store(at, low.re * low.re + low.im * low.im);
    store(mirrored, high.re * high.re + high.im * high.im);
  }
}

void power_spectra(const RfftTables& tables, const float* const* frames, float* work) {
  gather(tables, frames, work);
  transform(work, tables.n_fft / 2, kRfftPadding, tables.radices, tables.twiddles);
  separate(tables, work);
}

}  // namespace

const RfftKernel rfft_kernel{kLanes, power_spectra};

}  // namespace dcbmr::DCBMR_ISA
