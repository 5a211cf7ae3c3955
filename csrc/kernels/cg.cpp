#include <cstring>

#include "kernels/linalg.h"
#include "kernels/plays.h"

namespace dcbmr::DCBMR_ISA {
namespace {

enum class Pass { residual, image, length };

// Over all plays: to += (c - s e) y for the residual, s e y for an image; returns sum s e^2.
template <Pass pass>
inline float add_scored(const Plays& plays, const float* x, float* to) {
  const Index width = plays.stride;
  const float more = 1 - plays.unobserved_weight;
  Few squares = {};
  for (Index first = 0; first < plays.n; first += kScored) {
    if (pass == Pass::residual)
      for (Index i = 16; i < 16 + kScored; ++i) prefetch(plays, first + i);
    const Group group(plays, first);
    const Few scores = group.scores(width, x);
    const Few scored = group.inside ? (group.surplus + more) * scores : Few{};
    squares += scored * scores;
    if (pass == Pass::residual)
      group.add(width, group.inside ? 1 + group.surplus - scored : Few{}, to);
    if (pass == Pass::image) group.add(width, scored, to);
  }
  float sum = 0;
  for (Index i = 0; i < kScored; ++i) sum += squares[i];
  return sum;
}

bool solve_cg(const Plays& plays, int n_steps, float* x, float* scratch) {
  const Index width = plays.stride;
  float* residual = scratch;
  float* direction = residual + width;
  float* scaled = direction + width;  // scale times direction
  float* image = scaled + width;      // the plays' part of the system times direction
  std::memset(residual, 0, sizeof(float) * static_cast<std::size_t>(width));
  // In w = x / scale the residual is scale (sum (c - s e) y) - w, e = x . y.
  add_scored<Pass::residual>(plays, x, residual);
  Lanes products = {};
  for (Index c = 0; c < width; c += W) {
    const Lanes factor = scale_of(plays, c);
    const Lanes w = factor > 0 ? load(x + c) / factor : factor;
    const Lanes value = factor * load(residual + c) - w;
    store(x + c, w);
    store(residual + c, value);
    store(direction + c, value);
    products += value * value;
  }
  float squares = lane_sum(products);
  if (!(squares < __builtin_inff())) return false;  // so is NaN
  const float enough = 1e-12F * squares;
  for (int step = 1; squares > enough; ++step) {
    products = Lanes{};
    for (Index c = 0; c < width; c += W) {
      const Lanes value = load(direction + c);
      store(scaled + c, scale_of(plays, c) * value);
      store(image + c, Lanes{});
      products += value * value;
    }
    // direction . (I + P^T P) direction; the last step asks for no more than that
    const float curvature =
        lane_sum(products) + (step < n_steps ? add_scored<Pass::image>(plays, scaled, image)
                                             : add_scored<Pass::length>(plays, scaled, image));
    // In exact arithmetic the curvature is at least that of I.
    if (!(curvature > 0 && curvature < __builtin_inff())) return false;
    const float length = squares / curvature;
    for (Index c = 0; c < width; c += W) store(x + c, load(x + c) + length * load(direction + c));
    if (step == n_steps) break;
    products = Lanes{};
    for (Index c = 0; c < width; c += W) {
      const Lanes value = load(residual + c) -
                          length * (scale_of(plays, c) * load(image + c) + load(direction + c));
      store(residual + c, value);
      products += value * value;
    }
    const float rest = lane_sum(products), turn = rest / squares;
    if (!(rest < __builtin_inff())) return false;
    for (Index c = 0; c < width; c += W)
      store(direction + c, load(residual + c) + turn * load(direction + c));
    squares = rest;
  }
  return true;
}

void add_errors(const Plays& plays, const float* x, double* sums) {
  const Index width = plays.stride;
  Doubles observed = {}, squares = {};
  for (Index first = 0; first < plays.n; first += kScored) {
    for (Index i = kScored; i < 2 * kScored; ++i) prefetch(plays, first + i);
    const Group group(plays, first);
    const Few scores = group.scores(width, x);
    const Few squared = group.inside ? scores * scores : Few{};
    const Few errors = group.inside ? (1 + group.surplus) * ((1 - scores) * (1 - scores)) : Few{};
    float values[2 * kScored];
    std::memcpy(values, &errors, sizeof errors);
    std::memcpy(values + kScored, &squared, sizeof squared);
    for (Index i = 0; i < kScored; i += W / 2) {
      observed += to_double(values + i);
      squares += to_double(values + kScored + i);
    }
  }
  sums[0] += total(observed);
  sums[1] += total(squares);
}

void add_squares(Index n, const double* weights, const float* x, double* sums) {
  Doubles first = {}, second = {};
  for (Index c = 0; c < n; c += W / 2) {
    const Doubles value = to_double(x + c), square = value * value;
    first += load(weights + c) * square;
    second += load(weights + n + c) * square;
  }
  sums[0] += total(first);
  sums[1] += total(second);
}

}  // namespace

const CgKernel cg_kernel{solve_cg, add_errors, add_squares};

}  // namespace dcbmr::DCBMR_ISA
