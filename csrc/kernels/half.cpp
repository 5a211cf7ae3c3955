#include "kernels/half.h"

namespace dcbmr::DCBMR_ISA {
namespace {

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

void narrow(const float* single, std::int64_t n, std::uint16_t* half) {
  for (std::int64_t i = 0; i < n; ++i) {
    const std::uint32_t bits = __builtin_bit_cast(std::uint32_t, single[i]);
    const std::uint32_t x = bits & 0x7fffffffu;
    const std::uint32_t is_denormal = 0u - static_cast<std::uint32_t>(x < 113u << 23);  // 2^-14
    const std::uint32_t is_special = 0u - static_cast<std::uint32_t>(x >= 143u << 23);  // 2^16
    const std::uint32_t is_nan = 0u - static_cast<std::uint32_t>(x > 255u << 23);
    // To the nearest, between two to the even one; a carry is one step of the exponent.
    const std::uint32_t normal = (x - (112u << 23) + 0xfffu + (x >> 13 & 1u)) >> 13;
    // The last place of 0.5 is that of the denormal halves, so that the sum rounds alike.
    const float sum = __builtin_bit_cast(float, x& is_denormal) + 0.5f;
    const std::uint32_t denormal = __builtin_bit_cast(std::uint32_t, sum) - (126u << 23);
    const std::uint32_t special = 0x7c00u | (is_nan & 0x0200u);
    const std::uint32_t magnitude =
        (denormal & is_denormal) | (special & is_special) | (normal & ~(is_denormal | is_special));
    half[i] = static_cast<std::uint16_t>(magnitude | (bits >> 16 & 0x8000u));
  }
}

}  // namespace

const HalfKernel half_kernel{widen, narrow};

}  // namespace dcbmr::DCBMR_ISA
