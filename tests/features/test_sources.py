"""Files that change, move or vanish after their features were made."""

import os
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from sounds import tone, write

import dcbmr
from dcbmr.audio.decode import decode
from dcbmr.features.featurize import featurize
from dcbmr.features.sources import SourceFile, read_sources


def mel_of(path):
    samples = np.concatenate(list(decode(path)))
    return dcbmr.LogMel()(samples).astype(np.float16).astype(np.float32)


def contents(directory):
    return {path.relative_to(directory): path.read_bytes() for path in directory.rglob("*") if path.is_file()}


@pytest.fixture
def music(tmp_path):
    folder = tmp_path / "music"
    for i in range(5):
        write(folder / f"song{i}.wav", tone(0.3 + 0.2 * i, 22050, hz=200.0 + 100 * i), 22050)
    return folder


@pytest.fixture
def features(music, tmp_path):
    featurize(music, tmp_path / "f")
    return tmp_path / "f"


def test_size_and_time_of_each_file_are_kept(music, features):
    files = list(read_sources(features))
    assert [file.song for file in files] == [f"song{i}" for i in range(5)]
    for file in files:
        found = os.stat(music / f"{file.song}.wav")
        assert (file.path, file.size, file.mtime_ns) == (
            str(music / f"{file.song}.wav"),
            found.st_size,
            found.st_mtime_ns,
        )


def test_a_changed_file_is_read_again(music, features):
    opened = dcbmr.FeatureStore.open(features)["mel"]
    before = {song: opened[song] for song in opened}
    write(music / "song1.wav", tone(0.9, 22050, hz=900.0), 22050)
    os.utime(music / "song3.wav", ns=(1, 1))  # the time alone is enough
    report = featurize(music, features, resume=True)
    assert (report.n_present, report.n_changed, report.n_done, report.n_vanished) == (3, 2, 2, 0)
    store = dcbmr.FeatureStore.open(features)
    for kind in ("mel", "mfcc"):
        assert store[kind].song_ids == ("song0", "song2", "song4", "song1", "song3")
        assert store[kind].check() == []
    for song in store["mel"]:
        np.testing.assert_array_equal(store["mel"][song], mel_of(music / f"{song}.wav"))
    # What was opened before is as it was.
    for song, frames in before.items():
        np.testing.assert_array_equal(opened[song], frames)
    assert opened.check() == []
    again = featurize(music, features, resume=True)
    assert (again.n_present, again.n_changed, again.n_done) == (5, 0, 0)


def test_a_changed_file_that_cannot_be_read_any_more(music, features):
    (music / "song1.wav").write_bytes(b"no audio")
    report = featurize(music, features, resume=True)
    assert (report.n_changed, report.n_done, report.failed.total()) == (1, 0, 1)
    store = dcbmr.FeatureStore.open(features)
    assert "song1" not in store["mel"]
    assert "song1" not in store["mfcc"]
    write(music / "song1.wav", tone(0.9, 22050), 22050)
    assert featurize(music, features, resume=True).n_done == 1
    np.testing.assert_array_equal(
        dcbmr.FeatureStore.open(features)["mel"]["song1"], mel_of(music / "song1.wav")
    )


def test_a_deleted_file_takes_its_song_along(music, features):
    opened = dcbmr.FeatureStore.open(features)["mel"]
    last = opened["song4"]
    (music / "song2.wav").unlink()
    (music / "song4.wav").unlink()
    report = featurize(music, features, resume=True)
    assert (report.n_present, report.n_vanished, report.failed.total()) == (3, 2, 0)
    assert dcbmr.FeatureStore.open(features).song_ids == ("song0", "song1", "song3")
    listed = (features / "vanished.tsv").read_text().splitlines()
    assert listed == ["song\tpath", f"song2\t{music}/song2.wav", f"song4\t{music}/song4.wav"]
    # What was opened before still has its frames, also after more was written.
    write(music / "song2.wav", tone(0.7, 22050), 22050)
    assert featurize(music, features, resume=True).n_done == 1
    np.testing.assert_array_equal(opened["song4"], last)
    assert dcbmr.FeatureStore.open(features).song_ids == ("song0", "song1", "song3", "song2")
    assert not (features / "vanished.tsv").exists()


def test_songs_of_other_sources_stay(music, features, tmp_path):
    other = tmp_path / "other"
    write(other / "x.wav", tone(0.5))
    (music / "song0.wav").unlink()
    for source in (other, other / "x.wav", {"y": other / "x.wav"}, [other / "x.wav"]):
        report = featurize(source, features, resume=True)
        assert report.n_vanished == 0
        assert "song0" in dcbmr.FeatureStore.open(features).song_ids
    (music / "songs.tsv").write_text("song1\tsong1.wav\n")  # a manifest speaks for the folder that it lies in
    assert featurize(music / "songs.tsv", features, resume=True).n_vanished == 1
    assert dcbmr.FeatureStore.open(features).song_ids == ("song1", "song2", "song3", "song4", "x", "y")


def test_a_manifest_whose_files_are_gone(music, tmp_path):
    manifest = tmp_path / "songs.tsv"
    manifest.write_text("".join(f"S{i}\t{music}/song{i}.wav\n" for i in range(5)))
    featurize(manifest, tmp_path / "f")
    (music / "song3.wav").unlink()
    report = featurize(manifest, tmp_path / "f", resume=True)
    # As if it had been made now: it is listed among the failures, and is no candidate.
    assert (report.n_present, report.n_vanished) == (4, 1)
    assert report.failed == {"cannot be read: No such file or directory": 1}
    assert dcbmr.FeatureStore.open(tmp_path / "f").song_ids == ("S0", "S1", "S2", "S4")
    before = contents(tmp_path / "f")
    shutil.rmtree(music)
    manifest.write_text("".join(f"S{i}\t{music}/song{i}.wav\n" for i in (0, 1, 2, 4)))
    with pytest.raises(dcbmr.InputError, match="^4 of the 4 files .* are gone: is a disk missing"):
        featurize(manifest, tmp_path / "f", resume=True)
    assert contents(tmp_path / "f") == before


def test_more_than_half_of_the_files_vanish_only_where_that_is_wanted(music, features):
    for song in ("song0", "song2", "song4"):
        (music / f"{song}.wav").unlink()
    with pytest.raises(dcbmr.InputError, match="^3 of the 5 files .*; --prune takes such songs out"):
        featurize(music, features, resume=True)
    assert len(dcbmr.FeatureStore.open(features).song_ids) == 5
    assert featurize(music, features, resume=True, prune=True).n_vanished == 3
    assert dcbmr.FeatureStore.open(features).song_ids == ("song1", "song3")


def test_a_folder_that_was_moved(music, features, tmp_path):
    music.rename(tmp_path / "elsewhere")
    report = featurize(tmp_path / "elsewhere", features, resume=True)
    assert (report.n_present, report.n_done, report.n_vanished) == (5, 0, 0)
    assert {os.path.dirname(file.path) for file in read_sources(features)} == {str(tmp_path / "elsewhere")}
    (tmp_path / "elsewhere" / "song1.wav").unlink()
    assert featurize(tmp_path / "elsewhere", features, resume=True).n_vanished == 1


def test_a_store_of_before_sizes_were_kept(music, features):
    written, files = contents(features), list(read_sources(features))
    (features / "sources.tsv").unlink()
    store = dcbmr.FeatureStore.open(features)
    assert len(store.song_ids) == 5
    report = featurize(music, features, resume=True)
    assert (report.n_present, report.n_done) == (5, 0)
    # Its files are taken for those it was made of; how they sound is not known.
    assert list(read_sources(features)) == [replace(file, outline="") for file in files]
    assert contents(features) == written | {Path("sources.tsv"): (features / "sources.tsv").read_bytes()}
    os.utime(music / "song3.wav", ns=(1, 1))
    assert featurize(music, features, resume=True).n_changed == 1


def test_interrupted_between_the_changes(music, features):
    """Whatever moment it stops at, a song has its old frames or its new ones, and a resume ends it."""
    old = {song: frames.copy() for song, frames in dcbmr.FeatureStore.open(features)["mel"].items()}
    for i in range(4):
        write(music / f"song{i}.wav", tone(1.0 + 0.1 * i, 22050, hz=1000.0), 22050)
    (music / "song4.wav").unlink()
    new = {f"song{i}": mel_of(music / f"song{i}.wav") for i in range(4)}
    for n in (1, 2, 3):

        def stop(stage, n_over, *_):
            if n_over == 1:
                raise KeyboardInterrupt

        with pytest.raises(KeyboardInterrupt):
            featurize(music, features, resume=True, progress=stop)
        store = dcbmr.FeatureStore.open(features, unfinished=True)["mel"]
        assert set(store) == set(new)
        assert store.check() == []
        for i, song in enumerate(sorted(new)):
            np.testing.assert_array_equal(store[song], (new if i < n else old)[song])
        # A kill leaves one kind ahead of the other.
        for name in ("mel/songs.tsv", "sources.tsv"):
            lines = (features / name).read_bytes().splitlines(keepends=True)
            (features / name).write_bytes(b"".join([*lines, lines[-1][:5]]))
    report = featurize(music, features, resume=True)
    assert (report.n_present, report.n_changed) == (3, 1)
    store = dcbmr.FeatureStore.open(features)
    for song, frames in new.items():
        np.testing.assert_array_equal(store["mel"][song], frames)


def test_names_of_any_bytes(tmp_path):
    folder = os.fsencode(tmp_path / "caf") + b'\xe9 \t\n"\\'
    os.mkdir(folder)
    path = os.fsdecode(os.path.join(folder, b"a.wav"))
    data = write(tmp_path / "ok.wav", tone(0.5)).read_bytes()
    with open(path, "wb") as file:
        file.write(data)
    featurize(os.fsdecode(folder), tmp_path / "f")
    (file,) = read_sources(tmp_path / "f")
    assert replace(file, outline="") == SourceFile.now("a", path)
    assert featurize(os.fsdecode(folder), tmp_path / "f", resume=True).n_present == 1
