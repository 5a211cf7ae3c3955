#include <algorithm>
#include <numeric>

#include "check.h"
#include "ranking.h"

namespace {

using std::size_t;

// Songs on a coarse grid, so that many scores tie and float32 sums are exact.
std::vector<float> grid(check::Draw& draw, std::int64_t n) {
  std::vector<float> values;
  for (std::int64_t i = 0; i < n; ++i)
    values.push_back(static_cast<float>(draw.below(5)) / 4 - 0.5F);
  return values;
}

void ranks_and_best_songs() {
  check::Draw draw(5);
  const std::int64_t n_users = 250, n_songs = 700, n_factors = 6, k = 10;
  const std::vector<float> users = grid(draw, n_users * n_factors);
  const std::vector<float> songs = grid(draw, n_songs * n_factors);
  std::vector<std::int64_t> indptr{0};
  std::vector<std::int32_t> heldout;
  for (std::int64_t u = 0; u < n_users; ++u) {
    const std::int64_t n = u % 3 == 0 ? 80 : u % 5;  // below and above what is scanned
    for (std::int64_t i = 0; i < n; ++i)
      heldout.push_back(static_cast<std::int32_t>(i * 8 + u % 8));
    indptr.push_back(static_cast<std::int64_t>(heldout.size()));
  }
  // Every third song that is not held out is excluded.
  std::vector<std::int64_t> excluded_indptr{0};
  std::vector<std::int32_t> excluded_songs;
  for (size_t u = 0; u < static_cast<size_t>(n_users); ++u) {
    for (std::int32_t s = static_cast<std::int32_t>(u % 3); s < n_songs; s += 3)
      if (!std::binary_search(heldout.begin() + indptr[u], heldout.begin() + indptr[u + 1], s))
        excluded_songs.push_back(s);
    excluded_indptr.push_back(static_cast<std::int64_t>(excluded_songs.size()));
  }
  const dcbmr::SongsOfUsers own{indptr.data(), heldout.data()};
  const dcbmr::SongsOfUsers excluded{excluded_indptr.data(), excluded_songs.data()};
  const dcbmr::SongScores scores(songs.data(), n_songs, n_factors);
  std::vector<std::int64_t> above(heldout.size()), level(above), above2(above), level2(above);
  std::vector<std::int32_t> order(heldout.size()), order2(order);
  std::vector<std::int64_t> best(static_cast<size_t>(n_users * k)), best2(best);
  std::vector<float> of_best(static_cast<size_t>(n_users * k));
  const dcbmr::RanksOfUsers ranks{order.data(), above.data(), level.data()};
  const dcbmr::RanksOfUsers ranks2{order2.data(), above2.data(), level2.data()};
  const dcbmr::TopOfUsers top{k, best.data(), of_best.data()};
  const dcbmr::TopOfUsers top2{k, best2.data(), of_best.data()};
  scores.rank(users.data(), n_users, own, excluded, ranks, top, 1);
  scores.rank(users.data(), n_users, own, excluded, ranks2, {0, nullptr, nullptr}, 4);
  CHECK(order == order2 && above == above2 && level == level2);
  scores.top(users.data(), n_users, excluded, top2, 4);
  CHECK(best == best2);

  for (std::int64_t u = 0; u < n_users; ++u) {
    std::vector<float> score(static_cast<size_t>(n_songs));
    for (std::int64_t s = 0; s < n_songs; ++s)
      for (std::int64_t d = 0; d < n_factors; ++d)
        score[size_t(s)] += users[size_t(u * n_factors + d)] * songs[size_t(s * n_factors + d)];
    const auto first = heldout.begin() + indptr[size_t(u)];
    const auto last = heldout.begin() + indptr[size_t(u) + 1];
    const auto out = excluded_songs.begin() + excluded_indptr[size_t(u)];
    const auto out_end = excluded_songs.begin() + excluded_indptr[size_t(u) + 1];
    const auto better = [&](std::int32_t a, std::int32_t b) {
      return score[size_t(a)] > score[size_t(b)];
    };
    std::vector<std::int32_t> candidates;
    for (std::int32_t s = 0; s < n_songs; ++s)
      if (!std::binary_search(out, out_end, s)) candidates.push_back(s);
    std::stable_sort(candidates.begin(), candidates.end(), better);
    for (std::int64_t j = 0; j < k; ++j) {
      CHECK(best[size_t(u * k + j)] == candidates[size_t(j)]);
      CHECK(of_best[size_t(u * k + j)] == score[size_t(candidates[size_t(j)])]);
    }
    std::vector<std::int32_t> mine(first, last);
    std::stable_sort(mine.begin(), mine.end(), better);
    for (size_t j = 0; j < mine.size(); ++j) {
      const float at = score[size_t(mine[j])];
      std::int64_t more = 0, same = 0;
      for (const std::int32_t s : candidates) {
        if (std::binary_search(first, last, s)) continue;
        more += score[size_t(s)] > at;
        same += score[size_t(s)] == at;
      }
      CHECK(order[size_t(indptr[size_t(u)]) + j] == mine[j]);
      CHECK(above[size_t(indptr[size_t(u)]) + j] == more);
      CHECK(level[size_t(indptr[size_t(u)]) + j] == same);
    }
  }
}

}  // namespace

TESTS(ranks_and_best_songs)
