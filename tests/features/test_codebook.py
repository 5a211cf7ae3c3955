"""Codebook and bag of words against a plain reference and scikit-learn."""

import itertools
import json
import re
import sys
import threading
import warnings
import zlib

import numpy as np
import pytest
import reference
from scipy.sparse import csr_array
from threadpoolctl import threadpool_limits

from dcbmr import PCA, Codebook, InputError, _core, bag_of_words, fit_codebook
from dcbmr.features.kmeans import inverse_deviations
from dcbmr.features.memory import VectorFeatures


@pytest.fixture
def rng():
    return np.random.default_rng(0)


class Frames:
    """Songs in memory, as the store would lend them."""

    kind = "mfcc"

    def __init__(self, songs, config=None):
        self.songs = songs
        self.song_ids = [f"s{i}" for i in range(len(songs))]
        self.n_dims = songs[0].shape[1]
        self.n_frames = np.array([len(s) for s in songs])
        self.settings = config or {}

    def frames(self, song):
        return self.songs[song]


def nearest(words, frames, n_threads=1, scale=None):
    labels = np.empty(len(frames), np.int32)
    distances = np.empty(len(frames), np.float32)
    _core.NearestWord(words, scale).assign(frames, labels, distances, n_threads)
    return labels, distances


def clusters(rng, n_frames, n_words, n_dims):
    """Frames like cepstra: far from the origin, of unequal scale, in clumps."""
    scale = np.geomspace(50, 0.1, n_dims)
    centres = rng.standard_normal((n_words, n_dims)) * scale
    frames = centres[rng.integers(n_words, size=n_frames)] + 0.3 * scale * rng.standard_normal(
        (n_frames, n_dims)
    )
    frames[:, 0] -= 400
    return frames.astype(np.float32)


@pytest.mark.parametrize("n_frames", [1, 7, 63, 64, 65, 500])
@pytest.mark.parametrize(("n_words", "n_dims"), [(1, 1), (2, 3), (47, 39), (48, 39), (49, 39), (500, 40)])
@pytest.mark.parametrize("scaled", [False, True])
def test_nearest_word(isa, rng, n_frames, n_words, n_dims, scaled):
    frames = clusters(rng, n_frames, 60, n_dims)
    words = clusters(rng, n_words, 60, n_dims)
    scale = (rng.random(n_dims) * np.geomspace(0.01, 10, n_dims)).astype(np.float32) if scaled else None
    labels, distances = nearest(words, frames, scale=scale)
    exact = reference.squared_distances(frames, words, 1.0 if scale is None else scale)
    rows = np.arange(n_frames)
    # The word found may be another one only where both are as near but for rounding.
    np.testing.assert_allclose(exact[rows, labels], exact.min(axis=1), rtol=1e-5)
    np.testing.assert_allclose(distances, exact[rows, labels], rtol=1e-5, atol=1e-10)


def test_skipping_groups_skips_no_nearest_word(isa, rng):
    """Every shape that the boxes of groups can take: tight, loose, flat, and frames far outside of all."""
    tight = clusters(rng, 900, 150, 39)
    near = tight[:503]
    flat = near.copy()
    flat[:, 5:] = 0
    for frames, words in [
        (tight[503:], near),
        (tight[503:] * 100, near),
        (np.full((130, 39), 1e4, np.float32), near),
        (tight[503:], flat),
        (
            rng.standard_normal((300, 39)).astype(np.float32),
            rng.standard_normal((500, 39)).astype(np.float32),
        ),
    ]:
        labels, _ = nearest(words, frames)
        exact = reference.squared_distances(frames, words)
        np.testing.assert_allclose(exact[np.arange(len(frames)), labels], exact.min(axis=1), rtol=1e-5)


def test_words_that_differ_where_nothing_counts_are_equal(isa, rng):
    words = rng.integers(-1, 2, (300, 5)).astype(np.float32)
    words[:, 3] = rng.random(300)
    labels, distances = nearest(words, words, scale=np.array([1, 2, 0.5, 0, 1], np.float32))
    seen = words[:, [0, 1, 2, 4]]
    np.testing.assert_array_equal(labels, [np.flatnonzero((seen == w).all(axis=1))[0] for w in seen])
    np.testing.assert_array_equal(distances, 0)


def test_the_lowest_of_equal_words_wins(isa, rng):
    distinct = rng.integers(-1, 2, (300, 5)).astype(np.float32)
    words = np.concatenate([distinct, distinct[::-1]])
    labels, distances = nearest(words, words)
    np.testing.assert_array_equal(labels, [np.flatnonzero((words == w).all(axis=1))[0] for w in words])
    np.testing.assert_array_equal(distances, 0)


def test_threads_and_company_change_nothing(isa, rng):
    frames, words = clusters(rng, 10_003, 60, 39), clusters(rng, 301, 60, 39)
    labels, distances = nearest(words, frames, 1)
    for n_threads in (2, 3, 7):
        many = nearest(words, frames, n_threads)
        np.testing.assert_array_equal(many[0], labels)
        np.testing.assert_array_equal(many[1], distances)
    one_by_one = [nearest(words, frames[i : i + 1])[0][0] for i in range(100)]
    np.testing.assert_array_equal(one_by_one, labels[:100])


def test_sums_of_words(rng):
    frames = rng.standard_normal((5000, 6)).astype(np.float32)
    labels = rng.integers(0, 50, 5000).astype(np.int32)
    results = []
    for n_threads, cuts in [(1, [0, 5000]), (2, [0, 5000]), (7, [0, 1, 3333, 5000])]:
        sums, counts = np.zeros((50, 6)), np.zeros(50, np.int64)
        for a, b in itertools.pairwise(cuts):
            _core.add_to_words(frames[a:b], labels[a:b], sums, counts, n_threads)
        results.append((sums, counts))
    expected = np.zeros((50, 6))
    np.add.at(expected, labels, frames.astype(float))
    np.testing.assert_allclose(results[0][0], expected, rtol=1e-12)
    np.testing.assert_array_equal(results[0][1], np.bincount(labels, minlength=50))
    for sums, counts in results[1:]:
        np.testing.assert_array_equal(sums, results[0][0])
        np.testing.assert_array_equal(counts, results[0][1])


def test_kernel_refuses_what_it_cannot_use():
    words = np.zeros((3, 2), np.float32)
    search = _core.NearestWord(words)
    good = np.zeros((4, 2), np.float32), np.zeros(4, np.int32), np.zeros(4, np.float32)
    search.assign(*good, 1)
    for bad in [
        (good[0][:, :1].copy(), good[1], good[2]),
        (good[0], good[1][:3], good[2]),
        (good[0], good[1], good[2][:3]),
    ]:
        with pytest.raises(ValueError, match="must be"):
            search.assign(*bad, 1)
    for bad in [
        (good[0].astype(float), good[1], good[2]),
        (good[0], good[1].astype(np.int64), good[2]),
        (np.asfortranarray(good[0]), good[1], good[2]),
    ]:
        with pytest.raises(TypeError):
            search.assign(*bad, 1)
    with pytest.raises(ValueError, match="words"):
        _core.NearestWord(words[:0])
    with pytest.raises(ValueError, match="scale"):
        _core.NearestWord(words, np.ones(3, np.float32))


def test_packing_words_holds_up_nobody(rng):
    words = rng.standard_normal((100_000, 39)).astype(np.float32)
    begun, packed, interval = threading.Event(), [], sys.getswitchinterval()

    def work():
        begun.set()
        packed.append(_core.NearestWord(words))

    sys.setswitchinterval(1000)  # whoever has the GIL gives it up on purpose only
    try:
        thread = threading.Thread(target=work)
        thread.start()
        begun.wait()
        assert not packed
        thread.join()
    finally:
        sys.setswitchinterval(interval)
    assert packed


@pytest.mark.parametrize("standardize", [True, False])
def test_one_step_is_lloyds(rng, standardize):
    frames = clusters(rng, 3000, 20, 8)
    codebook = Codebook(n_words=20, n_iterations=0, standardize=standardize).fit(frames)
    scale = 1 / frames.std(axis=0, dtype=float) if standardize else 1.0
    labels, inertia, moved = reference.lloyd_step(frames, codebook.words_, scale)
    np.testing.assert_array_equal(codebook.assign(frames), labels)
    assert codebook.inertia_ == pytest.approx(inertia, rel=1e-5)
    stepped = Codebook(n_words=20, n_iterations=1, standardize=standardize).fit(frames)
    np.testing.assert_allclose(stepped.words_, moved, rtol=1e-4, atol=1e-4)


def test_standardization_makes_units_of_dimensions_nothing(rng):
    """What is left of them is rounding; without standardization they decide which words there are."""
    frames = clusters(rng, 3000, 20, 6)
    units = np.array([1e-3, 1, 100, 7, 0.1, 50], np.float32)

    def words(frames, **options):
        return Codebook(n_words=20, n_iterations=3, **options).fit(frames)

    ours, other = words(frames), words(frames * units + 300)
    np.testing.assert_array_equal(ours.assign(frames), other.assign(frames * units + 300))
    np.testing.assert_allclose(other.words_, ours.words_ * units + 300, rtol=1e-4)
    raw, other = words(frames, standardize=False), words(frames * units, standardize=False)
    assert (raw.assign(frames) != other.assign(frames * units)).mean() > 0.2


def test_words_of_standardized_frames_are_those_of_scikit_learn(rng):
    from sklearn.cluster import KMeans
    from sklearn.preprocessing import StandardScaler

    frames = clusters(rng, 4000, 16, 8)
    scaler = StandardScaler().fit(frames.astype(float))
    codebook = Codebook(n_words=16, n_iterations=200, tolerance=0).fit(frames)
    np.testing.assert_allclose(codebook.scale_, 1 / scaler.scale_, rtol=1e-6)
    start = scaler.transform(Codebook(n_words=16, n_iterations=0).fit(frames).words_)
    with warnings.catch_warnings(), threadpool_limits(1):
        warnings.simplefilter("ignore")
        peer = KMeans(16, init=start, n_init=1, max_iter=200, tol=0, algorithm="lloyd")
        peer.fit(scaler.transform(frames))
    assert codebook.inertia_ == pytest.approx(peer.inertia_, rel=1e-4)
    np.testing.assert_array_equal(codebook.assign(frames), peer.labels_)


def test_deviations_do_not_depend_on_blocks(rng, monkeypatch):
    frames = clusters(rng, 10_000, 20, 5)
    frames[:, 1] = 1e4
    whole = inverse_deviations(frames)
    monkeypatch.setattr("dcbmr.features.kmeans.BLOCK_FRAMES", 333)
    np.testing.assert_allclose(inverse_deviations(frames), whole, rtol=1e-6)
    assert whole[1] == 0
    np.testing.assert_allclose(1 / whole[[0, 2, 3, 4]], frames[:, [0, 2, 3, 4]].std(0, float), rtol=1e-6)


def test_converges_where_scikit_learn_does(rng):
    from sklearn.cluster import KMeans

    frames = clusters(rng, 4000, 16, 8)
    codebook = Codebook(n_words=16, n_iterations=200, tolerance=0, standardize=False).fit(frames)
    start = Codebook(n_words=16, n_iterations=0, standardize=False).fit(frames).words_
    with warnings.catch_warnings(), threadpool_limits(1):
        warnings.simplefilter("ignore")
        peer = KMeans(16, init=start, n_init=1, max_iter=200, tol=0, algorithm="lloyd").fit(frames)
    assert codebook.inertia_ == pytest.approx(peer.inertia_, rel=1e-4)
    np.testing.assert_allclose(codebook.words_, peer.cluster_centers_, rtol=1e-3, atol=1e-3)
    falls = np.diff(codebook.inertias_)
    assert (falls <= 1e-6 * codebook.inertias_[0]).all()


def test_fit_is_the_same_for_any_number_of_threads(rng):
    frames = clusters(rng, 5000, 40, 13)
    fits = [Codebook(n_words=64, n_iterations=5, n_threads=n).fit(frames) for n in (1, 2, 5)]
    for fit in fits[1:]:
        np.testing.assert_array_equal(fit.words_, fits[0].words_)
        assert fit.inertia_ == fits[0].inertia_
    other = Codebook(n_words=64, n_iterations=5, random_state=1).fit(frames)
    assert not np.array_equal(other.words_, fits[0].words_)


def test_stops_by_tolerance_and_by_progress(rng):
    frames = clusters(rng, 2000, 5, 4)
    seen = []
    codebook = Codebook(n_words=5, n_iterations=300, tolerance=1e-3)
    codebook.fit(frames, progress=lambda stage, i, n, figures: seen.append((i, figures["inertia"])))
    assert len(seen) < 300
    assert seen == list(enumerate(codebook.inertias_, 1))

    def stop(stage, iteration, n_iterations, figures):
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        Codebook(n_words=5).fit(frames, progress=stop)


def test_no_word_stays_empty(rng):
    # Nearly all frames are one silence, so that nearly all first words are.
    frames = np.zeros((2000, 3), np.float32)
    frames[::40] = 10 * rng.standard_normal((50, 3))
    codebook = Codebook(n_words=20, n_iterations=30, tolerance=0).fit(frames)
    assert (codebook.bag_of_words(frames) > 0).all()


def test_constant_dimensions(rng):
    frames = clusters(rng, 1000, 10, 6)
    frames[:, 2] = 7
    codebook = Codebook(n_words=10).fit(frames)
    np.testing.assert_array_equal(codebook.words_[:, 2], 7)


@pytest.mark.parametrize(
    ("frames", "message"),
    [
        (np.zeros((3, 2)), r"3 frames are fewer than n_words = 4"),
        (np.zeros(8), r"frames must have shape \(n_frames, n_dims\); got \(8,\)"),
        (np.zeros((8, 0)), r"frames must have shape"),
        (np.array([[0.0, 1]] * 7 + [[np.nan, 1]]), r"finite; frame 7 is not"),
        (np.array([[0.0, 1]] * 7 + [[np.inf, 1]]), r"finite; frame 7 is not"),
        ([["a", "b"]] * 8, r"frames must be numbers, \(n_frames, n_dims\): could not convert"),
        ([[1.0, 2], [3]], r"frames must be numbers, \(n_frames, n_dims\): .* inhomogeneous"),
        (np.repeat(np.eye(3), 5, axis=0), r"only 3 distinct values, fewer than n_words = 4"),
    ],
)
def test_bad_frames(frames, message):
    with pytest.raises(InputError, match=message):
        Codebook(n_words=4).fit(frames)


def test_bad_settings(rng):
    frames = rng.standard_normal((50, 3))
    for settings in ({"n_words": 0}, {"n_iterations": -1}, {"tolerance": -1.0}, {"tolerance": np.nan}):
        with pytest.raises(InputError, match="n_words must be at least 1"):
            Codebook(**{"n_words": 4, **settings}).fit(frames)
    with pytest.raises(InputError, match="n_threads"):
        Codebook(n_words=4, n_threads=0).fit(frames)
    with pytest.raises(InputError, match="no codewords yet"):
        Codebook().assign(frames)
    codebook = Codebook(n_words=4).fit(frames)
    with pytest.raises(InputError, match=r"\(n_frames, 3\); got \(50, 2\)"):
        codebook.assign(frames[:, :2])
    assert codebook.assign(frames[:0]).shape == (0,)


def test_refitting_forgets_the_old_words(rng):
    frames = clusters(rng, 500, 10, 4)
    codebook = Codebook(n_words=10).fit(frames)
    codebook.assign(frames)
    codebook.fit(frames + 100)
    np.testing.assert_array_equal(
        codebook.assign(frames + 100),
        reference.squared_distances(frames + 100, codebook.words_, codebook.scale_).argmin(axis=1),
    )


def test_save_and_load(rng, tmp_path):
    frames = clusters(rng, 500, 10, 4)
    codebook = fit_codebook(Frames([frames], {"n_mfcc": 13}), n_words=10)
    codebook.save(tmp_path / "codebook")
    loaded = Codebook.load(str(tmp_path / "codebook"))
    np.testing.assert_array_equal(loaded.words_, codebook.words_)
    np.testing.assert_array_equal(loaded.assign(frames), codebook.assign(frames))
    np.testing.assert_array_equal(loaded.scale_, codebook.scale_)
    assert (loaded.standardize, loaded.digest) == (True, codebook.digest)
    assert loaded.frame_config_ == {"n_mfcc": 13}
    assert loaded.inertia_ == codebook.inertia_
    assert (loaded.seen(["s0", "s1"]), loaded.seen([])) == (["s0"], [])
    with pytest.raises(InputError, match="exists"):
        codebook.save(tmp_path / "codebook")
    (tmp_path / "codebook" / "codebook.safetensors").write_bytes(b"no tensors")
    with pytest.raises(InputError, match="damaged"):
        Codebook.load(tmp_path / "codebook")


def test_older_codebooks_are_of_raw_frames(rng, tmp_path):
    frames = clusters(rng, 500, 10, 4)
    raw = Codebook(n_words=10, standardize=False).fit(frames)
    raw.save(tmp_path / "codebook")
    config = json.loads((tmp_path / "codebook" / "config.json").read_text())
    assert config.pop("standardize") is False  # as it was before there was a choice
    (tmp_path / "codebook" / "config.json").write_text(json.dumps(config))
    older = Codebook.load(tmp_path / "codebook")
    assert (older.standardize, older.scale_) == (False, None)
    assert older.digest == raw.digest == f"{zlib.crc32(raw.words_.tobytes()):08x}"
    np.testing.assert_array_equal(
        older.assign(frames), reference.squared_distances(frames, raw.words_).argmin(axis=1)
    )
    standardized = Codebook(n_words=10).fit(frames)
    standardized.words_ = raw.words_
    assert standardized.digest != raw.digest


def test_songs_of_any_name_and_of_older_codebooks(rng, tmp_path):
    names = ["", "a b", "\u65b0\u6b4c", "\udce9.wav", "line\nbreak"]  # bytes that are no UTF-8, too
    frames = clusters(rng, 50, 10, 4)
    codebook = Codebook(n_words=4).fit(frames, song_ids=iter(names))
    codebook.save(tmp_path / "codebook")
    loaded = Codebook.load(tmp_path / "codebook")
    assert loaded.seen(["other", *names]) == names
    Codebook(n_words=4).fit(frames).save(tmp_path / "unknown")
    config = json.loads((tmp_path / "unknown" / "config.json").read_text())
    del config["n_songs"]  # as it was before songs were kept
    (tmp_path / "unknown" / "config.json").write_text(json.dumps(config))
    older = Codebook.load(tmp_path / "unknown")
    assert older.songs_ is None
    assert older.seen(names) == []
    np.testing.assert_array_equal(older.words_, codebook.words_)


@pytest.mark.filterwarnings("ignore:500 codewords of 500 frames")
def test_sample_is_bounded_and_even_over_all_frames(rng):
    lengths = [100, 0, 1, 4000, 899]
    songs = [
        np.column_stack([np.full(n, i), rng.standard_normal((n, 3))]).astype(np.float32)
        for i, n in enumerate(lengths)
    ]
    seen = []
    for seed in range(5):
        # As many words as frames in the sample: the first words are the sample.
        codebook = fit_codebook(
            Frames(songs),
            n_words=500,
            max_frames=500,
            n_iterations=0,
            random_state=seed,
            n_threads=seed % 2 + 1,
        )
        assert len(np.unique(codebook.words_, axis=0)) == 500
        seen.append(np.bincount(codebook.words_[:, 0].astype(int), minlength=5))
    # 500 of 5000: 10, 0, 0 or 1, 400, 90 expected.
    np.testing.assert_allclose(np.mean(seen, axis=0), [10, 0, 0.1, 400, 90], atol=12)
    assert not np.array_equal(seen[0], seen[1])
    with pytest.raises(InputError, match="max_frames"):
        fit_codebook(Frames(songs), max_frames=0)


def test_too_few_frames_are_warned_of(rng):
    """With what to do, and the number of songs and frames."""
    songs = [rng.standard_normal((130, 3)).astype(np.float32) for _ in range(10)]
    message = (
        "40 codewords of 1,300 frames of 10 songs: fewer than 50 frames a codeword, so that many of them are "
        "chance; give more songs, or ask for at most 26 codewords (n_words)"
    )
    with pytest.warns(UserWarning, match=re.escape(message)):
        fit_codebook(Frames(songs), n_words=40)
    with pytest.warns(UserWarning, match=r"give a larger sample \(max_frames, of 1,300 frames\)"):
        fit_codebook(Frames(songs), n_words=20, max_frames=999)
    fit_codebook(Frames(songs), n_words=26)


def test_settings_are_checked_before_anything_is_read():
    class Unread(Frames):
        def frames(self, song):
            pytest.fail("frames were read")

    songs = Unread([np.zeros((30, 2), np.float32)] * 3)
    with pytest.raises(InputError, match="90 frames are fewer than n_words = 4000"):
        fit_codebook(songs)
    with pytest.raises(InputError, match="50 frames are fewer than n_words = 60"):
        fit_codebook(songs, n_words=60, max_frames=50)
    with pytest.raises(InputError, match="n_iterations"):
        fit_codebook(songs, n_words=2, n_iterations=-1)


class Table:
    """A data frame, as far as NumPy sees one."""

    def __init__(self, rows):
        self._rows = rows

    def __array__(self, dtype=None, copy=None):
        return np.array(self._rows, dtype)


def test_a_data_frame_is_frames(rng):
    frames = clusters(rng, 500, 10, 4)
    fitted = Codebook(n_words=5).fit(Table(frames))
    np.testing.assert_array_equal(fitted.words_, Codebook(n_words=5).fit(frames).words_)
    np.testing.assert_array_equal(fitted.assign(Table(frames)), fitted.assign(frames.tolist()))
    np.testing.assert_array_equal(PCA().fit(Table(frames)).components_, PCA().fit(frames).components_)


def test_settings_as_scikit_learn_wants_them(rng):
    from sklearn.base import clone

    codebook = Codebook(n_words=5, random_state=3).fit(clusters(rng, 500, 10, 4))
    again = clone(codebook)
    assert again.get_params() == codebook.get_params()
    assert not hasattr(again, "words_")
    assert repr(again.set_params(tolerance=0.5)) == "Codebook(n_words=5, tolerance=0.5, random_state=3)"
    assert repr(clone(PCA(variance=0.5))) == "PCA(variance=0.5)"
    assert repr(PCA()) == "PCA()"
    with pytest.raises(InputError, match="Codebook has no parameter 'k'; it has n_words, n_iterations"):
        codebook.set_params(k=3)


def test_bag_of_words_counts_every_song(rng, monkeypatch):
    monkeypatch.setattr("dcbmr.features.bag_of_words.BLOCK_FRAMES", 700)
    lengths = [0, 300, 5, 2000, 0, 0, 699, 2, 698, 0]
    songs = [clusters(rng, n, 10, 5) for n in lengths]
    codebook = Codebook(n_words=32).fit(np.concatenate(songs))
    done = []
    bow = bag_of_words(
        Frames(songs), codebook, n_threads=2, progress=lambda stage, n, total, _: done.append((n, total))
    )
    assert isinstance(bow, csr_array)
    assert (bow.shape, bow.dtype) == ((10, 32), np.float32)
    assert done[-1] == (10, 10)
    np.testing.assert_array_equal(bow.toarray(), [codebook.bag_of_words(s) for s in songs])
    np.testing.assert_array_equal(bow.sum(axis=1), lengths)
    assert bow.has_canonical_format
    root = bag_of_words(Frames(songs), codebook, weighting="sqrt")
    np.testing.assert_allclose(root.toarray(), np.sqrt(bow.toarray()), rtol=1e-6)


def test_bag_of_words_refuses(rng):
    codebook = Codebook(n_words=4).fit(rng.standard_normal((50, 3)))
    with pytest.raises(InputError, match="3 dimensions, the 'mfcc' features have 2"):
        bag_of_words(Frames([np.zeros((5, 2), np.float32)]), codebook)
    broken = np.zeros((5, 3), np.float32)
    broken[4] = np.nan
    with pytest.raises(InputError, match=r"song 's1' must be finite; frame 4"):
        bag_of_words(Frames([np.zeros((5, 3), np.float32), broken]), codebook)
    with pytest.raises(InputError, match="weighting"):
        bag_of_words(Frames([broken]), codebook, weighting="tfidf")


def test_vector_features():
    matrix = np.arange(6, dtype=np.float32).reshape(2, 3)
    features = VectorFeatures("bow_pca", ["a", "b"], matrix)
    assert (features.kind, features.song_ids, features.n_dims) == ("bow_pca", ["a", "b"], 3)
    np.testing.assert_array_equal(features.n_frames, [1, 1])
    np.testing.assert_array_equal(features.vectors(), matrix)
    with pytest.raises(InputError, match="no frames"):
        features.frames(0)
    with pytest.raises(InputError, match="no windows"):
        features.windows(np.array([0]), np.array([0]), 1)
    with pytest.raises(InputError, match="1 song ids, but 2 vectors"):
        VectorFeatures("bow", ["a"], matrix)


def test_first_words_are_spread_over_the_clumps(rng):
    """Fifty clumps far apart, a thousandfold unlike in size: evenly drawn words miss many of them."""
    centres = 1000 * rng.standard_normal((50, 4))
    sizes = np.geomspace(1, 1000, 50).astype(int)
    frames = (np.repeat(centres, sizes, axis=0) + rng.standard_normal((sizes.sum(), 4))).astype(np.float32)
    start = Codebook(n_words=100, n_iterations=0).fit(frames)
    missed = reference.squared_distances(centres, start.words_).min(axis=1) > 100
    assert missed.sum() <= 5
    evenly = frames[rng.choice(len(frames), 100, replace=False)]
    assert (reference.squared_distances(centres, evenly).min(axis=1) > 100).sum() > 15
