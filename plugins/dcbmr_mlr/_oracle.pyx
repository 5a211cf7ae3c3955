# cython: boundscheck=False, wraparound=False, cdivision=True, initializedcheck=False
"""Separation oracles: the ranking of each query that violates its constraint most.

For one query let s be the scores of its items, P the number of relevant and N of irrelevant ones. A
ranking y enters the structural SVM only through which pairs it puts in which order: y_ij = 1 when the
relevant item i stands before the irrelevant item j, else -1. The oracle maximises

    loss(y) + sum_ij y_ij (s_i - s_j) / (P N)

In an optimal ranking the relevant items keep their order among themselves by score, and so do the
irrelevant ones: what is left to choose is how the two lists interleave. Swapping a pair (i, j) costs
2 (s_i - s_j) / (P N) of the second term.

AUC (loss = share of the pairs in the wrong order): each pair is on its own; j goes before i exactly when
1 > 2 (s_i - s_j).

MAP (loss = 1 - average precision; Yue, Finley, Radlinski and Joachims, SIGIR 2007): with the relevant items
i = 1..P and the irrelevant items j = 1..N each counted from the best, putting the j-th irrelevant item
before the i-th relevant one takes its precision from i / (i + j - 1) to i / (i + j). So j goes before the
relevant items k..P with the k (or none) that maximises

    sum_{i=k..P} [ i / (i + j - 1) - i / (i + j) ] / P - 2 (s_i - s_j) / (P N)

and the best k never falls from one j to the next: the choices fit together into one ranking.
"""

from libc.math cimport NAN
from libc.stdint cimport int8_t, int32_t, int64_t
from libcpp.algorithm cimport sort
from libcpp.utility cimport pair

from concurrent.futures import ThreadPoolExecutor

import numpy as np

# A score negated, so that ascending order is best first, with the item that has it; ties by item.
ctypedef pair[double, int32_t] Scored


cdef double auc_query(
    double* weights, Scored* relevant, int64_t n_relevant,
    Scored* irrelevant, int64_t n_irrelevant, int64_t* before,
) noexcept nogil:
    cdef int64_t low, high, middle, i, j, n_swapped = 0
    cdef double unit = 2.0 / (<double>n_relevant * <double>n_irrelevant)
    cdef double bar
    # Relevant items that j goes before: those from `low` on in the order best first.
    for j in range(n_irrelevant):
        bar = irrelevant[j].first - 0.5
        low, high = 0, n_relevant
        while low < high:
            middle = (low + high) // 2
            if relevant[middle].first > bar:
                high = middle
            else:
                low = middle + 1
        weights[irrelevant[j].second] = -unit * <double>(n_relevant - low)
        n_swapped += n_relevant - low
        if low < n_relevant:
            before[low] += 1
    for i in range(n_relevant):
        if i > 0:
            before[i] += before[i - 1]
        weights[relevant[i].second] = unit * <double>before[i]
    return 0.5 * unit * <double>n_swapped


cdef double map_query(
    double* weights, Scored* relevant, int64_t n_relevant,
    Scored* irrelevant, int64_t n_irrelevant, int64_t* before,
) noexcept nogil:
    cdef int64_t i, j, first, best = 0
    cdef double unit = 2.0 / (<double>n_relevant * <double>n_irrelevant)
    cdef double gain, best_gain, rank, precision = 0.0
    sort(irrelevant, irrelevant + n_irrelevant)
    for j in range(n_irrelevant):
        # Precisions in units of 1 / n_relevant; 0-based i and j: rank = (i + 1) + (j + 1).
        first, best, best_gain, gain = best, n_relevant, 0.0, 0.0
        for i in range(n_relevant - 1, first - 1, -1):
            rank = <double>(i + j + 2)
            gain += (
                <double>(i + 1) / (rank * (rank - 1.0) * <double>n_relevant)
                + unit * (relevant[i].first - irrelevant[j].first)
            )
            if gain > best_gain:
                best_gain = gain
                best = i
        if best == n_relevant:
            break  # nor does any later irrelevant item go before a relevant one
        weights[irrelevant[j].second] = -unit * <double>(n_relevant - best)
        before[best] += 1
    for i in range(n_relevant):
        if i > 0:
            before[i] += before[i - 1]
        weights[relevant[i].second] = unit * <double>before[i]
        precision += <double>(i + 1) / <double>(i + 1 + before[i])
    return 1.0 - precision / <double>n_relevant


cdef double one_query(
    bint use_map, const double* scores, const int8_t* relevance, int64_t n_items, double* weights,
    Scored* relevant, Scored* irrelevant, int64_t* before,
) noexcept nogil:
    cdef int64_t item, n_relevant = 0, n_irrelevant = 0
    for item in range(n_items):
        weights[item] = 0.0
        if scores[item] != scores[item]:
            return NAN  # which no sort survives
        if relevance[item] > 0:
            relevant[n_relevant] = Scored(-scores[item], <int32_t>item)
            before[n_relevant] = 0
            n_relevant += 1
        elif relevance[item] == 0:
            irrelevant[n_irrelevant] = Scored(-scores[item], <int32_t>item)
            n_irrelevant += 1
    if n_relevant == 0 or n_irrelevant == 0:
        return 0.0
    sort(relevant, relevant + n_relevant)
    if use_map:
        return map_query(weights, relevant, n_relevant, irrelevant, n_irrelevant, before)
    return auc_query(weights, relevant, n_relevant, irrelevant, n_irrelevant, before)


def _solve(
    bint use_map, const double[:, ::1] scores, const int8_t[:, ::1] relevance, double[::1] losses,
    double[:, ::1] weights, int64_t begin, int64_t end,
):
    """Find the rankings of the queries from ``begin`` to ``end``, without the GIL."""
    cdef int64_t n_items = scores.shape[1], query
    # The two lists, and how many irrelevant items go before a relevant one.
    cdef int8_t[:, ::1] lists = np.empty((2, n_items * sizeof(Scored)), np.int8)
    cdef int64_t[::1] before = np.empty(n_items, np.int64)
    with nogil:
        for query in range(begin, end):
            losses[query] = one_query(
                use_map, &scores[query, 0], &relevance[query, 0], n_items, &weights[query, 0],
                <Scored*>&lists[0, 0], <Scored*>&lists[1, 0], &before[0],
            )


def most_violated(
    const double[:, ::1] scores not None, const int8_t[:, ::1] relevance not None, str loss, int n_threads
):
    """Find the most violated ranking of every query.

    Parameters
    ----------
    scores : ndarray of shape (n_queries, n_items), float64, C-contiguous
        Higher is nearer; ValueError where one is NaN.
    relevance : ndarray of shape (n_queries, n_items), int8, C-contiguous
        1 relevant, 0 irrelevant, -1 not ranked for this query (the query itself).
    loss : {"auc", "map"}
        The loss of a ranking: 1 - AUC or 1 - average precision.
    n_threads : int
        At least 1; the result does not depend on it.

    Returns
    -------
    losses : ndarray of shape (n_queries,), float64
        The loss of that ranking; 0 for a query with no relevant or no irrelevant item.
    weights : ndarray of shape (n_queries, n_items), float64
        d/ds of what the right ranking scores above it: the violation of query q is
        ``losses[q] - weights[q] @ scores[q]``. Each row sums to zero.
    """
    cdef int64_t n_queries = scores.shape[0], n_items = scores.shape[1]
    if relevance.shape[0] != n_queries or relevance.shape[1] != n_items:
        raise ValueError(
            f"relevance has shape ({relevance.shape[0]}, {relevance.shape[1]}), "
            f"scores ({n_queries}, {n_items})"
        )
    if n_items > 2**31 - 1:
        raise ValueError(f"n_items must be below 2**31, got {n_items}")
    if n_threads < 1:
        raise ValueError(f"n_threads must be at least 1, got {n_threads}")
    if loss not in ("auc", "map"):
        raise ValueError(f"loss must be 'auc' or 'map', got {loss!r}")
    # A thread is not worth its waking for less than some milliseconds of work.
    n_threads = min(n_threads, 1 + n_queries * n_items // 2**18)
    losses = np.zeros(n_queries)
    weights = np.empty((n_queries, n_items))
    if n_queries == 0 or n_items == 0:
        return losses, weights
    # Several ranges a thread: queries differ in what they cost.
    grain = n_queries if n_threads == 1 else max(4, n_queries // (8 * n_threads))

    def solve_from(begin):
        end = min(begin + grain, n_queries)
        _solve(loss == "map", scores, relevance, losses, weights, begin, end)

    if n_threads == 1:
        solve_from(0)
    else:
        # Threads of Python, which OpenMP's of other packages do not meet, nor does fork() hang.
        with ThreadPoolExecutor(n_threads) as pool:
            list(pool.map(solve_from, range(0, n_queries, grain)))
    if np.isnan(losses).any():
        raise ValueError(f"scores hold NaN, first for query {np.isnan(losses).argmax()}")
    return losses, weights
