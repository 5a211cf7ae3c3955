"""Whether two tables speak of the same songs, and what keeps them apart."""

import pytest

from dcbmr.plays.matching import match_ids

PLAIN = [f"S{i:03d}x" for i in range(40)]


def test_how_many_match_and_the_first_that_do_not():
    found = match_ids(PLAIN[:30], PLAIN[10:])
    assert (found.n_wanted, found.n_matched, found.n_extra) == (30, 20, 10)
    assert found.missing == ("S030x", "S031x", "S032x")
    assert found.cause == ""
    assert found.words("songs with plays", "vectors") == (
        "20 of 30 songs with plays have vectors (not 'S030x', 'S031x', 'S032x', ...), 10 vectors are of "
        "other songs"
    )
    assert match_ids(PLAIN, PLAIN).words("songs", "plays") == "40 of 40 songs have plays"


@pytest.mark.parametrize(
    ("change", "cause"),
    [
        (lambda s: f"{s}.mp3", "a file ending ('S000x.mp3' here, 'S000x' there)"),
        (lambda s: s + (".flac" if "1" in s else ".wav"), "a file ending ('S000x.wav' here, 'S000x' there)"),
        (str.lower, "upper and lower case ('s000x' here, 'S000x' there)"),
        (lambda s: f"spotify:track:{s}", "a prefix ('spotify:track:S000x' here, 'S000x' there)"),
        (lambda s: f"track_{s}", "a prefix, 'track_' ('track_S000x' here, 'S000x' there)"),
        (lambda s: f"{s}_clip", "an ending, '_clip' ('S000x_clip' here, 'S000x' there)"),
        (lambda s: f"music/{s[:2]}/{s}", "a folder ('music/S0/S000x' here, 'S000x' there)"),
        (lambda s: f"music/{s[:2]}/{s}.ogg", "a folder and a file ending ('music/S0/S000x.ogg' here, "),
        (lambda s: f" {s} ", "spaces around the ids (' S000x ' here, 'S000x' there)"),
        (lambda s: f"{s.lower()}.MP3", "a file ending, and upper and lower case ('s000x.MP3' here, 'S000x' "),
        (lambda s: f"/Music/{s.lower()}.MP3", "folder, file ending and case ('/Music/s000x.MP3' here, "),
        (lambda s: f"{s[:2]}-{s[2:]}", "punctuation ('S0-00x' here, 'S000x' there)"),
        (lambda s: f"00{s}", "leading zeros ('00S000x' here, 'S000x' there)"),
    ],
)
def test_the_likely_cause_is_named_whoever_has_it(change, cause):
    changed = [change(song) for song in PLAIN]
    found = match_ids(changed, PLAIN)
    assert found.n_matched == 0
    assert found.cause.startswith(cause)
    assert "likely cause: " + cause in found.words("songs", "vectors")
    theirs = match_ids(PLAIN, changed)
    assert theirs.cause.split(" (")[0].split(",")[0] == cause.split(" (")[0].split(",")[0]
    assert repr(changed[0]) + " there" in theirs.cause


@pytest.mark.parametrize("change", [lambda s: f"{s}.flac", lambda s: f"/Music/{s}.FLAC", str.upper])
def test_ids_may_have_dots_of_their_own(change):
    """The ids of a.hq.ogg and b.hq.ogg are a.hq and b.hq."""
    songs = [f"{song}.hq" if i % 2 else f"{song}.lo" for i, song in enumerate(PLAIN)]
    changed = [change(song) if i % 3 else change(song).replace("flac", "wav") for i, song in enumerate(songs)]
    assert f"({changed[0]!r} here, {songs[0]!r} there)" in match_ids(changed, songs).cause
    assert f"({songs[0]!r} here, {changed[0]!r} there)" in match_ids(songs, changed).cause


def test_numbers_that_went_through_floats():
    assert match_ids([f"{i}.0" for i in range(99)], [str(i) for i in range(99)]).cause.startswith(
        "an ending, '.0' ('0.0' here, '0' there)"
    )


def test_nothing_is_made_up():
    assert match_ids(PLAIN, [f"{i}" for i in range(9)]).cause == ""
    assert match_ids([], PLAIN).cause == ""
    assert (
        match_ids(PLAIN, []).words("songs", "plays") == "0 of 0 songs have plays, 40 plays are of other songs"
    )
    # Numbers are not other numbers behind a digit.
    assert match_ids(["12", "13"], ["2", "3"]).cause == ""
    # A single accident among many explains nothing.
    assert match_ids([*PLAIN, "z.mp3"], [*(f"q{i}" for i in range(30)), "z"]).cause == ""
