#include "mel.h"

#include <algorithm>
#include <cmath>
#include <stdexcept>
#include <string>

namespace dcbmr {
namespace {

// Slaney's scale (Auditory Toolbox, 1998): linear to 1 kHz, then 27 steps to a factor of 6.4.
constexpr double kHzPerMel = 200.0 / 3;
constexpr double kBreakHz = 1000;
constexpr double kBreakMel = kBreakHz / kHzPerMel;
const double kLogStep = std::log(6.4) / 27;

}  // namespace

double hz_to_mel(double hz, bool htk) {
  if (htk) return 2595 * std::log10(1 + hz / 700);
  return hz < kBreakHz ? hz / kHzPerMel : kBreakMel + std::log(hz / kBreakHz) / kLogStep;
}

double mel_to_hz(double mel, bool htk) {
  if (htk) return 700 * (std::pow(10, mel / 2595) - 1);
  return mel < kBreakMel ? mel * kHzPerMel : kBreakHz * std::exp(kLogStep * (mel - kBreakMel));
}

MelBank::MelBank(const MelOptions& o) {
  if (!(o.sr > 0) || !std::isfinite(o.sr))
    throw std::invalid_argument("sr: wanted a positive number of Hz, got " + std::to_string(o.sr));
  if (o.n_mels < 1 || o.n_mels > 4096)
    throw std::invalid_argument("n_mels: wanted 1 to 4096, got " + std::to_string(o.n_mels));
  if (!(0 <= o.fmin && o.fmin < o.fmax && o.fmax <= o.sr / 2))
    throw std::invalid_argument("fmin, fmax: wanted 0 <= fmin < fmax <= sr / 2, got " +
                                std::to_string(o.fmin) + " and " + std::to_string(o.fmax));
  const double low = hz_to_mel(o.fmin, o.htk), high = hz_to_mel(o.fmax, o.htk);
  const auto edge = [&](int i) {
    return mel_to_hz(low + (high - low) * i / (o.n_mels + 1), o.htk);
  };
  const double bin_hz = o.sr / o.n_fft;
  // Of band m, whose triangle stands between edges m and m + 2; nothing beside it.
  const auto weight = [&](int m, double hz) {
    const double left = edge(m), centre = edge(m + 1), right = edge(m + 2);
    const double height = o.area_norm ? 2 / (right - left) : 1;
    const double value =
        height * std::min((hz - left) / (centre - left), (right - hz) / (right - centre));
    return static_cast<float>(std::max(value, 0.0));
  };
  int bin = 0;
  while (bin * bin_hz <= edge(0)) ++bin;
  for (int m = 0; m <= o.n_mels; ++m) {
    MelGap gap{bin, 0};
    for (; bin <= o.n_fft / 2 && bin * bin_hz <= edge(m + 1); ++bin, ++gap.n_bins) {
      weights_.push_back(m > 0 ? weight(m - 1, bin * bin_hz) : 0);
      weights_.push_back(m < o.n_mels ? weight(m, bin * bin_hz) : 0);
    }
    gaps_.push_back(gap);
  }
}

std::vector<float> dct_matrix(int n_mels, int n_mfcc) {
  const double pi = 3.14159265358979323846;
  std::vector<float> dct;
  for (int m = 0; m < n_mels; ++m)
    for (int c = 0; c < n_mfcc; ++c)
      dct.push_back(static_cast<float>(std::sqrt((c ? 2.0 : 1.0) / n_mels) *
                                       std::cos(pi * c * (m + 0.5) / n_mels)));
  return dct;
}

}  // namespace dcbmr
