#include "kmeans.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <numeric>

#include "parallel.h"

namespace dcbmr {
namespace {

constexpr float kInfinity = std::numeric_limits<float>::infinity();

std::size_t size(std::int64_t n) { return static_cast<std::size_t>(n); }

std::vector<float> mean_of_rows(const std::vector<float>& rows, std::int64_t n_dims) {
  std::vector<double> sums(size(n_dims));
  for (std::size_t i = 0; i < rows.size(); ++i)
    sums[i % sums.size()] += static_cast<double>(rows[i]);
  std::vector<float> mean;
  for (const double sum : sums)
    mean.push_back(
        static_cast<float>(sum * static_cast<double>(n_dims) / static_cast<double>(rows.size())));
  return mean;
}

// Dimensions of centered rows, by falling variance.
std::vector<std::int64_t> widest_first(const std::vector<float>& rows, std::int64_t n_dims) {
  std::vector<double> squares(size(n_dims));
  for (std::size_t i = 0; i < rows.size(); ++i)
    squares[i % squares.size()] += static_cast<double>(rows[i]) * static_cast<double>(rows[i]);
  std::vector<std::int64_t> dims(size(n_dims));
  std::iota(dims.begin(), dims.end(), 0);
  std::stable_sort(dims.begin(), dims.end(), [&](std::int64_t a, std::int64_t b) {
    return squares[size(a)] > squares[size(b)];
  });
  return dims;
}

// Threads worth waking for so many multiplications: about 10 microseconds of work each.
int worth(int n_threads, std::int64_t n_products) {
  return static_cast<int>(std::min<std::int64_t>(n_threads, 1 + n_products / 1'000'000));
}

// For every row the lowest number of a row equal to it.
std::vector<std::int32_t> lowest_equal(const std::vector<float>& rows, std::int64_t n_dims,
                                       std::int64_t n_rows) {
  const auto row = [&](std::int32_t i) { return rows.data() + i * n_dims; };
  std::vector<std::int32_t> order(size(n_rows)), lowest(size(n_rows));
  std::iota(order.begin(), order.end(), 0);
  std::stable_sort(order.begin(), order.end(), [&](std::int32_t a, std::int32_t b) {
    return std::lexicographical_compare(row(a), row(a) + n_dims, row(b), row(b) + n_dims);
  });
  for (std::size_t i = 0; i < order.size(); ++i) {
    const bool same = i > 0 && std::equal(row(order[i]), row(order[i]) + n_dims, row(order[i - 1]));
    lowest[size(order[i])] = same ? lowest[size(order[i - 1])] : order[i];
  }
  return lowest;
}

// Reorders the rows from begin to end so that each run of `group` holds neighbours: halves them
// where they are widest, at a whole number of groups, until one group is left.
void gather_neighbours(const std::vector<float>& rows, std::int64_t n_dims, std::int64_t group,
                       std::int32_t* begin, std::int32_t* end) {
  const std::int64_t n_groups = (end - begin + group - 1) / group;
  if (n_groups < 2) return;
  std::int64_t widest = 0;
  double greatest = -1;
  for (std::int64_t d = 0; d < n_dims; ++d) {
    double sum = 0, squares = 0;
    for (const std::int32_t* i = begin; i < end; ++i) {
      const double value = static_cast<double>(rows[size(*i * n_dims + d)]);
      sum += value;
      squares += value * value;
    }
    const double spread = squares - sum * sum / static_cast<double>(end - begin);
    if (spread > greatest) greatest = spread, widest = d;
  }
  std::int32_t* const middle = begin + n_groups / 2 * group;
  std::nth_element(begin, middle, end, [&](std::int32_t a, std::int32_t b) {
    const float left = rows[size(a * n_dims + widest)], right = rows[size(b * n_dims + widest)];
    return left < right || (left == right && a < b);
  });
  gather_neighbours(rows, n_dims, group, begin, middle);
  gather_neighbours(rows, n_dims, group, middle, end);
}

}  // namespace

NearestWord::NearestWord(const float* words, std::int64_t n_words, std::int64_t n_dims,
                         const float* scale)
    : n_words_(n_words),
      n_dims_(n_dims),
      words_(words, words + n_words * n_dims),
      scale_(scale ? std::vector<float>(scale, scale + n_dims) : std::vector(size(n_dims), 1.0F)),
      origin_(mean_of_rows(words_, n_dims)),
      kernel_(kmeans_kernel()) {
  // Cepstra lie far from zero, and float32 would spend its digits on that.
  std::vector<float> centered(words_);
  for (std::size_t i = 0; i < centered.size(); ++i)
    centered[i] = (centered[i] - origin_[i % origin_.size()]) * scale_[i % scale_.size()];
  dims_ = widest_first(centered, n_dims);
  const std::vector<std::int32_t> lowest = lowest_equal(centered, n_dims, n_words);

  const std::int64_t group = kernel_.group_words;
  std::vector<std::int32_t> order(size(n_words));
  std::iota(order.begin(), order.end(), 0);
  gather_neighbours(centered, n_dims, group, order.data(), order.data() + n_words);

  const std::int64_t n_groups = (n_words + group - 1) / group;
  const int n_box = static_cast<int>(std::min<std::int64_t>(kBoxDims, n_dims));
  // Every group is a whole number of vectors of every instruction set, not always of lines.
  const std::int64_t n_lines = (n_groups * group * n_dims + 15) / 16;
  packed_.resize(size(n_lines + (n_groups * group + 15) / 16));
  numbers_.resize(size(n_groups * group), std::numeric_limits<std::int32_t>::max());
  float* const packed = packed_[0].lane;
  float* const bias = packed_[size(n_lines)].lane;
  std::fill(bias, bias + n_groups * group, -kInfinity);
  for (std::int64_t b = 0; b < n_groups * (n_box + 1); ++b)
    boxes_.insert(boxes_.end(), {kInfinity, -kInfinity});
  float largest_norm = 0;
  for (std::int64_t place = 0; place < n_words; ++place) {
    const std::int64_t g = place / group;
    const auto widen = [&](std::int64_t d, float value) {
      float* const range = boxes_.data() + (g * (n_box + 1) + d) * 2;
      range[0] = std::min(range[0], value);
      range[1] = std::max(range[1], value);
    };
    double boxed = 0, other = 0;
    for (std::int64_t d = 0; d < n_dims; ++d) {
      const float value = centered[size(order[size(place)] * n_dims + dims_[size(d)])];
      packed[(g * n_dims + d) * group + place % group] = value;
      (d < n_box ? boxed : other) += static_cast<double>(value) * static_cast<double>(value);
      if (d < n_box) widen(d, value);
    }
    widen(n_box, static_cast<float>(std::sqrt(other)));
    bias[place] = static_cast<float>(-0.5 * (boxed + other));
    numbers_[size(place)] = lowest[size(order[size(place)])];
    largest_norm = std::max(largest_norm, static_cast<float>(boxed + other));
  }
  view_ = {n_groups, n_dims, packed, bias, numbers_.data(), n_box, boxes_.data(), largest_norm};
}

void NearestWord::assign(const float* frames, std::int64_t n_frames, std::int32_t* labels,
                         float* distances, int n_threads) const {
  struct Scratch {
    std::vector<Line> frames, bounds;
  };
  std::vector<Scratch> scratch(size(std::max(n_threads, 1)));
  const auto search = [&](std::int64_t begin, std::int64_t end, int thread) {
    Scratch& own = scratch[size(thread)];
    own.frames.resize(size((n_dims_ + 1) * kBlockFrames / 16));
    own.bounds.resize(size(view_.n_groups * kBlockFrames / 16));
    float* const block = own.frames[0].lane;
    for (std::int64_t f = begin; f < end; ++f)
      for (std::int64_t d = 0; d < n_dims_; ++d) {
        const std::int64_t from = dims_[size(d)];
        block[d * kBlockFrames + f - begin] =
            (frames[f * n_dims_ + from] - origin_[size(from)]) * scale_[size(from)];
      }
    kernel_.nearest_words(view_, block, static_cast<int>(end - begin), own.bounds[0].lane,
                          labels + begin);
    if (!distances) return;
    for (std::int64_t f = begin; f < end; ++f)
      distances[f] = kernel_.squared_distance(
          frames + f * n_dims_, words_.data() + labels[f] * n_dims_, scale_.data(), n_dims_);
  };
  parallel_for(n_frames, kBlockFrames, worth(n_threads, n_frames * n_words_ * n_dims_), search);
}

void add_to_words(const float* frames, const std::int32_t* labels, std::int64_t n_frames,
                  std::int64_t n_words, std::int64_t n_dims, double* sums, std::int64_t* counts,
                  int n_threads) {
  n_threads = std::max(worth(n_threads, n_frames * n_dims), 1);
  const std::int64_t grain = (n_words + n_threads - 1) / n_threads;
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
