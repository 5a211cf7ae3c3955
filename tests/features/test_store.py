"""Audio files to a store: hostile files, resuming, and what comes out."""

import errno
import json
import os
import sqlite3
import tracemalloc
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from real_data import RECORDINGS
from sounds import FORMATS, damage, tone, write

import dcbmr
from dcbmr import _core
from dcbmr.audio.decode import decode
from dcbmr.audio.files import find_songs
from dcbmr.cli import main
from dcbmr.features import features_writer, writer
from dcbmr.features import featurize as extraction
from dcbmr.features.recipe import Recipe
from dcbmr.features.sources import SourceFile, encoded
from dcbmr.features.writer import StoreWriter


def run(*words):
    with pytest.raises(SystemExit) as done:
        main(["featurize", *map(str, words)])
    return done.value.code


@pytest.mark.parametrize("ending", FORMATS)
def test_real_recordings_in_every_format(tmp_path, ending):
    if not RECORDINGS.is_dir():
        pytest.skip(f"no recordings at {RECORDINGS}")
    source = RECORDINGS / "sorohanro_-_solo-trumpet-06.hq.ogg"
    samples = np.concatenate(list(decode(source)))
    rate = 48000 if ending == "opus" else 22050  # Opus knows few rates
    import soxr

    write(tmp_path / f"trumpet.{ending}", soxr.resample(samples, 22050, rate), rate, **FORMATS[ending])
    extraction.featurize(tmp_path, tmp_path / "features", n_threads=1)
    ours = dcbmr.FeatureStore.open(tmp_path / "features")["mel"]["trumpet"]
    expected = dcbmr.LogMel()(samples)
    n = min(len(ours), len(expected))
    assert abs(len(ours) - len(expected)) <= 3
    # Lossy codecs and MP3's delay: the loud bands agree on average.
    assert np.corrcoef(ours[:n].mean(0), expected[:n].mean(0))[0, 1] > 0.98


def cut(path, share=0.6):
    data = path.read_bytes()
    path.write_bytes(data[: int(len(data) * share)])


@pytest.fixture
def hostile(tmp_path):
    """A folder of files with something wrong with each, and what is said about it."""
    folder = tmp_path / "hostile"
    noise = tone(3.0, channels=2)
    for ending in ("wav", "flac", "mp3", "aiff", "ogg"):
        cut(write(folder / f"cut-{ending}.{ending}", noise))
    folder.joinpath("zero.wav").touch()
    folder.joinpath("text.mp3").write_text("this is no music\n" * 200)
    folder.joinpath("binary.flac").write_bytes(np.random.default_rng(0).bytes(5000))
    write(folder / "no-samples.wav", np.empty((0, 1), np.float32))
    write(folder / "short.wav", tone(0.01))
    holes = tone(1.0)
    holes[22050] = np.nan
    write(folder / "nan.wav", holes, subtype="FLOAT")
    holes[22050] = np.inf
    write(folder / "inf.wav", holes, subtype="FLOAT")
    folder.joinpath("folder.wav").mkdir()
    os.symlink(folder / "nowhere.wav", folder / "dangling.wav")
    folder.joinpath("video.m4a").write_bytes(b"not an mp4 at all" * 50)
    return folder, {
        "cut-wav": "is truncated: its header says",
        "cut-flac": "is damaged",
        "cut-mp3": "is truncated: it says that it has 3.000 s",
        "cut-aiff": "is truncated: its header says",
        "cut-ogg": "is truncated: its last page is not whole",
        "zero": "is empty (0 bytes)",
        "text": "is damaged or no audio that libsndfile reads",
        "binary": "is damaged or no audio that libsndfile reads",
        "no-samples": "holds no samples",
        "short": "is too short (0.010 s): a frame needs 1024 samples at 22050 Hz",
        "nan": "holds a sample that is NaN or infinite, at 0.500 s",
        "inf": "holds a sample that is NaN or infinite, at 0.500 s",
        "dangling": "cannot be read: No such file or directory",
        "video": "PyAV",
    }


def test_a_bad_file_costs_that_file(tmp_path, hostile, capsys):
    folder, expected = hostile
    write(folder / "good.wav", tone())
    write(folder / "direct-current.wav", np.full(44100, 0.5, np.float32))
    folder.joinpath("notes.txt").write_text("skipped")
    assert run(folder, "-o", tmp_path / "features", "--threads", 2) == 0
    said = capsys.readouterr().out
    assert "2 songs added (0.00 h of audio in " in said
    assert f"{len(expected)} failed, 1 files skipped" in said
    mel = dcbmr.FeatureStore.open(tmp_path / "features")["mel"]
    assert set(mel) == {"good", "direct-current"}
    assert np.isfinite(mel["direct-current"]).all()
    lines = (tmp_path / "features" / "failed.tsv").read_text().splitlines()
    reasons = {song: reason for song, _, reason in (line.split("\t") for line in lines[1:])}
    assert reasons.keys() == expected.keys()
    for song, reason in expected.items():
        assert reason in reasons[song], (song, reasons[song])


def test_all_files_bad_is_a_failure(tmp_path, capsys):
    (tmp_path / "a.wav").touch()
    assert run(tmp_path, "-o", tmp_path / "f") == 1
    assert "1 failed: is empty (0 bytes)" in capsys.readouterr().err


def test_names_that_text_files_cannot_hold(tmp_path):
    folder = os.fsencode(tmp_path / "names")
    os.mkdir(folder)
    data = write(tmp_path / "ok.wav", tone(0.5)).read_bytes()
    for name in (b"caf\xe9.wav", b"tab\there.wav", "kõik läheb.wav".encode()):
        Path(os.fsdecode(os.path.join(folder, name))).write_bytes(data)
    report = extraction.featurize(os.fsdecode(folder), tmp_path / "f")
    assert list(dcbmr.FeatureStore.open(tmp_path / "f")["mel"]) == ["kõik läheb"]
    assert sorted(cause.split(";")[0] for cause in report.failed) == [
        "its name is not UTF-8",
        "the song's id is empty or holds a tab or a line break",
    ]
    assert r"caf\udce9" in (tmp_path / "f" / "failed.tsv").read_text()


# Which files


def pairs(source):
    with find_songs(source) as songs:
        assert len(songs) == len(list(songs))
        return list(songs)


def test_a_folder_is_searched_and_links_end(tmp_path):
    music = tmp_path / "music"
    for path in ("z.wav", "deep/b.FLAC", "deep/er/c.ogg", "deep.er/a.mp3", ".trash/d.wav"):
        (music / path).parent.mkdir(parents=True, exist_ok=True)
        (music / path).touch()
    for link, to in {"deep/loop": "..", "self.wav": "self.wav", "alias": "deep/er"}.items():
        os.symlink(to, music / link)
    (music / "cover.jpg").touch()
    (music / ".hidden.wav").touch()
    with find_songs(music) as songs:
        found = [(song, os.path.relpath(path, music)) for song, path in songs]
        assert songs.n_skipped == 1
    # By path; "alias" comes before "deep/er" and is the name under which that folder is entered.
    names = {"c": "alias/c.ogg", "a": "deep.er/a.mp3", "b": "deep/b.FLAC", "self": "self.wav", "z": "z.wav"}
    assert found == list(names.items())


def test_a_folder_that_cannot_be_read(tmp_path, monkeypatch, capsys):
    write(tmp_path / "music" / "open" / "a.wav", tone(0.5))
    write(tmp_path / "music" / "locked" / "b.wav", tone(0.5))

    def refuse(path, scandir=os.scandir):
        if str(path).endswith("locked"):
            raise PermissionError(errno.EACCES, "Permission denied")
        return scandir(path)

    # Not chmod, which does not stop root.
    monkeypatch.setattr(os, "scandir", refuse)
    assert run(tmp_path / "music", "-o", tmp_path / "f") == 0
    assert "1 failed: cannot be read: Permission denied" in capsys.readouterr().err
    failed = (tmp_path / "f" / "failed.tsv").read_text().splitlines()
    assert failed[1:] == [f"\t{tmp_path}/music/locked\tcannot be read: Permission denied"]
    with pytest.raises(dcbmr.InputError, match="locked: cannot be read: Permission denied"):
        pairs(tmp_path / "music" / "locked")


def test_files_of_one_song_that_differ_are_named_all_at_once(tmp_path):
    music = tmp_path / "music"
    first, second = write(music / "x/one.wav", tone(0.2)), write(music / "y/one.flac", tone(0.2))
    with pytest.raises(dcbmr.InputError) as error:
        extraction.featurize(music, tmp_path / "f")
    assert f"1 song has several files that differ: 'one': {first} and {second}." in str(error.value)
    assert "rename them, or give a manifest (song, path)" in str(error.value)
    for i in range(6):
        (music / f"x/{i}.mp3").write_bytes(b"as long, a")
        (music / f"y/{i}.mp3").write_bytes(b"as long, b")
    with pytest.raises(dcbmr.InputError) as error:
        extraction.featurize(music, tmp_path / "f")
    assert str(error.value).startswith("7 songs have several files that differ: '0': ")
    assert "'4': " in str(error.value)
    assert "'5': " not in str(error.value)
    assert not (tmp_path / "f").exists()


def test_copies_count_as_one(tmp_path, capsys):
    music = tmp_path / "music"
    first = write(music / "b/one.wav", tone(0.2))
    for copy in ("c/one.wav", "a/one.wav"):
        (music / copy).parent.mkdir()
        (music / copy).write_bytes(first.read_bytes())
    os.symlink(first, music / "one.wav")
    with find_songs(music) as songs:
        assert list(songs) == [("one", str(music / "a/one.wav"))]  # by path, whatever the disk hands out
        assert songs.n_copies == 3
    with find_songs([first, first, music / "a/one.wav"]) as songs:
        assert list(songs) == [("one", str(first))]
    assert run(music, "-o", tmp_path / "f") == 0
    assert "1 songs added" in (said := capsys.readouterr().out)
    assert "0 files skipped as no audio, 3 as copies of others" in said


@pytest.mark.parametrize(
    "text",
    [
        "song\tpath\nS1\ta.wav\nS2\tsub/b.wav\n",
        "S1,a.wav\nS2,sub/b.wav",
        "\ufeffsong,path\nS1,a.wav\nS2,sub/b.wav\n",
        "id,artist,file name,year\nS1,ann,a.wav,1999\nS2,bob,sub/b.wav,\n",
    ],
)
def test_manifest(tmp_path, text):
    write(tmp_path / "a.wav", tone(0.2))
    write(tmp_path / "sub" / "b.wav", tone(0.3))
    (tmp_path / "songs.tsv").write_text(text)
    extraction.featurize(tmp_path / "songs.tsv", tmp_path / "f")
    assert list(dcbmr.FeatureStore.open(tmp_path / "f")["mfcc"]) == ["S1", "S2"]


def test_bad_manifests(tmp_path):
    file = tmp_path / "m.tsv"
    file.write_text("S1\ta.wav\nS2\n")
    with pytest.raises(dcbmr.InputError, match=r"m\.tsv, line 2: wanted 2 columns, with song and path, got"):
        pairs(file)
    file.write_text("code,performer,file\nS1,ann,a.wav\n")
    with pytest.raises(dcbmr.InputError, match="do not say which is the song; call them song and path"):
        pairs(file)
    file.write_bytes(b"\xff\xfe\x00binary")
    with pytest.raises(dcbmr.InputError, match=r"m\.tsv is no manifest: it is not UTF-8"):
        pairs(file)
    file.write_text("a\t" + "x" * 200_000)
    with pytest.raises(dcbmr.InputError, match=r"m\.tsv is no manifest: field larger than"):
        pairs(file)
    file.write_text("song\tpath\n")
    with pytest.raises(dcbmr.InputError, match=r"m\.tsv names no song"):
        pairs(file)
    file.write_text("S1\tmissing.wav\n")
    report = extraction.featurize(file, tmp_path / "f")
    assert report.failed == {"cannot be read: No such file or directory": 1}
    with pytest.raises(dcbmr.InputError, match="does not exist"):
        pairs(tmp_path / "nothing")
    (tmp_path / "empty").mkdir()
    with pytest.raises(dcbmr.InputError, match="holds no audio"):
        pairs(tmp_path / "empty")


# The store


@pytest.fixture(scope="module")
def music(tmp_path_factory):
    folder = tmp_path_factory.mktemp("music")
    for i in range(7):
        write(folder / f"song{i}.wav", tone(0.3 + 0.4 * i, 22050, 1 + i % 2, hz=200.0 + 100 * i), 22050)
    return folder


@pytest.fixture(scope="module")
def features(music, tmp_path_factory):
    directory = tmp_path_factory.mktemp("features") / "f"
    extraction.featurize(music, directory)
    return directory


def contents(directory):
    return {path.relative_to(directory): path.read_bytes() for path in directory.rglob("*") if path.is_file()}


@pytest.mark.parametrize("kind", ["mel", "mfcc"])
def test_the_store_gives_back_what_was_extracted(music, features, kind):
    opened = dcbmr.FeatureStore.open(features)[kind]
    extractor = {"mel": dcbmr.LogMel, "mfcc": dcbmr.MFCC}[kind]()
    assert len(opened) == 7
    assert opened.n_dims == extractor.n_dims
    assert opened.settings == extractor.config
    assert (opened.shape, opened.dtype.str) == ("frames", {"mel": "<f2", "mfcc": "<f4"}[kind])
    assert opened.config.package == f"dcbmr {dcbmr.__version__}"
    for song in opened:
        samples = np.concatenate(list(decode(music / f"{song}.wav")))
        expected = extractor(samples)
        assert opened[song].dtype == np.float32
        assert opened[song].shape == expected.shape
        if kind == "mel":
            expected = expected.astype(np.float16).astype(np.float32)
        np.testing.assert_array_equal(opened[song], expected)
    blocks = list(opened.blocks(3))
    assert [len(songs) for songs, _ in blocks] == [3, 3, 1]
    np.testing.assert_array_equal(blocks[2][1][0], opened["song6"])


@pytest.mark.parametrize("kind", ["mel", "mfcc"])
def test_windows(features, kind):
    opened = dcbmr.FeatureStore.open(features)[kind]
    ids = ["song5", "song0", "song3"]
    of_store = opened.features(ids)
    of_memory = dcbmr.MemoryFeatures(kind, ids, [opened[song] for song in ids])
    rng = np.random.default_rng(0)
    songs, starts = rng.integers(3, size=50), rng.integers(-200, 300, size=50)
    length = 40
    expected = np.stack(
        [
            opened[ids[song]][np.arange(start, start + length) % len(opened[ids[song]])]
            for song, start in zip(songs, starts, strict=True)
        ]
    )
    for found in (of_store, of_memory):
        assert isinstance(found, dcbmr.SongFeatures)
        assert (found.kind, list(found.song_ids), found.n_dims) == (kind, ids, opened.n_dims)
        np.testing.assert_array_equal(found.n_frames, [len(opened[song]) for song in ids])
        np.testing.assert_array_equal(found.windows(songs, starts, length), expected)
        out = np.empty_like(expected)
        assert found.windows(songs, starts, length, out=out) is out
        np.testing.assert_array_equal(out, expected)
        half = found.windows(songs, starts, length, out=np.empty_like(expected, np.float16))
        np.testing.assert_array_equal(half, expected.astype(np.float16))
        np.testing.assert_array_equal(found.frames(1), opened["song0"])
        with pytest.raises(dcbmr.InputError, match="not one vector a song"):
            found.vectors()
        with pytest.raises(dcbmr.InputError, match="out: wanted float32"):
            found.windows(songs, starts, length, out=out.astype(np.float64))


def test_missing_songs_are_counted_and_named(features):
    with pytest.raises(dcbmr.InputError, match="lacks 2 of 3 songs: 'x', 'y'"):
        dcbmr.FeatureStore.open(features)["mel"].features(["x", "song1", "y"])
    with pytest.raises(KeyError):
        dcbmr.FeatureStore.open(features)["mel"]["x"]


def test_wrong_directories(features, tmp_path):
    with pytest.raises(dcbmr.InputError, match="is no dcbmr features directory"):
        dcbmr.FeatureStore.open(tmp_path)["mel"]
    with pytest.raises(dcbmr.InputError, match="'bow'"):
        dcbmr.FeatureStore.open(features)["bow"]


def test_threads_do_not_change_the_store(music, features, tmp_path):
    for n_threads in (1, 3):
        extraction.featurize(music, tmp_path / f"f{n_threads}", n_threads=n_threads)
        assert contents(tmp_path / f"f{n_threads}") == contents(features)


def test_an_output_that_exists(music, features, tmp_path):
    with pytest.raises(dcbmr.InputError, match="exists; --resume continues it, --overwrite replaces it"):
        extraction.featurize(music, features)
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "thesis.tex").touch()
    with pytest.raises(dcbmr.InputError, match="was not written by dcbmr"):
        extraction.featurize(music, tmp_path / "mine", overwrite=True)
    extraction.featurize(music, tmp_path / "f", kinds=["mel"])
    extraction.featurize(music, tmp_path / "f", overwrite=True)
    assert contents(tmp_path / "f") == contents(features)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"params": {"n_fft": 2048}}, "other settings: n_fft is 1024 .wanted 2048"),
        ({"params": {"htk": True}}, "other settings: htk is False .wanted True"),
        ({"params": {"deltas": 1}}, "other settings: deltas is 2 .wanted 1"),
        ({"kinds": ["mel"]}, "other settings: kinds is "),
        ({"duration": 1.0}, "other settings: duration is none .wanted 1.0"),
    ],
)
def test_a_store_of_other_settings_is_not_continued(music, features, options, message):
    before = contents(features)
    with pytest.raises(dcbmr.InputError, match=message):
        extraction.featurize(music, features, resume=True, **options)
    assert contents(features) == before


@pytest.mark.parametrize("n_first", [0, 1, 4])
def test_resume_after_an_interruption(music, features, tmp_path, n_first, monkeypatch):
    def stop(stage, n_over, *_):
        if n_over == n_first:
            raise KeyboardInterrupt

    directory = tmp_path / "f"
    if n_first:
        with pytest.raises(KeyboardInterrupt):
            extraction.featurize(music, directory, progress=stop)
        assert len(dcbmr.FeatureStore.open(directory, unfinished=True)["mel"]) == n_first
        # What a kill leaves: half a song's frames, half a line, one kind ahead of the other.
        with (directory / "mel" / "00000.bin").open("ab") as shard:
            shard.write(b"x" * 12345)
        with (directory / "mel" / "songs.tsv").open("ab") as index:
            index.write(b"song9\t0\t")
        mfcc = directory / "mfcc" / "songs.tsv"
        mfcc.write_bytes(b"".join(mfcc.read_bytes().splitlines(keepends=True)[:-1]))
        assert len(dcbmr.FeatureStore.open(directory, unfinished=True)["mel"]) == n_first
    report = extraction.featurize(music, directory, resume=True)
    assert (report.n_present, report.n_done) == (max(0, n_first - 1), 7 - max(0, n_first - 1))
    assert contents(directory) == contents(features)
    again = extraction.featurize(music, directory, resume=True)
    assert (again.n_present, again.n_done) == (7, 0)
    assert contents(directory) == contents(features)


def test_what_was_interrupted_is_unfinished_until_it_is_finished(music, tmp_path, capsys):
    def stop(stage, n_over, *_):
        if n_over == 3:
            raise KeyboardInterrupt

    directory = tmp_path / "f"
    with pytest.raises(KeyboardInterrupt):
        extraction.featurize(music, directory, progress=stop)
    missing = (
        rf"{directory} is unfinished: it has 3 of 7 songs; dcbmr featurize AUDIO -o {directory} --resume"
    )
    with pytest.raises(dcbmr.InputError, match=missing):
        dcbmr.FeatureStore.open(directory)
    store = dcbmr.FeatureStore.open(directory, unfinished=True)
    assert (len(store.song_ids), store.n_wanted) == (3, 7)
    assert "n_songs=3, n_wanted=7" in repr(store)
    assert run("--check", directory) == 1
    assert "is unfinished: it has 3 of 7 songs" in capsys.readouterr().err
    extraction.featurize(music, directory, resume=True)
    assert dcbmr.FeatureStore.open(directory).n_wanted is None
    assert run("--check", directory) == 0
    # Also what was whole is unfinished while songs are added to it, and says so.
    with pytest.raises(KeyboardInterrupt):
        more = {f"more{i}": music / f"song{i}.wav" for i in range(5)}
        extraction.featurize(more, directory, resume=True, progress=stop)
    with pytest.raises(dcbmr.InputError, match="it has 10 of 12 songs"):
        dcbmr.FeatureStore.open(directory)


def test_a_file_that_fails_leaves_nothing_unfinished(tmp_path):
    write(tmp_path / "music" / "a.wav", tone(0.5))
    (tmp_path / "music" / "b.wav").touch()
    extraction.featurize(tmp_path / "music", tmp_path / "f")
    assert dcbmr.FeatureStore.open(tmp_path / "f").song_ids == ("a",)


def test_resuming_what_is_finished_says_so(music, tmp_path, capsys):
    assert run(music, "-o", tmp_path / "f") == 0
    before = contents(tmp_path / "f")
    capsys.readouterr()
    assert run(music, "-o", tmp_path / "f", "--resume") == 0
    assert "finished before; all 7 songs are there" in capsys.readouterr().out
    assert contents(tmp_path / "f") == before


def test_a_damaged_file_is_counted_and_named_and_nothing_else_is_said(tmp_path, capfd):
    music = tmp_path / "music"
    for name, hz in (("a", 300.0), ("b", 900.0)):
        write(music / f"{name}.mp3", tone(3.0, channels=2, hz=hz))
    bad = damage(write(music / "bad.mp3", tone(3.0, channels=2)))
    assert run(music, "-o", tmp_path / "f", "--threads", 3) == 0
    said = capfd.readouterr()
    listed = tmp_path / "f" / "damaged.tsv"
    assert said.err == f"  1 files are damaged and were read as far as they go: {listed}\n"
    lines = [line.split("\t") for line in listed.read_text().splitlines()]
    assert lines[0] == ["song", "path", "reason"]
    (song, path, reason) = lines[1]
    assert (song, path) == ("bad", str(bad))
    assert reason.startswith("part of it is lost: the decoder says big_values too large, and ")
    assert len(dcbmr.FeatureStore.open(tmp_path / "f")["mel"]) == 3
    # It stays listed for as long as it is.
    extraction.featurize(music, tmp_path / "f", resume=True)
    assert [line.split("\t") for line in listed.read_text().splitlines()] == lines
    write(bad, tone(2.0, channels=2))
    report = extraction.featurize(music, tmp_path / "f", resume=True)
    assert (report.n_changed, report.n_damaged) == (1, 0)
    assert not listed.exists()


def test_failures_are_tried_again(tmp_path):
    write(tmp_path / "music" / "a.wav", tone(0.5))
    bad = tmp_path / "music" / "b.wav"
    bad.touch()
    extraction.featurize(tmp_path / "music", tmp_path / "f")
    assert (tmp_path / "f" / "failed.tsv").exists()
    write(bad, tone(0.5))
    report = extraction.featurize(tmp_path / "music", tmp_path / "f", resume=True)
    assert (report.n_present, report.n_done, report.failed) == (1, 1, {})
    assert not (tmp_path / "f" / "failed.tsv").exists()


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EDQUOT])
def test_a_full_disk(music, features, tmp_path, monkeypatch, number):
    written = []

    def full(self, song, frames, n_frames, crc32, append=StoreWriter.append):
        if len(written) == 5:
            self._shard.write(frames.read(1000))
            raise OSError(number, os.strerror(number))
        append(self, song, frames, n_frames, crc32)
        written.append(song)

    monkeypatch.setattr(StoreWriter, "append", full)
    said = f"could not be written: {os.strerror(number)}; free some space and continue with --resume"
    with pytest.raises(dcbmr.DcbmrError, match=said):
        extraction.featurize(music, tmp_path / "f")
    monkeypatch.undo()
    for kind in ("mel", "mfcc"):
        assert dcbmr.FeatureStore.open(tmp_path / "f", unfinished=True)[kind].check() == []
    extraction.featurize(music, tmp_path / "f", resume=True)
    assert contents(tmp_path / "f") == contents(features)


def test_an_error_of_the_caller_is_not_the_disk_s(music, features, tmp_path):
    def broken(*_):
        raise ConnectionError("the caller's own")

    with pytest.raises(ConnectionError, match="the caller's own"):
        extraction.featurize(music, tmp_path / "f", progress=broken)
    extraction.featurize(music, tmp_path / "f", resume=True)
    assert contents(tmp_path / "f") == contents(features)


def test_memory_does_not_depend_on_the_number_of_files(music, tmp_path):
    def peak(n_songs):
        directory, manifest = tmp_path / f"f{n_songs}", tmp_path / f"{n_songs}.tsv"
        extraction.featurize(music, directory)
        for kind in ("mel", "mfcc"):
            with (directory / kind / "songs.tsv").open("w") as index:
                index.writelines(f"S{i}\t0\t0\t0\t00000000\n" for i in range(n_songs))
        file = SourceFile.now("", str(music / "song0.wav"))
        with (directory / "sources.tsv").open("wb") as sources:
            sources.writelines(encoded(replace(file, song=f"S{i}")) for i in range(n_songs))
        files = [file.path] * n_songs + ["missing.wav"] * n_songs
        manifest.write_text("".join(f"S{i}\t{path}\n" for i, path in enumerate(files)))
        tracemalloc.start()
        report = extraction.featurize(manifest, directory, resume=True)
        used = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        assert (report.n_present, report.failed.total()) == (n_songs, n_songs)
        return used

    peak(10)
    assert peak(3000) < peak(300) + 100_000


def test_kinds_that_hold_different_songs(music, tmp_path):
    extraction.featurize(music, tmp_path / "f")
    index = tmp_path / "f" / "mfcc" / "songs.tsv"
    index.write_bytes(b"".join(index.read_bytes().splitlines(keepends=True)[1:]))
    before = contents(tmp_path / "f")
    with pytest.raises(dcbmr.InputError, match="song 'song0' is not at one place in all kinds"):
        extraction.featurize(music, tmp_path / "f", resume=True)
    assert contents(tmp_path / "f") == before
    index.unlink()
    with pytest.raises(dcbmr.InputError, match=r"mfcc is damaged: it has no songs\.tsv"):
        dcbmr.FeatureStore.open(tmp_path / "f").check()


def test_shards(music, features, tmp_path, monkeypatch):
    monkeypatch.setattr(writer, "_MAX_SHARD_BYTES", 40_000)
    extraction.featurize(music, tmp_path / "f")
    assert len(list((tmp_path / "f" / "mel").glob("*.bin"))) > 3
    whole, sharded = dcbmr.FeatureStore.open(features)["mel"], dcbmr.FeatureStore.open(tmp_path / "f")["mel"]
    for song in whole:
        np.testing.assert_array_equal(sharded[song], whole[song])
    (tmp_path / "f" / "mel" / "00001.bin").unlink()
    damaged = dcbmr.FeatureStore.open(tmp_path / "f")["mel"].check()
    assert 0 < len(damaged) < 7


def test_check_finds_damage(music, tmp_path, capsys):
    extraction.featurize(music, tmp_path / "f")
    assert run("--check", tmp_path / "f") == 0
    shard = tmp_path / "f" / "mel" / "00000.bin"
    data = bytearray(shard.read_bytes())
    data[len(data) // 2] ^= 1
    shard.write_bytes(data)
    assert run("--check", tmp_path / "f") == 1
    said = capsys.readouterr()
    assert "1 songs damaged" in said.out
    assert "damaged: song" in said.err
    assert run("--check", tmp_path / "f", music) == 2


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (lambda mel: (mel / "songs.tsv").write_text("song1\tx\n"), r"songs\.tsv, line 1 is damaged"),
        (lambda mel: (mel / "songs.tsv").unlink(), r"mel is damaged: it has no songs\.tsv"),
        (lambda mel: twice(mel / "songs.tsv"), r"songs\.tsv is damaged: song 'song0' lies within another"),
        (lambda mel: lack(mel / "config.json", "n_dims"), r"config\.json is damaged: it lacks n_dims"),
    ],
)
def test_a_damaged_store_is_neither_read_nor_continued(music, tmp_path, damage, message):
    extraction.featurize(music, tmp_path / "f", kinds=["mel"])
    damage(tmp_path / "f" / "mel")
    before = contents(tmp_path / "f")
    with pytest.raises(dcbmr.InputError, match=message):
        dcbmr.FeatureStore.open(tmp_path / "f")["mel"]
    with pytest.raises(dcbmr.InputError):
        extraction.featurize(music, tmp_path / "f", kinds=["mel"], resume=True)
    assert contents(tmp_path / "f") == before


def twice(index):
    lines = index.read_text().splitlines(keepends=True)
    index.write_text("".join([*lines[:2], lines[0], *lines[2:]]))


def lack(config, name):
    settings = json.loads(config.read_text())
    del settings[name]
    config.write_text(json.dumps(settings))


def test_one_writer_at_a_time(music, features):
    opened = dcbmr.FeatureStore.open(features)
    with (
        features_writer.FeaturesWriter(features, [opened["mel"].config, opened["mfcc"].config]),
        pytest.raises(dcbmr.InputError, match="is being written by another process"),
    ):
        extraction.featurize(music, features, resume=True)


def test_readable_while_it_is_written(music, features, tmp_path):
    seen = []

    def look(stage, n_over, n_files, figures):
        opened = dcbmr.FeatureStore.open(tmp_path / "f", unfinished=True)["mel"]
        assert opened.check() == []
        seen.append(len(opened))

    monkey = pytest.MonkeyPatch()
    monkey.setattr(features_writer, "_COMMIT_S", 0.0)
    extraction.featurize(music, tmp_path / "f", progress=look)
    monkey.undo()
    assert seen == [1, 2, 3, 4, 5, 6, 7]


def test_features_of_files(music, features):
    config = dcbmr.FeatureStore.open(features)["mfcc"].config
    found = extraction.features_of_files([music / "song2.wav"], Recipe.again([config]))["mfcc"]
    np.testing.assert_array_equal(found.frames(0), dcbmr.FeatureStore.open(features)["mfcc"]["song2"])
    assert found.song_ids == ("song2",)


def test_memory_features_are_checked():
    with pytest.raises(dcbmr.InputError, match="1 arrays for 2 songs"):
        dcbmr.MemoryFeatures("mel", ["a", "b"], [np.zeros((3, 4))])
    with pytest.raises(dcbmr.InputError, match="all of one n_dims"):
        dcbmr.MemoryFeatures("mel", ["a", "b"], [np.zeros((3, 4)), np.zeros((3, 5))])


def test_songs_are_kept_in_order_and_dropped():
    given = {f"song {7 * i % 1000}": f"/music/{i}.wav" for i in range(1000)}
    given |= {"caf\udce9": "/music/caf\udce9.mp3", "\ud800": "any string"}
    with find_songs(given) as songs:
        assert list(songs) == list(given.items())
        assert songs.drop("song 500")
        assert not songs.drop("song 500")
        assert songs.drop("caf\udce9")
        assert len(songs) == 1000
        assert "song 500" not in dict(songs)
    twice = ["/music/song 7.wav", "/music/song 8.wav", "/elsewhere/song 7.mp3"]
    both = "'song 7': /music/song 7.wav and /elsewhere/song 7.mp3"
    with pytest.raises(dcbmr.InputError, match=both):
        pairs(twice)


def test_no_room_for_the_list_of_songs(monkeypatch):
    def connect(*words, connect=sqlite3.connect, **options):
        database = connect(*words, **options)
        database.execute("PRAGMA max_page_count = 20")
        return database

    monkeypatch.setattr(sqlite3, "connect", connect)
    with pytest.raises(dcbmr.DcbmrError, match="could not be kept in a temporary file: database or disk is"):
        pairs({f"song {i}": "a.wav" for i in range(10_000)})


def test_settings_of_the_command_line(music, tmp_path, capsys):
    words = ["--set", "n_fft=512", "--set", "htk=true", "--set", "fmax=8000", "--set", "n_mfcc=20"]
    assert run(music, "-o", tmp_path / "f", *words) == 0
    params = {"n_fft": 512, "htk": True, "fmax": 8000.0, "n_mfcc": 20}
    extraction.featurize(music, tmp_path / "g", params=params)
    assert contents(tmp_path / "f") == contents(tmp_path / "g")
    assert run(music, "-o", tmp_path / "f", "--resume") == 2
    assert (
        "other settings: n_fft is 512 (wanted 1024), fmax is 8000.0 (wanted none)" in capsys.readouterr().err
    )
    assert run(music, "-o", tmp_path / "h", "--set", "n_fft=1000") == 2
    assert "n_fft: wanted a power of two" in capsys.readouterr().err
    assert run(music, "-o", tmp_path / "h", "--set", "bands=3") == 2
    assert "no parameter 'bands'" in capsys.readouterr().err


def test_command_line(music, tmp_path, capsys):
    assert run(music, "-o", tmp_path / "f", "--kind", "mel", "--duration", 0.5) == 0
    assert "7 songs added" in capsys.readouterr().out
    config = json.loads((tmp_path / "f" / "mel" / "config.json").read_text())
    assert (config["feature"], config["dtype"], config["n_dims"]) == ("mel", "<f2", 128)
    assert not (tmp_path / "f" / "mfcc").exists()
    assert run(music, "-o", tmp_path / "f") == 2
    assert "exists; --resume continues it" in capsys.readouterr().err
    assert run(music) == 2
    assert run(music, "-o", tmp_path / "f", "--resume", "--overwrite") == 2
    assert run(music, "-o", tmp_path / "g", "--offset", -1) == 2
    assert run(music, "-o", tmp_path / "g", "--duration", "inf") == 2
    assert not (tmp_path / "g").exists()


@pytest.mark.usefixtures("isa")
def test_half_precision_is_widened_exactly():
    every = np.arange(1 << 16, dtype=np.uint16).reshape(-1, 16)  # every half there is
    zero, length = np.zeros(1, np.int64), len(every)
    out = np.empty((1, length, 16), np.float32)
    _core.read_windows([every], zero, zero, np.array([length]), zero, out)
    np.testing.assert_array_equal(out[0], every.view(np.float16).astype(np.float32))
    # A window may wrap round a short song as often as it likes.
    out = np.empty((1, 11, 16), np.float32)
    _core.read_windows([every], zero, zero + 7, zero + 4, zero + 3, out)
    rows = 7 + (3 + np.arange(11)) % 4
    np.testing.assert_array_equal(out[0], every.view(np.float16).astype(np.float32)[rows])


@pytest.mark.usefixtures("isa")
def test_half_precision_is_the_nearest():
    every = np.arange(0x7C00, dtype=np.uint16).view(np.float16).astype(np.float32)
    between = (every[1:] + every[:-1]) / 2
    rng = np.random.default_rng(0)
    numbers = [every, between, np.nextafter(between, np.float32(0)), np.nextafter(between, np.float32(1e9))]
    numbers += [rng.integers(0, 0x7F800001, 100_000, dtype=np.uint32).view(np.float32)]
    numbers += [np.float32([65519.99, 65520, 65536, 3e38, 1e-45, 2.0**-25, 2.0**-24])]
    single = np.concatenate(numbers)
    with np.errstate(over="ignore"):
        for signed in (single, -single):
            np.testing.assert_array_equal(_core.to_half(signed), signed.astype(np.float16).view(np.uint16))
    assert np.isnan(_core.to_half(np.float32([np.nan, -np.nan])).view(np.float16)).all()


@pytest.mark.parametrize(
    ("shard", "row", "n_frames", "start"),
    [(1, 0, 4, 0), (-1, 0, 4, 0), (0, 1, 4, 0), (0, -1, 4, 0), (0, 0, 0, 0), (0, 0, 4, 4), (0, 0, 4, -1)],
)
def test_windows_outside_a_shard_are_refused(shard, row, n_frames, start):
    places = [np.array([place]) for place in (shard, row, n_frames, start)]
    with pytest.raises(ValueError, match="must"):
        _core.read_windows([np.zeros((4, 2), np.uint16)], *places, np.empty((1, 3, 2), np.float32))
