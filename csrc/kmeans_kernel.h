// The hot loop of k-means: which word is nearest to each frame of a block.
//
// ‖x − w‖² = ‖x‖² − 2 (x·w − ½‖w‖²), so the nearest word is the one with the greatest score
// x·w − ½‖w‖². Product and maximum are one loop: a tile of scores lives in registers, is compared
// with the best so far, and is never written.
#pragma once

#include <cstdint>

namespace dcbmr {

constexpr int kBlockFrames = 64;  // frames searched together, a multiple of every tile's frames
constexpr int kMaxLanes = 16;     // words in the widest vector

struct Tile {
  int n_frames;
  int n_words;
};

// Words in the order the loop reads them: groups of a tile's words, the last one filled up with
// words that are never the nearest (all zeros, bias −infinity).
struct PackedWords {
  const float* words;  // (n_groups, n_dims, tile words), aligned to 64 bytes
  const float* bias;   // (n_groups, tile words): −½‖w‖², aligned to 64 bytes
  std::int64_t n_groups;
  std::int64_t n_dims;
};

#define DCBMR_DECLARE(set)                                                                      \
  namespace set {                                                                               \
  extern const Tile search_tile;                                                                \
  /* `frames` is (n_tiles, n_dims, tile frames), `labels` (n_tiles * tile frames)  OUT; at most \
     kBlockFrames frames. Of equally good words the one with the lowest number wins. */         \
  void nearest_words(const PackedWords& words, const float* frames, int n_tiles,                \
                     std::int32_t* labels);                                                     \
  float squared_distance(const float* a, const float* b, std::int64_t n);                       \
  }
DCBMR_DECLARE(portable)
DCBMR_DECLARE(avx2)
DCBMR_DECLARE(avx512)
#undef DCBMR_DECLARE

}  // namespace dcbmr
