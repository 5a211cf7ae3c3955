// The tables of the power spectrum (kernels/rfft.h says how it is computed).
#pragma once

#include <vector>

#include "kernels/rfft.h"

namespace dcbmr {

// Tables of a transform; built once, shared, read-only.
class RfftPlan {
 public:
  // window: n_fft weights, n_fft a power of two and at least 128.
  explicit RfftPlan(const std::vector<double>& window);

  int n_fft() const { return static_cast<int>(window_.size()); }
  int n_bins() const { return n_fft() / 2 + 1; }
  RfftTables tables() const {
    return {n_fft(),          window_.data(), radices_.data(),
            twiddles_.data(), rows_.data(),   separation_.data()};
  }

 private:
  std::vector<float> window_, twiddles_, separation_;
  std::vector<int> radices_, rows_;
};

}  // namespace dcbmr
