"""The embedded world keeps what it promises."""

import hashlib
from collections import Counter

import numpy as np
import pytest
import soundfile

from dcbmr import DcbmrError, InputError
from dcbmr.datasets.world import MIN_GAP_S, NOTE_S, SR, TIME_TRAITS, World, WorldSettings
from dcbmr.plays.counts import PlayCounts
from dcbmr.plays.songs import read_songs

SMALL = WorldSettings(n_songs=120, n_artists=24, n_users=80, mean_songs=12, random_state=3)
# What a delta of width 9 over frames of 1024 samples, 512 apart, spans.
DELTA_S = (8 * 512 + 1024) / 22050


@pytest.fixture(scope="module")
def world():
    return World(SMALL)


@pytest.fixture(scope="module")
def default():
    return World()


def sounds(onsets):
    return Counter(zip(onsets.pitch.tolist(), onsets.loud.tolist(), onsets.instrument.tolist(), strict=True))


def test_every_song_holds_the_same_sounds_equally_often(world):
    for song in range(SMALL.n_songs):
        heard = sounds(world.onsets(song))
        assert set(heard.values()) == {3}
        assert len(heard) == 8
        assert [len(set(values)) for values in zip(*heard, strict=True)] == [2, 2, 2]


def test_time_traits_move_notes_and_change_nothing_else():
    plain, turned = World(SMALL), World(SMALL)
    turned.time_traits ^= 1
    for song in range(SMALL.n_songs):
        a, b = plain.onsets(song), turned.onsets(song)
        np.testing.assert_array_equal(a.time_s, b.time_s)
        assert sounds(a) == sounds(b)
        assert a.pitch.tolist() != b.pitch.tolist()


def test_the_order_within_pairs_is_the_trait(world):
    for song in range(SMALL.n_songs):
        onsets = world.onsets(song)
        bright = onsets.instrument & 1
        for trait, values in enumerate((onsets.pitch, onsets.loud, bright)):
            pairs = values.reshape(-1, 2)
            differ = pairs[:, 0] != pairs[:, 1]
            assert differ.sum() == 4
            high_first = pairs[differ, 0] > pairs[differ, 1]
            assert (high_first == bool(world.time_traits[song, trait])).all()


def test_any_three_pairs_in_a_row_tell_all_traits_and_three_seconds_hold_them(world):
    for song in range(SMALL.n_songs):
        onsets = world.onsets(song)
        columns = np.stack([onsets.pitch, onsets.loud, onsets.instrument], axis=1).reshape(-1, 2, 3)
        respect = (columns[:, 0] != columns[:, 1]).argmax(axis=1)
        for start in range(len(respect) - 2):
            assert set(respect[start : start + 3]) == {0, 1, 2}
        begins = onsets.time_s[::2]
        ends = onsets.time_s[1::2] + NOTE_S
        for start in np.arange(0, ends[-1] - 3, 0.05):
            assert ((begins >= start) & (ends <= start + 3)).sum() >= 3


def test_neither_a_frame_nor_a_delta_hears_two_notes(world):
    assert MIN_GAP_S - NOTE_S > DELTA_S
    for song in range(SMALL.n_songs):
        assert np.diff(world.onsets(song).time_s).min() >= MIN_GAP_S - 1e-9
    # In the samples, too: without its notes a song is the chord and the noise.
    song = int(np.argmin(world._backing))
    samples, onsets = world.synthesize(song), world.onsets(song)
    for start in onsets.time_s:
        between = samples[round((start + NOTE_S) * SR) + 1 : round((start + MIN_GAP_S) * SR) - 1]
        assert np.abs(between).max() < 0.02
        assert len(between) / SR > DELTA_S


def test_songs_last_as_long_as_said_and_do_not_clip(default):
    lengths = []
    for song in range(0, 3000, 97):
        samples = default.synthesize(song)
        lengths.append(len(samples) / SR)
        assert samples.dtype == np.float32
        assert 0.1 < np.abs(samples).max() < 1
    assert min(lengths) > 6
    assert max(lengths) < 10


def test_artists_mostly_agree_with_themselves(default):
    artist = default.artist
    assert len(np.unique(artist)) == default.settings.n_artists
    sums = np.zeros((default.settings.n_artists, len(TIME_TRAITS)))
    np.add.at(sums, artist, default.time_traits)
    sizes = np.bincount(artist)[:, None]
    usual = (2 * sums > sizes)[artist]
    assert 0.85 < (usual == default.time_traits).mean() < 0.97
    assert 0.4 < default.time_traits.mean() < 0.6


def test_styles_tell_nothing_of_the_time_traits(default):
    # Frame traits, by which styles differ, must not give the time traits away.
    correlation = np.corrcoef(default.frame_traits.T, default.time_traits.T)[:5, 5:]
    assert np.abs(correlation).max() < 4 / np.sqrt(default.settings.n_artists)


@pytest.mark.parametrize("share", [0.0, 0.3, 1.0])
def test_the_share_is_the_part_of_the_variance_that_time_explains(share):
    world = World(WorldSettings(n_songs=2000, n_artists=400, n_users=500, share=share))
    affinity = world.affinity()
    assert affinity.var() == pytest.approx(1, abs=0.15)
    X = np.column_stack([np.ones(2000), world.time_traits])
    explained = X @ np.linalg.lstsq(X, affinity.T, rcond=None)[0]
    assert explained.var() / affinity.var() == pytest.approx(share, abs=0.06)


def test_plays_follow_power_laws_and_taste(default):
    plays = default.plays()
    counts = plays.counts
    assert (counts.data == 1).mean() > 0.6
    for r in (2, 4, 8, 16):
        assert (counts.data >= r).mean() == pytest.approx(r**-1.6, rel=0.1)
    of_song = np.sort(np.bincount(counts.indices, minlength=3000))[::-1]
    rank = np.arange(1, 3001)
    body = slice(5, 1500)
    slope = np.polyfit(np.log(rank[body]), np.log(of_song[body]), 1)[0]
    assert -1 < slope < -0.4
    of_user = np.diff(counts.indptr)
    assert of_user.min() >= 6
    assert of_user.max() > 5 * np.median(of_user)
    affinity = default.affinity()
    user = np.repeat(np.arange(3000), of_user)
    assert affinity[user, counts.indices].mean() > 0.7 > 0.1 > abs(affinity.mean())


def digest(directory):
    files = sorted(p for p in directory.rglob("*") if p.suffix in (".flac", ".tsv"))
    return {p.name: hashlib.sha256(p.read_bytes()).hexdigest() for p in files}


def test_the_same_bytes_for_any_number_of_threads(tmp_path):
    world = World(WorldSettings(n_songs=12, n_artists=4, n_users=20, mean_songs=4))
    for n_threads in (1, 3):
        world.write(tmp_path / str(n_threads), n_threads=n_threads)
    one, three = digest(tmp_path / "1"), digest(tmp_path / "3")
    assert len(one) == 13
    assert one == three
    a, b = (PlayCounts.read(tmp_path / str(n) / "plays.parquet") for n in (1, 3))
    assert (a.counts != b.counts).nnz == 0
    assert World(WorldSettings(n_songs=12, n_artists=4, n_users=20, random_state=1)).plays().counts.nnz
    assert read_songs(tmp_path / "1" / "songs.tsv").song_ids == world.song_ids


def test_seeds_differ():
    one, two = World(SMALL), World(WorldSettings(n_songs=120, n_artists=24, n_users=80, random_state=4))
    assert not np.array_equal(one.synthesize(0)[:1000], two.synthesize(0)[:1000])
    assert not np.array_equal(one.artist, two.artist)


def test_writing_can_be_cancelled_and_continued(tmp_path):
    world = World(WorldSettings(n_songs=60, n_artists=4, n_users=20, mean_songs=4))

    def cancel(stage, done, n_songs, figures):
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        world.write(tmp_path, n_threads=2, progress=cancel)
    there = {p: p.stat().st_mtime_ns for p in (tmp_path / "audio").glob("*.flac")}
    assert 0 < len(there) < 60
    seen = []
    world.write(tmp_path, n_threads=2, progress=lambda stage, done, n, _: seen.append((done, n)))
    assert seen[-1] == (60, 60)
    assert all(p.stat().st_mtime_ns == when for p, when in there.items())
    assert len(list((tmp_path / "audio").iterdir())) == 60
    info = soundfile.info(tmp_path / "audio" / "song-07.flac")
    assert (info.samplerate, info.channels) == (SR, 1)


def test_a_disk_that_takes_no_more_is_named(tmp_path, monkeypatch):
    def full(*args, **kwargs):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(soundfile, "write", full)
    with pytest.raises(DcbmrError, match=r"song-0\.flac cannot be written: .*No space left"):
        World(WorldSettings(n_songs=4, n_artists=2, n_users=20)).write(tmp_path, n_threads=1)
    assert not list((tmp_path / "audio").glob("*.flac"))


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"share": 1.5}, r"share must lie in \[0, 1\], got 1.5"),
        ({"n_songs": 0}, "n_songs must be at least 1, got 0"),
        ({"n_songs": 5, "n_artists": 6}, "n_artists=6 is more than n_songs=5"),
        ({"loyalty": 0.2}, r"loyalty must lie in \[0.5, 1\], got 0.2"),
        ({"count_tail": 0}, "count_tail must be positive, got 0"),
    ],
)
def test_wrong_settings(wrong, message):
    with pytest.raises(InputError, match=message):
        WorldSettings(**wrong)
