#include "windows.h"

#include <algorithm>
#include <cstring>

#include "kernels/half.h"

namespace dcbmr {
namespace {

// copy(from, n, to) moves n numbers.
template <class Out, class Copy>
void read(const Window* windows, std::int64_t n_windows, std::int64_t length, std::int64_t n_dims,
          Out* out, Copy copy) {
  for (const Window* window = windows; window != windows + n_windows; ++window) {
    std::int64_t frame = window->start;
    for (std::int64_t left = length; left > 0;) {
      const std::int64_t n = std::min(left, window->n_frames - frame);
      copy(window->frames + frame * n_dims, n * n_dims, out);
      out += n * n_dims;
      left -= n;
      frame = 0;
    }
  }
}

}  // namespace

void read_windows(const Window* windows, std::int64_t n_windows, std::int64_t length,
                  std::int64_t n_dims, float* out) {
  read(windows, n_windows, length, n_dims, out, half_kernel().widen);
}

void read_windows(const Window* windows, std::int64_t n_windows, std::int64_t length,
                  std::int64_t n_dims, std::uint16_t* out) {
  read(windows, n_windows, length, n_dims, out,
       [](const std::uint16_t* from, std::int64_t n, std::uint16_t* to) {
         std::memcpy(to, from, static_cast<std::size_t>(n) * sizeof *to);
       });
}

void to_half(const float* single, std::int64_t n, std::uint16_t* half) {
  half_kernel().narrow(single, n, half);
}

}  // namespace dcbmr
