#include <algorithm>
#include <type_traits>

#include "check.h"
#include "kmeans.h"

namespace {

using std::size_t;

static_assert(!std::is_copy_constructible_v<dcbmr::NearestWord> &&
              !std::is_copy_assignable_v<dcbmr::NearestWord>);

void nearest_word_is_nearest() {
  check::Draw draw(2);
  for (const std::int64_t n_words : {1, 5, 300}) {
    const std::int64_t n_frames = 1000, n_dims = 13;
    const std::vector<float> words = draw.normals(n_words * n_dims);
    const std::vector<float> frames = draw.normals(n_frames * n_dims);
    const dcbmr::NearestWord search(words.data(), n_words, n_dims);
    std::vector<std::int32_t> labels(static_cast<size_t>(n_frames)), again(labels);
    std::vector<float> distances(static_cast<size_t>(n_frames));
    search.assign(frames.data(), n_frames, labels.data(), distances.data(), 1);
    search.assign(frames.data(), n_frames, again.data(), nullptr, 4);
    CHECK(labels == again);
    for (std::int64_t f = 0; f < n_frames; ++f) {
      const auto distance = [&](std::int64_t word) {
        double sum = 0;
        for (std::int64_t d = 0; d < n_dims; ++d) {
          const double gap = static_cast<double>(frames[size_t(f * n_dims + d)]) -
                             static_cast<double>(words[size_t(word * n_dims + d)]);
          sum += gap * gap;
        }
        return sum;
      };
      double least = distance(0);
      for (std::int64_t word = 1; word < n_words; ++word) least = std::min(least, distance(word));
      CHECK(check::close(distance(labels[size_t(f)]), least, 1e-4));
      CHECK(check::close(static_cast<double>(distances[size_t(f)]), least, 1e-4));
    }
  }
}

void equal_words_are_the_first() {
  const std::vector<float> words(40 * 2, 0.5F), frames{0.5F, 0.5F, 9, 9};
  std::int32_t labels[2] = {-1, -1};
  dcbmr::NearestWord(words.data(), 40, 2).assign(frames.data(), 2, labels, nullptr, 1);
  CHECK(labels[0] == 0 && labels[1] == 0);
}

void scaled_is_as_if_the_input_were() {
  check::Draw draw(4);
  const std::int64_t n_words = 300, n_frames = 500, n_dims = 13;
  std::vector<float> words = draw.normals(n_words * n_dims);
  std::vector<float> frames = draw.normals(n_frames * n_dims);
  std::vector<float> scale;  // powers of two, which round nothing
  for (std::int64_t d = 0; d < n_dims; ++d) scale.push_back(d % 3 ? 4.0F : 0.25F);
  std::vector<std::int32_t> labels(static_cast<size_t>(n_frames)), again(labels);
  std::vector<float> distances(static_cast<size_t>(n_frames)), distances_again(distances);
  dcbmr::NearestWord(words.data(), n_words, n_dims, scale.data())
      .assign(frames.data(), n_frames, labels.data(), distances.data(), 1);
  for (size_t i = 0; i < words.size(); ++i) words[i] *= scale[i % scale.size()];
  for (size_t i = 0; i < frames.size(); ++i) frames[i] *= scale[i % scale.size()];
  dcbmr::NearestWord(words.data(), n_words, n_dims)
      .assign(frames.data(), n_frames, again.data(), distances_again.data(), 1);
  CHECK(labels == again && distances == distances_again);
}

void sums_do_not_depend_on_threads() {
  check::Draw draw(3);
  const std::int64_t n = 90'000, n_dims = 13, n_words = 50;
  const std::vector<float> frames = draw.normals(n * n_dims);
  std::vector<std::int32_t> labels;
  for (std::int64_t f = 0; f < n; ++f)
    labels.push_back(static_cast<std::int32_t>(draw.below(n_words)));
  std::vector<double> sums(static_cast<size_t>(n_words * n_dims)), again(sums), wanted(sums);
  std::vector<std::int64_t> counts(static_cast<size_t>(n_words)), counts_again(counts);
  dcbmr::add_to_words(frames.data(), labels.data(), n, n_words, n_dims, sums.data(), counts.data(),
                      1);
  dcbmr::add_to_words(frames.data(), labels.data(), n, n_words, n_dims, again.data(),
                      counts_again.data(), 4);
  for (std::int64_t f = 0; f < n; ++f)
    for (std::int64_t d = 0; d < n_dims; ++d)
      wanted[size_t(labels[size_t(f)] * n_dims + d)] +=
          static_cast<double>(frames[size_t(f * n_dims + d)]);
  CHECK(sums == wanted);
  CHECK(sums == again);
  CHECK(counts == counts_again);
}

}  // namespace

TESTS(nearest_word_is_nearest, equal_words_are_the_first, scaled_is_as_if_the_input_were,
      sums_do_not_depend_on_threads)
