"""A damaged store is found, and what is damaged made again: the bytes are those that were there."""

import numpy as np
import pytest
import soundfile

import dcbmr
from dcbmr.cli import main
from dcbmr.features.repair import repair


def contents(directory):
    return {path.relative_to(directory): path.read_bytes() for path in directory.rglob("*") if path.is_file()}


@pytest.fixture
def store(tmp_path):
    (tmp_path / "music").mkdir()
    for song in range(5):
        sound = 0.1 * np.random.default_rng(song).standard_normal(9000 + 500 * song)
        soundfile.write(tmp_path / "music" / f"s{song}.wav", sound, 22050)
    dcbmr.featurize(tmp_path / "music", tmp_path / "f", kinds=("mel", "mfcc", "stats"))
    return tmp_path / "f"


def spoil(file, at):
    data = bytearray(file.read_bytes())
    data[at] ^= 0x40
    file.write_bytes(data)


def run(capsys, *words):
    with pytest.raises(SystemExit) as ended:
        main([str(word) for word in words])
    return ended.value.code, capsys.readouterr()


def test_damaged_songs_are_made_again(store, capsys):
    whole = contents(store)
    spoil(store / "mel" / "00000.bin", 10)
    spoil(store / "mfcc" / "00000.bin", -1)
    status, said = run(capsys, "featurize", "--check", store)
    assert status == 1
    assert "--repair makes them again" in said.err
    assert contents(store) != whole
    status, said = run(capsys, "featurize", "--check", store, "--repair")
    assert status == 0, said
    assert f"{store}: 2 songs made again, 0 are still damaged" in said.out
    assert contents(store) == whole
    assert run(capsys, "featurize", "--check", store)[0] == 0


@pytest.mark.parametrize("n_bytes", [None, 0, 5000])
def test_a_shard_that_is_gone_or_cut(store, capsys, n_bytes):
    whole = contents(store)
    shard = store / "mel" / "00000.bin"
    if n_bytes is None:
        shard.unlink()
    else:
        shard.write_bytes(shard.read_bytes()[:n_bytes])
    status, said = run(capsys, "featurize", "--check", store, "--repair")
    assert status == 0, said
    assert contents(store) == whole


def test_only_what_is_damaged_is_read(store, tmp_path):
    spoil(store / "stats" / "00000.bin", 0)
    for song in range(1, 5):
        (tmp_path / "music" / f"s{song}.wav").unlink()
    opened = dcbmr.FeatureStore.open(store)
    report = repair(opened, opened.check())
    assert (report.n_repaired, report.left) == (1, {})
    assert not any(dcbmr.FeatureStore.open(store).check().values())


def test_what_cannot_be_made_again_is_told(store, tmp_path, capsys):
    (store / "mel" / "00000.bin").write_bytes(b"")
    (tmp_path / "music" / "s1.wav").unlink()
    with (tmp_path / "music" / "s2.wav").open("ab") as file:
        file.write(b"more")
    dcbmr.bring_vectors(_vectors(tmp_path), store, kind="tags")
    spoil(store / "tags" / "00000.bin", 0)
    status, said = run(capsys, "featurize", "--check", store, "--repair")
    assert status == 1
    assert "3 songs made again, 3 are still damaged" in said.out
    assert "s1.wav is gone; --resume takes the song out" in said.err
    assert "s2.wav has changed; --resume reads it again" in said.err
    assert "still damaged: t: 'tags' was brought, not made of audio" in said.err
    # What it says cures it.
    words = ["--resume", "--kind", "mel", "--kind", "mfcc", "--kind", "stats"]
    status, said = run(capsys, "featurize", tmp_path / "music", "-o", store, *words)
    assert status == 0, said
    opened = dcbmr.FeatureStore.open(store)
    assert not opened["mel"].check()
    assert set(opened["mel"]) == {"s0", "s2", "s3", "s4"}


def _vectors(tmp_path):
    (tmp_path / "tags.tsv").write_text("song\tx\nt\t1.5\n")
    return tmp_path / "tags.tsv"


def test_another_process_writes(store):
    from dcbmr.features.writer import StoreWriter

    spoil(store / "mel" / "00000.bin", 0)
    opened = dcbmr.FeatureStore.open(store)
    writer = StoreWriter(store / "mel", opened["mel"].config)
    with pytest.raises(dcbmr.InputError, match="is being written by another process"):
        repair(opened, opened.check())
    writer.close()


def test_repair_alone_is_refused(store, capsys):
    status, said = run(capsys, "featurize", "music", "-o", store, "--repair")
    assert status == 2
    assert "--check DIR [--repair] alone" in said.err
