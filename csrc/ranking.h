// Scores of users and songs, and what is wanted of them without ever holding them all: the ranks of
// a few songs, or the best few.
#pragma once

#include <cstdint>
#include <vector>

#include "kernels/ranking.h"

namespace dcbmr {

// The songs, packed for scoring; immutable, so any number of threads may rank.
//
// The score of a user and a song is the product of their factors, summed in float32 in the order of
// the factors. It depends on nothing else, neither on n_threads nor on the other users and songs,
// and songs with equal factors tie exactly. (A BLAS promises neither.)
class SongScores {
 public:
  // `songs` is (n_songs, n_factors), row-major, finite, and copied; both sizes are at least 1.
  SongScores(const float* songs, std::int64_t n_songs, std::int64_t n_factors);

  std::int64_t n_songs() const { return n_songs_; }
  std::int64_t n_factors() const { return n_factors_; }

  // Counts, for each held-out song of each user, the songs that the user does not hold out and that
  // score more, or the same. No score may be NaN.
  //   users    (n_users, n_factors), row-major
  //   indptr   (n_users + 1): user u holds out indices[indptr[u]] .. indices[indptr[u + 1] - 1]
  //   indices  songs, none twice for a user
  //   above, level  (like indices)  OUT; a user's songs in the order of their scores, highest first
  void rank(const float* users, std::int64_t n_users, const std::int64_t* indptr,
            const std::int32_t* indices, std::int64_t* above, std::int64_t* level,
            int n_threads) const;

  // The k songs of the highest scores for each user, the best first; of equal scores the song with
  // the lower number first.
  //   users    (n_users, n_factors), row-major
  //   indptr, indices  songs that a user is not to get, as above and in ascending order
  //   songs    (n_users, k)  OUT; -1 where there are fewer songs
  //   scores   (n_users, k)  OUT; NaN there
  void top(const float* users, std::int64_t n_users, const std::int64_t* indptr,
           const std::int32_t* indices, std::int64_t k, std::int64_t* songs, float* scores,
           int n_threads) const;

 private:
  struct alignas(64) Line {
    float lane[16];
  };

  // Calls visit(user, first_song, scores, n) for all users begin..end-1 and, in ascending order,
  // for all songs in pieces.
  template <class Visit>
  void for_scores(const float* users, std::int64_t begin, std::int64_t end, Visit&& visit) const;

  std::int64_t n_songs_;
  std::int64_t n_factors_;
  const RankingKernel& kernel_;  // for whose tiles the songs are packed
  std::vector<Line> packed_;     // (n_groups, n_factors, tile_songs)
};

}  // namespace dcbmr
