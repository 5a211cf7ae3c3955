"""Models of vectors that users bring, alone and joined with audio: trained, judged, saved, put to use."""

import json
import shutil

import numpy as np
import pytest

import dcbmr
from dcbmr.cli import main
from dcbmr.features.brought import bring_vectors
from dcbmr.features.in_hand import with_vectors

pytestmark = pytest.mark.filterwarnings("ignore:.*fewer than 50 frames a codeword")
SMALL = {"n_words": 16}


def vectors_file(path, songs, n_dims=6, seed=0):
    """A vector for each song: what its artist is like, and a little noise."""
    rng = np.random.default_rng(seed)
    angle = np.array([int(song[4:6]) % 10 for song in songs]) / 3
    vectors = np.column_stack(
        [np.sin(angle), np.cos(angle), rng.standard_normal((len(songs), n_dims - 2)) / 9]
    )
    np.savez(path, ids=np.array(songs), vectors=vectors.astype(np.float32))
    return path


@pytest.fixture(scope="module")
def world(small_world, tmp_path_factory):
    """The small world with vectors of four songs in five beside its features."""
    root = tmp_path_factory.mktemp("vectors")
    for name in ("split", "factors", "features"):
        shutil.copytree(small_world / name, root / name)
    shutil.copytree(small_world / "audio", root / "audio")
    for name in ("plays.tsv", "songs.tsv"):
        shutil.copy(small_world / name, root)
    songs = dcbmr.FeatureStore.open(root / "features").song_ids
    known = [song for i, song in enumerate(songs) if i % 5]
    bring_vectors(vectors_file(root / "mood.npz", known), root / "features", kind="mood")
    return root


@pytest.fixture(scope="module")
def store(world):
    return dcbmr.FeatureStore.open(world / "features")


@pytest.fixture(scope="module")
def factors(world):
    return dcbmr.Factors.load(world / "factors")


@pytest.fixture(scope="module")
def joined(factors, store):
    return dcbmr.train(
        factors, store, regressor="linear", pipeline=dcbmr.pipeline_to(["bow_pca", "mood"], **SMALL)
    )


@pytest.fixture(scope="module")
def alone(factors, store):
    return dcbmr.train(factors, store, regressor="linear", kind="mood")


@pytest.mark.parametrize("regressor", ["linear", "mlp", "mlr"])
def test_every_regressor_of_vectors_trains_on_them(factors, store, regressor):
    params = {"mlp": {"epochs": 2, "hidden": 8}, "mlr": {"max_iterations": 2}}.get(regressor, {})
    for kind in ("mood", ["bow", "mood"]):
        pipeline = dcbmr.pipeline_to(kind, n_words=8)
        model = dcbmr.train(factors, store, regressor=regressor, pipeline=pipeline, params=params)
        assert np.isfinite(model.predict_store(store)).all()


def test_a_model_of_vectors_knows_the_songs_that_have_them(alone, store):
    assert list(alone.songs_in(store)) == list(store["mood"].song_ids)
    assert len(alone.songs_in(store)) < len(store.song_ids)
    assert set(alone.song_ids) <= set(store["mood"].song_ids)
    assert alone.sources["mood"].n_dims == 6


def test_saved_and_loaded(joined, store, tmp_path):
    joined.save(tmp_path / "m")
    again = dcbmr.Model.load(tmp_path / "m")
    assert (again.kind, again.brought_kinds) == ("bow_pca+mood", ("mood",))
    np.testing.assert_array_equal(again.predict_store(store), joined.predict_store(store))
    assert list(again.sources) == ["mfcc", "mood"]


def test_a_file_and_its_vector_are_as_the_store_has_them(joined, store, world):
    songs = ["song01", "song00", "song01"]  # song00 has no vector
    paths = [world / "audio" / f"{song}.wav" for song in songs]
    stored = joined.predict_store(store, songs)
    np.testing.assert_allclose(joined.predict_files(paths, vectors=store), stored, rtol=1e-4, atol=1e-5)
    without = joined.predict_files(paths)
    np.testing.assert_allclose(without[1], stored[1], rtol=1e-4, atol=1e-5)
    assert np.abs(without[0] - stored[0]).max() > 1e-3


def test_they_tell_what_the_audio_does_not(factors, store, world, joined):
    """Vectors of the artists' pitch make the held-out songs easier to place than the random row."""
    split = dcbmr.Split.load(world / "split")
    evaluation = dcbmr.evaluate_models({"joined": joined}, split, store)
    assert evaluation.rows[0]["auc"] > 0.6


def test_models_are_scored_on_the_songs_that_all_can_predict(world, alone, joined, store):
    split = dcbmr.Split.load(world / "split")
    both = dcbmr.evaluate_models({"alone": alone, "joined": joined}, split, store)
    assert set(both.candidates.song_ids) <= set(store["mood"].song_ids)
    assert both.candidates.without_features
    one = dcbmr.evaluate_models({"joined": joined}, split, store)
    assert set(one.candidates.song_ids) == set(split.heldout_songs)
    stack = dcbmr.Stack([alone, joined])
    assert set(stack.songs_in(store)) == set(store["mood"].song_ids)
    assert stack.brought_kinds == ("mood",)
    expected = (alone.predict_store(store, ["song01"]) + joined.predict_store(store, ["song01"])) / 2
    np.testing.assert_allclose(stack.predict_store(store, ["song01"]), expected, rtol=1e-5)
    names = dcbmr.Recommender.from_model(stack, features=store).song_ids
    assert set(names) >= set(store["mood"].song_ids)


def test_predictions_are_kept_where_a_store_lacks_what_songs_may_lack(joined, store):
    audio = dcbmr.FeatureStore.of({"mfcc": store["mfcc"]})
    kept = dcbmr.predict_new(joined, audio)
    np.testing.assert_array_equal(kept.song_factors, joined.predict_store(audio))
    assert dcbmr.predict_new(joined, audio, kept=kept).n_new == 0
    # Songs that have vectors now are others.
    n_known = sum(song in store["mood"] for song in kept.song_ids)
    assert dcbmr.predict_new(joined, store, kept=kept).n_new == n_known > 0


def test_means_learned_from_held_out_songs_are_refused(world, store, factors):
    split = dcbmr.Split.load(world / "split")
    pipeline = dcbmr.pipeline_to(["mood", "year"])
    bring_vectors(
        vectors_file(world / "year.npz", store.song_ids), world / "features", kind="year", overwrite=True
    )
    pipeline.learn(dcbmr.FeatureStore.open(world / "features"), list(store.song_ids))
    with pytest.raises(
        dcbmr.InputError, match="the standardization of 'mood' of the pipeline was learned from"
    ):
        dcbmr.train(
            factors,
            dcbmr.FeatureStore.open(world / "features"),
            regressor="linear",
            pipeline=pipeline,
            split=split,
        )


def test_wrong_kinds(factors, store):
    with pytest.raises(dcbmr.InputError, match="'cnn' takes frames; kinds are joined for"):
        dcbmr.train(factors, store, regressor="cnn", kind=["mel", "mood"])
    with pytest.raises(dcbmr.InputError, match="'linear' takes one vector a song, which 'mel' is not"):
        dcbmr.train(factors, store, regressor="linear", kind=["mel", "mood"])
    with pytest.raises(dcbmr.InputError, match="unknown kind of feature 'mod'"):
        dcbmr.train(factors, store, regressor="linear", kind=["bow", "mod"])


def test_ids_that_match_nothing_say_why(factors, world, tmp_path):
    songs = [f"{song}.mp3" for song in factors.song_ids]
    bring_vectors(vectors_file(tmp_path / "v.npz", songs), tmp_path / "f", kind="mood")
    with pytest.raises(dcbmr.InputError, match=r"likely cause: a file ending \('song\d\d.mp3' here"):
        dcbmr.train(factors, dcbmr.FeatureStore.open(tmp_path / "f"), regressor="linear", kind="mood")


@pytest.fixture
def run(capsys):
    def run(*args):
        with pytest.raises(SystemExit) as stopped:
            main([str(arg) for arg in args])
        return stopped.value.code, *capsys.readouterr()

    return run


def test_command_line(world, run, tmp_path):
    features, model = world / "features", tmp_path / "m"
    common = ("--factors", world / "factors", "--features", features)
    status, _, err = run(
        "train",
        "--regressor",
        "linear",
        "--kind",
        "bow_pca",
        "--kind",
        "mood",
        "--words",
        16,
        *common,
        "-o",
        model,
    )
    assert (status, "wrote" in err) == (0, True)
    status, _, err = run(
        "train", "--regressor", "linear", "--kind", "mood", *common, "-o", tmp_path / "alone"
    )
    assert (status, "with plays but no features" in err) == (0, True)

    def predict(*args):
        status, out, err = run("predict", *args, "--json")
        assert status == 0, err
        return {row["song"]: [row["factor_0"], row["factor_1"]] for row in json.loads(out)}

    new = vectors_file(tmp_path / "new.npz", ["song00", "song99"], seed=5)
    audio = world / "audio" / "song00.wav"
    stored = predict(model, "--features", features)
    assert predict(model, audio)["song00"] == pytest.approx(stored["song00"], rel=1e-3, abs=1e-5)
    with_file = predict(model, audio, "--vectors", new)["song00"]
    assert with_file != pytest.approx(stored["song00"], rel=1e-3)
    assert predict(model, "--features", features, "--vectors", f"mood={new}")["song00"] == pytest.approx(
        with_file, rel=1e-3, abs=1e-5
    )
    assert list(predict(tmp_path / "alone", "--vectors", new)) == ["song00", "song99"]
    # New songs are recommended, compared with, and judged.
    status, out, _ = run(
        "recommend",
        tmp_path / "alone",
        "--vectors",
        new,
        "--user",
        "user03",
        "--candidates",
        "new",
        "--tsv",
        "-k",
        50,
    )
    assert status == 0
    assert "song99" in out
    status, out, _ = run("similar", tmp_path / "alone", "--vectors", new, "--song", "song99", "--tsv")
    assert (status, out.splitlines()[1].split("\t")[0]) == (0, "song99")
    shutil.copy(audio, tmp_path / "song99.wav")
    status, out, _ = run(
        *(
            "recommend",
            model,
            "--audio",
            tmp_path / "song99.wav",
            "--vectors",
            new,
            "--user",
            "user03",
            "--tsv",
        ),
        *("--candidates", "new"),
    )
    assert (status, [line.split("\t")[2] for line in out.splitlines()[1:]]) == (0, ["song99"])
    split = dcbmr.Split.load(world / "split")
    judged = vectors_file(tmp_path / "judged.npz", split.heldout_songs)
    status, out, err = run(
        "evaluate", tmp_path / "alone", "--split", world / "split", "--vectors", judged, "--json"
    )
    assert status == 0, err
    assert json.loads(out)[0]["n_songs"] == len(split.heldout_songs)


def test_wrong_vectors_on_the_command_line(world, run, alone, joined, tmp_path):
    alone.save(tmp_path / "alone")
    joined.save(tmp_path / "joined")
    short = vectors_file(tmp_path / "short.npz", ["song00"], n_dims=4)
    new = vectors_file(tmp_path / "new.npz", ["song00"])
    for args, message in (
        (
            ("predict", tmp_path / "alone", "--vectors", short),
            "has vectors of 4 dimensions, where 'mood' has 6",
        ),
        (("predict", tmp_path / "joined", "--vectors", new), "no features of kind 'mfcc': it has mood"),
        (
            ("predict", tmp_path / "alone", world / "audio" / "song00.wav"),
            "'mood' alone, which no audio tells",
        ),
        (("predict", tmp_path / "alone", "--vectors", tmp_path / "no.npz"), "does not exist; wanted vectors"),
        (("predict", tmp_path / "alone"), "give either audio files or --features, or --vectors"),
        (
            ("evaluate", tmp_path / "alone", "--split", world / "split"),
            "models need --features, from `dcbmr featurize`, or --vectors",
        ),
        (("recommend", world / "factors", "--all-users", "--vectors", new), "holds factors"),
    ):
        status, _, err = run(*args)
        assert status == 2, args
        assert message in err
    dcbmr.train(
        dcbmr.Factors.load(world / "factors"),
        dcbmr.FeatureStore.open(world / "features"),
        regressor="linear",
        pipeline=dcbmr.pipeline_to("bow", n_words=8),
    ).save(tmp_path / "bow")
    assert "the models have no such kind" in run("predict", tmp_path / "bow", "--vectors", new)[2]


def test_vectors_in_hand_are_checked_against_the_model(alone, store, tmp_path):
    view = with_vectors(None, vectors_file(tmp_path / "n.npz", ["song00"], n_dims=4), kind="mood")
    with pytest.raises(dcbmr.InputError, match="has vectors of 4 dimensions"):
        alone.predict_store(view)
    # Also where no song of theirs is new.
    with pytest.raises(dcbmr.InputError, match="has vectors of 4 dimensions"):
        dcbmr.Recommender.from_model(alone, features=view)


def test_columns_that_have_names_must_be_the_same(factors, tmp_path):
    songs = list(factors.song_ids)

    def table(path, *names):
        lines = [",".join(["song", *names]), *(f"{song},{i % 7},{i}" for i, song in enumerate(songs))]
        path.write_text("\n".join(lines) + "\n")
        return path

    bring_vectors(table(tmp_path / "a.csv", "tempo", "year"), tmp_path / "f", kind="facts")
    model = dcbmr.train(factors, dcbmr.FeatureStore.open(tmp_path / "f"), regressor="linear", kind="facts")
    model.save(tmp_path / "m")
    model = dcbmr.Model.load(tmp_path / "m")
    swapped = with_vectors(None, table(tmp_path / "b.csv", "year", "tempo"), kind="facts")
    with pytest.raises(
        dcbmr.InputError, match="b.csv: dimension 1 is 'year', where 'facts' has 'tempo'; wanted"
    ):
        model.predict_store(swapped)
    for names in (("tempo", "year"), ("0", "1")):  # numbers are no names
        view = with_vectors(None, table(tmp_path / "c.csv", *names), kind="facts")
        np.testing.assert_array_equal(
            model.predict_store(view), model.predict_store(dcbmr.FeatureStore.open(tmp_path / "f"))
        )
