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

  // The same score of one user and one song, whose factors lie song_step apart.
  float (*score_one)(const float* user, const float* song, std::int64_t song_step,
                     std::int64_t n_factors);

  // Adds how many of the scores are above each of `at`, and how many are level with it.
  void (*count)(const float* scores, std::int64_t n, const float* at, std::int64_t n_at,
                std::int64_t* above, std::int64_t* level);

  // The first i >= begin whose score is above the floor; n if there is none.
  std::int64_t (*find_above)(const float* scores, std::int64_t begin, std::int64_t n, float floor);
};
DCBMR_KERNEL(RankingKernel, ranking_kernel)

}  // namespace dcbmr
