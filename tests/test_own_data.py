"""The pages on data of one's own, command by command, and README's lines of Python."""

import json
import re
import shlex
import shutil
from pathlib import Path

import pytest
import soundfile
from click.testing import CliRunner
from published_files import hetrec2011

import dcbmr
from dcbmr.cli import cli

ROOT = Path(__file__).resolve().parents[1]
README = ROOT / "README.md"
pytestmark = pytest.mark.skipif(not (ROOT / "docs").exists(), reason="the pages are in the sources only")


def commands(page, heading):
    """Return the words of each line of the first block of shell below a heading of a page."""
    text = (ROOT / page).read_text("utf-8")
    block = re.search(rf"^## {heading}\n.*?^```sh\n(.*?)^```$", text, re.M | re.S)[1]
    return [shlex.split(line, comments=True) for line in block.splitlines()]


@pytest.fixture(scope="module")
def world(small_world, tmp_path_factory):
    """What the pages say that there is: plays, a table of songs, audio, and releases of tonight."""
    root = tmp_path_factory.mktemp("readme")
    for name in ("audio", "songs.tsv"):
        (root / name).symlink_to(small_world / name)
    plays = (small_world / "plays.tsv").read_text().replace("user05", "alice")
    (root / "plays.tsv").write_text(plays)
    (root / "plays-of-today.tsv").write_text(f"{plays}alice\tsome-song\t2\n")
    tags = "".join(f"song{i:02d}\thigh\t{i % 10}\nsong{i:02d}\tlow\t{10 - i % 10}\n" for i in range(1, 40))
    (root / "tags.tsv").write_text(tags)
    (root / "new-releases").mkdir()
    shutil.copy(small_world / "audio/song01.wav", root / "new-releases/other.wav")
    samples, rate = soundfile.read(small_world / "audio/song02.wav")
    soundfile.write(root / "new-releases/some-song.mp3", samples, rate)
    return root


def run(words, input=None):
    assert words[0] == "dcbmr"
    if words[1] == "train":
        # For the sake of time: nothing is judged here.
        words = [*words, *(("--seconds", "0.1") if "auto" in words else ("--words", "16"))]
    result = CliRunner().invoke(cli, words[1:], input, catch_exceptions=False)
    assert result.exit_code == 0, result.output
    return result.stdout


def songs_of(words):
    return [row["song"] for row in json.loads(run([*words, "--json"]))]


def test_the_way_to_judge_and_the_way_to_use(world, monkeypatch):
    monkeypatch.chdir(world)
    *steps, evaluate, compare = commands("docs/own-data.md", "To judge")
    for words in steps:
        run(words)
    table = json.loads(run([*evaluate, "--json"]))
    assert [row["model"] for row in table][:1] == ["split-model"]
    assert "split-model" in run(compare)

    factorize, train, new, similar, predict, by_now = commands("docs/own-data.md", "To use")
    run(factorize)
    run(train)
    assert set(songs_of(new)) == {"other", "some-song"}
    assert "some-song" not in songs_of(similar)
    assert songs_of(predict) == ["some-song"]
    alice = dcbmr.PlayCounts.read("plays-of-today.tsv")
    played = alice.counts[[alice.user_ids.tolist().index("alice")]].indices
    assert not set(songs_of([*by_now, "-k", "99"])) & set(alice.song_ids[played])

    # What the way to judge made says so when it is put to use.
    misused = ["dcbmr", "recommend", "split-model", *new[3:], "--features", "features"]
    with pytest.warns(UserWarning, match="8 of the 10 candidates were held out by the split"):
        run(misused)


@pytest.mark.filterwarnings("ignore:.*fewer than 50 frames a codeword")
def test_what_else_is_known(world, monkeypatch, tmp_path):
    for name in ("audio", "plays.tsv", "tags.tsv", "new-releases"):
        (tmp_path / name).symlink_to(world / name)
    monkeypatch.chdir(tmp_path)
    run(commands("docs/own-data.md", "To judge")[1])  # featurize
    run(commands("docs/own-data.md", "To use")[0])  # factorize
    tags, bring = commands("docs/vectors.md", "Tags")
    train, recommend, predict = commands("docs/vectors.md", "Several kinds side by side")
    run(tags)
    assert "39 of 40 songs with plays have vectors (not 'song00')" in run(bring)
    run(train)
    Path("new.tsv").write_text("some-song\thigh\t9\n")
    run([*tags[:3], "new.tsv", "-o", "tags-of-new.parquet"])
    assert "some-song" in songs_of(recommend)
    assert songs_of(predict) == ["some-song"]


def test_the_lines_of_python(world, monkeypatch, tmp_path, capsys):
    lines = re.search(r"^## From Python\n.*?```python\n(.*?)```", README.read_text("utf-8"), re.M | re.S)[1]
    assert len([line for line in lines.splitlines() if line.strip()]) <= 20
    for name in ("plays.tsv", "songs.tsv", "new-releases"):
        (tmp_path / name).symlink_to(world / name)
    shutil.copytree(world / "audio", tmp_path / "audio")
    shutil.copy(world / "new-releases/other.wav", tmp_path / "audio/new.wav")
    monkeypatch.chdir(tmp_path)
    found = {}
    exec(lines.replace('"epochs": 40', '"epochs": 1'), found)
    printed = capsys.readouterr().out
    assert "upper-bound" not in printed
    assert {"cnn", "random"} <= {line.split()[0] for line in printed.splitlines()[1:4]}
    assert [song for song, _ in found["recommender"].recommend(["alice"], candidates="new")[0]] == ["new"]
    assert found["model"].predict_files(["audio/new.wav"]).shape == (1, 50)


def test_readme_is_short_and_what_it_points_to_is_there():
    text = README.read_text("utf-8")
    assert len(text.splitlines()) <= 120
    targets = re.findall(r"(?:\]\(|srcset=\"|src=\")([^)\"#]+)", text)
    assert "docs/_static/map-light.png" in targets
    assert not [target for target in targets if not (ROOT / target).exists()]


def test_published_data(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    hetrec2011(tmp_path / "hetrec2011-lastfm-2k")
    convert, factorize, _ = commands("docs/own-plays.md", "Published data")
    run(convert)
    run(factorize)


def test_logs(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "logs").mkdir()
    log = "user_id,track_id,played_at,ms_played\nann,naima,2024-01-02,31000\nbob,naima,2023-12-31,31000\n"
    (tmp_path / "logs" / "today.csv").write_text(log)
    rows = "ann,2024-01-02,web,naima,31\nbob,2024-01-02,web,naima,31\n"
    (tmp_path / "log.csv").write_text(rows)
    of_folder, of_places, piped = commands("docs/own-plays.md", "Logs")
    run(of_folder)
    assert list(dcbmr.Factors.load("factors").user_ids) == ["ann"]
    run(of_places)
    assert list(dcbmr.Factors.load("log-factors").user_ids) == ["ann", "bob"]
    assert piped[:3] == ["zcat", "plays-*.tsv.gz", "|"]
    run(piped[3:], "ann\t2024-01-02\t7\tnaima\nbob\t2024-01-03\t7\tnaima\n")
    assert list(dcbmr.Factors.load("all-factors").user_ids) == ["ann", "bob"]
