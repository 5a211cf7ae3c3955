#include <cstring>

#include "check.h"
#include "windows.h"

namespace {

using std::size_t;

double value_of(std::uint16_t half) {
  const int exponent = half >> 10 & 31, fraction = half & 1023;
  const double magnitude =
      exponent ? std::ldexp(1024 + fraction, exponent - 25) : std::ldexp(fraction, -24);
  return half & 0x8000 ? -magnitude : magnitude;
}

void every_half_survives() {
  std::vector<std::uint16_t> all;
  for (int bits = 0; bits < 65536; ++bits) all.push_back(static_cast<std::uint16_t>(bits));
  std::vector<float> single(all.size());
  std::vector<std::uint16_t> again(all.size());
  const dcbmr::Window whole{all.data(), 65536, 0};
  dcbmr::read_windows(&whole, 1, 65536, 1, single.data());
  dcbmr::to_half(single.data(), 65536, again.data());
  for (size_t i = 0; i < all.size(); ++i) {
    const bool special = (all[i] & 0x7c00) == 0x7c00, is_nan = special && (all[i] & 1023);
    if (is_nan) {
      CHECK(std::isnan(single[i]));
    } else {
      CHECK(special ? std::isinf(single[i]) : static_cast<double>(single[i]) == value_of(all[i]));
      CHECK(again[i] == all[i]);
    }
  }
}

void between_two_halves_the_even_one() {
  const float between[3] = {1 + 0x1p-11F, 1 + 3 * 0x1p-11F, 70000};
  std::uint16_t half[3];
  dcbmr::to_half(between, 3, half);
  CHECK(half[0] == 0x3c00 && half[1] == 0x3c02 && half[2] == 0x7c00);
}

void windows_wrap_round() {
  const std::vector<std::uint16_t> frames{1, 2, 3, 4, 5, 6};
  const dcbmr::Window window{frames.data(), 3, 2};
  std::uint16_t out[10];
  dcbmr::read_windows(&window, 1, 5, 2, out);
  const std::uint16_t wanted[10] = {5, 6, 1, 2, 3, 4, 5, 6, 1, 2};
  CHECK(std::memcmp(out, wanted, sizeof out) == 0);
}

}  // namespace

TESTS(every_half_survives, between_two_halves_the_even_one, windows_wrap_round)
