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

constexpr float kNone = std::numeric_limits<float>::quiet_NaN();

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
  std::int32_t song;

  // Better candidates come first.
  bool operator<(const Candidate& other) const {
    return score > other.score || (score == other.score && song < other.song);
  }
};

constexpr float kLowest = -std::numeric_limits<float>::infinity();

// The k best songs of a user as the songs pass by, and some that may be among them.
class Best {
 public:
  // Songs come in ascending order: one that only equals the worst of k is no better. `found` has
  // room for as many songs as there are scores, and a tile more.
  void offer(const RankingKernel& kernel, const float* scores, std::int64_t first, std::int64_t n,
             std::int64_t k, std::int32_t* found) {
    const std::int64_t n_kept = std::max(2 * k, RankingKernel::kBound);
    if (floor_ == kLowest && k <= RankingKernel::kBound)
      floor_ = std::nextafter(kernel.low_bound(scores, n, k), kLowest);
    const std::int64_t n_found = kernel.find_above(scores, n, floor_, found);
    const std::size_t n_before = songs_.size();
    if (n_before == 0) songs_.reserve(size(n_kept));
    songs_.resize(n_before + size(n_found));
    for (std::int64_t i = 0; i < n_found; ++i)
      songs_[n_before + size(i)] = {scores[found[i]], static_cast<std::int32_t>(first) + found[i]};
    if (songs_.size() >= size(n_kept)) {
      keep(k);
      floor_ = songs_.back().score;
    }
  }

  // At most k, the best first.
  const std::vector<Candidate>& sorted(std::int64_t k) {
    if (songs_.size() > size(k)) keep(k);
    std::sort(songs_.begin(), songs_.end());
    return songs_;
  }

 private:
  // Keeps the k best, the worst of them last.
  void keep(std::int64_t k) {
    std::nth_element(songs_.begin(), songs_.begin() + k - 1, songs_.end());
    songs_.resize(size(k));
  }

  std::vector<Candidate> songs_;
  float floor_ = kLowest;
};

// The best songs of a block of users.
class BestOfBlock {
 public:
  BestOfBlock(const RankingKernel& kernel, std::int64_t begin, std::int64_t end, std::int64_t k)
      : kernel_(kernel), begin_(begin), k_(k), of_users_(size(k > 0 ? end - begin : 0)) {
    found_.resize(size(kPieceSongs + kernel.tile_songs));
  }

  void offer(std::int64_t u, std::int64_t first, const float* scores, std::int64_t n) {
    of_users_[size(u - begin_)].offer(kernel_, scores, first, n, k_, found_.data());
  }

  void write(const TopOfUsers& top) {
    for (std::size_t i = 0; i < of_users_.size(); ++i) {
      const std::vector<Candidate>& best = of_users_[i].sorted(k_);
      const std::int64_t to = (begin_ + static_cast<std::int64_t>(i)) * k_;
      for (std::int64_t j = 0; j < k_; ++j) {
        const bool there = size(j) < best.size();
        top.songs[to + j] = there ? best[size(j)].song : -1;
        top.scores[to + j] = there ? best[size(j)].score : kNone;
      }
    }
  }

 private:
  const RankingKernel& kernel_;
  std::int64_t begin_, k_;
  std::vector<Best> of_users_;
  std::vector<std::int32_t> found_;
};

// The held-out songs of a block of users, and how many songs are above and level with each.
class RanksOfBlock {
 public:
  // `score` writes the scores of a user's held-out songs.
  template <class Score>
  RanksOfBlock(const RankingKernel& kernel, std::int64_t begin, std::int64_t end,
               const SongsOfUsers& heldout, const RanksOfUsers& out, Score&& score)
      : kernel_(kernel),
        begin_(begin),
        end_(end),
        heldout_(heldout),
        out_(out),
        ascending_(size(heldout.indptr[end] - heldout.indptr[begin])),
        more_(ascending_.size()),
        same_(ascending_.size()) {
    std::vector<Candidate> songs;
    std::vector<float> scores;
    for (std::int64_t u = begin; u < end; ++u) {
      const std::size_t n = size(heldout.count(u));
      songs.resize(n);
      scores.resize(n);
      score(u, scores.data());
      for (std::size_t j = 0; j < n; ++j) songs[j] = {scores[j], heldout.begin(u)[j]};
      std::sort(songs.begin(), songs.end());
      for (std::size_t j = 0; j < n; ++j) {
        out.songs[size(heldout.indptr[u]) + j] = songs[j].song;
        ascending_[from(u) + n - 1 - j] = songs[j].score;
      }
    }
  }

  void count(std::int64_t u, const float* scores, std::int64_t n) {
    const std::int64_t n_at = heldout_.count(u);
    const float* const at = ascending_.data() + from(u);
    std::int64_t* const more = more_.data() + from(u);
    std::int64_t* const same = same_.data() + from(u);
    if (n_at <= kScan) {
      kernel_.count(scores, n, at, n_at, more, same);
      return;
    }
    // Many: each score goes to its place among them. It is counted at the last one that it is
    // above, for all below to add up later, and at the first that it is level with.
    for (std::int64_t i = 0; i < n; ++i) {
      const std::int64_t place = below(at, n_at, scores[i]);
      if (place > 0) ++more[place - 1];
      if (place < n_at && at[place] == scores[i]) ++same[place];
    }
  }

  void write() {
    for (std::int64_t u = begin_; u < end_; ++u) {
      const std::int64_t n = heldout_.count(u);
      const float* const at = ascending_.data() + from(u);
      std::int64_t* const more = more_.data() + from(u);
      const std::int64_t* const same = same_.data() + from(u);
      if (n > kScan)
        for (std::int64_t j = n - 1; j > 0; --j) more[j - 1] += more[j];
      // Take away the held-out songs themselves: of a run of equal scores that ends before `last`,
      // those behind it are above and those in it level.
      for (std::int64_t first = 0, last; first < n; first = last) {
        for (last = first + 1; last < n && at[last] == at[first];) ++last;
        if (same[first] < last - first)
          throw std::logic_error("a held-out song is not level with itself: a score is NaN");
        for (std::int64_t j = first; j < last; ++j) {
          out_.above[heldout_.indptr[u + 1] - 1 - j] = more[j] - (n - last);
          out_.level[heldout_.indptr[u + 1] - 1 - j] = same[first] - (last - first);
        }
      }
    }
  }

 private:
  std::size_t from(std::int64_t u) const {
    return size(heldout_.indptr[u] - heldout_.indptr[begin_]);
  }

  const RankingKernel& kernel_;
  std::int64_t begin_, end_;
  const SongsOfUsers& heldout_;
  const RanksOfUsers& out_;
  // The scores of the held-out songs of each user, ascending, and beside them the songs above and
  // level: of all candidates at first.
  std::vector<float> ascending_;
  std::vector<std::int64_t> more_, same_;
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
          row[*song - first] = kNone;
        std::fill(row + n, row + (n + width - 1) / width * width, kNone);
        visit(u, first, row, n);
      }
    }
  }
}

void SongScores::rank(const float* users, std::int64_t n_users, const SongsOfUsers& heldout,
                      const SongsOfUsers& excluded, const RanksOfUsers& ranks,
                      const TopOfUsers& top, int n_threads) const {
  parallel_for(n_users, kBlockUsers, n_threads, [&](std::int64_t begin, std::int64_t end, int) {
    RanksOfBlock own(kernel_, begin, end, heldout, ranks, [&](std::int64_t u, float* scores) {
      kernel_.score_few(users + u * n_factors_, packed_.data()->lane, heldout.begin(u),
                        heldout.count(u), n_factors_, scores);
    });
    BestOfBlock best(kernel_, begin, end, top.k);
    for_scores(users, begin, end, excluded,
               [&](std::int64_t u, std::int64_t first, const float* scores, std::int64_t n) {
                 own.count(u, scores, n);
                 if (top.k > 0) best.offer(u, first, scores, n);
               });
    own.write();
    best.write(top);
  });
}

void SongScores::top(const float* users, std::int64_t n_users, const SongsOfUsers& excluded,
                     const TopOfUsers& top, int n_threads) const {
  parallel_for(n_users, kBlockUsers, n_threads, [&](std::int64_t begin, std::int64_t end, int) {
    BestOfBlock best(kernel_, begin, end, top.k);
    for_scores(users, begin, end, excluded,
               [&](std::int64_t u, std::int64_t first, const float* scores, std::int64_t n) {
                 best.offer(u, first, scores, n);
               });
    best.write(top);
  });
}

}  // namespace dcbmr
