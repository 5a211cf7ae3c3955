"""Holding songs out, and keeping what was held out."""

import json
from datetime import date

import numpy as np
import pytest
from scipy.sparse import csr_array
from tables import as_dict

import dcbmr
from dcbmr import InputError, PlayCounts, SongTable, Split, split_plays
from dcbmr.cli import main
from dcbmr.plays.split import split_after, split_folds, split_list


def draw_plays(n_users=50, n_songs=40, seed=0):
    rng = np.random.default_rng(seed)
    counts = csr_array(
        np.where(rng.random((n_users, n_songs)) < 0.2, rng.integers(1, 9, (n_users, n_songs)), 0)
    )
    return PlayCounts([f"u{i}" for i in range(n_users)], [f"s{i}" for i in range(n_songs)], counts)


@pytest.mark.parametrize("by", ["song", "artist"])
def test_split_parts_the_plays(by, tmp_path):
    table = draw_plays()
    artists = {song: f"artist {i // 3}" for i, song in enumerate(table.song_ids[:30])}
    split = split_plays(table, by=by, artists=artists, fraction=0.25, random_state=3)
    assert as_dict(split.train) | as_dict(split.heldout) == as_dict(table)
    assert set(split.train.song_ids).isdisjoint(split.heldout_songs)
    assert set(split.heldout.song_ids) == set(split.heldout_songs)
    assert abs(len(split.heldout_songs) - 10) <= (0 if by == "song" else 1)
    if by == "artist":
        of = [
            {artists[s] for s in part if s in artists} for part in (split.train.song_ids, split.heldout_songs)
        ]
        assert of[0].isdisjoint(of[1])
    split.save(tmp_path / "split")
    again = Split.load(tmp_path / "split")
    assert as_dict(again.train) == as_dict(split.train)
    assert as_dict(again.heldout) == as_dict(split.heldout)
    assert again.heldout_songs == split.heldout_songs
    assert again.artists == artists
    assert (again.by, again.fraction, again.random_state) == (by, 0.25, 3)
    assert again != split, "splits are compared by identity"
    assert repr(again) == repr(split)
    assert f"Split(by={by!r}, fraction=0.25, random_state=3, train=PlayCounts(n_users=" in repr(split)


def test_split_by_play_keeps_users_and_songs_known(tmp_path):
    table = draw_plays()
    artists = {"s0": "a", "s1": "b"}
    split = split_plays(table, by="play", artists=artists, fraction=0.3, random_state=1)
    assert as_dict(split.train) | as_dict(split.heldout) == as_dict(table)
    assert as_dict(split.train).keys().isdisjoint(as_dict(split.heldout))
    assert split.heldout.counts.nnz == round(0.3 * table.counts.nnz)
    assert set(split.train.song_ids) == {song for _, song in as_dict(table)}
    assert set(split.train.user_ids) == {user for user, _ in as_dict(table)}
    assert split.heldout_songs == []
    split.save(tmp_path / "split")
    again = Split.load(tmp_path / "split")
    assert as_dict(again.heldout) == as_dict(split.heldout)
    assert (again.by, again.heldout_songs, again.artists) == ("play", [], artists)
    # Nothing decides but chance: every play is held out sooner or later.
    ever = set()
    for seed in range(60):
        ever |= set(as_dict(split_plays(table, by="play", fraction=0.3, random_state=seed).heldout))
    assert ever == set(as_dict(table))


def test_split_by_play_where_plays_are_the_only_ones():
    alone = PlayCounts.from_triplets(["a", "b"], ["x", "y"], [1, 1])
    with pytest.raises(dcbmr.InputError, match="none of the 2 plays can be held out"):
        split_plays(alone, by="play")
    few = PlayCounts.from_triplets(list("abcdd"), list("xyzxy"), [1] * 5)
    with pytest.warns(UserWarning, match="of 5 plays are held out, where 90.0% were wanted"):
        split = split_plays(few, by="play", fraction=0.9)
    assert split.heldout.counts.nnz == 1
    assert list(split.train.user_ids) == list("abcd")


def test_split_depends_on_the_seed_alone():
    table = draw_plays()
    splits = [split_plays(table, random_state=seed).heldout_songs for seed in (1, 1, 2)]
    assert splits[0] == splits[1] != splits[2]
    of_plays = [as_dict(split_plays(table, by="play", random_state=seed).heldout) for seed in (1, 1, 2)]
    assert of_plays[0] == of_plays[1] != of_plays[2]


def test_bad_splits():
    table = draw_plays()
    with pytest.raises(dcbmr.InputError, match="needs the artists of the songs"):
        split_plays(table, by="artist")
    with pytest.raises(dcbmr.InputError, match="fraction must lie between 0 and 1; got 1"):
        split_plays(table, fraction=1)
    with pytest.raises(dcbmr.InputError, match="by must be 'song', 'artist' or 'play'"):
        split_plays(table, by="album")
    with pytest.raises(dcbmr.InputError, match="cannot be split"):
        split_plays(draw_plays(5, 1))


def test_a_split_that_did_not_say_how_it_was_made_is_read(tmp_path):
    split_plays(draw_plays()).save(tmp_path / "split")
    config = json.loads((tmp_path / "split" / "config.json").read_text())
    kept = {key: value for key, value in config.items() if key not in ("by", "fraction", "random_state")}
    (tmp_path / "split" / "config.json").write_text(json.dumps(kept))
    split = Split.load(tmp_path / "split")
    assert (split.by, split.fraction, split.random_state) == (None, None, None)


def test_names_with_tabs_do_not_break_the_table_of_artists(tmp_path):
    plays = PlayCounts.from_matrix(np.ones((2, 3)), song_ids=["s0", "s1", "s2"])
    artists = {"s0": "A\tB", "s1": "A\nB", "s2": "C"}
    split_plays(plays, by="song", artists=artists, fraction=0.3).save(tmp_path / "split")
    assert Split.load(tmp_path / "split").artists == {"s0": "A B", "s1": "A B", "s2": "C"}
    plays = PlayCounts.from_matrix(np.ones((2, 3)), song_ids=["s\t0", "s1", "s2"])
    with pytest.raises(dcbmr.InputError, match=r"the id 's\\t0' has a tab or a line break in it"):
        split_plays(plays, artists={"s\t0": "A"}).save(tmp_path / "other")


def test_split_command(tmp_path, capsys):
    path = tmp_path / "plays.tsv"
    path.write_text("".join(f"u{u}\ts{s}\t1\n" for u in range(5) for s in range(10)))
    songs = tmp_path / "songs.tsv"
    songs.write_text("".join(f"s{s}\ta{s // 2}\n" for s in range(10)))

    def run(*words):
        with pytest.raises(SystemExit) as stop:
            main(["split", str(path), "-o", str(tmp_path / "split"), *words])
        return stop.value.code, capsys.readouterr().err

    code, shown = run("--by", "artist", "--songs", str(songs))
    assert code == 0
    assert "train: 5 users, 8 songs by 4 artists, 40 pairs" in shown
    assert len(Split.load(tmp_path / "split").heldout_songs) == 2
    code, shown = run()
    assert code == 2
    assert "exists" in shown
    code, shown = run("--by", "artist", "--overwrite")
    assert code == 2
    assert "--songs SONGS.tsv" in shown
    assert Split.load(tmp_path / "split"), "a failed run leaves what was there"


def test_folds_hold_out_each_song_once_and_keep_artists_together():
    plays = PlayCounts.from_matrix(np.ones((4, 23)))
    artists = {song: f"a{int(song) % 7}" for song in plays.song_ids}
    for by, most in (("song", 1), ("artist", 4)):
        folds = list(split_folds(plays, n_folds=3, by=by, artists=artists, random_state=5))
        held = [set(fold.heldout_songs) for fold in folds]
        assert set.union(*held) == set(plays.song_ids)
        assert sum(map(len, held)) == 23
        assert max(map(len, held)) - min(map(len, held)) <= most
        assert all(set(fold.train.song_ids).isdisjoint(fold.heldout_songs) for fold in folds)
    of = [{artists[song] for song in songs} for songs in held]
    assert sum(map(len, of)) == 7
    with pytest.raises(InputError, match="folds must be from 2 to 7"):
        next(split_folds(plays, n_folds=8, by="artist", artists=artists))


def test_songs_of_a_list_or_after_a_date_are_held_out():
    plays = PlayCounts.from_matrix(np.ones((3, 4)))
    with pytest.warns(UserWarning, match="1 of 2 songs of the list have plays"):
        assert split_list(plays, ["2", "x"]).heldout_songs == ["2"]
    with pytest.raises(InputError, match="none is left to learn from"):
        split_list(plays, list("0123"))
    with pytest.raises(InputError, match="0 of 1 songs of the list have plays"):
        split_list(plays, ["song"])
    dates = {"0": date(2001, 1, 1), "1": date(2002, 1, 1), "2": date(2003, 1, 1)}
    with pytest.warns(UserWarning, match="1 of 4 songs have no date and stay in training, as '3'"):
        split = split_after(plays, date(2002, 1, 1), dates=dates)
    assert (split.heldout_songs, split.by) == (["2"], "time")
    with pytest.raises(InputError, match="no songs with plays are later than 2009-01-01; they are from 2001"):
        split_after(PlayCounts.from_matrix(np.ones((3, 3))), date(2009, 1, 1), dates=dates)
    with pytest.raises(InputError, match="none of the 4 songs with plays has a date"):
        split_after(plays, date(2009, 1, 1), dates={"x": date(2001, 1, 1)})


def test_a_split_remembers_what_songs_are_called(tmp_path):
    plays = PlayCounts.from_matrix(np.ones((4, 6)))
    table = SongTable(["0", "1", "new"], ["A", "", "N"], ['"Heroes', "One\ttwo\0", "x" * 200_000])
    split = split_plays(plays, fraction=0.3).named_by(table)
    assert split.titles == table.title_of()
    split.save(tmp_path / "split")
    again = Split.load(tmp_path / "split")
    assert again.artists == {"0": "A", "new": "N"}, "of songs without plays, too: models predict them"
    assert again.titles == {"0": '"Heroes', "1": "One two ", "new": "x" * 10_000}
    assert again.songs.called("new").startswith("N - xx")
    # A newer table says more, and takes back nothing.
    more = again.named_by(SongTable(["0", "2"], ["", "B"], ["Heroes", "Bee"]))
    assert more.artists == {"0": "A", "2": "B", "new": "N"}
    assert (more.titles["0"], more.titles["1"]) == ("Heroes", "One two ")


def test_splits_of_before_have_no_titles(tmp_path):
    plays = PlayCounts.from_matrix(np.ones((4, 6)))
    split_plays(plays, artists={"0": "A"}, fraction=0.3).save(tmp_path / "s")
    assert (tmp_path / "s/songs.tsv").read_text() == "song\tartist\ttitle\n0\tA\t\n"
    again = Split.load(tmp_path / "s")
    assert (again.artists, again.titles, again.songs.has_titles) == ({"0": "A"}, None, False)
    split_plays(plays, fraction=0.3).save(tmp_path / "t")
    assert not (tmp_path / "t/songs.tsv").exists()
    assert Split.load(tmp_path / "t").songs.song_ids == []
