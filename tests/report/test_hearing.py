"""What a network hears, on the page of a model and of an experiment: windows, pictures, sounds, seconds."""

import base64
import io

import numpy as np
import pytest
import soundfile

from dcbmr import InputError
from dcbmr.experiment.config import (
    DataSettings,
    EvaluationSettings,
    ExperimentConfig,
    FeatureSettings,
    Row,
    SplitSettings,
    TrainingSettings,
)
from dcbmr.experiment.experiment import run_experiment
from dcbmr.experiment.reading import read_experiment
from dcbmr.factorization.factors import Factors
from dcbmr.features.store import FeatureStore
from dcbmr.models.training import train
from dcbmr.report import hearing
from dcbmr.report.of_experiment import page_of_experiment
from dcbmr.report.of_model import page_of_model
from dcbmr.report.report import draw, songs_for_json
from dcbmr.report.sources import Sources

pytest.importorskip("bokeh")
pytest.importorskip("openTSNE")

SMALL = {"channels": (4, 4), "hidden": (8,), "epochs": 1}


@pytest.fixture(scope="module")
def model(small_world):
    factors, store = Factors.load(small_world / "factors"), FeatureStore.open(small_world / "features")
    return train(factors, store, regressor="cnn", params=SMALL, n_threads=1)


def page(model, small_world, tmp_path, **given):
    store = FeatureStore.open(small_world / "features")
    return page_of_model(model, tmp_path / "cnn", Sources(tmp_path / "r.html", **given), features=store)


def url(text, kind):
    start, data = text.split(",")
    assert start == f"data:{kind};base64"
    return io.BytesIO(base64.b64decode(data))


def test_seconds_speak_for_a_song_as_much_as_its_score(model, small_world, tmp_path):
    made = page(model, small_world, tmp_path)
    heard, songs = made.hearing, made.songs
    assert heard.n_songs == len(heard.seconds) == 40
    assert all(songs.song_ids[row] == one.song for row, one in heard.seconds.items())
    predicted = model.predict_store(FeatureStore.open(small_world / "features"), songs.song_ids)
    placed = model.factors.song_factors.copy()  # songs of training lie where their listeners put them
    row_of = {song: row for row, song in enumerate(model.factors.song_ids)}
    of_map = np.array(
        [predicted[i] if songs.is_cold[i] else placed[row_of[s]] for i, s in enumerate(songs.song_ids)]
    )
    played = np.diff(model.factors.counts.indptr) > 0
    users = model.user_factors[played]
    for row in (int(np.flatnonzero(songs.is_cold)[0]), int(np.flatnonzero(~songs.is_cold)[0])):
        best = np.argsort(-(users @ of_map[row]), kind="stable")[:50]
        direction = users[best].mean(axis=0)
        score = direction @ predicted[row] - direction @ of_map.mean(axis=0)
        assert heard.seconds[row].scores.mean() == pytest.approx(score, rel=1e-3, abs=1e-5)
    kept = songs_for_json(songs, heard)["seconds"]
    first = np.frombuffer(base64.b64decode(kept["first"]["base64"]), "<i4")
    assert first[-1] == sum(len(one.scores) for one in heard.seconds.values())


def test_windows_are_seen_and_heard(model, small_world, tmp_path):
    from PIL import Image

    made = page(model, small_world, tmp_path, audio=small_world / "audio", embed_audio=True)
    heard = made.hearing
    assert sorted(heard.factors) == list(range(6))
    assert all(len(end) == 2 for ends in heard.factors.values() for end in ends)
    assert heard.n_units == 4
    sounds = [one for ends in heard.factors.values() for end in ends for one in end]
    sounds += [one for of_unit in heard.units.values() for one in of_unit]
    for sound in sounds:
        assert sound.name == made.songs.names[sound.song]
        picture = Image.open(url(sound.picture, "image/png"))
        assert picture.size == (96, 64)
        samples, sr = soundfile.read(url(sound.clip, "audio/ogg"))
        assert len(samples) / sr == pytest.approx(sound.end_s - sound.start_s, abs=0.1)
    html = draw(made)
    assert "What cnn hears" in html
    assert html.count('class="sound"') == len(sounds)


def test_few_songs_are_listened_to_of_many_and_those_without_plays_first(
    model, small_world, tmp_path, monkeypatch
):
    monkeypatch.setattr(hearing, "_MOST_SONGS", 5)
    made = page(model, small_world, tmp_path)
    assert made.songs.is_cold[list(made.hearing.seconds)].all()
    assert len(made.hearing.seconds) == 5
    monkeypatch.setattr(hearing, "_MOST_HOURS", 8.0 / 3600)  # songs last from two seconds to four
    assert 2 <= page(model, small_world, tmp_path).hearing.n_songs <= 4


def test_a_picture_has_low_frequencies_below_and_dark_is_quiet():
    from PIL import Image

    quiet = np.zeros((129, 128), np.float32)
    low = quiet.copy()
    low[64:, :32] = 9.0  # the later half, in the lowest bands
    silent, heard = (
        np.asarray(Image.open(url(one, "image/png")).convert("L")) for one in hearing._pictures([quiet, low])
    )
    assert silent.max() == silent.min() < 50
    assert heard[50:, 60:].min() > 150
    assert heard[:40].max() == heard[:, :40].max() == silent.max()


def test_who_takes_songs_as_a_whole_says_so(small_world, tmp_path):
    factors, store = Factors.load(small_world / "factors"), FeatureStore.open(small_world / "features")
    linear = train(factors, store, regressor="linear", kind="stats", n_threads=1)
    made = page(linear, small_world, tmp_path)
    assert made.hearing is None
    assert "is not shown: regressor &#39;linear&#39; has no activations" in draw(made)


def test_a_network_without_layers_has_seconds_and_no_units(model, small_world, tmp_path, monkeypatch):
    whole = model.regressor.activations

    def activations(songs, rows, *, layer=None):
        if layer is not None:
            raise InputError("layer 1: the network has none")
        return whole(songs, rows)

    monkeypatch.setattr(model.regressor, "activations", activations)
    made = page(model, small_world, tmp_path)
    assert made.hearing.units == {}
    assert len(made.hearing.seconds) == 40
    assert "What cnn hears" not in draw(made)


@pytest.fixture(scope="module")
def experiment(small_world, tmp_path_factory):
    config = ExperimentConfig(
        rows=(Row("net", "cnn", "mse", params=SMALL),),
        data=DataSettings(
            plays=(small_world / "plays.tsv",), audio=small_world / "audio", songs=small_world / "songs.tsv"
        ),
        split=SplitSettings(by="artist", folds=2),
        factorization={"n_factors": 4, "n_iterations": 3, "regularization": 10.0},
        features=FeatureSettings(n_words=(20,)),
        training=TrainingSettings(validation_fraction=0.2),
        evaluation=EvaluationSettings(k=3, n_resamples=0),
    )
    directory = tmp_path_factory.mktemp("folds")
    run_experiment(config, directory, name="mine")
    return directory / "mine"


def test_the_page_of_folds_hears_with_the_first_and_says_so(experiment, tmp_path):
    made = page_of_experiment(experiment, Sources(tmp_path / "r.html"))
    assert made.hearing.model == "net"
    assert made.hearing.n_songs == 40
    assert "of all 2 folds; the map, the factors and the groups are of the first" in draw(made)
    command, _ = made.commands
    assert command == f"dcbmr experiment mine.toml -o {experiment.parent}"
    (tmp_path / "mine.toml").write_text(made.config)
    again = read_experiment(tmp_path / "mine.toml")
    assert again.as_dict() == made.settings


def test_features_that_are_gone_are_told(experiment, tmp_path):
    store = (experiment / "features").resolve()
    store.rename(tmp_path / "away")
    try:
        with pytest.warns(UserWarning, match="no features of kind 'mel' are there"):
            made = page_of_experiment(experiment, Sources(tmp_path / "r.html"))
    finally:
        (tmp_path / "away").rename(store)
    assert made.hearing is None
    assert "songs-data" in draw(made)
