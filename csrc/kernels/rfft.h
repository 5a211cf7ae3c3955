// The power spectrum of many real frames at once: one frame in each lane of a vector.
//
// A frame of n samples is taken as n/2 complex numbers z[j] = x[2j] + i x[2j+1] and transformed in
// place by decimation in frequency, depth first, so that all passes but the first of a large
// transform stay within the first-level cache. The output stays in digit-reversed order; the last
// step, which separates the spectra of the even and odd samples, reads it through a table.
#pragma once

#include "isa.h"

namespace dcbmr {

// The blocks of the first pass lie this many complex numbers farther apart than they are long: a
// power of two apart, all numbers of a butterfly would fall into the same few cache sets.
constexpr int kRfftPadding = 1;
constexpr int rfft_work_rows(int n_fft) { return n_fft + 16 * kRfftPadding; }

// What the kernel reads; a kernel source must not touch std::vector (isa.h).
struct RfftTables {
  int n_fft;
  const float* window;      // (n_fft,), halved: see RfftPlan's constructor
  const int* radices;       // 8 or 4, from the outermost pass to the innermost
  const float* twiddles;    // pass by pass, (re, im)
  const int* rows;          // (n_fft / 2 + 1,), where in the work Z[k] begins, and then its power
  const float* separation;  // (n_fft / 4 + 1, {re, im}): -i exp(-2 pi i k / n_fft)
};

struct RfftKernel {
  int lanes;

  // Windows `lanes` frames and writes their power spectra |X[k]|^2. They stay where the transform
  // leaves them: to put them in order would take more of the first cache than there is.
  //   frames   lanes pointers to n_fft samples each, of any alignment         IN
  //   work     (rfft_work_rows(n_fft), lanes), 64-byte aligned: bin k in row rows[k]   OUT
  void (*power_spectra)(const RfftTables& tables, const float* const* frames, float* work);
};

DCBMR_KERNEL(RfftKernel, rfft_kernel)

}  // namespace dcbmr
