#include "windows.h"

#include <algorithm>

#include "isa.h"
#include "windows_kernel.h"

namespace dcbmr {

void read_windows(const Window* windows, std::int64_t n_windows, std::int64_t length,
                  std::int64_t n_dims, float* out) {
  const auto widen = DCBMR_DISPATCH(widen);
  for (const Window* window = windows; window != windows + n_windows; ++window) {
    std::int64_t frame = window->start;
    for (std::int64_t left = length; left > 0;) {
      const std::int64_t n = std::min(left, window->n_frames - frame);
      widen(window->frames + frame * n_dims, n * n_dims, out);
      out += n * n_dims;
      left -= n;
      frame = 0;
    }
  }
}

void to_half(const float* single, std::int64_t n, std::uint16_t* half) {
  DCBMR_DISPATCH(narrow)(single, n, half);
}

}  // namespace dcbmr
