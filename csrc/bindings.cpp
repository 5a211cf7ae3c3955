// The door between Python and the core: check what memory safety needs, release the GIL, call,
// return. No arithmetic lives here, and no other file includes pybind11.
#include <pybind11/numpy.h>
#include <pybind11/pybind11.h>
#include <pybind11/stl.h>

#include <algorithm>
#include <cstdint>
#include <initializer_list>
#include <limits>
#include <memory>
#include <optional>
#include <stdexcept>
#include <string>
#include <utility>
#include <vector>

#include "als.h"
#include "caught_stderr.h"
#include "isa.h"
#include "kmeans.h"
#include "online_feature.h"
#include "ranking.h"
#include "stats.h"
#include "windows.h"

namespace py = pybind11;

namespace {

// Refuses other dtypes, other orders and copies: an output that was cast would be lost.
template <class T>
using Array = py::array_t<T, py::array::c_style>;

void want(bool holds, const char* message) {
  if (!holds) throw std::invalid_argument(message);
}

template <class T>
bool has_shape(const Array<T>& array, std::initializer_list<py::ssize_t> shape) {
  return array.ndim() == static_cast<py::ssize_t>(shape.size()) &&
         std::equal(shape.begin(), shape.end(), array.shape());
}

// Who played what, as Python holds it; checked once, for any number of solve_rows().
struct Plays {
  Array<std::int64_t> indptr;
  Array<std::int32_t> indices;
  Array<float> surplus;
  dcbmr::PlayRows rows;
  std::int64_t n_others;

  Plays(Array<std::int64_t> bounds, Array<std::int32_t> others, Array<float> data, py::ssize_t n)
      : indptr(std::move(bounds)),
        indices(std::move(others)),
        surplus(std::move(data)),
        n_others(n) {
    want(indptr.ndim() == 1 && indptr.size() > 0 && indices.ndim() == 1, "CSR arrays must be 1-D");
    want(has_shape(surplus, {indices.size()}), "surplus must be as long as indices");
    rows = {indptr.size() - 1, indptr.data(), indices.data(), surplus.data()};
    const py::ssize_t n_plays = indices.size();
    const py::gil_scoped_release release;
    want(rows.indptr[0] == 0 && rows.indptr[rows.n_rows] == n_plays &&
             std::is_sorted(rows.indptr, rows.indptr + rows.n_rows + 1),
         "indptr must rise from 0 to the length of indices");
    std::int32_t lowest = 0, highest = -1;
    for (std::int64_t i = 0; i < n_plays; ++i) {
      lowest = std::min(lowest, rows.indices[i]);
      highest = std::max(highest, rows.indices[i]);
    }
    want(lowest >= 0 && highest < n, "indices must be from 0 to n_others - 1");
  }
};

void bind_als(py::module_& m) {
  using dcbmr::FixedFactors;
  m.def(
      "gramian",
      [](const Array<float>& rows, int n_threads) {
        want(rows.ndim() == 2, "rows must be 2-D");
        want(n_threads >= 1, "n_threads must be at least 1");
        Array<double> out({rows.shape(1), rows.shape(1)});
        double* const to = out.mutable_data();
        {
          const py::gil_scoped_release release;
          dcbmr::gramian(rows.data(), rows.shape(0), rows.shape(1), to, n_threads);
        }
        return out;
      },
      py::arg("rows").noconvert(), py::arg("n_threads"));
  py::class_<Plays>(m, "Plays")
      .def(py::init<Array<std::int64_t>, Array<std::int32_t>, Array<float>, py::ssize_t>(),
           py::arg("indptr").noconvert(), py::arg("indices").noconvert(),
           py::arg("surplus").noconvert(), py::arg("n_others"));
  py::class_<FixedFactors>(m, "FixedFactors")
      .def(py::init([](const Array<float>& factors, const Array<double>& eigenvalues,
                       const Array<double>& eigenvectors, double regularization,
                       double unobserved_weight, int n_threads) {
             want(factors.ndim() == 2 && factors.shape(1) > 0, "factors must be (n, n_factors)");
             const py::ssize_t n_factors = factors.shape(1);
             want(has_shape(eigenvalues, {n_factors}), "eigenvalues must be (n_factors,)");
             want(has_shape(eigenvectors, {n_factors, n_factors}),
                  "eigenvectors must be (n_factors, n_factors)");
             want(regularization > 0, "regularization must be positive");
             want(n_threads >= 1, "n_threads must be at least 1");
             const py::gil_scoped_release release;
             return std::make_unique<FixedFactors>(factors.data(), factors.shape(0), n_factors,
                                                   eigenvalues.data(), eigenvectors.data(),
                                                   regularization, unobserved_weight, n_threads);
           }),
           py::arg("factors").noconvert(), py::arg("eigenvalues").noconvert(),
           py::arg("eigenvectors").noconvert(), py::kw_only(), py::arg("regularization"),
           py::arg("unobserved_weight"), py::arg("n_threads"))
      .def(
          "solve_rows",
          [](const FixedFactors& self, const Plays& plays,
             std::pair<std::int64_t, std::int64_t> rows, Array<float>& out,
             const std::optional<Array<double>>& regularization, int cg_steps, bool with_errors,
             int n_threads) {
            const auto [begin, end] = rows;
            const std::int64_t n_rows = plays.rows.n_rows;
            want(plays.n_others == self.n_rows(), "plays must be of as many others as factors");
            want(0 <= begin && begin <= end && end <= n_rows, "the range must lie within the rows");
            want(has_shape(out, {n_rows, self.n_factors()}),
                 "out must be of shape (n_rows, n_factors)");
            want(!regularization || has_shape(*regularization, {n_rows}),
                 "regularization must have one value a row");
            want(n_threads >= 1, "n_threads must be at least 1");
            const dcbmr::SolveOptions options{regularization ? regularization->data() : nullptr,
                                              cg_steps, with_errors, n_threads};
            float* const to = out.mutable_data();
            std::vector<dcbmr::RowSums> found;
            {
              const py::gil_scoped_release release;
              found = self.solve_rows(plays.rows, options, begin, end, to);
            }
            Array<double> sums({static_cast<py::ssize_t>(found.size()), py::ssize_t{4}});
            double* cell = sums.mutable_data();
            for (const dcbmr::RowSums& some : found)
              for (const double value : {some.observed, some.unobserved, some.regularization,
                                         static_cast<double>(some.n_retried)})
                *cell++ = value;
            return sums;
          },
          py::arg("plays"), py::arg("rows"), py::arg("out").noconvert(), py::kw_only(),
          py::arg("regularization").noconvert(), py::arg("cg_steps"), py::arg("with_errors"),
          py::arg("n_threads"));
}

void bind_isa(py::module_& m) {
  m.def("isa", [] { return dcbmr::isa_name(dcbmr::isa()); });
  m.def(
      "set_isa", [](const char* name) { dcbmr::set_isa(dcbmr::isa_from_name(name)); },
      py::arg("name"));
}

void bind_kmeans(py::module_& m) {
  using dcbmr::NearestWord;
  py::class_<NearestWord>(m, "NearestWord")
      .def(py::init([](const Array<float>& words, const std::optional<Array<float>>& scale) {
             want(words.ndim() == 2 && words.size() > 0, "words must be (n_words, n_dims)");
             want(words.shape(0) <= std::numeric_limits<std::int32_t>::max(), "too many words");
             want(!scale || (scale->ndim() == 1 && scale->shape(0) == words.shape(1)),
                  "scale must be (n_dims,)");
             const float* const scales = scale ? scale->data() : nullptr;
             const py::gil_scoped_release release;
             return std::make_unique<NearestWord>(words.data(), words.shape(0), words.shape(1),
                                                  scales);
           }),
           py::arg("words").noconvert(), py::arg("scale").noconvert() = py::none())
      .def(
          "assign",
          [](const NearestWord& self, const Array<float>& frames, Array<std::int32_t>& labels,
             std::optional<Array<float>> distances, int n_threads) {
            want(frames.ndim() == 2 && frames.shape(1) == self.n_dims(),
                 "frames must be (n_frames, n_dims)");
            const std::int64_t n = frames.shape(0);
            want(labels.ndim() == 1 && labels.shape(0) == n, "labels must be (n_frames,)");
            want(!distances || (distances->ndim() == 1 && distances->shape(0) == n),
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
        want(frames.ndim() == 2 && sums.ndim() == 2 && frames.shape(1) == sums.shape(1),
             "frames must be (n_frames, n_dims) and sums (n_words, n_dims)");
        want(labels.ndim() == 1 && labels.shape(0) == frames.shape(0),
             "labels must be (n_frames,)");
        want(counts.ndim() == 1 && counts.shape(0) == sums.shape(0), "counts must be (n_words,)");
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
dcbmr::SongsOfUsers songs_of_users(const Array<std::int64_t>& indptr,
                                   const Array<std::int32_t>& indices, std::int64_t n_users,
                                   std::int64_t n_songs) {
  want(indptr.ndim() == 1 && indptr.shape(0) == n_users + 1, "indptr must be (n_users + 1,)");
  want(indices.ndim() == 1, "indices must be (n,)");
  const std::int64_t* const at = indptr.data();
  want(at[0] == 0 && at[n_users] == indices.shape(0), "indptr must run from 0 to len(indices)");
  for (std::int64_t u = 0; u < n_users; ++u) want(at[u] <= at[u + 1], "indptr must not descend");
  const std::int32_t* const song = indices.data();
  for (std::int64_t j = 0; j < indices.shape(0); ++j)
    want(0 <= song[j] && song[j] < n_songs, "indices must name songs");
  return {at, song};
}

dcbmr::TopOfUsers top_of_users(Array<std::int64_t>& songs, Array<float>& scores,
                               std::int64_t n_users) {
  want(songs.ndim() == 2 && songs.shape(0) == n_users, "songs must be (n_users, k)");
  const std::int64_t k = songs.shape(1);
  want(has_shape(scores, {n_users, k}), "scores must be (n_users, k)");
  return {k, songs.mutable_data(), scores.mutable_data()};
}

void bind_ranking(py::module_& m) {
  using dcbmr::SongScores;
  py::class_<SongScores>(m, "SongScores")
      .def(py::init([](const Array<float>& songs) {
             want(songs.ndim() == 2 && songs.size() > 0, "songs must be (n_songs, n_factors)");
             want(songs.shape(0) <= std::numeric_limits<std::int32_t>::max(), "too many songs");
             const float* const in = songs.data();
             const std::int64_t n_songs = songs.shape(0), n_factors = songs.shape(1);
             const py::gil_scoped_release release;
             return SongScores(in, n_songs, n_factors);
           }),
           py::arg("songs").noconvert())
      .def(
          "rank",
          [](const SongScores& self, const Array<float>& users, const Array<std::int64_t>& indptr,
             const Array<std::int32_t>& indices, const Array<std::int64_t>& excluded_indptr,
             const Array<std::int32_t>& excluded_indices, Array<std::int32_t>& songs,
             Array<std::int64_t>& above, Array<std::int64_t>& level, Array<std::int64_t>& top_songs,
             Array<float>& top_scores, int n_threads) {
            want(users.ndim() == 2 && users.shape(1) == self.n_factors(),
                 "users must be (n_users, n_factors)");
            const std::int64_t n_users = users.shape(0);
            const auto heldout = songs_of_users(indptr, indices, n_users, self.n_songs());
            const auto excluded =
                songs_of_users(excluded_indptr, excluded_indices, n_users, self.n_songs());
            want(has_shape(songs, {indices.size()}) && has_shape(above, {indices.size()}) &&
                     has_shape(level, {indices.size()}),
                 "songs, above and level must be as long as indices");
            const float* const in = users.data();
            const dcbmr::RanksOfUsers ranks{songs.mutable_data(), above.mutable_data(),
                                            level.mutable_data()};
            const auto top = top_of_users(top_songs, top_scores, n_users);
            const py::gil_scoped_release release;
            self.rank(in, n_users, heldout, excluded, ranks, top, n_threads);
          },
          py::arg("users").noconvert(), py::arg("indptr").noconvert(),
          py::arg("indices").noconvert(), py::arg("excluded_indptr").noconvert(),
          py::arg("excluded_indices").noconvert(), py::arg("songs").noconvert(),
          py::arg("above").noconvert(), py::arg("level").noconvert(),
          py::arg("top_songs").noconvert(), py::arg("top_scores").noconvert(), py::arg("n_threads"))
      .def(
          "top",
          [](const SongScores& self, const Array<float>& users, const Array<std::int64_t>& indptr,
             const Array<std::int32_t>& indices, Array<std::int64_t>& songs, Array<float>& scores,
             int n_threads) {
            want(users.ndim() == 2 && users.shape(1) == self.n_factors(),
                 "users must be (n_users, n_factors)");
            const std::int64_t n_users = users.shape(0);
            const auto excluded = songs_of_users(indptr, indices, n_users, self.n_songs());
            const auto top = top_of_users(songs, scores, n_users);
            want(top.k > 0, "k must be at least 1");
            const float* const in = users.data();
            const py::gil_scoped_release release;
            self.top(in, n_users, excluded, top, n_threads);
          },
          py::arg("users").noconvert(), py::arg("indptr").noconvert(),
          py::arg("indices").noconvert(), py::arg("songs").noconvert(),
          py::arg("scores").noconvert(), py::arg("n_threads"));
}

// Frames that accept() or finish() are about to write; None for a kind that is not handed out.
struct Frames {
  py::object mel = py::none(), mfcc = py::none();
  float *mel_data = nullptr, *mfcc_data = nullptr;

  Frames(const dcbmr::FeaturePlan& plan, dcbmr::OnlineFeature::Counts counts) {
    if (plan.n_mel_dims()) allocate(mel, mel_data, counts.mel, plan.n_mel_dims());
    if (plan.n_mfcc_dims()) allocate(mfcc, mfcc_data, counts.mfcc, plan.n_mfcc_dims());
  }
  static void allocate(py::object& object, float*& data, py::ssize_t n_frames, int n_dims) {
    Array<float> array({n_frames, static_cast<py::ssize_t>(n_dims)});
    data = array.mutable_data();
    object = std::move(array);
  }
  py::tuple result() { return py::make_tuple(std::move(mel), std::move(mfcc)); }
};

void bind_features(py::module_& m) {
  using dcbmr::FeatureOptions;
  using dcbmr::FeaturePlan;
  using dcbmr::OnlineFeature;

  py::class_<FeaturePlan, std::shared_ptr<FeaturePlan>>(m, "FeaturePlan")
      .def(py::init([](double sr, int n_fft, int hop_length, int n_mels, double fmin, double fmax,
                       bool htk, bool area_norm, bool log_mel, int n_mfcc, int n_deltas) {
             FeatureOptions o;
             o.mel = {sr, n_fft, n_mels, fmin, fmax, htk, area_norm};
             o.hop_length = hop_length;
             o.log_mel = log_mel;
             o.n_mfcc = n_mfcc;
             o.n_deltas = n_deltas;
             return std::make_shared<FeaturePlan>(o);
           }),
           py::kw_only(), py::arg("sr"), py::arg("n_fft"), py::arg("hop_length"), py::arg("n_mels"),
           py::arg("fmin"), py::arg("fmax"), py::arg("htk"), py::arg("area_norm"),
           py::arg("log_mel"), py::arg("n_mfcc"), py::arg("n_deltas"));

  py::class_<OnlineFeature>(m, "OnlineFeature")
      .def(py::init([](std::shared_ptr<FeaturePlan> plan) {
             return std::make_unique<OnlineFeature>(std::move(plan));
           }),
           py::arg("plan").none(false))
      .def(
          "accept",
          [](OnlineFeature& self, const Array<float>& samples) {
            want(samples.ndim() == 1, "samples must be (n_samples,)");
            const OnlineFeature::Turn turn(self);
            const std::int64_t n = samples.size();
            const float* data = samples.data();
            std::int64_t bad;
            {
              const py::gil_scoped_release release;
              bad = self.first_nonfinite(data, n);
            }
            if (bad >= 0)
              throw std::invalid_argument("samples: sample " + std::to_string(bad) +
                                          " is NaN or infinite");
            Frames frames(self.plan(), self.ready_after(n));
            {
              const py::gil_scoped_release release;
              self.accept(data, n, frames.mel_data, frames.mfcc_data);
            }
            return frames.result();
          },
          py::arg("samples").noconvert())
      .def("finish", [](OnlineFeature& self) {
        const OnlineFeature::Turn turn(self);
        Frames frames(self.plan(), self.ready_at_end());
        {
          const py::gil_scoped_release release;
          self.finish(frames.mfcc_data);
        }
        return frames.result();
      });
}

void bind_stats(py::module_& m) {
  using dcbmr::OnlineStats;
  const auto accept = [](int n_columns, const Array<float>& rows, auto take) {
    want(rows.ndim() == 2 && rows.shape(1) == n_columns, "rows must be (n_frames, n_columns)");
    const float* const in = rows.data();
    const std::int64_t n = rows.shape(0);
    const py::gil_scoped_release release;
    take(in, n);
  };
  py::class_<OnlineStats>(m, "OnlineStats")
      .def(py::init([](int n_mels, int n_mfcc, int n_deltas, double frame_rate) {
             return std::make_unique<OnlineStats>(
                 dcbmr::StatsOptions{n_mels, n_mfcc, n_deltas, frame_rate});
           }),
           py::kw_only(), py::arg("n_mels"), py::arg("n_mfcc"), py::arg("n_deltas"),
           py::arg("frame_rate"))
      .def(
          "accept_mel",
          [accept](OnlineStats& self, const Array<float>& rows) {
            accept(self.options().n_mels, rows,
                   [&](const float* in, std::int64_t n) { self.accept_mel(in, n); });
          },
          py::arg("rows").noconvert())
      .def(
          "accept_mfcc",
          [accept](OnlineStats& self, const Array<float>& rows) {
            accept(self.options().n_mfcc * (1 + self.options().n_deltas), rows,
                   [&](const float* in, std::int64_t n) { self.accept_mfcc(in, n); });
          },
          py::arg("rows").noconvert())
      .def("finish", [](OnlineStats& self) {
        Array<float> out(self.n_dims());
        self.finish(out.mutable_data());
        return out;
      });
}

// Out is float, or std::uint16_t for half precision.
template <class Out>
void bind_read_windows(py::module_& m) {
  using Places = Array<std::int64_t>;
  m.def(
      "read_windows",
      [](const std::vector<Array<std::uint16_t>>& shards, const Places& shard, const Places& row,
         const Places& n_frames, const Places& start, Array<Out>& out) {
        want(out.ndim() == 3, "out must be (n_windows, length, n_dims)");
        const py::ssize_t n_windows = out.shape(0), length = out.shape(1), n_dims = out.shape(2);
        for (const Places* places : {&shard, &row, &n_frames, &start})
          want(has_shape(*places, {n_windows}), "shard, row, n_frames, start: one a window");
        for (const auto& frames : shards)
          want(frames.ndim() == 2 && frames.shape(1) == n_dims, "shards must be (n_rows, n_dims)");
        std::vector<dcbmr::Window> windows;
        windows.reserve(static_cast<std::size_t>(n_windows));
        for (py::ssize_t i = 0; i < n_windows; ++i) {
          const std::int64_t number = shard.data()[i], first = row.data()[i];
          const std::int64_t n = n_frames.data()[i], begin = start.data()[i];
          want(0 <= number && number < static_cast<std::int64_t>(shards.size()),
               "shard must be a place in shards");
          const auto& frames = shards[static_cast<std::size_t>(number)];
          want(0 <= first && 0 < n && n <= frames.shape(0) && first <= frames.shape(0) - n,
               "a song's frames must lie within its shard");
          want(0 <= begin && begin < n, "start must lie within the song");
          windows.push_back({frames.data() + first * n_dims, n, begin});
        }
        Out* const to = out.mutable_data();
        const py::gil_scoped_release release;
        dcbmr::read_windows(windows.data(), n_windows, length, n_dims, to);
      },
      py::arg("shards").noconvert(), py::arg("shard").noconvert(), py::arg("row").noconvert(),
      py::arg("n_frames").noconvert(), py::arg("start").noconvert(), py::arg("out").noconvert());
}

void bind_windows(py::module_& m) {
  m.def(
      "to_half",
      [](const Array<float>& single) {
        Array<std::uint16_t> half(
            std::vector<py::ssize_t>(single.shape(), single.shape() + single.ndim()));
        std::uint16_t* const to = half.mutable_data();
        {
          const py::gil_scoped_release release;
          dcbmr::to_half(single.data(), single.size(), to);
        }
        return half;
      },
      py::arg("single").noconvert());
  bind_read_windows<float>(m);
  bind_read_windows<std::uint16_t>(m);
}

void bind_stderr(py::module_& m) {
  m.def("catch_stderr", dcbmr::catch_stderr);
  m.def("caught_stderr", [] { return py::bytes(dcbmr::caught_stderr()); });
}

}  // namespace

PYBIND11_MODULE(_core, m, py::mod_gil_not_used()) {
  m.doc() = "The numeric core of dcbmr; private, see the Python modules that call it.";
  bind_als(m);
  bind_isa(m);
  bind_kmeans(m);
  bind_ranking(m);
  bind_features(m);
  bind_stats(m);
  bind_windows(m);
  bind_stderr(m);
}
