"""What an extractor computes of a song: rows as stated, of that song alone, the same each time."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import numpy as np

from dcbmr.errors import InputError
from dcbmr.testing.checks import no_error
from dcbmr.testing.features.subject import Subject, arrays_of, assert_same


def check_rows_are_what_it_states(subject: Subject) -> None:
    """Models are given arrays of this shape, and compute with every number in them."""
    made = subject.make()
    subject.assert_rows(subject.rows(subject.sound(), extractor=made), made.n_dims)


def check_the_same_song_gives_the_same_bits(subject: Subject) -> None:
    """A model hears a new file as it heard the songs that it learned from."""
    made, song = subject.make(), subject.sound()
    first = subject.rows(song, extractor=made)
    cure = "keep nothing of a song in self, and draw random numbers from a seed that is a parameter"
    assert_same(subject.rows(song, extractor=made), first, "the same song a second time", cure)
    assert_same(subject.rows(song), first, "the same song and another extractor", cure)


def check_a_song_does_not_depend_on_those_before(subject: Subject) -> None:
    """Files come in any order, and a new one alone."""
    made = subject.make()
    subject.rows(subject.sound(1), extractor=made)
    cure = "keep nothing of a song in self: what holds for a collection is learned by a regressor"
    found = subject.rows(subject.sound(), extractor=made)
    assert_same(found, subject.rows(subject.sound()), "a song after another one, and alone", cure)


def check_songs_on_several_threads_do_not_mix(subject: Subject) -> None:
    """One extractor serves several songs at once, each on a thread of its own."""
    made = subject.make()
    songs = [subject.sound(seed) for seed in range(4)]
    alone = [subject.rows(song, extractor=made) for song in songs]
    with ThreadPoolExecutor(2) as pool:
        together = list(pool.map(lambda song: subject.rows(song, extractor=made), songs))
    cure = "keep nothing of a song in self: in local variables, or in the stream that stream() returns"
    for number, (found, expected) in enumerate(zip(together, alone, strict=True)):
        assert_same(found, expected, f"song {number} beside others on another thread", cure)


def check_rows_do_not_depend_on_how_a_song_is_cut(subject: Subject) -> None:
    """A file is decoded piece by piece, and its pieces are of any length."""
    song = subject.sound()
    whole = subject.rows(song)
    cure = "keep the samples that fill no frame yet in the stream, and put them before the next ones"
    for cuts in ([1], [len(song) // 2], list(range(777, len(song), 777)), [len(song) - 1]):
        assert_same(subject.rows(song, cuts=cuts), whole, f"a song in {len(cuts) + 1} pieces", cure)


def check_leaves_what_it_is_given_alone(subject: Subject) -> None:
    """Other kinds are made of the same samples and frames after this one."""
    pieces = subject.pieces(subject.sound())
    before = [part.copy() for part in arrays_of(pieces)]
    subject.rows_of(pieces, subject.make())
    cure = "compute new arrays: samples / 2, not samples /= 2"
    for old, new in zip(before, arrays_of(pieces), strict=True):
        assert np.array_equal(old, new), f"what it was given was written to; {cure}"


def check_takes_read_only_arrays(subject: Subject) -> None:
    """Frames of a file that is mapped into memory cannot be written to, not even for a moment."""
    pieces = subject.pieces(subject.sound())
    for part in arrays_of(pieces):
        part.flags.writeable = False
    with no_error("a song in read-only arrays", "copy what you change; change nothing back"):
        subject.rows_of(pieces, subject.make())


def check_silence(subject: Subject) -> None:
    """Collections have silent files, and files that begin or end in silence."""
    made = subject.make()
    with no_error("silence", "silence has features like everything else"):
        rows = subject.rows(np.zeros_like(subject.sound()), extractor=made)
    subject.assert_rows(rows, made.n_dims, "silence")


def check_one_sample(subject: Subject) -> None:
    """A file of one sample has no frame; a vector kind may make one of it, or say what it lacks."""
    made = subject.make()
    cure = "wanted no frames, a vector, or a dcbmr.InputError that says how much is needed"
    try:
        rows = subject.rows(np.full(1, 0.5, np.float32), extractor=made)
    except InputError:
        return
    except Exception as error:
        raise AssertionError(f"one sample raised {type(error).__name__}: {error}; {cure}") from error
    if len(rows):
        subject.assert_rows(rows, made.n_dims, "one sample")
