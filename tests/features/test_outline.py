"""Near-silent songs, and recordings that are the same under two ids, are found and listed."""

import numpy as np
import pytest
import soundfile
from click.testing import CliRunner
from sounds import write

import dcbmr
from dcbmr.cli import cli
from dcbmr.features.outline import IS_SILENT, OutlineMaker, first_of_the_same

SR = 22050


def tune(seed, seconds=8.0, sr=SR):
    """Return notes of changing pitch, loudness and brightness, as music has them."""
    rng = np.random.default_rng(seed)
    time = np.arange(round(seconds * sr)) / sr
    sound = np.zeros(len(time))
    for start in np.arange(0, seconds, 0.25):
        note = (time >= start) * np.exp(-4 * np.maximum(time - start, 0))
        hz, bright = 110 * 2 ** (rng.integers(0, 36) / 12), rng.uniform(0.2, 0.9)
        for partial in range(1, 12):
            sound += rng.uniform(0.02, 0.1) * bright**partial * note * np.sin(2 * np.pi * hz * partial * time)
    return (0.3 * sound / np.abs(sound).max()).astype(np.float32)


def outline(samples):
    made = OutlineMaker()
    made.accept(dcbmr.LogMel()(samples))
    return made.finish()


def test_an_outline_does_not_depend_on_how_frames_come():
    mel = dcbmr.LogMel()(tune(0))
    whole, pieces = OutlineMaker(), OutlineMaker()
    whole.accept(mel)
    for piece in np.split(mel, [1, 50, 51, 200]):
        pieces.accept(piece)
    pieces.accept(mel[:0])
    assert whole.finish() == pieces.finish()


@pytest.mark.parametrize("db", [-100, -65])
def test_what_is_near_silent(db):
    noise = np.random.default_rng(0).standard_normal(3 * SR).astype(np.float32)
    assert outline(np.float32(10 ** (db / 20)) * noise) == IS_SILENT
    assert outline(np.float32(10 ** (-50 / 20)) * noise) != IS_SILENT


def test_what_is_too_short_has_no_outline():
    assert outline(np.zeros(3000, np.float32)) == ""
    assert OutlineMaker().finish() == ""


def test_other_songs_are_others():
    songs = [outline(tune(seed)) for seed in range(30)]
    np.testing.assert_array_equal(first_of_the_same(songs), np.arange(30))


def test_steady_tones_are_told_apart_by_their_level():
    time = np.arange(5 * SR) / SR
    tones = [
        outline((0.2 * np.sin(2 * np.pi * hz * time)).astype(np.float32)) for hz in (220, 440, 880, 1760)
    ]
    np.testing.assert_array_equal(first_of_the_same(tones), np.arange(4))


def test_many_copies_are_all_of_the_first():
    songs = [outline(tune(seed)) for seed in range(3)]
    many = [songs[0], IS_SILENT, *[songs[1]] * 200, "", songs[0], IS_SILENT, "", songs[2]]
    first = first_of_the_same(many)
    assert first.tolist() == [0, 1, *[2] * 200, 202, 0, 204, 205, 206]


def test_another_cut_of_a_song_is_another():
    song = tune(0, seconds=16)
    assert first_of_the_same([outline(song), outline(song[: 8 * SR])]).tolist() == [0, 1]


@pytest.fixture
def audio(tmp_path):
    for seed in range(4):
        write(tmp_path / f"audio/song{seed}.wav", tune(seed, sr=44100), 44100)
    again = tune(1, sr=48000)
    for name, options in (
        ("mp3", {}),
        ("flac", {}),
        ("ogg", {}),
        ("opus", {"format": "OGG", "subtype": "OPUS"}),
    ):
        write(tmp_path / f"audio/again-{name}.{name}", again, 48000, **options)
    write(tmp_path / "audio/low.wav", tune(2, sr=16000), 16000)
    write(tmp_path / "audio/nothing.wav", np.zeros(44100, np.float32), 44100)
    return tmp_path / "audio"


def test_featurize_lists_them(audio, tmp_path):
    report = dcbmr.featurize(audio, tmp_path / "features", n_threads=1)
    assert (report.n_done, report.n_silent, report.n_same) == (10, 1, 5)
    silent = (tmp_path / "features/silent.tsv").read_text().splitlines()
    assert silent == ["song\tpath", f"nothing\t{audio / 'nothing.wav'}"]
    header, *lines = (tmp_path / "features/same.tsv").read_text().splitlines()
    assert header == "song\tpath\tsame_as"
    same = {line.split("\t")[0]: line.split("\t")[2] for line in lines}
    assert same == {
        "again-mp3": "again-flac",
        "again-ogg": "again-flac",
        "again-opus": "again-flac",
        "song1": "again-flac",
        "song2": "low",
    }


def test_what_is_listed_follows_the_files(audio, tmp_path):
    dcbmr.featurize(audio, tmp_path / "features", kinds=["mel"])
    (audio / "nothing.wav").unlink()
    (audio / "low.wav").unlink()
    write(audio / "song0.wav", tune(3, sr=44100), 44100)
    report = dcbmr.featurize(audio, tmp_path / "features", kinds=["mel"], resume=True)
    assert (report.n_silent, report.n_same) == (0, 5)
    assert not (tmp_path / "features/silent.tsv").exists()
    lines = (tmp_path / "features/same.tsv").read_text().splitlines()
    assert [line.split("\t")[0::2] for line in lines][-1] == ["song0", "song3"]


def test_the_command_tells_of_them(audio, tmp_path):
    result = CliRunner().invoke(cli, ["featurize", str(audio), "-o", str(tmp_path / "features")])
    assert result.exit_code == 0
    assert f"1 songs are near-silent: {tmp_path / 'features' / 'silent.tsv'}" in result.stderr
    assert f"5 songs are the recording of another, too: {tmp_path / 'features' / 'same.tsv'}" in result.stderr


def test_stores_of_before_have_no_outlines(audio, tmp_path):
    root = tmp_path / "features"
    dcbmr.featurize(audio, root, kinds=["mfcc"])
    sources = root / "sources.tsv"
    sources.write_text("".join(line.rsplit("\t", 1)[0] + "\n" for line in sources.read_text().splitlines()))
    soundfile.write(audio / "new.wav", tune(9), SR)
    report = dcbmr.featurize(audio, root, kinds=["mfcc"], resume=True)
    assert (report.n_done, report.n_present, report.n_silent, report.n_same) == (1, 10, 0, 0)
