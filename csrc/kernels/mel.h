// From power spectra to what the models see: mel bands, their logarithm, cepstra, differences.
//
// As in the rest of the audio kernels, matrices are (n_rows, lanes) with one frame in each lane.
#pragma once

#include <cstdint>

#include "isa.h"

namespace dcbmr {

// The bins between two neighbouring centres of bands, where one filter falls and the next rises:
// two weights a bin, whatever n_mels is.
struct MelGap {
  int first_bin, n_bins;
};

// What the kernel reads; a kernel source must not touch std::vector (isa.h).
struct MelTables {
  int n_mels;
  const MelGap* gaps;    // (n_mels + 1), in order; before the first centre and after the last too
  const float* weights;  // (bins of all gaps, {of the band that falls, of the one that rises})
};

// Differences reach this many frames to either side: width 9.
constexpr int kDeltaReach = 4;

struct MelKernel {
  int lanes;

  //   power (n_bins, lanes) IN, bin k in row rows[k]   mel (n_mels, lanes) OUT
  void (*apply_bank)(const MelTables& bank, const float* power, const int* rows, float* mel);

  // out[i] = log(1 + 1e4 mel[i]); n is a number of rows.
  void (*compress)(const float* mel, int n, float* out);

  // out[i] = 10 log10(max(1e-10, mel[i]))
  void (*decibels)(const float* mel, int n, float* out);

  //   decibels (n_mels, lanes) IN   dct (n_mels, n_mfcc) IN   cepstra (n_mfcc, lanes) OUT
  void (*cepstra)(const float* decibels, int n_mels, const float* dct, int n_mfcc, float* cepstra);

  // Writes the first n_frames columns of (n_dims, lanes) as rows: frame i to out + i * stride.
  void (*scatter)(const float* matrix, int n_dims, int n_frames, float* out, std::int64_t stride);

  // First and second order differences of n_frames rows, by a fixed filter over the kDeltaReach
  // rows before and after each: the slope and the curvature of the parabola that fits them best
  // (Savitzky-Golay). This is librosa.feature.delta(width=9, mode="nearest"), where the caller
  // repeats the first and the last row.
  //   rows  (n_frames, stride), stride a multiple of 16, between kDeltaReach     IN
  //         rows before and as many after, unless n_orders is 0
  //   out   (n_frames, (1 + n_orders) n_dims): the rows themselves, then orders  OUT
  void (*with_deltas)(const float* rows, std::int64_t stride, std::int64_t n_frames, int n_dims,
                      int n_orders, float* out);

  // Index of the first sample that is NaN or infinite, or -1.
  std::int64_t (*first_nonfinite)(const float* samples, std::int64_t n);
};

DCBMR_KERNEL(MelKernel, mel_kernel)

}  // namespace dcbmr
