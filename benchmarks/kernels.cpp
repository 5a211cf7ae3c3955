// One kernel over and over, for who counts its instructions (counts.py) or takes its time.
//
//     kernels logmel TIMES | als PLAYS FACTORS TIMES | als-alone PLAYS FACTORS TIMES
//
// als solves rows as a sweep does, several at a time where they are short; als-alone one at a time.
#include <chrono>
#include <cmath>
#include <cstdio>
#include <cstdlib>
#include <string>
#include <vector>

#include "kernels/linalg.h"
#include "kernels/mel.h"
#include "kernels/rfft.h"
#include "mel.h"
#include "rfft.h"

namespace {

struct alignas(64) Line {
  float lane[16];
};
std::vector<Line> lines(std::int64_t floats) {
  return std::vector<Line>(static_cast<std::size_t>(floats / 16 + 1));
}
float* data(std::vector<Line>& of) { return of.data()->lane; }

// The power spectra, mel bands and logarithms of a clip of 29 s at 22,050 Hz.
void log_mel(int times) {
  constexpr int kFft = 1024, kHop = 512, kFrames = 1248, kMels = 128;
  std::vector<double> window;
  for (int i = 0; i < kFft; ++i) window.push_back(0.5 - 0.5 * std::cos(6.2831853 * i / kFft));
  const dcbmr::RfftPlan plan(window);
  dcbmr::MelOptions options;
  options.sr = 22050, options.n_fft = kFft, options.n_mels = kMels;
  const dcbmr::MelBank bank(options);
  const auto& rfft = dcbmr::rfft_kernel();
  const auto& mel = dcbmr::mel_kernel();
  const int lanes = rfft.lanes;
  std::vector<float> samples;
  for (int i = 0; i < kFrames * kHop + kFft; ++i)
    samples.push_back(std::sin(0.01F * static_cast<float>(i % 9973)));
  auto work = lines(dcbmr::rfft_work_rows(kFft) * lanes);
  auto bands = lines(kMels * lanes), shown = lines(kMels * lanes);
  std::vector<float> out(static_cast<std::size_t>(kFrames * kMels));
  for (int turn = 0; turn < times; ++turn)
    for (int t = 0; t < kFrames; t += lanes) {
      const float* frames[16];
      for (int i = 0; i < lanes; ++i) frames[i] = samples.data() + (t + i) * kHop;
      rfft.power_spectra(plan.tables(), frames, data(work));
      mel.apply_bank(bank.tables(), data(work), plan.tables().rows, data(bands));
      mel.compress(data(bands), kMels, data(shown));
      mel.scatter(data(shown), kMels, lanes, out.data() + t * kMels, kMels);
    }
}

// Rows of ALS with n plays and n_factors factors, exact.
void als(int times, std::int64_t n, std::int64_t n_factors, bool alone) {
  constexpr int kOthers = 2000, kRows = 2048;
  const std::int64_t stride = dcbmr::padded(n_factors);
  const auto& kernel = dcbmr::linalg_kernel();
  const auto& interleaved = dcbmr::interleaved_kernel();
  const std::int64_t lanes = interleaved.lanes;
  auto factors = lines(kOthers * stride), w = lines(stride * lanes);
  auto system = lines(dcbmr::system_floats(n_factors));
  auto scratch = lines(dcbmr::scratch_floats(n_factors));
  auto work = lines(dcbmr::interleaved_floats(n_factors, lanes));
  unsigned seed = 1;
  const auto draw = [&] { return seed = seed * 1664525U + 1013904223U, seed >> 8; };
  for (int i = 0; i < kOthers; ++i)
    for (std::int64_t c = stride - n_factors; c < stride; ++c)
      data(factors)[i * stride + c] = static_cast<float>(draw()) * 1e-8F;
  std::vector<std::int32_t> songs;
  for (std::int64_t i = 0; i < kRows * n; ++i)
    songs.push_back(static_cast<std::int32_t>(draw() % kOthers));
  const std::vector<float> surplus(static_cast<std::size_t>(n), 30);
  const auto plays = [&](int row) -> dcbmr::Plays {
    row %= kRows;
    return {data(factors),          stride,         n_factors, nullptr,          1,
            songs.data() + row * n, surplus.data(), n,         (kRows - row) * n};
  };
  for (int row = 0; row < times;) {
    bool sound = true;
    if (!alone && dcbmr::is_interleaved(n, n_factors)) {
      dcbmr::Plays rows[16];
      for (std::int64_t u = 0; u < lanes; ++u) rows[u] = plays(row++);
      sound = interleaved.solve(rows, data(w), data(work)) == 0;
    } else if (n <= n_factors) {
      sound = kernel.solve_dual(plays(row++), data(system), data(w), data(scratch));
    } else {
      kernel.sum_plays(plays(row++), data(system), data(w), data(scratch));
      sound = kernel.solve_system(n_factors, data(system), data(w), data(scratch));
    }
    if (!sound) std::abort();
  }
}

}  // namespace

int main(int argc, char** argv) {
  const std::string what = argc > 1 ? argv[1] : "";
  const auto began = std::chrono::steady_clock::now();
  if (what == "logmel" && argc == 3)
    log_mel(std::atoi(argv[2]));
  else if ((what == "als" || what == "als-alone") && argc == 5)
    als(std::atoi(argv[4]), std::atoll(argv[2]), std::atoll(argv[3]), what == "als-alone");
  else
    return std::fputs("usage: kernels logmel TIMES | als[-alone] PLAYS FACTORS TIMES\n", stderr), 2;
  const std::chrono::duration<double> took = std::chrono::steady_clock::now() - began;
  std::printf("%s %.3f us each\n", what.c_str(), 1e6 * took.count() / std::atoi(argv[argc - 1]));
}
