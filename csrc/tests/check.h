// What the core's tests are written with; a test program is TESTS(one, another).
#pragma once

#include <cmath>
#include <cstdint>
#include <cstdio>
#include <exception>
#include <random>
#include <stdexcept>
#include <string>
#include <vector>

#include "isa.h"

namespace check {

inline int n_checks = 0, n_failures = 0;

inline void that(bool holds, const char* what, const char* file, int line) {
  ++n_checks;
  if (holds) return;
  if (++n_failures <= 20)
    std::printf("%s:%d (%s): %s\n", file, line, dcbmr::isa_name(dcbmr::isa()), what);
}

// Numbers that are the same in every run.
class Draw {
 public:
  explicit Draw(unsigned seed) : engine_(seed) {}
  float normal() { return static_cast<float>(normal_(engine_)); }
  std::int64_t below(std::int64_t n) {
    return std::uniform_int_distribution<std::int64_t>(0, n - 1)(engine_);
  }
  std::vector<float> normals(std::int64_t n, float scale = 1) {
    std::vector<float> values;
    for (std::int64_t i = 0; i < n; ++i) values.push_back(scale * normal());
    return values;
  }

 private:
  std::mt19937 engine_;
  std::normal_distribution<double> normal_;
};

inline bool close(double a, double b, double tolerance) {
  return std::isfinite(a) && std::abs(a - b) <= tolerance;
}

template <class Test>
void on_every_isa(Test test) {
  for (const dcbmr::Isa isa : {dcbmr::Isa::portable, dcbmr::Isa::avx2, dcbmr::Isa::avx512}) {
    try {
      dcbmr::set_isa(isa);
    } catch (const std::invalid_argument& error) {
      std::printf("skipped: %s\n", error.what());
      continue;
    }
    test();
  }
}

template <class... Tests>
int run(Tests... tests) {
  try {
    (on_every_isa(tests), ...);
  } catch (const std::exception& error) {
    std::printf("stopped by: %s\n", error.what());
    return 1;
  }
  std::printf("%d checks, %d failures\n", n_checks, n_failures);
  return n_failures ? 1 : 0;
}

}  // namespace check

#define CHECK(holds) ::check::that((holds), #holds, __FILE__, __LINE__)
#define TESTS(...) \
  int main() { return ::check::run(__VA_ARGS__); }
