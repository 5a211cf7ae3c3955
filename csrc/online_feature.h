// Streaming extraction: accept samples, hand out the frames that are ready.
//
// Frame t is samples [t hop_length, t hop_length + n_fft), with neither centring nor padding; what
// is left over at the end makes no frame. However the samples are cut into calls, the frames are
// the same bit for bit: each is computed in a lane of its own, and lanes do not know each other.
#pragma once

#include <atomic>
#include <cstdint>
#include <memory>
#include <vector>

#include "mel.h"
#include "rfft.h"

namespace dcbmr {

struct FeatureOptions {
  MelOptions mel;
  int hop_length = 512;  // samples
  bool log_mel = true;   // hand out log-mel frames
  int n_mfcc = 0;        // hand out this many cepstra a frame; 0 for none
  int n_deltas = 2;      // and their differences of the first so many orders, 0 to 2
};

// The tables behind the options: built once, shared by any number of streams on any threads.
class FeaturePlan {
 public:
  explicit FeaturePlan(const FeatureOptions& options);  // std::invalid_argument names the option

  const FeatureOptions& options() const { return options_; }
  int n_mel_dims() const { return options_.log_mel ? bank_.n_mels() : 0; }
  int n_mfcc_dims() const { return options_.n_mfcc * (1 + options_.n_deltas); }

 private:
  friend class OnlineFeature;
  FeatureOptions options_;
  RfftPlan rfft_;
  MelBank bank_;
  std::vector<float> dct_;
  const RfftKernel& rfft_kernel_;
  const MelKernel& mel_kernel_;
};

// One stream of samples, for one thread at a time: whoever calls it holds a Turn meanwhile.
//
// How many frames a call will write is asked first, so that the caller can lend memory of that
// size. Log-mel frames are ready with their last sample. A row of MFCC waits for the kDeltaReach
// frames after it where differences are taken, the last of them for finish().
class OnlineFeature {
 public:
  explicit OnlineFeature(std::shared_ptr<const FeaturePlan> plan);
  OnlineFeature(const OnlineFeature&) = delete;  // work_ and so on point into the other members
  OnlineFeature& operator=(const OnlineFeature&) = delete;

  // Throws std::runtime_error where another thread has the stream.
  class Turn {
   public:
    explicit Turn(OnlineFeature& stream);
    Turn(const Turn&) = delete;
    ~Turn() { stream_.taken_.clear(); }

   private:
    OnlineFeature& stream_;
  };

  struct Counts {
    std::int64_t mel, mfcc;
  };
  Counts ready_after(std::int64_t n_samples) const;  // what accept() of so many samples will write
  Counts ready_at_end() const;                       // what finish() will write

  // Index of the first sample that is NaN or infinite, or -1. accept() takes only finite samples.
  std::int64_t first_nonfinite(const float* samples, std::int64_t n_samples) const;

  //   mel   (ready_after().mel, n_mel_dims)      OUT; not touched where that is empty
  //   mfcc  (ready_after().mfcc, n_mfcc_dims)    OUT
  void accept(const float* samples, std::int64_t n_samples, float* mel, float* mfcc);
  void finish(float* mfcc);

  const FeaturePlan& plan() const { return *plan_; }

 private:
  std::int64_t frames_in(std::int64_t n_samples) const;
  std::int64_t reach() const;
  void extract(const float* const* frames, int n_frames, float*& mel, float*& mfcc);
  void emit_rows(float*& mfcc);

  std::shared_ptr<const FeaturePlan> plan_;
  std::atomic_flag taken_ = ATOMIC_FLAG_INIT;

  // Samples from the start of the next frame on; where hop_length exceeds n_fft, the number of
  // samples to pass over before it.
  std::vector<float> pending_;
  std::int64_t n_to_skip_ = 0;

  // Rows of cepstra whose differences are not out yet, and the reach() rows before the first of
  // them; (n_rows_, row_stride_).
  std::vector<float> rows_;
  std::int64_t row_stride_ = 0, n_rows_ = 0, n_frames_ = 0;

  float* aligned(std::vector<float>& storage, std::int64_t n);
  std::vector<float> work_storage_, mel_storage_, shown_storage_;
  std::vector<float> silence_;
  float *work_, *mel_, *shown_;
};

}  // namespace dcbmr
