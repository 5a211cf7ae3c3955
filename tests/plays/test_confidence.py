"""The confidence of weighted matrix factorization."""

import numpy as np
import pytest
from scipy.sparse import csr_array

import dcbmr
from dcbmr.plays.confidence import confidence_quantiles, surplus


def test_surplus():
    counts = csr_array(np.array([[1, 0, 10], [0, 100, 0]], np.float32))
    confidence = 1 + surplus(counts).toarray()
    np.testing.assert_allclose(confidence, [[28.631023, 1, 33.236191], [1, 37.841361, 1]], rtol=1e-6)
    for alpha, epsilon in [(0, 1), (-1, 1), (1, 0), (np.inf, 1), (1, np.nan)]:
        with pytest.raises(dcbmr.InputError, match="must be a positive number"):
            surplus(counts, alpha=alpha, epsilon=epsilon)


def test_quantiles_are_plays_and_their_confidence():
    counts = csr_array(np.array([[1, 0, 10], [0, 100, 0]], np.float32))
    found = confidence_quantiles(counts, alpha=2.0, epsilon=1e-6, at=(0, 0.5, 1))
    assert {q: plays for q, (plays, _) in found.items()} == {0: 1, 0.5: 10, 1: 100}
    assert found[1][1] == pytest.approx(37.841361)
