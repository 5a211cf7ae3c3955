#include "windows_kernel.h"

namespace dcbmr::DCBMR_ISA {

void widen(const std::uint16_t* half, std::int64_t n, float* out) {
  // Masks in place of branches, which no compiler puts into vectors, and no arithmetic with
  // denormal numbers, which is slow.
  for (std::int64_t i = 0; i < n; ++i) {
    const std::uint32_t h = half[i];
    const std::uint32_t exponent = h & 0x7c00u;
    const std::uint32_t is_denormal = 0u - static_cast<std::uint32_t>(exponent == 0);
    const std::uint32_t is_special = 0u - static_cast<std::uint32_t>(exponent == 0x7c00u);
    // The biases of the exponents are 15 and 127; infinity and NaN keep an exponent of all ones.
    const std::uint32_t normal = ((h & 0x7fffu) << 13) + (112u << 23) + (is_special & 112u << 23);
    const float denormal = static_cast<float>(static_cast<std::int32_t>(h & 0x03ffu)) * 0x1p-24f;
    const std::uint32_t magnitude =
        (normal & ~is_denormal) | (__builtin_bit_cast(std::uint32_t, denormal) & is_denormal);
    out[i] = __builtin_bit_cast(float, magnitude | (h & 0x8000u) << 16);
  }
}

}  // namespace dcbmr::DCBMR_ISA
