#include "rfft.h"

#include <cmath>

namespace dcbmr {
namespace {

constexpr double kTau = 6.283185307179586476925;

void push_root(std::vector<float>& table, double turns) {
  table.push_back(static_cast<float>(std::cos(kTau * turns)));
  table.push_back(static_cast<float>(std::sin(kTau * turns)));
}

}  // namespace

RfftPlan::RfftPlan(const std::vector<double>& window) {
  // The separation computes 2 X[k]; the factor is taken out here, where it is exact and free.
  for (const double weight : window) window_.push_back(static_cast<float>(weight / 2));

  const int n = static_cast<int>(window.size() / 2);
  for (int rest = n; rest > 1; rest /= radices_.back())
    radices_.push_back(rest == 4 || rest == 16 ? 4 : 8);

  // Output q of a butterfly at j, in a block of m numbers, is turned by exp(-2 pi i j q / m). The
  // innermost pass turns nothing.
  int m = n;
  for (const int radix : radices_) {
    for (int j = 0; m > radix && j < m / radix; ++j)
      for (int q = 1; q < radix; ++q) push_root(twiddles_, -static_cast<double>(j) * q / m);
    m /= radix;
  }
  for (int k = 0; k < n; ++k) {
    int position = 0, block = n, digits = k;
    for (const int radix : radices_) {
      block /= radix;
      position += digits % radix * block;
      digits /= radix;
    }
    rows_.push_back(2 * (position + position / (n / radices_[0]) * kRfftPadding));
  }
  rows_.push_back(1);  // beside bin 0, whose numbers are real
  for (int k = 0; k <= n / 2; ++k) push_root(separation_, -0.25 - static_cast<double>(k) / (2 * n));
}

}  // namespace dcbmr
