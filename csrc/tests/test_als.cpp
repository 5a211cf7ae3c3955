#include <algorithm>
#include <limits>

#include "als.h"
#include "check.h"

namespace {

using std::size_t;

constexpr double kLambda = 0.1;

// Rows of every length, the last of them `longest`.
struct Problem {
  std::int64_t n_rows, n_others, n_factors;
  std::vector<std::int64_t> indptr{0};
  std::vector<std::int32_t> indices;
  std::vector<float> surplus, others;

  Problem(std::int64_t rows, std::int64_t songs, std::int64_t factors, std::int64_t longest)
      : n_rows(rows), n_others(songs), n_factors(factors) {
    check::Draw draw(1);
    others = draw.normals(n_others * n_factors, 0.3F);
    for (std::int64_t row = 0; row < n_rows; ++row) {
      const std::int64_t n = row == n_rows - 1 ? longest : row * longest / n_rows;
      for (std::int64_t i = 0; i < n; ++i) {
        indices.push_back(static_cast<std::int32_t>((row + i * 7919) % n_others));
        surplus.push_back(std::abs(draw.normal()) * 20);
      }
      indptr.push_back(static_cast<std::int64_t>(indices.size()));
    }
  }

  dcbmr::PlayRows rows() const { return {n_rows, indptr.data(), indices.data(), surplus.data()}; }

  double gram(std::int64_t r, std::int64_t c) const {
    double sum = 0;
    for (std::int64_t i = 0; i < n_others; ++i)
      sum += static_cast<double>(others[size_t(i * n_factors + r)]) *
             static_cast<double>(others[size_t(i * n_factors + c)]);
    return sum;
  }

  // Left of the normal equations of a row, and their right, at x: zero where x solves them.
  double residual(std::int64_t row, const float* x) const {
    std::vector<double> left(static_cast<size_t>(n_factors)), right(left);
    for (std::int64_t r = 0; r < n_factors; ++r) {
      left[size_t(r)] = kLambda * static_cast<double>(x[r]);
      for (std::int64_t c = 0; c < n_factors; ++c)
        left[size_t(r)] += gram(r, c) * static_cast<double>(x[c]);
    }
    for (std::int64_t j = indptr[size_t(row)]; j < indptr[size_t(row) + 1]; ++j) {
      const float* const y = others.data() + indices[size_t(j)] * n_factors;
      const double s = static_cast<double>(surplus[size_t(j)]);
      double score = 0;
      for (std::int64_t c = 0; c < n_factors; ++c)
        score += static_cast<double>(x[c]) * static_cast<double>(y[c]);
      for (std::int64_t c = 0; c < n_factors; ++c) {
        left[size_t(c)] += s * score * static_cast<double>(y[c]);
        right[size_t(c)] += (1 + s) * static_cast<double>(y[c]);
      }
    }
    double worst = 0, scale = 1;
    for (std::int64_t c = 0; c < n_factors; ++c) {
      worst = std::max(worst, std::abs(left[size_t(c)] - right[size_t(c)]));
      scale = std::max(scale, std::abs(right[size_t(c)]));
    }
    return worst / scale;
  }
};

// Jacobi's method: turns pairs of columns until the matrix is diagonal.
void diagonalise(std::vector<double>& a, std::vector<double>& q, std::int64_t n) {
  const auto at = [n](std::vector<double>& m, std::int64_t r, std::int64_t c) -> double& {
    return m[size_t(r * n + c)];
  };
  q.assign(static_cast<size_t>(n * n), 0);
  for (std::int64_t i = 0; i < n; ++i) at(q, i, i) = 1;
  for (int sweep = 0; sweep < 12; ++sweep)
    for (std::int64_t p = 0; p < n; ++p)
      for (std::int64_t r = p + 1; r < n; ++r) {
        const double angle = 0.5 * std::atan2(2 * at(a, p, r), at(a, r, r) - at(a, p, p));
        const double c = std::cos(angle), s = std::sin(angle);
        const auto turn = [&](double& x, double& y) {
          const double old = x;
          x = c * old - s * y;
          y = s * old + c * y;
        };
        for (std::int64_t k = 0; k < n; ++k) turn(at(a, k, p), at(a, k, r));
        for (std::int64_t k = 0; k < n; ++k) turn(at(a, p, k), at(a, r, k));
        for (std::int64_t k = 0; k < n; ++k) turn(at(q, k, p), at(q, k, r));
      }
}

dcbmr::FixedFactors fixed(const Problem& problem) {
  const std::int64_t n = problem.n_factors;
  std::vector<double> gram(static_cast<size_t>(n * n)), vectors, values;
  dcbmr::gramian(problem.others.data(), problem.n_others, n, gram.data(), 2);
  for (std::int64_t r = 0; r < n; ++r)
    for (std::int64_t c = 0; c < n; ++c)
      CHECK(check::close(gram[size_t(r * n + c)], problem.gram(r, c), 1e-3));
  diagonalise(gram, vectors, n);
  for (std::int64_t i = 0; i < n; ++i) values.push_back(gram[size_t(i * n + i)]);
  return {problem.others.data(), problem.n_others, n, values.data(), vectors.data(), kLambda, 1, 2};
}

dcbmr::RowSums solve(const Problem& problem, const dcbmr::FixedFactors& others, int cg_steps,
                     int n_threads, std::vector<float>& out) {
  const dcbmr::SolveOptions options{nullptr, cg_steps, true, n_threads};
  dcbmr::RowSums sums;
  for (const dcbmr::RowSums& some :
       others.solve_rows(problem.rows(), options, 0, problem.n_rows, out.data())) {
    sums.observed += some.observed;
    sums.unobserved += some.unobserved;
    sums.regularization += some.regularization;
    sums.n_retried += some.n_retried;
  }
  return sums;
}

void rows_solve_the_normal_equations() {
  for (const std::int64_t n_factors : {1, 16, 21}) {
    const Problem problem(70, 90, n_factors, 60);
    const dcbmr::FixedFactors others = fixed(problem);
    std::vector<float> exact(static_cast<size_t>(70 * n_factors)), other(exact), by_cg(exact);
    const dcbmr::RowSums sums = solve(problem, others, 0, 1, exact);
    CHECK(sums.n_retried == 0);
    for (std::int64_t row = 0; row < 70; ++row)
      CHECK(problem.residual(row, exact.data() + row * n_factors) < 1e-4);
    CHECK(solve(problem, others, 0, 4, other).observed == sums.observed);
    CHECK(other == exact);
    solve(problem, others, 60, 3, by_cg);
    for (std::int64_t row = 0; row < 70; ++row)
      CHECK(problem.residual(row, by_cg.data() + row * n_factors) < 1e-3);
  }
}

// Also where its own length is far from theirs, and where float32 does not do for one of them.
void rows_do_not_depend_on_their_neighbours() {
  for (const std::int64_t n_factors : {5, 50, 70}) {
    Problem problem(40, 90, n_factors, 300);
    std::fill(problem.surplus.begin() + problem.indptr[30],
              problem.surplus.begin() + problem.indptr[31], 3e38F);
    const dcbmr::FixedFactors others = fixed(problem);
    std::vector<float> together(static_cast<size_t>(40 * n_factors)), alone(together);
    CHECK(solve(problem, others, 0, 3, together).n_retried == 1);
    const dcbmr::SolveOptions options{nullptr, 0, true, 1};
    for (std::int64_t row = 0; row < 40; ++row)
      others.solve_rows(problem.rows(), options, row, row + 1, alone.data());
    CHECK(alone == together);
    for (std::int64_t row = 0; row < 40; ++row)
      CHECK(row == 30 || problem.residual(row, alone.data() + row * n_factors) < 1e-3);
  }
}

void huge_row_is_shared() {
  const Problem problem(2, 20'000, 5, 20'000);
  const dcbmr::FixedFactors others = fixed(problem);
  std::vector<float> alone(10), shared(10);
  solve(problem, others, 0, 1, alone);
  solve(problem, others, 0, 4, shared);
  CHECK(alone == shared);
  CHECK(problem.residual(1, alone.data() + 5) < 1e-3);
}

void failures_are_solved_in_double() {
  Problem problem(1, 9, 2, 9);
  std::fill(problem.surplus.begin(), problem.surplus.end(), 3e38F);
  const dcbmr::FixedFactors others = fixed(problem);
  std::vector<float> row(2);
  CHECK(solve(problem, others, 0, 1, row).n_retried == 1);
  row = {std::numeric_limits<float>::quiet_NaN(), 0};
  CHECK(solve(problem, others, 3, 1, row).n_retried == 1);
  CHECK(std::isfinite(row[0]) && std::isfinite(row[1]));
}

// Of the set that the fixed factors were made with, whatever is set since.
void a_set_is_kept() {
  const Problem problem(70, 90, 21, 60);
  const dcbmr::FixedFactors others = fixed(problem);
  std::vector<float> before(70 * 21), after(before);
  solve(problem, others, 0, 2, before);
  const dcbmr::Isa set = dcbmr::isa();
  dcbmr::set_isa(dcbmr::Isa::portable);
  solve(problem, others, 0, 2, after);
  dcbmr::set_isa(set);
  CHECK(after == before);
}

}  // namespace

TESTS(rows_solve_the_normal_equations, rows_do_not_depend_on_their_neighbours, huge_row_is_shared,
      failures_are_solved_in_double, a_set_is_kept)
