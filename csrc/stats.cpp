#include "stats.h"

#include <algorithm>
#include <cmath>
#include <stdexcept>
#include <string>

namespace dcbmr {
namespace {

using std::size_t;

constexpr int kBlock = 64;                     // frames worked on at once
constexpr double kFaint = 1e-4;                // a variance that is as good as none
constexpr double kFaintModulation = 1e-3;      // likewise, of a power
constexpr double kShares[] = {0.1, 0.5, 0.9};  // percentiles
constexpr double kWindowSeconds = 6;  // of a modulation spectrum, to the nearest power of 2
constexpr double kModulationHz[] = {0, 0.5, 1, 2, 4, 8, 16};  // where its bands begin
constexpr double kSlowest = 30, kFastest = 300;               // beats a minute of the tempo bands
constexpr int kMelBins = 1024, kMfccBins = 4096;
constexpr double kMelBinsPerUnit = 32;  // log(1 + 1e4 power) lies in [0, 32)

void want(bool holds, const char* wanted, double got) {
  if (!holds) throw std::invalid_argument(std::string(wanted) + ", got " + std::to_string(got));
}

std::vector<int> even_edges(int n_columns, int n_groups) {
  std::vector<int> edges;
  for (int g = 0; g <= n_groups; ++g) edges.push_back(g * n_columns / n_groups);
  return edges;
}

std::vector<double> hann(int n) {
  std::vector<double> window;
  for (int i = 0; i < n; ++i)
    window.push_back(0.5 - 0.5 * std::cos(6.283185307179586476925 * i / n));
  return window;
}

void put(float*& out, double value) { *out++ = static_cast<float>(value); }

}  // namespace

StatsSizes::StatsSizes(const StatsOptions& o) {
  want(1 <= o.n_mels && o.n_mels <= 4096, "n_mels: wanted 1 to 4096", o.n_mels);
  want(1 <= o.n_mfcc && o.n_mfcc <= 4096, "n_mfcc: wanted 1 to 4096", o.n_mfcc);
  want(0 <= o.n_deltas && o.n_deltas <= 2, "deltas: wanted 0, 1 or 2", o.n_deltas);
  want(1 <= o.frame_rate && o.frame_rate <= 10000, "frames a second: wanted 1 to 10,000",
       o.frame_rate);
  n_groups = std::min(kMaxGroups, o.n_mels);
  n_slow_groups = std::min(kMaxSlowGroups, o.n_mels);
  n_cepstra = std::min(kMaxCepstra, o.n_mfcc);
  n_orders = 1 + o.n_deltas;
  const double octaves = std::round(std::log2(kWindowSeconds * o.frame_rate));
  n_window = 1 << static_cast<int>(std::clamp(octaves, 7.0, 13.0));
  n_lags = 1 + static_cast<int>(60 * o.frame_rate / kSlowest);
  n_dims = 7 * n_groups + n_cepstra * (5 + n_orders) + n_cepstra * (n_cepstra - 1) / 2 +
           n_slow_groups * kModulationBands + 4 + kTempoBands + 2;
}

OnlineStats::OnlineStats(const StatsOptions& options)
    : options_(options),
      sizes_(options),
      kernel_(stats_kernel()),
      edges_(even_edges(options.n_mels, sizes_.n_groups)),
      slow_edges_(even_edges(sizes_.n_groups, sizes_.n_slow_groups)),
      groups_(size_t((1 + kBlock) * sizes_.n_groups)),
      mel_(sizes_.n_groups),
      mel_counts_{0, kMelBinsPerUnit, kMelBins,
                  std::vector<std::uint32_t>(size_t(sizes_.n_groups * kMelBins))},
      changes_(size_t(sizes_.n_groups)),
      slow_(size_t(kBlock * sizes_.n_slow_groups)),
      history_(size_t(sizes_.n_slow_groups * sizes_.n_window)),
      rfft_(hann(sizes_.n_window)),
      work_(rfft_work_rows(sizes_.n_window) * rfft_kernel().lanes),
      centred_(size_t(rfft_kernel().lanes * sizes_.n_window)),
      modulation_(size_t(sizes_.n_slow_groups * StatsSizes::kModulationBands)),
      onsets_(size_t(sizes_.n_lags + kBlock)),
      lag_sums_(size_t(sizes_.n_lags)),
      peaks_(size_t(kMelBins)),
      cepstra_(size_t(kBlock * sizes_.n_cepstra * sizes_.n_orders)),
      mfcc_(sizes_.n_cepstra * sizes_.n_orders),
      products_(size_t(sizes_.n_cepstra * StatsKernel::kStride)) {
  // Cepstra of an orthonormal DCT of decibels, which lie between -100 and some 60.
  const double reach = 128 * std::sqrt(static_cast<double>(options.n_mels));
  mfcc_counts_ = {-reach, kMfccBins / (2 * reach), kMfccBins,
                  std::vector<std::uint32_t>(size_t(sizes_.n_cepstra * kMfccBins))};
}

void OnlineStats::accept_mel(const float* rows, std::int64_t n) {
  const int n_groups = sizes_.n_groups, n_slow = sizes_.n_slow_groups;
  float* const frames = groups_.data() + n_groups;
  for (std::int64_t n_block; n > 0; n -= n_block, rows += n_block * options_.n_mels) {
    n_block = std::min<std::int64_t>(n, kBlock);
    kernel_.fold(rows, n_block, options_.n_mels, edges_.data(), n_groups, frames);
    if (n_mel_ == 0) {
      std::copy_n(frames, n_groups, groups_.data());
      std::copy_n(frames, n_groups, mel_.shift.data());
    }
    n_mel_ += n_block;
    kernel_.add_moments(frames, n_block, n_groups, mel_.shift.data(), mel_.sums.data());
    kernel_.add_counts(frames, n_block, n_groups, n_groups, mel_counts_.low, mel_counts_.per_unit,
                       kMelBins, mel_counts_.counts.data());
    double rise[kBlock];
    kernel_.add_changes(frames, n_block, n_groups, changes_.data(), rise);
    add_onsets(rise, n_block);

    kernel_.fold(frames, n_block, n_groups, slow_edges_.data(), n_slow, slow_.data());
    for (std::int64_t t = 0; t < n_block; ++t) {
      for (int s = 0; s < n_slow; ++s)
        history_[size_t(s * sizes_.n_window + n_history_)] = slow_[size_t(t * n_slow + s)];
      if (++n_history_ < sizes_.n_window) continue;
      add_window(n_history_);
      n_history_ = sizes_.n_window / 2;
      for (int s = 0; s < n_slow; ++s) {
        float* const window = history_.data() + s * sizes_.n_window;
        std::copy_n(window + n_history_, n_history_, window);
      }
    }
    std::copy_n(frames + (n_block - 1) * n_groups, n_groups, groups_.data());
  }
}

void OnlineStats::accept_mfcc(const float* rows, std::int64_t n) {
  const int n_cepstra = sizes_.n_cepstra, width = n_cepstra * sizes_.n_orders;
  for (std::int64_t n_block; n > 0; n -= n_block) {
    n_block = std::min<std::int64_t>(n, kBlock);
    float* to = cepstra_.data();
    for (std::int64_t t = 0; t < n_block; ++t)
      for (int order = 0; order < sizes_.n_orders; ++order, rows += options_.n_mfcc)
        to = std::copy_n(rows, n_cepstra, to);
    if (n_mfcc_ == 0) std::copy_n(cepstra_.data(), width, mfcc_.shift.data());
    n_mfcc_ += n_block;
    kernel_.add_moments(cepstra_.data(), n_block, width, mfcc_.shift.data(), mfcc_.sums.data());
    kernel_.add_products(cepstra_.data(), n_block, width, n_cepstra, mfcc_.shift.data(),
                         products_.data());
    kernel_.add_counts(cepstra_.data(), n_block, width, n_cepstra, mfcc_counts_.low,
                       mfcc_counts_.per_unit, kMfccBins, mfcc_counts_.counts.data());
  }
}

void OnlineStats::finish(float* out) {
  want(n_mel_ > 0, "mel: wanted a frame at least", 0);
  want(n_mfcc_ > 0, "mfcc: wanted a frame at least", 0);
  write_mel(out);
  write_mfcc(out);
  write_modulation(out);
  write_onsets(out);
}

// Onset strengths follow each other; peaks are those that are above the one before, and not below
// the one after, which is why the last one is judged with the next.
void OnlineStats::add_onsets(const double* rise, std::int64_t n) {
  double* const x = onsets_.data() + sizes_.n_lags;
  std::copy_n(rise, n, x);
  const auto n_first =
      std::min<std::int64_t>(n, sizes_.n_lags - static_cast<std::int64_t>(first_onsets_.size()));
  first_onsets_.insert(first_onsets_.end(), x, x + n_first);
  kernel_.add_lags(x, n, sizes_.n_lags, lag_sums_.data());
  for (std::int64_t t = 0; t < n; ++t) {
    onset_sums_[0] += x[t];
    onset_sums_[1] += x[t] * x[t];
    onset_sums_[2] += x[t] * x[t] * x[t];
    if (x[t - 2] < x[t - 1] && x[t - 1] >= x[t])
      ++peaks_[size_t(std::min(kMelBins - 1.0, x[t - 1] * kMelBinsPerUnit))];
  }
  std::copy_n(onsets_.data() + n, sizes_.n_lags, onsets_.data());
}

// The powers of the modulation bands in what history_ holds.
void OnlineStats::add_window(int n_frames) {
  const RfftKernel& kernel = rfft_kernel();
  const int n = sizes_.n_window, lanes = kernel.lanes;
  const double bin_hz = options_.frame_rate / n;
  const double energy = 0.375 * n;  // of the window: the sum of its squares
  for (int first = 0; first < sizes_.n_slow_groups; first += lanes) {
    const int n_used = std::min(lanes, sizes_.n_slow_groups - first);
    const float* frames[16];
    for (int i = 0; i < lanes; ++i) {
      float* const to = centred_.data() + i * n;
      frames[i] = to;
      std::fill_n(to, n, 0.F);
      if (i >= n_used) continue;
      const float* const from = history_.data() + (first + i) * n;
      double mean = 0;
      for (int t = 0; t < n_frames; ++t) mean += static_cast<double>(from[t]);
      mean /= n_frames;
      for (int t = 0; t < n_frames; ++t)
        to[t] = static_cast<float>(static_cast<double>(from[t]) - mean);
    }
    kernel.power_spectra(rfft_.tables(), frames, work_.data());
    for (int i = 0; i < n_used; ++i) {
      double* const bands = modulation_.data() + (first + i) * StatsSizes::kModulationBands;
      int bin = 1;
      for (int b = 0; b < StatsSizes::kModulationBands; ++b) {
        const bool is_last = b + 1 == StatsSizes::kModulationBands;
        const int begin = bin;
        double sum = 0;
        for (; bin < rfft_.n_bins() && (is_last || bin * bin_hz < kModulationHz[b + 1]); ++bin)
          sum += static_cast<double>(work_.data()[rfft_.tables().rows[bin] * lanes + i]);
        if (bin > begin) bands[b] += sum / (energy * (bin - begin));
      }
    }
  }
  ++n_windows_;
}

double OnlineStats::Moments::mean(int i, std::int64_t n) const {
  return static_cast<double>(shift[size_t(i)]) + sums[size_t(i)] / static_cast<double>(n);
}

double OnlineStats::Moments::variance(int i, std::int64_t n) const {
  const double m = sums[size_t(i)] / static_cast<double>(n);
  return std::max(0.0, sums[size_t(width + i)] / static_cast<double>(n) - m * m);
}

double OnlineStats::Moments::skewness(int i, std::int64_t n) const {
  const double m = sums[size_t(i)] / static_cast<double>(n);
  const double square = sums[size_t(width + i)] / static_cast<double>(n);
  const double third =
      sums[size_t(2 * width + i)] / static_cast<double>(n) - 3 * m * square + 2 * m * m * m;
  return third / std::pow(variance(i, n) + kFaint, 1.5);
}

double OnlineStats::Histogram::percentile(int i, std::int64_t n, double share) const {
  const std::uint32_t* const count = counts.data() + static_cast<std::int64_t>(i) * n_bins;
  const double wanted = share * static_cast<double>(n);
  double below = 0;
  int bin = 0;
  while (bin + 1 < n_bins && below + count[bin] < wanted) below += count[bin++];
  return low + (bin + (wanted - below) / std::max<double>(1, count[bin])) / per_unit;
}

void OnlineStats::write_mel(float*& out) const {
  const int n_groups = sizes_.n_groups;
  for (int i = 0; i < n_groups; ++i) put(out, mel_.mean(i, n_mel_));
  for (int i = 0; i < n_groups; ++i) put(out, std::sqrt(mel_.variance(i, n_mel_)));
  for (int i = 0; i < n_groups; ++i) put(out, mel_.skewness(i, n_mel_));
  for (const double share : kShares)
    for (int i = 0; i < n_groups; ++i) put(out, mel_counts_.percentile(i, n_mel_, share));
  const auto n_changes = static_cast<double>(std::max<std::int64_t>(1, n_mel_ - 1));
  for (const double sum : changes_) put(out, sum / n_changes);
}

void OnlineStats::write_mfcc(float*& out) const {
  const int n_cepstra = sizes_.n_cepstra;
  const auto n = static_cast<double>(n_mfcc_);
  for (int i = 0; i < n_cepstra; ++i) put(out, mfcc_.mean(i, n_mfcc_));
  for (int i = 0; i < mfcc_.width; ++i) put(out, std::sqrt(mfcc_.variance(i, n_mfcc_)));
  for (int i = 0; i < n_cepstra; ++i) put(out, mfcc_.skewness(i, n_mfcc_));
  for (const double share : kShares)
    for (int i = 0; i < n_cepstra; ++i) put(out, mfcc_counts_.percentile(i, n_mfcc_, share));
  for (int i = 0; i < n_cepstra; ++i)
    for (int j = 0; j < i; ++j) {
      const double covariance = products_[size_t(i * StatsKernel::kStride + j)] / n -
                                mfcc_.sums[size_t(i)] / n * (mfcc_.sums[size_t(j)] / n);
      put(out, covariance / std::sqrt((mfcc_.variance(i, n_mfcc_) + kFaint) *
                                      (mfcc_.variance(j, n_mfcc_) + kFaint)));
    }
}

void OnlineStats::write_modulation(float*& out) {
  if (n_windows_ == 0) add_window(n_history_);
  for (const double sum : modulation_)
    put(out, std::log(kFaintModulation + sum / static_cast<double>(n_windows_)));
}

void OnlineStats::write_onsets(float*& out) const {
  const auto n = static_cast<double>(n_mel_);
  const double mean = onset_sums_[0] / n, square = onset_sums_[1] / n;
  const double variance = std::max(0.0, square - mean * mean);
  const double third = onset_sums_[2] / n - 3 * mean * square + 2 * mean * mean * mean;
  put(out, mean);
  put(out, std::sqrt(variance));
  put(out, third / std::pow(variance + kFaint, 1.5));
  const double strong = (mean + std::sqrt(variance)) * kMelBinsPerUnit;
  double n_strong = 0;
  for (auto bin = static_cast<int>(std::min(kMelBins - 1.0, strong)); bin < kMelBins; ++bin)
    n_strong += peaks_[size_t(bin)];
  put(out, n_strong / n * options_.frame_rate);

  // Of what deviates from the mean; which the sums were made without knowing.
  std::vector<double> correlation(size_t(sizes_.n_lags));
  double first = 0, last = 0;
  for (int lag = 0; lag < sizes_.n_lags && lag < n_mel_; ++lag) {
    if (lag > 0) {
      first += first_onsets_[size_t(lag - 1)];
      last += onsets_[size_t(sizes_.n_lags - lag)];
    }
    correlation[size_t(lag)] =
        (lag_sums_[size_t(lag)] - mean * (2 * n * mean - first - last) + (n - lag) * mean * mean) /
        (n * (variance + kFaint));
  }
  const auto bpm = [&](int lag) { return 60 * options_.frame_rate / lag; };
  double bands[StatsSizes::kTempoBands] = {}, best = 0, strength = 0, tempo = 120;
  for (int lag = 1; lag < sizes_.n_lags; ++lag) {
    const double value = correlation[size_t(lag)];
    const double place = std::log(bpm(lag) / kSlowest) / std::log(kFastest / kSlowest);
    const auto band = static_cast<int>(std::floor(place * StatsSizes::kTempoBands));
    if (0 <= band && band < StatsSizes::kTempoBands) bands[band] = std::max(bands[band], value);
    const double octaves = std::log2(bpm(lag) / 120);
    const double weighted = value * std::exp(-0.5 * octaves * octaves);
    if (40 <= bpm(lag) && bpm(lag) <= 240 && weighted > best) {
      best = weighted;
      strength = value;
      tempo = bpm(lag);
    }
  }
  for (const double value : bands) put(out, value);
  put(out, std::log2(tempo));
  put(out, strength);
}

}  // namespace dcbmr
