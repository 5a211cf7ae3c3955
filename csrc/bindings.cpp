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

}  // namespace

PYBIND11_MODULE(_core, m, py::mod_gil_not_used()) {
  m.doc() = "The numeric core of dcbmr; private, see the Python modules that call it.";
  bind_isa(m);
  bind_kmeans(m);
}
