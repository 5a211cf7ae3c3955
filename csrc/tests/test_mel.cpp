#include <algorithm>
#include <complex>
#include <type_traits>

#include "check.h"
#include "online_feature.h"

namespace {

using std::size_t;

static_assert(!std::is_copy_constructible_v<dcbmr::OnlineFeature> &&
              !std::is_copy_assignable_v<dcbmr::OnlineFeature>);

struct Rows {
  std::vector<float> mel, mfcc;
};

// All frames of the samples, accepted in pieces of a given length.
Rows extract(const std::shared_ptr<const dcbmr::FeaturePlan>& plan,
             const std::vector<float>& samples, size_t piece) {
  dcbmr::OnlineFeature stream(plan);
  Rows rows;
  const auto grow = [&](dcbmr::OnlineFeature::Counts counts, auto write) {
    const size_t mel = rows.mel.size(), mfcc = rows.mfcc.size();
    rows.mel.resize(mel + static_cast<size_t>(counts.mel * plan->n_mel_dims()));
    rows.mfcc.resize(mfcc + static_cast<size_t>(counts.mfcc * plan->n_mfcc_dims()));
    write(rows.mel.data() + mel, rows.mfcc.data() + mfcc);
  };
  for (size_t at = 0; at < samples.size(); at += piece) {
    const auto n = static_cast<std::int64_t>(std::min(piece, samples.size() - at));
    grow(stream.ready_after(n),
         [&](float* mel, float* mfcc) { stream.accept(samples.data() + at, n, mel, mfcc); });
  }
  grow(stream.ready_at_end(), [&](float*, float* mfcc) { stream.finish(mfcc); });
  return rows;
}

// Mel energies of one frame in float64, by the definitions of the Fourier transform and of the
// triangles.
std::vector<double> mel_energies(const float* samples, const dcbmr::MelOptions& options) {
  const double tau = 6.283185307179586476925;
  const int n_fft = options.n_fft;
  std::vector<double> power;
  for (int bin = 0; bin <= n_fft / 2; ++bin) {
    std::complex<double> sum = 0;
    for (int i = 0; i < n_fft; ++i)
      sum += static_cast<double>(samples[i]) * (0.5 - 0.5 * std::cos(tau * i / n_fft)) *
             std::polar(1.0, -tau * bin * i / n_fft);
    power.push_back(std::norm(sum));
  }
  const auto edge = [&](int i) {
    const double low = dcbmr::hz_to_mel(options.fmin, options.htk);
    const double high = dcbmr::hz_to_mel(options.fmax, options.htk);
    return dcbmr::mel_to_hz(low + (high - low) * i / (options.n_mels + 1), options.htk);
  };
  std::vector<double> energies;
  for (int m = 0; m < options.n_mels; ++m) {
    const double left = edge(m), centre = edge(m + 1), right = edge(m + 2);
    double sum = 0;
    for (int bin = 0; bin <= n_fft / 2; ++bin) {
      const double hz = bin * options.sr / n_fft;
      sum +=
          std::max(0.0, std::min((hz - left) / (centre - left), (right - hz) / (right - centre))) *
          2 / (right - left) * power[size_t(bin)];
    }
    energies.push_back(sum);
  }
  return energies;
}

void frames_are_those_of_the_definition() {
  check::Draw draw(4);
  for (const int n_fft : {128, 256, 1024}) {
    dcbmr::FeatureOptions options;
    options.mel.n_fft = n_fft;
    options.mel.n_mels = 20;
    options.hop_length = n_fft / 2;
    options.n_mfcc = 13;
    const auto plan = std::make_shared<const dcbmr::FeaturePlan>(options);
    const std::vector<float> samples = draw.normals(n_fft * 20, 0.1F);
    const Rows rows = extract(plan, samples, samples.size());
    CHECK(rows.mel.size() == 39 * 20 && rows.mfcc.size() == 39 * 39);

    const std::vector<float> dct = dcbmr::dct_matrix(20, 13);
    for (const size_t frame : {size_t{0}, size_t{17}, size_t{38}}) {
      const std::vector<double> energies =
          mel_energies(samples.data() + frame * size_t(n_fft / 2), options.mel);
      std::vector<double> cepstra(13);
      for (size_t m = 0; m < 20; ++m) {
        CHECK(check::close(static_cast<double>(rows.mel[frame * 20 + m]),
                           std::log1p(1e4 * energies[m]), 1e-4));
        for (size_t c = 0; c < 13; ++c)
          cepstra[c] += static_cast<double>(dct[m * 13 + c]) *
                        (10 * std::log10(std::max(1e-10, energies[m])));
      }
      for (size_t c = 0; c < 13; ++c)
        CHECK(check::close(static_cast<double>(rows.mfcc[frame * 39 + c]), cepstra[c], 1e-3));
    }

    for (const size_t piece : {size_t{1}, size_t{777}}) {
      const Rows again = extract(plan, samples, piece);
      CHECK(again.mel == rows.mel && again.mfcc == rows.mfcc);
    }
  }
}

void one_thread_at_a_time() {
  dcbmr::OnlineFeature stream(std::make_shared<const dcbmr::FeaturePlan>(dcbmr::FeatureOptions{}));
  bool refused = false;
  {
    const dcbmr::OnlineFeature::Turn turn(stream);
    try {
      const dcbmr::OnlineFeature::Turn another(stream);
    } catch (const std::runtime_error&) {
      refused = true;
    }
  }
  CHECK(refused);
  const dcbmr::OnlineFeature::Turn again(stream);
}

}  // namespace

TESTS(frames_are_those_of_the_definition, one_thread_at_a_time)
