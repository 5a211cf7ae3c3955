// The hot loops of ranking: scores of users and songs, and what is counted of them.
#pragma once

#include <cstdint>

#include "isa.h"

namespace dcbmr {

struct RankingKernel {
  // How many users and songs the registers hold the scores of.
  int tile_users, tile_songs;

  // Scores of a tile of users and some groups of songs, a group as many as a tile has. A score is
  // summed in the order of the factors, one product after the other, whatever its place: equal
  // factors make scores that are equal bit for bit.
  //   users   (n_factors, tile_users)              IN
  //   songs   (n_groups, n_factors, tile_songs)    IN
  //   scores  (tile_users, stride)                 OUT
  void (*score)(const float* users, const float* songs, std::int64_t n_groups,
                std::int64_t n_factors, float* scores, std::int64_t stride);

  // The same scores of one user, (n_factors,), and a few of the songs.
  void (*score_few)(const float* user, const float* songs, const std::int32_t* which,
                    std::int64_t n, std::int64_t n_factors, float* scores);

  // What follows reads the scores to a multiple of tile_songs: behind the n-th they are NaN, which
  // is neither above nor level with anything. n is less than 2^15.

  // Adds how many of the scores are above each of `at`, and how many are level with it.
  void (*count)(const float* scores, std::int64_t n, const float* at, std::int64_t n_at,
                std::int64_t* above, std::int64_t* level);

  // Writes which of the scores are above the floor, ascending, and returns how many. There must be
  // room for tile_songs more than n.
  std::int64_t (*find_above)(const float* scores, std::int64_t n, float floor, std::int32_t* found);

  // A number that k of the scores reach at least, for k <= kBound; close to the greatest such, but
  // -infinity for few scores.
  static constexpr std::int64_t kBound = 64;
  float (*low_bound)(const float* scores, std::int64_t n, std::int64_t k);
};
DCBMR_KERNEL(RankingKernel, ranking_kernel)

}  // namespace dcbmr
