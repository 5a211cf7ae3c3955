"""The page: what it holds, of models and experiments; test_page.py opens it in a browser."""

import base64
import json
import re
from dataclasses import replace

import numpy as np
import pytest
from scipy.sparse import csr_array

import dcbmr
from dcbmr import DcbmrError, InputError, cli
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
from dcbmr.factorization.factors import Factors
from dcbmr.features.pipeline import FeaturePipeline
from dcbmr.features.store import FeatureStore
from dcbmr.models.training import train
from dcbmr.plays.songs import SongTable
from dcbmr.plays.tags import SongTags
from dcbmr.recommendation.recommender import Recommender
from dcbmr.report import listeners
from dcbmr.report.factor_ends import factor_ends
from dcbmr.report.layout import _nearest, lay_out
from dcbmr.report.of_experiment import page_of_experiment
from dcbmr.report.of_model import page_of_model
from dcbmr.report.page import Page
from dcbmr.report.report import draw, save_page, songs_for_json
from dcbmr.report.song_map import Label, Measure, map_songs
from dcbmr.report.sources import Sources

pytest.importorskip("bokeh")
pytest.importorskip("openTSNE")


@pytest.fixture(scope="module")
def experiment(small_world, tmp_path_factory):
    config = ExperimentConfig(
        rows=(Row("linear", "linear", "mse"),),
        data=DataSettings(
            plays=(small_world / "plays.tsv",), audio=small_world / "audio", songs=small_world / "songs.tsv"
        ),
        split=SplitSettings(by="artist"),
        factorization={"n_factors": 4, "n_iterations": 3, "regularization": 10.0},
        features=FeatureSettings(n_words=(20,)),
        training=TrainingSettings(validation_fraction=0.2),
        evaluation=EvaluationSettings(k=3),
    )
    directory = tmp_path_factory.mktemp("experiment")
    run_experiment(config, directory, name="mine")
    return directory / "mine"


@pytest.fixture(scope="module")
def page(experiment):
    return page_of_experiment(experiment, Sources(experiment / "report.html"))


def test_the_page_of_an_experiment_has_its_groups_stages_and_versions(experiment, page):
    results = json.loads((experiment / "results.json").read_text())
    assert {stage.name: stage.seconds for stage in page.stages} == results["seconds"]
    html = draw(page)
    for by in ("popularity", "activity"):
        of_linear = {row["group"]: row["lift"] for row in page.groups[by] if row["model"] == "linear"}
        assert len(of_linear) > 1
        shown = re.search(rf"<h2>By {by}</h2>.*?</table>", html, re.S)[0]
        cells = re.findall(r"<td>([\d.]+)</td>", re.search(r">linear<.*?</tr>", shown, re.S)[0])
        assert cells == [f"{lift:.1f}" for lift in of_linear.values()]
    assert f"numpy {np.__version__}" in html


def test_the_paper_stands_beside_tables_that_are_like_its_own(page):
    assert "What the paper printed" not in draw(page)
    row = {"n_users": 20000, "lift": 2.0, "auc": 0.6, "loss": None, "map_at_500": 0.02, "model": "linear"}
    for n_songs, said in ((1881, "0.70987"), (46728, "0.96070"), (1882, None)):
        html = draw(Page("like", rows=[row | {"n_songs": n_songs}]))
        assert ("What the paper printed" in html) == (said is not None)
        assert said is None or said in html


def songs_on(html):
    return json.loads(re.search(r'id="songs-data">(.*?)</script>', html, re.S)[1])


def test_a_page_stands_alone(page):
    html = draw(replace(page, title="A <title>", about="Forty <songs>."))
    assert '<h1 dir="auto">A &lt;title&gt;</h1>' in html
    assert "Forty &lt;songs&gt;." in html
    policy = re.search(r'Content-Security-Policy" content="([^"]*)"', html)[1]
    assert policy.startswith("default-src 'none'")
    assert "unsafe-eval" not in policy
    assert "http" not in policy
    outside = re.sub(r"<script.*?</script>", "", html, flags=re.S)
    assert not re.search(r"""\s(src|href)=["']""", outside)
    assert "@import" not in outside
    assert "url(" not in outside


def test_the_page_of_an_experiment_has_all_songs_and_the_table(experiment, page):
    results = json.loads((experiment / "results.json").read_text())
    html = draw(page)
    assert "mAP@3<" in html
    for row in results["rows"]:
        assert f"<td>{row['map_at_3']:.4f}</td>" in html
    for words in results["words"]:
        assert words in html
    songs = page.songs
    assert len(songs.song_ids) == 40
    heldout = set((experiment / "split" / "heldout_songs.txt").read_text().split())
    assert {song for song, cold in zip(songs.song_ids, songs.is_cold, strict=True) if cold} == heldout
    assert [label.name for label in songs.labels] == ["artist"]
    assert set(songs.audio) == set(songs.song_ids)
    assert all((experiment / url).is_file() for url in songs.audio.values())
    error = next(measure for measure in songs.measures if measure.name == "error")
    assert np.isfinite(error.values[songs.is_cold]).all()
    assert np.isnan(error.values[~songs.is_cold]).all()
    assert songs_on(html)["ids"] == songs.song_ids


def test_the_command_makes_the_page_that_the_experiment_wrote(experiment, tmp_path, capsys):
    file = tmp_path / "r.html"
    words = ["report", str(experiment), "-o", str(file), "--threads", "1"]
    assert run(*words) == 0
    first = file.read_text()
    assert run(*words) == 2
    assert "--overwrite" in capsys.readouterr().err
    assert run(*words, "--overwrite") == 0
    assert songs_on(file.read_text()) == songs_on(first)


def run(*words):
    with pytest.raises(SystemExit) as done:
        cli.main(words)
    return done.value.code or 0


def test_the_page_of_factors(small_world, tmp_path):
    file = tmp_path / "new" / "r.html"
    given = [
        "--songs",
        str(small_world / "songs.tsv"),
        "--audio",
        str(small_world / "audio"),
        "--embed-audio",
    ]
    assert run("report", str(small_world / "factors"), "-o", str(file), *given) == 0
    songs = songs_on(file.read_text())
    assert songs["audioStart"].startswith("data:audio/ogg;base64,")
    clip = base64.b64decode((songs["audioStart"] + songs["audio"][0]).partition(",")[2])
    assert clip[:4] == b"OggS"


def test_the_page_of_a_model_compares_listeners_and_audio(small_world, tmp_path):
    factors, store = Factors.load(small_world / "factors"), FeatureStore.open(small_world / "features")
    model = train(factors, store, regressor="linear", pipeline=FeaturePipeline("bow_pca", n_words=20))
    page = page_of_model(model, tmp_path / "linear", Sources(tmp_path / "r.html"), features=store)
    songs = page.songs
    assert page.title == "linear"
    assert len(songs.song_ids) == 40
    assert set(songs.neighbours) == {"by listeners", "by audio"}
    assert songs.is_cold.sum() == len(factors.heldout_songs)
    error = next(measure for measure in songs.measures if measure.name == "error").values
    row = int(np.flatnonzero(~songs.is_cold)[0])
    song = songs.song_ids[row]
    learned = factors.song_factors[list(factors.song_ids).index(song)]
    usage, predicted = (factors.user_factors @ y for y in (learned, model.predict_store(store, [song])[0]))
    cosine = usage @ predicted / np.linalg.norm(usage) / np.linalg.norm(predicted)
    assert error[row] == pytest.approx(1 - cosine, abs=1e-4)
    assert np.isnan(error[songs.is_cold]).all()
    assert len(page.factors) == 6


def test_the_ends_of_factors():
    Y = np.array([[3, -1], [1, -1], [-2, 0], [-4, 5.0]])
    style = Label("style", ["loud", "soft", "rare"], np.array([[0, -1], [0, 2], [1, -1], [1, -1]], np.int32))
    first, second = factor_ends(Y, ["a", "b", "c", "d"], [style])
    assert first.positive == {"songs": ["a", "b"], "style": ["loud"]}
    assert first.negative == {"songs": ["d", "c"], "style": ["soft"]}
    assert second.positive == {"songs": ["d"], "style": ["soft"]}
    assert "rare" not in [value for end in (second.positive, second.negative) for value in end["style"]]
    html = draw(Page("ends", factors=[first]))
    assert "<bdi>a</bdi> · <bdi>b</bdi>" in html


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["no-such", "-o", "r.html"], "no dcbmr model directory"),
        (["{world}/factors", "-o", "."], "is a directory"),
        (["{world}/split", "-o", "r.html"], "wanted what"),
        (["{world}/factors", "-o", "r.html", "--embed-audio"], "needs --audio"),
        (["{world}/factors", "-o", "r.html", "--features", "{world}/features"], "without a model"),
    ],
)
def test_mistakes_are_told(small_world, tmp_path, monkeypatch, capsys, words, said):
    monkeypatch.chdir(tmp_path)
    assert run("report", *(word.format(world=small_world) for word in words)) != 0
    assert said in capsys.readouterr().err
    assert not (tmp_path / "r.html").exists()


def test_a_page_is_written_from_python(small_world, tmp_path):
    file = tmp_path / "r.html"
    dcbmr.write_report(small_world / "factors", file, songs=small_world / "songs.tsv", title="Ours")
    assert "<title>Ours</title>" in file.read_text()
    with pytest.raises(InputError, match="--overwrite"):
        dcbmr.write_report(small_world / "factors", file)
    store = FeatureStore.open(small_world / "features")
    with pytest.raises(InputError, match="without a model"):
        dcbmr.write_report(small_world / "factors", file, features=store, overwrite=True)


def test_a_missing_extra_is_named(small_world, tmp_path, monkeypatch, capsys):
    monkeypatch.setitem(__import__("sys").modules, "bokeh", None)
    assert run("report", str(small_world / "factors"), "-o", str(tmp_path / "r.html")) == 2
    assert "pip install 'dcbmr[report]'" in capsys.readouterr().err


def test_an_experiment_whose_stages_are_gone_says_so(experiment, tmp_path, capsys):
    broken = tmp_path / "mine"
    broken.mkdir()
    (broken / "results.json").write_text((experiment / "results.json").read_text())
    (broken / "evaluation").symlink_to(tmp_path / "gone")
    assert run("report", str(broken), "-o", str(tmp_path / "r.html")) == 2
    assert "link to one that is gone" in capsys.readouterr().err


def factors_of(song_factors, plays=None):
    """Factors of songs, each played by every user, or as is said."""
    users = np.random.default_rng(0).standard_normal((30, len(song_factors[0])))
    counts = np.ones((30, len(song_factors))) if plays is None else plays
    return Factors(user_factors=users, song_factors=np.array(song_factors), counts=csr_array(counts))


@pytest.mark.parametrize("n_songs", [1, 2, 4, 7])
def test_few_songs_and_equal_songs_have_places(n_songs):
    songs = map_songs({"one": Recommender.from_factors(factors_of(np.ones((n_songs, 3))))})
    assert songs.positions.shape == (n_songs, 2)
    assert np.isfinite(songs.positions).all()
    assert len(np.unique(songs.positions, axis=0)) == n_songs
    assert "songs-data" in draw(Page("few", songs=songs))


def test_songs_whose_factors_are_zeros_have_no_neighbours():
    Y = np.random.default_rng(1).standard_normal((8, 3))
    Y[3] = 0
    songs = map_songs({"one": Recommender.from_factors(factors_of(Y))}, k=3)
    near = songs.neighbours["one"]
    assert (near[3] == -1).all()
    assert 3 not in near
    usage = factors_of(Y).user_factors @ Y.T.astype(np.float32)
    usage = usage / np.maximum(np.linalg.norm(usage, axis=0), 1e-12)
    cosine = usage.T @ usage
    for song in (0, 5):
        wanted = [other for other in np.argsort(-cosine[song]) if other not in (song, 3)][:3]
        assert near[song].tolist() == wanted


def test_factors_that_are_not_finite_are_refused():
    vectors = np.ones((6, 3), np.float32)
    vectors[4, 1] = np.nan
    with pytest.raises(InputError, match="1 of 6 songs have factors that are not finite; first row 4"):
        lay_out(vectors)


def test_the_same_seed_is_the_same_layout():
    vectors = np.random.default_rng(0).standard_normal((60, 4)).astype(np.float32)
    first, again, other = (lay_out(vectors, random_state=seed, n_threads=1) for seed in (1, 1, 2))
    np.testing.assert_array_equal(first, again)
    assert not np.array_equal(first, other)
    np.testing.assert_array_equal(first, lay_out(vectors, random_state=1, n_threads=2))


def test_the_nearest_songs_of_the_layout_are_exact_and_others():
    vectors = np.random.default_rng(0).standard_normal((50, 4)).astype(np.float32)
    vectors[10:30] = vectors[3]  # of one place
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    songs, far = _nearest(vectors, 7, 1, lambda *_: None)
    assert (songs != np.arange(50)[:, None]).all()
    every = np.linalg.norm(vectors[:, None] - vectors[None], axis=2)
    np.fill_diagonal(every, np.inf)
    np.testing.assert_allclose(far, np.sort(every, axis=1)[:, :7], atol=1e-3)
    np.testing.assert_allclose(far, np.take_along_axis(every, songs, axis=1), atol=1e-3)
    assert np.isfinite(lay_out(vectors)).all()


def test_a_layout_can_be_stopped():
    def stop(*_):
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        lay_out(np.random.default_rng(0).standard_normal((60, 4)).astype(np.float32), progress=stop)


def test_the_artists_that_the_listeners_of_a_song_play(monkeypatch):
    # Users 0 to 14 play songs 0 to 3 and like what is like them, the others play 4 to 7.
    plays = np.zeros((30, 8))
    plays[:15, :4] = plays[15:, 4:] = 1
    users = np.r_[np.tile([1.0, 0], (15, 1)), np.tile([0, 1.0], (15, 1))]
    songs = np.r_[np.tile([1.0, 0], (4, 1)), np.tile([0, 1.0], (4, 1))]
    factors = Factors(user_factors=users, song_factors=songs, counts=csr_array(plays))
    artists = {str(song): "early" if song < 4 else "late" for song in range(8)}
    many = Recommender.from_factors(factors)
    found = map_songs({"one": many}, artists=artists).listeners_play
    # Fifty users are all of them here: nobody stands out.
    assert (found.codes == -1).all()
    monkeypatch.setattr(listeners, "_N_LISTENERS", 10)
    found = map_songs({"one": many}, artists=artists).listeners_play
    assert [[found.values[code] for code in row if code >= 0] for row in found.codes[[0, 7]]] == [
        ["early"],
        ["late"],
    ]


def test_labels_and_numbers_of_songs(tmp_path):
    (tmp_path / "tags.tsv").write_text("0\tloud\t1\n0\trare\t3\n2\tloud\t1\n9\tnobody\t1\n")
    table = SongTable(["0", "1", "2"], ["A", "", "B"], ["</script><b>x</b>", "", "شارع " * 60])
    songs = map_songs(
        {"one": Recommender.from_factors(factors_of(np.eye(3)))},
        songs=table,
        tags=SongTags.read(tmp_path / "tags.tsv"),
        measures=[Measure("empty", "", np.full(3, np.nan, np.float32))],
    )
    artist, tag = songs.labels
    assert [[artist.values[c] for c in row if c >= 0] for row in artist.codes] == [["A"], [], ["B"]]
    assert [[tag.values[c] for c in row if c >= 0] for row in tag.codes] == [["rare", "loud"], [], ["loud"]]
    assert songs.measures == []
    html = draw(Page("labels", songs=songs))
    assert "</script><b>x" not in html
    assert songs_on(html)["titles"] == table.titles
    kept = songs_for_json(songs)["labels"][1]
    np.testing.assert_array_equal(
        np.frombuffer(base64.b64decode(kept["codes"]["base64"]), "<i4").reshape(3, 3), tag.codes
    )


def test_a_learning_curve_is_drawn_by_step(experiment, tmp_path):
    entries = [
        {"stage": "fit", "step": s, "n_steps": 2, "validation_map": v}
        for s, v in [(1, 0.1), (2, 0.3), (2, 0.2)]
    ]
    curve = (experiment / "models" / "linear").resolve().parent / "curve.jsonl"
    curve.write_text("".join(json.dumps(entry) + "\n" for entry in entries))
    try:
        found = page_of_experiment(experiment, Sources(tmp_path / "r.html")).curves
    finally:
        curve.unlink()
    assert found == {"linear": [(0.5, 0.1), (1.0, 0.2)]}  # the second one was cut short, and done again


def test_what_cannot_be_written_is_told(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(DcbmrError, match="could not be written"):
        save_page(tmp_path / "file" / "r.html", Page("x"))
