#include "ranking.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <stdexcept>

#include "parallel.h"

namespace dcbmr {
namespace {

// Users of a block pass by a piece of the songs while it stays in the second cache.
constexpr std::int64_t kBlockUsers = 192;
constexpr std::int64_t kPieceFloats = 64 << 10;
constexpr std::int64_t kPieceSongs = 512;
// Up to this many held-out songs of a user, every score is compared with each of them.
constexpr std::int64_t kScan = 48;

std::size_t size(std::int64_t n) { return static_cast<std::size_t>(n); }

// Where `score` stands among ascending `at`: how many of them are below it.
std::int64_t below(const float* at, std::int64_t n, float score) {
  std::int64_t place = 0;
  while (n > 1) {
    const std::int64_t half = n / 2;
    place += at[place + half - 1] < score ? half : 0;
    n -= half;
  }
  return place + (at[place] < score);
}

struct Candidate {
  float score;
  std::int64_t song;

  // Better candidates come first: a heap in this order has the worst on top.
  bool operator<(const Candidate& other) const {
    return score > other.score || (score == other.score && song < other.song);
  }
};

}  // namespace

SongScores::SongScores(const float* songs, std::int64_t n_songs, std::int64_t n_factors)
    : n_songs_(n_songs), n_factors_(n_factors), kernel_(ranking_kernel()) {
  const std::int64_t width = kernel_.tile_songs;
  const std::int64_t n_groups = (n_songs + width - 1) / width;
  packed_.resize(size((n_groups * width * n_factors + 15) / 16), Line{});
  float* const packed = packed_.data()->lane;
  for (std::int64_t s = 0; s < n_songs; ++s)
    for (std::int64_t d = 0; d < n_factors; ++d)
      packed[((s / width) * n_factors + d) * width + s % width] = songs[s * n_factors + d];
}

template <class Visit>
void SongScores::for_scores(const float* users, std::int64_t begin, std::int64_t end,
                            const SongsOfUsers& excluded, Visit&& visit) const {
  const std::int64_t width = kernel_.tile_songs, height = kernel_.tile_users;
  const std::int64_t n_tiles = (end - begin + height - 1) / height;
  std::vector<float> packed(size(n_tiles * height * n_factors_));
  for (std::int64_t u = 0; u < end - begin; ++u)
    for (std::int64_t d = 0; d < n_factors_; ++d)
      packed[size(((u / height) * n_factors_ + d) * height + u % height)] =
          users[(begin + u) * n_factors_ + d];
  const std::int64_t piece =
      std::clamp(kPieceFloats / (n_factors_ * width), std::int64_t{1}, kPieceSongs / width) * width;
  std::vector<Line> buffer(size(height * piece / 16 + 1));
  float* const scores = buffer.data()->lane;
  for (std::int64_t first = 0; first < n_songs_; first += piece) {
    const std::int64_t n = std::min(piece, n_songs_ - first);
    for (std::int64_t tile = 0; tile < n_tiles; ++tile) {
      kernel_.score(packed.data() + tile * height * n_factors_,
                    packed_.data()->lane + first * n_factors_, (n + width - 1) / width, n_factors_,
                    scores, piece);
      const std::int64_t user = begin + tile * height;
      for (std::int64_t u = user; u < std::min(user + height, end); ++u) {
        float* const row = scores + (u - user) * piece;
        const std::int32_t* const last = excluded.end(u);
        for (auto song = std::lower_bound(excluded.begin(u), last, first);
             song != last && *song < first + n; ++song)
          row[*song - first] = std::numeric_limits<float>::quiet_NaN();
        visit(u, first, row, n);
      }
    }
  }
}

void SongScores::rank(const float* users, std::int64_t n_users, const SongsOfUsers& heldout,
                      const SongsOfUsers& excluded, std::int32_t* songs, std::int64_t* above,
                      std::int64_t* level, int n_threads) const {
  const std::int64_t width = kernel_.tile_songs;
  const std::int64_t* const indptr = heldout.indptr;
  parallel_for(n_users, kBlockUsers, n_threads, [&](std::int64_t begin, std::int64_t end, int) {
    // The scores of the held-out songs of each user of the block, ascending, and beside them the
    // songs above and level: of all candidates at first.
    const std::int64_t origin = indptr[begin];
    std::vector<float> ascending(size(indptr[end] - origin));
    std::vector<std::int64_t> more(ascending.size()), same(ascending.size());
    std::vector<Candidate> best;
    for (std::int64_t u = begin; u < end; ++u) {
      best.clear();
      for (auto s = heldout.begin(u); s != heldout.end(u); ++s) {
        const float* const song =
            packed_.data()->lane + (*s / width) * width * n_factors_ + *s % width;
        best.push_back({kernel_.score_one(users + u * n_factors_, song, width, n_factors_), *s});
      }
      std::sort(best.begin(), best.end());
      for (std::int64_t j = 0; j < heldout.count(u); ++j) {
        songs[indptr[u] + j] = static_cast<std::int32_t>(best[size(j)].song);
        ascending[size(indptr[u + 1] - 1 - j - origin)] = best[size(j)].score;
      }
    }
    for_scores(users, begin, end, excluded,
               [&](std::int64_t u, std::int64_t, const float* scores, std::int64_t n) {
                 const std::int64_t n_at = heldout.count(u);
                 const std::size_t from = size(indptr[u] - origin);
                 const float* const at = ascending.data() + from;
                 if (n_at <= kScan) {
                   kernel_.count(scores, n, at, n_at, more.data() + from, same.data() + from);
                   return;
                 }
                 // Many: each score goes to its place among them. It is counted at the last one
                 // that it is above, for all below to add up later, and at the first that it is
                 // level with.
                 for (std::int64_t i = 0; i < n; ++i) {
                   const std::int64_t place = below(at, n_at, scores[i]);
                   if (place > 0) ++more[from + size(place) - 1];
                   if (place < n_at && at[place] == scores[i]) ++same[from + size(place)];
                 }
               });
    for (std::int64_t u = begin; u < end; ++u) {
      const std::int64_t n = heldout.count(u);
      const std::size_t from = size(indptr[u] - origin);
      const float* const at = ascending.data() + from;
      if (n > kScan)
        for (std::int64_t j = n - 1; j > 0; --j) more[from + size(j) - 1] += more[from + size(j)];
      // Take away the held-out songs themselves: of a run of equal scores that ends before `last`,
      // those behind it are above and those in it level.
      for (std::int64_t first = 0, last; first < n; first = last) {
        for (last = first + 1; last < n && at[last] == at[first];) ++last;
        if (same[from + size(first)] < last - first)
          throw std::logic_error("a held-out song is not level with itself: a score is NaN");
        for (std::int64_t j = first; j < last; ++j) {
          above[indptr[u + 1] - 1 - j] = more[from + size(j)] - (n - last);
          level[indptr[u + 1] - 1 - j] = same[from + size(first)] - (last - first);
        }
      }
    }
  });
}

void SongScores::top(const float* users, std::int64_t n_users, const SongsOfUsers& excluded,
                     std::int64_t k, std::int64_t* songs, float* scores, int n_threads) const {
  const std::size_t n_best = size(std::min(k, n_songs_));
  parallel_for(n_users, kBlockUsers, n_threads, [&](std::int64_t begin, std::int64_t end, int) {
    std::vector<std::vector<Candidate>> heaps(size(end - begin));
    for_scores(users, begin, end, excluded,
               [&](std::int64_t u, std::int64_t first, const float* row, std::int64_t n) {
                 std::vector<Candidate>& heap = heaps[size(u - begin)];
                 // Songs come in ascending order: one that only equals the worst is no better.
                 for (std::int64_t i = 0;; ++i) {
                   const bool full = heap.size() == n_best;
                   if (full) i = kernel_.find_above(row, i, n, heap.front().score);
                   if (i >= n) return;
                   if (std::isnan(row[i])) continue;
                   if (full) {
                     std::pop_heap(heap.begin(), heap.end());
                     heap.pop_back();
                   }
                   heap.push_back({row[i], first + i});
                   std::push_heap(heap.begin(), heap.end());
                 }
               });
    for (std::int64_t u = begin; u < end; ++u) {
      std::vector<Candidate>& heap = heaps[size(u - begin)];
      std::sort_heap(heap.begin(), heap.end());
      for (std::int64_t j = 0; j < k; ++j) {
        const bool found = j < static_cast<std::int64_t>(heap.size());
        songs[u * k + j] = found ? heap[size(j)].song : -1;
        scores[u * k + j] = found ? heap[size(j)].score : std::numeric_limits<float>::quiet_NaN();
      }
    }
  });
}

}  // namespace dcbmr
