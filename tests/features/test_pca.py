"""Principal components against scikit-learn."""

import numpy as np
import pytest
from scipy.sparse import csr_array

from dcbmr import InputError
from dcbmr.features.pca import PCA


@pytest.fixture
def rng():
    return np.random.default_rng(0)


def counts(rng, n_rows, n_dims):
    rates = np.geomspace(0.05, 20, n_dims) * rng.lognormal(size=(n_rows, 1)) ** rng.normal(size=n_dims)
    return rng.poisson(np.minimum(rates, 100)).astype(np.float32)


@pytest.mark.parametrize("form", [np.asarray, csr_array])
@pytest.mark.parametrize(("n_rows", "n_dims"), [(300, 40), (30, 80), (40, 40)])
@pytest.mark.parametrize("variance", [0.5, 0.95, 1.0])
def test_is_scikit_learns(monkeypatch, rng, form, n_rows, n_dims, variance):
    from sklearn.decomposition import PCA as Peer

    monkeypatch.setattr("dcbmr.features.pca._BLOCK_ROWS", 64)
    X = counts(rng, n_rows, n_dims)
    pca = PCA(variance=variance).fit(form(X))
    # n_components < 1 is a share for scikit-learn too; it keeps everything for None.
    peer = Peer(None if variance == 1 else variance, svd_solver="full").fit(X.astype(float))
    n = len(pca.components_)
    if variance == 1:
        assert n <= min(n_rows - 1, n_dims)
        assert pca.explained_variance_ratio_.sum() > 0.9999
    else:
        assert n == len(peer.components_)
        assert pca.explained_variance_ratio_.sum() >= variance > pca.explained_variance_ratio_[:-1].sum()
    np.testing.assert_allclose(pca.explained_variance_, peer.explained_variance_[:n], rtol=1e-3)
    np.testing.assert_allclose(pca.explained_variance_ratio_, peer.explained_variance_ratio_[:n], rtol=1e-3)
    alike = np.abs((pca.components_ * peer.components_[:n]).sum(axis=1))
    big = peer.explained_variance_[:n] > 1e-3 * peer.explained_variance_[0]
    np.testing.assert_allclose(alike[big], 1, atol=1e-3)
    reduced = pca.transform(form(X))
    np.testing.assert_allclose(reduced, (X - X.mean(axis=0)) @ pca.components_.T, rtol=1e-3, atol=1e-3)
    np.testing.assert_allclose(reduced.var(axis=0, ddof=1), pca.explained_variance_, rtol=1e-3)
    assert (reduced.dtype, reduced.shape) == (np.float32, (n_rows, n))
    np.testing.assert_allclose(pca.components_ @ pca.components_.T, np.eye(n), atol=1e-4)


@pytest.mark.parametrize(("n_dims", "variance"), [(1, 0.95), (2, 0.4), (60, 0.5), (60, 1.0)])
def test_dimensions_of_equal_variance_are_parted_at_right_angles(n_dims, variance):
    X = np.concatenate([np.eye(n_dims), -np.eye(n_dims)]).astype(np.float32)
    pca = PCA(variance=variance).fit(X)
    n = len(pca.components_)
    assert n == np.ceil(n_dims * variance)
    np.testing.assert_allclose(pca.components_ @ pca.components_.T, np.eye(n), atol=1e-5)
    np.testing.assert_allclose(pca.explained_variance_, 2 / (2 * n_dims - 1), rtol=1e-5)


def test_signs_are_fixed(rng):
    X = counts(rng, 100, 10)
    components = PCA(variance=1.0).fit(X).components_
    assert (components[np.arange(len(components)), np.abs(components).argmax(axis=1)] > 0).all()


def test_threads_change_nothing_that_counts(rng):
    X = counts(rng, 500, 60)
    one, two = (PCA(n_threads=n).fit(X) for n in (1, 2))
    np.testing.assert_allclose(one.explained_variance_, two.explained_variance_, rtol=1e-4)


def test_constant_dimensions_have_no_weight(rng):
    X = counts(rng, 100, 10)
    X[:, 3] = 5
    pca = PCA(variance=1.0).fit(X)
    np.testing.assert_allclose(pca.components_[:, 3], 0, atol=1e-5)
    assert len(pca.components_) == 9


def test_save_and_load(rng, tmp_path):
    X = counts(rng, 100, 10)
    pca = PCA(variance=0.9).fit(X)
    pca.save(tmp_path / "pca")
    loaded = PCA.load(tmp_path / "pca")
    assert loaded.variance == 0.9
    np.testing.assert_array_equal(loaded.transform(X), pca.transform(X))
    np.testing.assert_array_equal(loaded.explained_variance_ratio_, pca.explained_variance_ratio_)
    assert loaded.songs_ is None
    assert loaded.seen(["a"]) == []
    pca.fit(X, song_ids=map(str, range(100))).save(tmp_path / "pca", overwrite=True)
    assert PCA.load(tmp_path / "pca").seen(["a", "7", "100", "99"]) == ["7", "99"]
    (tmp_path / "pca" / "pca.safetensors").unlink()
    with pytest.raises(InputError, match="missing or damaged"):
        PCA.load(tmp_path / "pca")


def test_bad_input(rng):
    X = counts(rng, 20, 4)
    for variance in (0, -1, 1.5, np.nan):
        with pytest.raises(InputError, match="variance"):
            PCA(variance=variance).fit(X)
    with pytest.raises(InputError, match="at least 2 rows; got 1"):
        PCA().fit(X[:1])
    with pytest.raises(InputError, match="all 5 rows are equal"):
        PCA().fit(np.ones((5, 3), np.float32))
    with pytest.raises(InputError, match="finite"):
        PCA().fit(np.where(X > 3, np.nan, X))
    with pytest.raises(InputError, match="n_rows, n_dims"):
        PCA().fit(X[0])
    with pytest.raises(InputError, match="no components yet"):
        PCA().transform(X)
    with pytest.raises(InputError, match="3 dimensions, the components 4"):
        PCA().fit(X).transform(X[:, :3])
