// The door between Python and the core: check what memory safety needs, release the GIL, call,
// return. No arithmetic lives here, and no other file includes pybind11.
#include <pybind11/numpy.h>
#include <pybind11/pybind11.h>

#include "isa.h"

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

}  // namespace

PYBIND11_MODULE(_core, m, py::mod_gil_not_used()) {
  m.doc() = "The numeric core of dcbmr; private, see the Python modules that call it.";
  bind_isa(m);
}
