#include "kmeans.h"

#include <algorithm>
#include <limits>

#include "isa.h"
#include "parallel.h"

namespace dcbmr {

NearestWord::NearestWord(const float* words, std::int64_t n_words, std::int64_t n_dims)
    : n_words_(n_words),
      n_dims_(n_dims),
      words_(words, words + n_words * n_dims),
      origin_(static_cast<std::size_t>(n_dims)),
      tile_(*DCBMR_DISPATCH(search_tile)),
      nearest_words_(DCBMR_DISPATCH(nearest_words)),
      squared_distance_(DCBMR_DISPATCH(squared_distance)) {
  // Cepstra lie far from zero, and float32 would spend its digits on that.
  std::vector<double> mean(origin_.size());
  for (std::int64_t w = 0; w < n_words; ++w)
    for (std::int64_t d = 0; d < n_dims; ++d)
      mean[static_cast<std::size_t>(d)] += words[w * n_dims + d];
  for (std::size_t d = 0; d < mean.size(); ++d)
    origin_[d] = static_cast<float>(mean[d] / static_cast<double>(n_words));

  const std::int64_t group = tile_.n_words;
  const std::int64_t n_groups = (n_words + group - 1) / group;
  const std::int64_t n_padded = n_groups * group;  // whole vectors of every instruction set
  const std::int64_t n_lines = ((n_padded * n_dims + 15) / 16) + (n_padded + 15) / 16;
  packed_.resize(static_cast<std::size_t>(n_lines), Line{});
  float* const packed = packed_.data()->lane;
  float* const bias = packed_[static_cast<std::size_t>((n_padded * n_dims + 15) / 16)].lane;
  std::fill(bias, bias + n_padded, -std::numeric_limits<float>::infinity());
  for (std::int64_t w = 0; w < n_words; ++w) {
    double norm = 0;
    for (std::int64_t d = 0; d < n_dims; ++d) {
      const float value = words[w * n_dims + d] - origin_[static_cast<std::size_t>(d)];
      packed[((w / group) * n_dims + d) * group + w % group] = value;
      norm += static_cast<double>(value) * value;
    }
    bias[w] = static_cast<float>(-0.5 * norm);
  }
  view_ = {packed, bias, n_groups, n_dims};
}

void NearestWord::assign(const float* frames, std::int64_t n_frames, std::int32_t* labels,
                         float* distances, int n_threads) const {
  parallel_for(n_frames, kBlockFrames, n_threads, [&](std::int64_t begin, std::int64_t end, int) {
    std::vector<float> block(static_cast<std::size_t>(kBlockFrames * n_dims_));
    std::int32_t found[kBlockFrames];
    const std::int64_t n = end - begin;
    const std::int64_t tile = tile_.n_frames;
    for (std::int64_t f = 0; f < n; ++f)
      for (std::int64_t d = 0; d < n_dims_; ++d)
        block[static_cast<std::size_t>(((f / tile) * n_dims_ + d) * tile + f % tile)] =
            frames[(begin + f) * n_dims_ + d] - origin_[static_cast<std::size_t>(d)];
    nearest_words_(view_, block.data(), static_cast<int>((n + tile - 1) / tile), found);
    for (std::int64_t f = 0; f < n; ++f) {
      labels[begin + f] = found[f];
      if (distances)
        distances[begin + f] = squared_distance_(frames + (begin + f) * n_dims_,
                                                 words_.data() + found[f] * n_dims_, n_dims_);
    }
  });
}

void add_to_words(const float* frames, const std::int32_t* labels, std::int64_t n_frames,
                  std::int64_t n_words, std::int64_t n_dims, double* sums, std::int64_t* counts,
                  int n_threads) {
  const std::int64_t grain = (n_words + std::max(n_threads, 1) - 1) / std::max(n_threads, 1);
  parallel_for(n_words, grain, n_threads, [&](std::int64_t begin, std::int64_t end, int) {
    for (std::int64_t f = 0; f < n_frames; ++f) {
      const std::int64_t word = labels[f];
      if (word < begin || word >= end) continue;
      ++counts[word];
      const float* const frame = frames + f * n_dims;
      double* const sum = sums + word * n_dims;
      for (std::int64_t d = 0; d < n_dims; ++d) sum[d] += static_cast<double>(frame[d]);
    }
  });
}

}  // namespace dcbmr
