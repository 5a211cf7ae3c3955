// Summary statistics of a song, out of its log-mel frames and its MFCCs, in memory that does not
// grow with its length. What each number is, dcbmr/features/stats.py says, by name.
#pragma once

#include <cstdint>
#include <vector>

#include "buffer.h"
#include "kernels/stats.h"
#include "rfft.h"

namespace dcbmr {

struct StatsOptions {
  int n_mels = 128;             // columns of the log-mel frames
  int n_mfcc = 13;              // cepstra of a frame of MFCCs,
  int n_deltas = 2;             // and orders of differences after them
  double frame_rate = 43.0664;  // frames a second
};

// What of a song is counted, given the options: the sizes of its statistics.
struct StatsSizes {
  static constexpr int kMaxGroups = 32, kMaxSlowGroups = 16, kMaxCepstra = 13;
  static constexpr int kModulationBands = 7, kTempoBands = 16;

  explicit StatsSizes(const StatsOptions& options);  // std::invalid_argument names the bad option
  int n_groups, n_slow_groups;                       // of mel bands, for moments and for modulation
  int n_cepstra, n_orders;                           // cepstra that are taken, and 1 + n_deltas
  int n_window;  // frames of a window of the modulation spectrum
  int n_lags;    // of the autocorrelation
  int n_dims;
};

// One song; for one thread at a time.
class OnlineStats {
 public:
  explicit OnlineStats(const StatsOptions& options);

  const StatsOptions& options() const { return options_; }
  int n_dims() const { return sizes_.n_dims; }

  //   rows (n, n_mels)                     IN, finite
  void accept_mel(const float* rows, std::int64_t n);
  //   rows (n, n_mfcc (1 + n_deltas))      IN, finite
  void accept_mfcc(const float* rows, std::int64_t n);

  // out (n_dims,)  OUT. Throws std::invalid_argument where there is no frame of one kind.
  void finish(float* out);

 private:
  struct Moments {
    explicit Moments(int width) : width(width), shift(size_t(width)), sums(size_t(3 * width)) {}
    int width;
    std::vector<float> shift;  // the first row: sums of what lies near zero lose no digits
    std::vector<double> sums;
    double mean(int i, std::int64_t n) const;
    double variance(int i, std::int64_t n) const;
    double skewness(int i, std::int64_t n) const;

   private:
    using size_t = std::size_t;
  };
  struct Histogram {
    double low, per_unit;
    int n_bins;
    std::vector<std::uint32_t> counts;  // (width, n_bins)
    double percentile(int i, std::int64_t n, double share) const;
  };

  void add_onsets(const double* rise, std::int64_t n);
  void add_window(int n_frames);
  void write_mel(float*& out) const;
  void write_mfcc(float*& out) const;
  void write_modulation(float*& out);
  void write_onsets(float*& out) const;

  StatsOptions options_;
  StatsSizes sizes_;
  const StatsKernel& kernel_;

  std::vector<int> edges_, slow_edges_;
  std::int64_t n_mel_ = 0, n_mfcc_ = 0;  // frames so far
  std::vector<float> groups_;            // (1 + kBlock, n_groups), the frame before them first
  Moments mel_;
  Histogram mel_counts_;
  std::vector<double> changes_;

  std::vector<float> slow_;     // (kBlock, n_slow_groups)
  std::vector<float> history_;  // (n_slow_groups, n_window), n_history_ of them filled
  int n_history_ = 0;
  std::int64_t n_windows_ = 0;
  RfftPlan rfft_;
  Buffer work_;
  std::vector<float> centred_;      // (lanes, n_window)
  std::vector<double> modulation_;  // (n_slow_groups, kModulationBands)

  std::vector<double> onsets_;  // (n_lags + kBlock,), the n_lags before them first
  std::vector<double> first_onsets_, lag_sums_;
  double onset_sums_[3] = {0, 0, 0};
  std::vector<std::uint32_t> peaks_;

  std::vector<float> cepstra_;  // (kBlock, n_cepstra n_orders)
  Moments mfcc_;
  Histogram mfcc_counts_;
  std::vector<double> products_;  // (n_cepstra, kStride)
};

}  // namespace dcbmr
