// The door between Python and the core: check what memory safety needs, release the GIL, call,
// return. No arithmetic lives here, and no other file includes pybind11.
#include <pybind11/numpy.h>
#include <pybind11/pybind11.h>
#include <pybind11/stl.h>

#include <cstdint>
#include <limits>
#include <optional>
#include <stdexcept>

#include "isa.h"
#include "kmeans.h"
#include "ranking.h"

namespace py = pybind11;

namespace {

// Refuses other dtypes, other orders and copies: an output that was cast would be lost.
template <class T>
using Array = py::array_t<T, py::array::c_style>;

void bind_isa(py::module_& m) {
  m.def("isa", [] { return dcbmr::isa_name(dcbmr::isa()); });
  m.def(
      "set_isa", [](const char* name) { dcbmr::set_isa(dcbmr::isa_from_name(name)); },
      py::arg("name"));
}

void require(bool holds, const char* message) {
  if (!holds) throw std::invalid_argument(message);
}

void bind_kmeans(py::module_& m) {
  using dcbmr::NearestWord;
  py::class_<NearestWord>(m, "NearestWord")
      .def(py::init([](const Array<float>& words) {
             require(words.ndim() == 2 && words.size() > 0, "words must be (n_words, n_dims)");
             require(words.shape(0) <= std::numeric_limits<std::int32_t>::max(), "too many words");
             return NearestWord(words.data(), words.shape(0), words.shape(1));
           }),
           py::arg("words").noconvert())
      .def(
          "assign",
          [](const NearestWord& self, const Array<float>& frames, Array<std::int32_t>& labels,
             std::optional<Array<float>> distances, int n_threads) {
            require(frames.ndim() == 2 && frames.shape(1) == self.n_dims(),
                    "frames must be (n_frames, n_dims)");
            const std::int64_t n = frames.shape(0);
            require(labels.ndim() == 1 && labels.shape(0) == n, "labels must be (n_frames,)");
            require(!distances || (distances->ndim() == 1 && distances->shape(0) == n),
                    "distances must be (n_frames,)");
            const float* const in = frames.data();
            std::int32_t* const out = labels.mutable_data();
            float* const out_distances = distances ? distances->mutable_data() : nullptr;
            const py::gil_scoped_release release;
            self.assign(in, n, out, out_distances, n_threads);
          },
          py::arg("frames").noconvert(), py::arg("labels").noconvert(),
          py::arg("distances").noconvert(), py::arg("n_threads"));
  m.def(
      "add_to_words",
      [](const Array<float>& frames, const Array<std::int32_t>& labels, Array<double>& sums,
         Array<std::int64_t>& counts, int n_threads) {
        require(frames.ndim() == 2 && sums.ndim() == 2 && frames.shape(1) == sums.shape(1),
                "frames must be (n_frames, n_dims) and sums (n_words, n_dims)");
        require(labels.ndim() == 1 && labels.shape(0) == frames.shape(0),
                "labels must be (n_frames,)");
        require(counts.ndim() == 1 && counts.shape(0) == sums.shape(0),
                "counts must be (n_words,)");
        const float* const in = frames.data();
        const std::int32_t* const words = labels.data();
        const std::int64_t n = frames.shape(0), n_words = sums.shape(0), n_dims = sums.shape(1);
        double* const out = sums.mutable_data();
        std::int64_t* const out_counts = counts.mutable_data();
        const py::gil_scoped_release release;
        dcbmr::add_to_words(in, words, n, n_words, n_dims, out, out_counts, n_threads);
      },
      py::arg("frames").noconvert(), py::arg("labels").noconvert(), py::arg("sums").noconvert(),
      py::arg("counts").noconvert(), py::arg("n_threads"));
}

// Sparse rows with a row for each user, whose columns are songs.
void require_songs_of_users(const Array<std::int64_t>& indptr, const Array<std::int32_t>& indices,
                            std::int64_t n_users, std::int64_t n_songs) {
  require(indptr.ndim() == 1 && indptr.shape(0) == n_users + 1, "indptr must be (n_users + 1,)");
  require(indices.ndim() == 1, "indices must be (n,)");
  const std::int64_t* const at = indptr.data();
  require(at[0] == 0 && at[n_users] == indices.shape(0), "indptr must run from 0 to len(indices)");
  for (std::int64_t u = 0; u < n_users; ++u) require(at[u] <= at[u + 1], "indptr must not descend");
  const std::int32_t* const song = indices.data();
  for (std::int64_t j = 0; j < indices.shape(0); ++j)
    require(0 <= song[j] && song[j] < n_songs, "indices must name songs");
}

void bind_ranking(py::module_& m) {
  using dcbmr::SongScores;
  py::class_<SongScores>(m, "SongScores")
      .def(py::init([](const Array<float>& songs) {
             require(songs.ndim() == 2 && songs.size() > 0, "songs must be (n_songs, n_factors)");
             require(songs.shape(0) <= std::numeric_limits<std::int32_t>::max(), "too many songs");
             const float* const in = songs.data();
             const std::int64_t n_songs = songs.shape(0), n_factors = songs.shape(1);
             const py::gil_scoped_release release;
             return SongScores(in, n_songs, n_factors);
           }),
           py::arg("songs").noconvert())
      .def(
          "rank",
          [](const SongScores& self, const Array<float>& users, const Array<std::int64_t>& indptr,
             const Array<std::int32_t>& indices, Array<std::int64_t>& above,
             Array<std::int64_t>& level, int n_threads) {
            require(users.ndim() == 2 && users.shape(1) == self.n_factors(),
                    "users must be (n_users, n_factors)");
            const std::int64_t n_users = users.shape(0);
            require_songs_of_users(indptr, indices, n_users, self.n_songs());
            for (const auto* out : {&above, &level})
              require(out->ndim() == 1 && out->shape(0) == indices.shape(0),
                      "above and level must be as long as indices");
            const float* const in = users.data();
            const std::int64_t* const in_indptr = indptr.data();
            const std::int32_t* const in_indices = indices.data();
            std::int64_t* const out_above = above.mutable_data();
            std::int64_t* const out_level = level.mutable_data();
            const py::gil_scoped_release release;
            self.rank(in, n_users, in_indptr, in_indices, out_above, out_level, n_threads);
          },
          py::arg("users").noconvert(), py::arg("indptr").noconvert(),
          py::arg("indices").noconvert(), py::arg("above").noconvert(),
          py::arg("level").noconvert(), py::arg("n_threads"))
      .def(
          "top",
          [](const SongScores& self, const Array<float>& users, const Array<std::int64_t>& indptr,
             const Array<std::int32_t>& indices, Array<std::int64_t>& songs, Array<float>& scores,
             int n_threads) {
            require(users.ndim() == 2 && users.shape(1) == self.n_factors(),
                    "users must be (n_users, n_factors)");
            const std::int64_t n_users = users.shape(0);
            require_songs_of_users(indptr, indices, n_users, self.n_songs());
            require(songs.ndim() == 2 && songs.shape(0) == n_users && songs.shape(1) > 0,
                    "songs must be (n_users, k)");
            const std::int64_t k = songs.shape(1);
            require(scores.ndim() == 2 && scores.shape(0) == n_users && scores.shape(1) == k,
                    "scores must be (n_users, k)");
            const float* const in = users.data();
            const std::int64_t* const in_indptr = indptr.data();
            const std::int32_t* const in_indices = indices.data();
            std::int64_t* const out_songs = songs.mutable_data();
            float* const out_scores = scores.mutable_data();
            const py::gil_scoped_release release;
            self.top(in, n_users, in_indptr, in_indices, k, out_songs, out_scores, n_threads);
          },
          py::arg("users").noconvert(), py::arg("indptr").noconvert(),
          py::arg("indices").noconvert(), py::arg("songs").noconvert(),
          py::arg("scores").noconvert(), py::arg("n_threads"));
}

}  // namespace

PYBIND11_MODULE(_core, m, py::mod_gil_not_used()) {
  m.doc() = "The numeric core of dcbmr; private, see the Python modules that call it.";
  bind_isa(m);
  bind_kmeans(m);
  bind_ranking(m);
}
