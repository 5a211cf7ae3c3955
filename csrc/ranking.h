// Scores of users and songs, and what is wanted of them without ever holding them all: the ranks of
// a few songs, or the best few.
#pragma once

#include <cstdint>
#include <vector>

#include "kernels/ranking.h"

namespace dcbmr {

// Songs of each user, none twice; those of user u begin at indices[indptr[u]].
struct SongsOfUsers {
  const std::int64_t* indptr;
  const std::int32_t* indices;

  const std::int32_t* begin(std::int64_t u) const { return indices + indptr[u]; }
  const std::int32_t* end(std::int64_t u) const { return indices + indptr[u + 1]; }
  std::int64_t count(std::int64_t u) const { return indptr[u + 1] - indptr[u]; }
};

// Where ranks are written, each as long as the indices of the held-out songs. A user's songs are
// the best first, and of equal scores the one with the lower number first.
struct RanksOfUsers {
  std::int32_t* songs;
  std::int64_t *above, *level;
};

// Where the k songs of the highest scores are written, the best first; of equal scores the song
// with the lower number first. Where there are fewer songs, -1 and NaN.
struct TopOfUsers {
  std::int64_t k;
  std::int64_t* songs;  // (n_users, k)
  float* scores;        // (n_users, k)
};

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

  // Counts, for each held-out song of each user, the songs that score more, or the same; of those
  // that the user neither holds out nor excludes. No score may be NaN. In the same pass over the
  // scores, the best songs of each user, held out or not; none for k = 0.
  //   users     (n_users, n_factors), row-major
  //   excluded  in ascending order; none of them held out
  void rank(const float* users, std::int64_t n_users, const SongsOfUsers& heldout,
            const SongsOfUsers& excluded, const RanksOfUsers& ranks, const TopOfUsers& top,
            int n_threads) const;

  // The best songs of each user alone.
  //   excluded  songs that a user is not to get, in ascending order
  void top(const float* users, std::int64_t n_users, const SongsOfUsers& excluded,
           const TopOfUsers& top, int n_threads) const;

 private:
  struct alignas(64) Line {
    float lane[16];
  };

  // Calls visit(user, first_song, scores, n) for all users begin..end-1 and, in ascending order,
  // for all songs in pieces. The score of an excluded song is NaN: neither more than any nor equal.
  template <class Visit>
  void for_scores(const float* users, std::int64_t begin, std::int64_t end,
                  const SongsOfUsers& excluded, Visit&& visit) const;

  std::int64_t n_songs_;
  std::int64_t n_factors_;
  const RankingKernel& kernel_;  // for whose tiles the songs are packed
  std::vector<Line> packed_;     // (n_groups, n_factors, tile_songs)
};

}  // namespace dcbmr
