// The tables of the mel scale and of the cepstra.
#pragma once

#include <vector>

#include "kernels/mel.h"

namespace dcbmr {

struct MelOptions {
  double sr = 22050;  // Hz
  int n_fft = 1024;
  int n_mels = 128;
  double fmin = 0;        // Hz
  double fmax = 11025;    // Hz
  bool htk = false;       // the mel scale of HTK; otherwise Slaney's (Auditory Toolbox)
  bool area_norm = true;  // Slaney's norm: triangles of area 1 over Hz; otherwise of height 1
};

double hz_to_mel(double hz, bool htk);
double mel_to_hz(double mel, bool htk);

// Filters with evenly spaced centres on the mel scale.
class MelBank {
 public:
  explicit MelBank(const MelOptions& options);  // std::invalid_argument names the bad option
  int n_mels() const { return static_cast<int>(gaps_.size()) - 1; }
  MelTables tables() const { return {n_mels(), gaps_.data(), weights_.data()}; }

 private:
  std::vector<MelGap> gaps_;
  std::vector<float> weights_;
};

// DCT-II with orthonormal rows: (n_mels, n_mfcc), so that a band's weights lie together.
std::vector<float> dct_matrix(int n_mels, int n_mfcc);

}  // namespace dcbmr
