#include "online_feature.h"

#include <algorithm>
#include <cmath>
#include <stdexcept>
#include <string>
#include <utility>

namespace dcbmr {
namespace {

constexpr int kMaxLanes = 16;

std::vector<double> periodic_hann(int n) {
  std::vector<double> window(static_cast<std::size_t>(n));
  for (int i = 0; i < n; ++i)
    window[static_cast<std::size_t>(i)] = 0.5 - 0.5 * std::cos(6.283185307179586476925 * i / n);
  return window;
}

FeatureOptions checked(const FeatureOptions& o) {
  const auto refuse = [](const char* wanted, int got) {
    throw std::invalid_argument(std::string(wanted) + ", got " + std::to_string(got));
  };
  const int n_fft = o.mel.n_fft;
  if (n_fft < 128 || n_fft > 8192 || (n_fft & (n_fft - 1)))
    refuse("n_fft: wanted a power of two from 128 to 8192", n_fft);
  if (o.hop_length < 1) refuse("hop_length: wanted at least 1", o.hop_length);
  if (o.n_mfcc < 0 || o.n_mfcc > o.mel.n_mels) refuse("n_mfcc: wanted 1 to n_mels", o.n_mfcc);
  if (o.n_deltas < 0 || o.n_deltas > 2) refuse("deltas: wanted 0, 1 or 2", o.n_deltas);
  return o;
}

}  // namespace

FeaturePlan::FeaturePlan(const FeatureOptions& options)
    : options_(checked(options)),
      rfft_(periodic_hann(options.mel.n_fft)),
      bank_(options.mel),
      dct_(dct_matrix(options.mel.n_mels, options.n_mfcc)),
      rfft_kernel_(rfft_kernel()),
      mel_kernel_(mel_kernel()) {}

OnlineFeature::OnlineFeature(std::shared_ptr<const FeaturePlan> plan) : plan_(std::move(plan)) {
  const std::int64_t lanes = plan_->rfft_kernel_.lanes;
  const FeatureOptions& o = plan_->options_;
  work_ = aligned(work_storage_, rfft_work_rows(o.mel.n_fft) * lanes);
  mel_ = aligned(mel_storage_, o.mel.n_mels * lanes);
  shown_ = aligned(shown_storage_, (o.mel.n_mels + o.n_mfcc) * lanes);
  silence_.assign(static_cast<std::size_t>(o.mel.n_fft), 0.f);
  row_stride_ = (o.n_mfcc + kMaxLanes - 1) / kMaxLanes * kMaxLanes;
  rows_.assign(static_cast<std::size_t>(row_stride_ * (3 * kDeltaReach + kMaxLanes)), 0.f);
}

OnlineFeature::Turn::Turn(OnlineFeature& stream) : stream_(stream) {
  if (stream.taken_.test_and_set())
    throw std::runtime_error(
        "this stream is in use by another thread; give each thread a stream of its own");
}

float* OnlineFeature::aligned(std::vector<float>& storage, std::int64_t n) {
  constexpr std::uintptr_t kAlignment = 64;
  storage.resize(static_cast<std::size_t>(n) + kAlignment / sizeof(float));
  const auto address = reinterpret_cast<std::uintptr_t>(storage.data());
  return storage.data() + (kAlignment - address % kAlignment) % kAlignment / sizeof(float);
}

std::int64_t OnlineFeature::frames_in(std::int64_t n_samples) const {
  const FeatureOptions& o = plan_->options_;
  const std::int64_t held = static_cast<std::int64_t>(pending_.size()) - n_to_skip_ + n_samples;
  return held < o.mel.n_fft ? 0 : (held - o.mel.n_fft) / o.hop_length + 1;
}

std::int64_t OnlineFeature::reach() const { return plan_->options_.n_deltas ? kDeltaReach : 0; }

OnlineFeature::Counts OnlineFeature::ready_after(std::int64_t n_samples) const {
  const FeatureOptions& o = plan_->options_;
  const std::int64_t n = frames_in(n_samples);
  const auto rows_out = [&](std::int64_t n_frames) {
    return std::max<std::int64_t>(0, n_frames - reach());
  };
  return {o.log_mel ? n : 0, o.n_mfcc ? rows_out(n_frames_ + n) - rows_out(n_frames_) : 0};
}

OnlineFeature::Counts OnlineFeature::ready_at_end() const {
  return {0, plan_->options_.n_mfcc ? std::min(n_frames_, reach()) : 0};
}

std::int64_t OnlineFeature::first_nonfinite(const float* samples, std::int64_t n_samples) const {
  return plan_->mel_kernel_.first_nonfinite(samples, n_samples);
}

void OnlineFeature::accept(const float* samples, std::int64_t n_samples, float* mel, float* mfcc) {
  const std::int64_t n_fft = plan_->options_.mel.n_fft, hop = plan_->options_.hop_length;
  const std::int64_t skipped = std::min(n_to_skip_, n_samples);
  n_to_skip_ -= skipped;
  samples += skipped;
  n_samples -= skipped;
  if (n_samples == 0) return;

  // Frames that begin among the pending samples are read from there, after as many new samples as
  // they can need; the others from where the caller has them.
  const auto n_pending = static_cast<std::int64_t>(pending_.size());
  const std::int64_t n_frames = frames_in(n_samples);
  pending_.insert(pending_.end(), samples, samples + std::min(n_samples, n_fft));
  const int lanes = plan_->rfft_kernel_.lanes;
  for (std::int64_t t = 0; t < n_frames; t += lanes) {
    const int n = static_cast<int>(std::min<std::int64_t>(lanes, n_frames - t));
    const float* frames[kMaxLanes];
    for (int i = 0; i < lanes; ++i) {
      const std::int64_t begin = (t + i) * hop;
      frames[i] = i >= n              ? silence_.data()
                  : begin < n_pending ? pending_.data() + begin
                                      : samples + (begin - n_pending);
    }
    extract(frames, n, mel, mfcc);
  }

  const std::int64_t next = n_frames * hop;  // from the first pending sample
  if (next < n_pending) {
    // Then there were fewer than n_fft new samples, and all of them are pending by now.
    pending_.erase(pending_.begin(), pending_.begin() + next);
  } else {
    const std::int64_t from = std::min(next - n_pending, n_samples);
    n_to_skip_ = next - n_pending - from;
    pending_.assign(samples + from, samples + n_samples);
  }
}

void OnlineFeature::finish(float* mfcc) {
  if (!plan_->options_.n_mfcc || n_rows_ == 0) return;
  for (std::int64_t i = 0; i < reach(); ++i, ++n_rows_)
    std::copy_n(rows_.data() + (n_rows_ - 1) * row_stride_, row_stride_,
                rows_.data() + n_rows_ * row_stride_);
  emit_rows(mfcc);
}

void OnlineFeature::extract(const float* const* frames, int n_frames, float*& mel, float*& mfcc) {
  const FeatureOptions& o = plan_->options_;
  const MelKernel& kernel = plan_->mel_kernel_;
  const int n_mels = o.mel.n_mels;
  plan_->rfft_kernel_.power_spectra(plan_->rfft_.tables(), frames, work_);
  kernel.apply_bank(plan_->bank_.tables(), work_, plan_->rfft_.tables().rows, mel_);
  if (o.log_mel) {
    kernel.compress(mel_, n_mels, shown_);
    kernel.scatter(shown_, n_mels, n_frames, mel, n_mels);
    mel += static_cast<std::int64_t>(n_frames) * n_mels;
  }
  n_frames_ += n_frames;
  if (!o.n_mfcc) return;

  float* cepstra = shown_ + static_cast<std::int64_t>(n_mels) * kernel.lanes;
  kernel.decibels(mel_, n_mels, shown_);
  kernel.cepstra(shown_, n_mels, plan_->dct_.data(), o.n_mfcc, cepstra);
  const bool first = n_rows_ == 0;
  if (first) n_rows_ = reach();
  kernel.scatter(cepstra, o.n_mfcc, n_frames, rows_.data() + n_rows_ * row_stride_, row_stride_);
  if (first)  // the first row stands for those before it
    for (std::int64_t i = 0; i < reach(); ++i)
      std::copy_n(rows_.data() + reach() * row_stride_, row_stride_,
                  rows_.data() + i * row_stride_);
  n_rows_ += n_frames;
  emit_rows(mfcc);
}

// Writes the rows that have reach() rows on both sides, and keeps what later ones need.
void OnlineFeature::emit_rows(float*& mfcc) {
  const FeatureOptions& o = plan_->options_;
  const std::int64_t n = n_rows_ - 2 * reach();
  if (n <= 0) return;
  plan_->mel_kernel_.with_deltas(rows_.data() + reach() * row_stride_, row_stride_, n, o.n_mfcc,
                                 o.n_deltas, mfcc);
  mfcc += n * plan_->n_mfcc_dims();
  std::copy(rows_.data() + n * row_stride_, rows_.data() + n_rows_ * row_stride_, rows_.data());
  n_rows_ -= n;
}

}  // namespace dcbmr
