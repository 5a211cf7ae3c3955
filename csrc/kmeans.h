// k-means of frames: the nearest word of every frame, and the sums that the next words are made of.
//
// One Lloyd step is assign() and add_to_words() over blocks of frames, then, by the caller, the
// division of the sums by the counts. Both work on the rows they are given and nothing else, so
// that blocks of rows may be files or machines.
#pragma once

#include <cstdint>
#include <vector>

#include "kernels/kmeans.h"

namespace dcbmr {

// Finds the nearest of a fixed set of words; immutable, so any number of threads may search.
class NearestWord {
 public:
  // `words` is (n_words, n_dims), row-major, finite, and copied; both sizes are at least 1.
  // Distances are Σ (scale (x − w))², with a finite scale for each dimension, or 1 for all where it
  // is null.
  NearestWord(const float* words, std::int64_t n_words, std::int64_t n_dims,
              const float* scale = nullptr);
  NearestWord(const NearestWord&) = delete;  // view_ points into the other members
  NearestWord& operator=(const NearestWord&) = delete;

  std::int64_t n_words() const { return n_words_; }
  std::int64_t n_dims() const { return n_dims_; }

  // The nearest word of each frame and the squared distance to it. The words are found by products
  // in float32 about the mean of the words, so the word chosen may be farther than the nearest by
  // rounding (some 1e-6 of the squared distance); the distance is that of the word chosen. Of equal
  // words the one with the lowest number is chosen. Every row is found alone: neither n_threads nor
  // the other rows matter.
  //   frames     (n_frames, n_dims), row-major, finite
  //   labels     (n_frames)  OUT
  //   distances  (n_frames)  OUT, or null
  void assign(const float* frames, std::int64_t n_frames, std::int32_t* labels, float* distances,
              int n_threads) const;

 private:
  struct alignas(64) Line {
    float lane[16];
  };

  std::int64_t n_words_;
  std::int64_t n_dims_;
  std::vector<float> words_;        // (n_words, n_dims), as given
  std::vector<float> scale_;        // (n_dims)
  std::vector<float> origin_;       // (n_dims): the mean of the words
  std::vector<std::int64_t> dims_;  // (n_dims): by falling variance of the words, times the scale
  std::vector<Line> packed_;        // what view_ points to
  std::vector<std::int32_t> numbers_;
  std::vector<float> boxes_;
  PackedWords view_;
  const KmeansKernel& kernel_;  // for whose tiles the words are packed
};

// Adds each frame to the sum and the count of its word, in the order of the rows: each thread owns
// a range of words, so the sums do not depend on n_threads, nor on how rows are cut into calls.
//   frames  (n_frames, n_dims), row-major
//   labels  (n_frames), in 0..n_words-1
//   sums    (n_words, n_dims)  IN/OUT
//   counts  (n_words)          IN/OUT
void add_to_words(const float* frames, const std::int32_t* labels, std::int64_t n_frames,
                  std::int64_t n_words, std::int64_t n_dims, double* sums, std::int64_t* counts,
                  int n_threads);

}  // namespace dcbmr
