"""What lies in folders beside audio, and names that no text file holds: nothing hangs, each is named."""

import csv
import os

import numpy as np
import pytest
import soundfile

import dcbmr
from dcbmr.cli import main


def write(path, seed=0):
    with open(path, "wb") as file:
        sound = 0.1 * np.random.default_rng(seed).standard_normal(9000)
        soundfile.write(file, sound, 22050, format="WAV")


def failed(store):
    with (store / "failed.tsv").open(encoding="utf-8", errors="surrogateescape") as lines:
        return {row["path"]: row["reason"] for row in csv.DictReader(lines, delimiter="\t")}


def test_a_folder_of_everything(tmp_path):
    music = tmp_path / "music"
    music.mkdir()
    write(music / "good.wav")
    os.mkfifo(music / "fifo.wav")
    (music / "device.wav").symlink_to("/dev/zero")
    (music / "loop.wav").symlink_to("loop.wav")
    (music / "self").symlink_to(music)
    (music / "nowhere.mp3").symlink_to("gone.mp3")
    write(music / "line\nbreak.wav", 1)
    write(music / "tab\tin.wav", 2)
    write(os.fsencode(music) + b"/\xff\xfe.wav", 3)
    (music / "folder.wav").mkdir()
    report = dcbmr.featurize(music, tmp_path / "f", kinds=["mfcc"])
    assert report.n_done == 1
    assert list(dcbmr.FeatureStore.open(tmp_path / "f")["mfcc"]) == ["good"]
    reasons = {os.path.basename(path): reason for path, reason in failed(tmp_path / "f").items()}
    for name in ("fifo.wav", "device.wav"):
        assert reasons.pop(name) == "is not a file"
    assert "Too many levels of symbolic links" in reasons.pop("loop.wav")
    assert "No such file" in reasons.pop("nowhere.mp3")
    assert "tab or a line break" in reasons.pop("line break.wav")
    assert "tab or a line break" in reasons.pop("tab in.wav")
    ((_, reason),) = reasons.items()
    assert "not UTF-8" in reason


def test_a_manifest_that_leads_elsewhere(tmp_path):
    (tmp_path / "lists").mkdir()
    write(tmp_path / "beside.wav")
    long = "x" * 4096
    (tmp_path / "lists" / "songs.tsv").write_text(
        f"up\t../beside.wav\nroot\t/etc/passwd\nzero\t/dev/zero\nlong\t{long}.wav\nnul\ta\0b.wav\n"
    )
    report = dcbmr.featurize(tmp_path / "lists" / "songs.tsv", tmp_path / "f", kinds=["mfcc"])
    assert report.n_done == 1
    assert report.failed.total() == 4
    # Nothing is written but the store.
    assert sorted(path.name for path in tmp_path.iterdir()) == ["beside.wav", "f", "lists"]


@pytest.mark.parametrize("words", [["featurize", "{}", "-o", "f"], ["featurize", "music", "-o", "{}"]])
def test_a_path_of_4096_letters(tmp_path, monkeypatch, capsys, words):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "music").mkdir()
    write(tmp_path / "music" / "a.wav")
    with pytest.raises(SystemExit) as ended:
        main([word.format("x" * 4096) for word in words])
    assert ended.value.code == 2
    said = capsys.readouterr().err
    assert "File name too long" in said or "x does not exist" in said
    assert "Traceback" not in said
    assert [path.name for path in tmp_path.iterdir()] == ["music"]
