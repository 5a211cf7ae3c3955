#include <algorithm>
#include <numeric>

#include "check.h"
#include "stats.h"

namespace {

using std::size_t;

struct Song {
  std::int64_t n;
  std::vector<float> mel, mfcc;
};

Song drawn(std::int64_t n, const dcbmr::StatsOptions& o) {
  check::Draw draw(7);
  Song song{n, draw.normals(n * o.n_mels), draw.normals(n * o.n_mfcc * (1 + o.n_deltas), 30)};
  for (float& x : song.mel) x = 2 * std::abs(x);
  return song;
}

std::vector<float> statistics(const Song& song, const dcbmr::StatsOptions& o, std::int64_t piece) {
  dcbmr::OnlineStats online(o);
  const std::int64_t n_mfcc = o.n_mfcc * (1 + o.n_deltas);
  for (std::int64_t t = 0; t < song.n; t += piece) {
    const std::int64_t n = std::min(piece, song.n - t);
    online.accept_mel(song.mel.data() + t * o.n_mels, n);
    online.accept_mfcc(song.mfcc.data() + t * n_mfcc, n);
  }
  std::vector<float> out(size_t(online.n_dims()));
  online.finish(out.data());
  return out;
}

void moments_are_those_of_the_definition() {
  dcbmr::StatsOptions o;
  o.n_mels = 8;  // each a group
  o.n_mfcc = 3;
  o.n_deltas = 0;
  const Song song = drawn(300, o);
  const std::vector<float> found = statistics(song, o, song.n);
  for (size_t i = 0; i < 8; ++i) {
    std::vector<double> x;
    for (size_t t = 0; t < 300; ++t) x.push_back(static_cast<double>(song.mel[t * 8 + i]));
    const double mean = std::accumulate(x.begin(), x.end(), 0.0) / 300;
    double square = 0, cube = 0, change = 0;
    for (size_t t = 0; t < 300; ++t) {
      square += (x[t] - mean) * (x[t] - mean) / 300;
      cube += std::pow(x[t] - mean, 3) / 300;
      if (t) change += std::abs(x[t] - x[t - 1]) / 299;
    }
    std::sort(x.begin(), x.end());
    const auto at = [&](size_t of) { return static_cast<double>(found[of * 8 + i]); };
    CHECK(check::close(at(0), mean, 1e-5));
    CHECK(check::close(at(1), std::sqrt(square), 1e-5));
    CHECK(check::close(at(2), cube / std::pow(square + 1e-4, 1.5), 1e-4));
    CHECK(at(3) > x[28] - 1 / 32.0 && at(3) < x[31] + 1 / 32.0);
    CHECK(at(4) > x[148] - 1 / 32.0 && at(4) < x[151] + 1 / 32.0);
    CHECK(at(5) > x[268] - 1 / 32.0 && at(5) < x[271] + 1 / 32.0);
    CHECK(check::close(at(6), change, 1e-5));
  }
}

void pieces_do_not_matter() {
  for (const auto& o : {dcbmr::StatsOptions{}, dcbmr::StatsOptions{40, 20, 1, 100.0},
                        dcbmr::StatsOptions{1, 1, 0, 20.0}}) {
    const Song song = drawn(777, o);
    const std::vector<float> whole = statistics(song, o, song.n);
    for (const std::int64_t piece : {1, 64, 100}) CHECK(statistics(song, o, piece) == whole);
  }
}

void a_click_every_half_second_is_120_beats() {
  dcbmr::StatsOptions o;
  o.frame_rate = 50;
  Song song = drawn(1000, o);
  for (size_t i = 0; i < song.mel.size(); ++i) song.mel[i] = i / 128 % 25 == 3 ? 5.F : 0.F;
  const std::vector<float> found = statistics(song, o, 13);
  const float *onset = found.data() + found.size() - 22, *tempo = found.data() + found.size() - 2;
  CHECK(check::close(static_cast<double>(onset[0]), 5.0 / 25, 1e-6));
  CHECK(check::close(static_cast<double>(onset[3]), 2, 1e-5));  // onsets a second
  CHECK(check::close(static_cast<double>(tempo[0]), std::log2(120), 1e-6));
  CHECK(check::close(static_cast<double>(tempo[1]), 975 / 1000.0, 2e-3));
}

void silence_and_a_single_frame_have_finite_statistics() {
  const dcbmr::StatsOptions o;
  for (const std::int64_t n : {1, 2, 300}) {
    Song song = drawn(n, o);
    std::fill(song.mel.begin(), song.mel.end(), 0.F);
    std::fill(song.mfcc.begin(), song.mfcc.end(), -1131.37F);
    const std::vector<float> found = statistics(song, o, n);
    CHECK(std::all_of(found.begin(), found.end(), [](float x) { return std::isfinite(x); }));
    CHECK(found[32] == 0 && found[64] == 0);  // neither deviation nor skewness
  }
}

}  // namespace

TESTS(moments_are_those_of_the_definition, pieces_do_not_matter,
      a_click_every_half_second_is_120_beats, silence_and_a_single_frame_have_finite_statistics)
