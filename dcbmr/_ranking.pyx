# cython: boundscheck=False, wraparound=False, cdivision=True, initializedcheck=False
"""Ranks of held-out songs out of a block of scores; private, see dcbmr/metrics.py.

Nothing is sorted but the few scores of the held-out songs themselves: a rank is a count of the songs
above. Up to ``SCAN`` of them are counted by scans of the whole row, which the compiler vectorizes; more by
looking every song up among the sorted held-out scores.
"""

from libc.stdint cimport int32_t, int64_t
from libcpp.algorithm cimport sort
from libcpp.vector cimport vector

cdef Py_ssize_t SCAN = 48


cdef void scan(
    const float* row, Py_ssize_t n_songs, const float* at, Py_ssize_t n, int64_t* above, int64_t* same
) noexcept nogil:
    """Count the songs above, and level with, each of the ``n`` scores ``at``."""
    cdef Py_ssize_t i, j
    cdef float s, t
    cdef int32_t more, equal
    for j in range(n):
        t = at[j]
        more = 0
        equal = 0
        for i in range(n_songs):
            s = row[i]
            more += s > t
            equal += s == t
        above[j] = more
        same[j] = equal


cdef void look_up(
    const float* row, Py_ssize_t n_songs, const float* at, Py_ssize_t n, int64_t* above, int64_t* same
) noexcept nogil:
    """Count the same for many scores, which ascend: each song goes to its place among them."""
    cdef Py_ssize_t i, j, left, half, first
    cdef int64_t total = 0
    cdef float s
    for j in range(n):
        above[j] = 0
        same[j] = 0
    for i in range(n_songs):
        s = row[i]
        j = 0
        left = n
        while left > 1:
            half = left >> 1
            j += half if at[j + half - 1] < s else 0
            left -= half
        j += at[j] < s
        # The song is above the scores before j, and level with j or below it; of equal scores j is the
        # first, so that a run of equals gets all its songs at its last element.
        if j > 0:
            above[j - 1] += 1
        if j < n and at[j] == s:
            same[j] += 1
    for j in range(n - 1, -1, -1):
        total += above[j]
        above[j] = total
    first = 0
    for j in range(n):
        if at[j] != at[first]:
            first = j
        same[j] = same[first]


def count_above(
    const float[:, ::1] scores not None,
    Py_ssize_t n_songs,
    const int64_t[::1] indptr not None,
    const int32_t[::1] indices not None,
    int64_t[::1] above not None,
    int64_t[::1] level not None,
):
    """Count, for each held-out song of each user, the other songs above it and level with it.

    Parameters
    ----------
    scores : ndarray of shape (at least n_users, at least n_songs), float32, no NaN
        Row ``u`` belongs to user ``u`` of ``indptr``; columns from ``n_songs`` on are padding.
    n_songs : int
        Candidates of every user.
    indptr : ndarray of shape (n_users + 1,), int64
        The held-out songs of user ``u`` are ``indices[indptr[u]:indptr[u + 1]]``, without duplicates.
    indices : ndarray of shape (n,), int32
        Columns of ``scores``, below ``n_songs``.
    above, level : ndarray of shape (n,), int64
        Written: how many songs of the candidates that the user does not hold out score more, and how many
        the same. A user's songs are in the order of their scores, the highest first.
    """
    cdef Py_ssize_t n_users = indptr.shape[0] - 1
    cdef Py_ssize_t u, begin, end, n, i, j, first
    cdef vector[float] at
    cdef vector[int64_t] more, same
    cdef const float* row
    if n_songs >= 2**31 - 1 or n_songs > scores.shape[1] or n_users > scores.shape[0] or n_users < 0:
        raise ValueError("scores has too few rows or columns, or too many songs")
    if above.shape[0] != indices.shape[0] or level.shape[0] != indices.shape[0]:
        raise ValueError("above and level need one element for each of indices")
    if indptr[0] < 0 or indptr[n_users] > indices.shape[0]:
        raise ValueError("indptr does not fit indices")
    for u in range(n_users):
        if indptr[u] > indptr[u + 1]:
            raise ValueError("indptr must not descend")
    for i in range(indptr[0], indptr[n_users]):
        if not 0 <= indices[i] < n_songs:
            raise IndexError("a held-out song is no column of scores")
    with nogil:
        for u in range(n_users):
            begin = indptr[u]
            end = indptr[u + 1]
            n = end - begin
            if n == 0:
                continue
            row = &scores[u, 0]
            at.resize(n)
            more.resize(n)
            same.resize(n)
            for j in range(n):
                at[j] = row[indices[begin + j]]
            sort(at.begin(), at.end())
            if n <= SCAN:
                scan(row, n_songs, at.data(), n, more.data(), same.data())
            else:
                look_up(row, n_songs, at.data(), n, more.data(), same.data())
            # Take away the held-out songs themselves: a run of equal scores from `first` to `i`, above
            # which lie the n - 1 - i that follow.
            first = 0
            while first < n:
                i = first
                while i + 1 < n and at[i + 1] == at[first]:
                    i += 1
                for j in range(first, i + 1):
                    above[end - 1 - j] = more[j] - (n - 1 - i)
                    level[end - 1 - j] = same[j] - (i + 1 - first)
                first = i + 1
