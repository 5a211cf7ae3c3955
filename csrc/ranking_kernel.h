// The hot loops of ranking.cpp; see isa.h for how they are compiled and chosen.
#pragma once

#include <cstdint>

namespace dcbmr {

// How many users and songs the registers hold the scores of; a property of the instruction set.
struct ScoreTile {
  int n_users;
  int n_songs;
};

#define DCBMR_DECLARE(set)                                                                       \
  namespace set {                                                                                \
  extern const ScoreTile score_tile;                                                             \
  /* Scores of a tile of users and some groups of songs, a group as many as a tile has. A score  \
     is summed in the order of the factors, one product after the other, whatever its place:     \
     equal factors make scores that are equal bit for bit.                                       \
       users   (n_factors, tile users)                                                           \
       songs   (n_groups, n_factors, tile songs)                                                 \
       scores  (tile users, stride)  OUT */                                                      \
  void score(const float* users, const float* songs, std::int64_t n_groups,                      \
             std::int64_t n_factors, float* scores, std::int64_t stride);                        \
  /* The same score of one user and one song, whose factors lie song_step apart. */              \
  float score_one(const float* user, const float* song, std::int64_t song_step,                  \
                  std::int64_t n_factors);                                                       \
  /* Adds how many of the scores are above each of `at`, and how many are level with it. */      \
  void count(const float* scores, std::int64_t n, const float* at, std::int64_t n_at,            \
             std::int64_t* above, std::int64_t* level);                                          \
  /* The first i >= begin whose score is above the floor; n if there is none. */                 \
  std::int64_t find_above(const float* scores, std::int64_t begin, std::int64_t n, float floor); \
  }
DCBMR_DECLARE(portable)
DCBMR_DECLARE(avx2)
DCBMR_DECLARE(avx512)
#undef DCBMR_DECLARE

}  // namespace dcbmr
