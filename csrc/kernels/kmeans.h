// The hot loop of k-means: which word is nearest to each frame of a block.
//
// ‖x − w‖² = ‖x‖² − 2 (x·w − ½‖w‖²), so the nearest word is the one with the greatest score
// x·w − ½‖w‖². Product and maximum are one loop: a tile of scores lives in registers, is compared
// with the best so far, and is never written.
//
// Words lie in groups of neighbours. A frame skips a group whose box it is farther from than from a
// word it has already seen: frames of music need a tenth of the groups, noise all of them.
#pragma once

#include <cstdint>

#include "isa.h"

namespace dcbmr {

constexpr int kBlockFrames = 128;  // frames searched together, a multiple of every vector's lanes
constexpr int kBoxDims = 8;        // dimensions in which groups are told apart one by one

// Words about their mean, dimensions by falling variance, in groups of group_words; the last
// group is filled up with words that are never the nearest (all zeros, bias −infinity). Pointers
// are aligned to 64 bytes.
struct PackedWords {
  std::int64_t n_groups;
  std::int64_t n_dims;
  const float* words;           // (n_groups, n_dims, group_words)
  const float* bias;            // (n_groups, group_words): −½‖w‖²
  const std::int32_t* numbers;  // (n_groups, group_words): which word it is
  // The box of a group: the first n_box coordinates and, as one more, the norm of the others; of
  // each, the lowest and the highest value.
  int n_box;           // min(kBoxDims, n_dims)
  const float* boxes;  // (n_groups, n_box + 1, 2)
  float largest_norm;  // greatest ‖w‖²
};

struct KmeansKernel {
  int group_words;

  //   frames  (n_dims + 1, kBlockFrames), 64-byte aligned, the last row for the use of the search;
  //           n_frames of the columns count, the others hold any finite numbers      IN
  //   bounds  (n_groups, kBlockFrames), 64-byte aligned                              SCRATCH
  //   labels  (n_frames)                                                             OUT
  void (*nearest_words)(const PackedWords& words, float* frames, int n_frames, float* bounds,
                        std::int32_t* labels);

  // Σ (scale (a − b))²
  float (*squared_distance)(const float* a, const float* b, const float* scale, std::int64_t n);
};
DCBMR_KERNEL(KmeansKernel, kmeans_kernel)

}  // namespace dcbmr
