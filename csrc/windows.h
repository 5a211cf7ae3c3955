// Frames to half-precision numbers, and windows of them out of memory maps.
#pragma once

#include <cstdint>

namespace dcbmr {

struct Window {
  const std::uint16_t* frames;  // (n_frames, n_dims), row-major, of the whole song
  std::int64_t n_frames;        // at least 1
  std::int64_t start;           // in [0, n_frames); what goes beyond the last frame wraps round
};

// As floats, or in half precision as they are.
//   windows  (n_windows)
//   out      (n_windows, length, n_dims), row-major  OUT
void read_windows(const Window* windows, std::int64_t n_windows, std::int64_t length,
                  std::int64_t n_dims, float* out);
void read_windows(const Window* windows, std::int64_t n_windows, std::int64_t length,
                  std::int64_t n_dims, std::uint16_t* out);

// Rounds n numbers to the nearest half, ties to even; beyond 65504 lies infinity.
void to_half(const float* single, std::int64_t n, std::uint16_t* half);

}  // namespace dcbmr
