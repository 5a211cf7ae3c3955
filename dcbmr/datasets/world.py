"""The embedded world: songs that are really synthesized, and users who really play them.

No public data set joins plays and audio, so this module makes one whose truth is known. Artists belong to
styles; their songs are synthesized note by note and written as audio files; users have tastes, and play
what they like and what is popular. Nothing but the plays and the audio files reaches the models.

What a song sounds like
-----------------------
A song is twelve pairs of short notes over a quiet chord. Two notes of different pitch, two degrees of
loudness and two instruments make eight sounds. Two kinds of traits shape it:

* Five that single frames betray (`FRAME_TRAITS`): three properties of the leading instrument (bright, nasal,
  breathy), the register, and how loud the chord is, which the leading instrument plays, too.
* Three that only time betrays (`TIME_TRAITS`), each of two kinds: which comes first in a pair, the low or the
  high note, the soft or the loud one, the dull or the bright instrument.

The time traits change the order of the notes and nothing else, exactly. The notes of a pair differ in one
respect and agree in the other two; every respect has four pairs, one for each combination of the others. So
each of the eight sounds is heard three times whatever the traits, and no two properties of a sound are tied
together. The respects take turns, so that three pairs in a row, which any 3 seconds hold, tell all traits. A
note lasts `NOTE_S` and the next one starts no sooner than `MIN_GAP_S` after it began, so that 0.24 s of the
steady chord lie between any two: neither a frame (46 ms) nor the nine frames that a delta spans (0.23 s)
ever hears two notes. Tempo, interval and the order of the pairs vary too, but no taste depends on them.

What a user likes
-----------------
The affinity of a user for a song is ``sqrt(1 - share) * f + sqrt(share) * t``, where ``f`` is linear in the
song's frame traits and ``t`` in its time traits, both of unit variance over users and songs: `share` is the
part of the variance of liking that is audible only in time. The songs a user plays are drawn without
replacement with probability proportional to ``popularity * exp(taste * affinity)``.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cache, lru_cache
from pathlib import Path
from threading import Event
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csr_array

from dcbmr.base.pool import OrderedPool
from dcbmr.base.progress import Progress
from dcbmr.errors import DcbmrError, InputError
from dcbmr.plays.counts import PlayCounts

SR = 22050
NOTE_S = 0.06
MIN_GAP_S = 0.30
FRAME_TRAITS = ("bright", "nasal", "breathy", "register", "backing")
TIME_TRAITS = ("high first", "loud first", "bright first")

_N_PAIRS = 12
_INTERVALS = (12, 14, 15, 16)  # semitones between the two notes
_LOWEST, _HIGHEST = 48, 60  # MIDI pitches of the lower note: 131 Hz to 262 Hz


@dataclass(frozen=True)
class WorldSettings:
    """Everything that the world depends on; equal settings give equal files, byte for byte.

    Attributes
    ----------
    n_songs, n_artists, n_users : int
        Sizes. Songs are dealt to artists evenly, as far as they go.
    share : float in [0, 1]
        Part of the variance of liking that is audible only in time.
    loyalty : float in [0.5, 1]
        Probability that a song has a time trait as its artist usually has it.
    taste : float
        How strongly liking, against chance, decides what is played.
    mean_songs : int
        Songs that a user plays on average, at most a quarter of all; a tenth of it is the least.
    popularity : float
        Exponent of the power law of the songs' popularity over their rank.
    count_tail : float
        Exponent of the power law of the counts: P(count >= r) = r ** -count_tail, so that most are 1.
    n_styles : int
        Styles that artists belong to.
    random_state : int
        Seed of everything.
    """

    n_songs: int = 3000
    n_artists: int = 500
    n_users: int = 3000
    share: float = 0.5
    loyalty: float = 0.9
    taste: float = 2.0
    mean_songs: int = 80
    popularity: float = 0.7
    count_tail: float = 1.6
    n_styles: int = 8
    random_state: int = 0

    def __post_init__(self) -> None:
        for name in ("n_songs", "n_artists", "n_users", "mean_songs", "n_styles"):
            if getattr(self, name) < 1:
                raise InputError(f"{name} must be at least 1, got {getattr(self, name)}")
        if self.n_artists > self.n_songs:
            raise InputError(f"n_artists={self.n_artists} is more than n_songs={self.n_songs}")
        if not 0 <= self.share <= 1:
            raise InputError(f"share must lie in [0, 1], got {self.share}")
        if not 0.5 <= self.loyalty <= 1:
            raise InputError(f"loyalty must lie in [0.5, 1], got {self.loyalty}")
        if self.count_tail <= 0:
            raise InputError(f"count_tail must be positive, got {self.count_tail}")


@dataclass(frozen=True, eq=False)
class Onsets:
    """The notes of one song in order, one row each.

    Attributes
    ----------
    time_s : ndarray of shape (24,), float64
        When the note starts, seconds.
    pitch : ndarray of shape (24,), int64
        MIDI pitch.
    loud : ndarray of shape (24,), int64
        1 if accented, else 0.
    instrument : ndarray of shape (24,), int64
        Instrument, 0 to 7: the bits are the first three of `FRAME_TRAITS`.
    """

    time_s: NDArray[np.float64]
    pitch: NDArray[np.int64]
    loud: NDArray[np.int64]
    instrument: NDArray[np.int64]


class World:
    """Songs, artists, users and plays that follow from the settings.

    Attributes
    ----------
    settings : WorldSettings
    song_ids, user_ids : list of str
    artist : ndarray of shape (n_songs,), int64
    style : ndarray of shape (n_songs,), int64
        Style of the song's artist.
    time_traits : ndarray of shape (n_songs, 3), int64
        0 or 1 for each of `TIME_TRAITS`.
    frame_traits : ndarray of shape (n_songs, 5), float64
        `FRAME_TRAITS`, each of mean 0 and variance 1.
    """

    def __init__(self, settings: WorldSettings | None = None) -> None:
        self.settings = s = settings or WorldSettings()
        digits = len(str(s.n_songs - 1))
        self.song_ids = [f"song-{i:0{digits}d}" for i in range(s.n_songs)]
        self.user_ids = [f"user-{i:0{len(str(s.n_users - 1))}d}" for i in range(s.n_users)]
        rng = np.random.default_rng([s.random_state, 0])

        # Artists: a style and a deviation from it, in the space of what frames betray, and time traits, in
        # which no style has a say.
        styles = rng.standard_normal((s.n_styles, 5))
        artist_style = rng.permutation(np.arange(s.n_artists) % s.n_styles)
        sound = math.sqrt(0.5) * (styles[artist_style] + rng.standard_normal((s.n_artists, 5)))
        artist_time = rng.integers(0, 2, (s.n_artists, len(TIME_TRAITS)))
        artist_interval = rng.choice(_INTERVALS, s.n_artists)
        artist_tempo = rng.random(s.n_artists)

        # Songs: as their artist mostly is.
        self.artist = rng.permutation(np.arange(s.n_songs) % s.n_artists)
        self.style = artist_style[self.artist]
        sound = sound[self.artist] + 0.4 * rng.standard_normal((s.n_songs, 5))
        strays = rng.random((s.n_songs, len(TIME_TRAITS))) > s.loyalty
        self.time_traits = artist_time[self.artist] ^ strays
        self._interval = artist_interval[self.artist]
        self._tempo = (artist_tempo[self.artist] + 0.3 * rng.random(s.n_songs)) / 1.3
        lead = (sound[:, :3] > 0) @ [1, 2, 4]
        # The second instrument is as bright as the leading one is dull, and like it otherwise.
        self._instruments = np.stack([lead, lead ^ 1], axis=1)
        self._register, self._backing = _uniform(sound[:, 3:]).T
        self.frame_traits = _standardized(np.column_stack([sound[:, :3] > 0, self._register, self._backing]))

    def affinity(self, users: slice = slice(None)) -> NDArray[np.float64]:
        """Return how much each of ``users`` likes each song, (n_users, n_songs); variance about 1."""
        s = self.settings
        tastes = np.random.default_rng([s.random_state, 1]).standard_normal((s.n_users, 8))[users]
        by_frame = tastes[:, :5] @ self.frame_traits.T / math.sqrt(5)
        by_time = tastes[:, 5:] @ _standardized(self.time_traits).T / math.sqrt(3)
        return np.asarray(math.sqrt(1 - s.share) * by_frame + math.sqrt(s.share) * by_time)

    def plays(self) -> PlayCounts:
        """Draw who played what how often: power laws of songs, of users and of counts."""
        s = self.settings
        rng = np.random.default_rng([s.random_state, 2])
        log_popularity = -s.popularity * np.log1p(rng.permutation(s.n_songs))
        # A Pareto law of exponent 1.5 that starts at a third of its mean.
        activity = s.mean_songs / 3 * rng.random(s.n_users) ** (-1 / 1.5)
        n_played = np.clip(activity, min(s.n_songs, max(1, s.mean_songs // 10)), max(1, s.n_songs // 4))
        n_played = n_played.astype(np.int64)
        songs = []
        for start in range(0, s.n_users, 256):
            block = slice(start, min(start + 256, s.n_users))
            # The largest of log weight + Gumbel noise are a draw without replacement (Yellott 1977).
            draw = s.taste * self.affinity(block) + log_popularity
            draw += rng.gumbel(size=draw.shape)
            for row, n in zip(draw, n_played[block], strict=True):
                songs.append(np.sort(np.argpartition(-row, n - 1)[:n]))
        indices = np.concatenate(songs)
        counts = np.floor(rng.random(len(indices)) ** (-1 / s.count_tail)).clip(max=1000)
        indptr = np.concatenate([[0], np.cumsum(n_played)])
        matrix = csr_array((counts.astype(np.float32), indices, indptr), shape=(s.n_users, s.n_songs))
        return PlayCounts(np.array(self.user_ids, object), np.array(self.song_ids, object), matrix)

    def onsets(self, song: int) -> Onsets:
        """Return the notes of ``song``."""
        rng = np.random.default_rng([self.settings.random_state, 3, song])
        low = _LOWEST + round(self._register[song] * (_HIGHEST - _LOWEST))
        dull_bright = sorted(self._instruments[song], key=lambda instrument: instrument & 1)
        values = np.array([[low, low + self._interval[song]], [0, 1], dull_bright])
        # The respects (pitch, loudness, instrument) in turn; for each the others' four combinations.
        respects = (rng.integers(3) + np.arange(_N_PAIRS)) % 3
        combinations = np.array([rng.permutation(4) for _ in range(3)])
        which = np.empty((_N_PAIRS, 2, 3), np.int64)
        for pair, respect in enumerate(respects):
            combination = combinations[respect, pair // 3]
            others = [r for r in range(3) if r != respect]
            which[pair, :, others[0]] = combination // 2
            which[pair, :, others[1]] = combination % 2
            first = self.time_traits[song, respect]
            which[pair, :, respect] = (first, 1 - first)
        pitch, loud, instrument = np.take_along_axis(values, which.reshape(-1, 3).T, axis=1)
        period_s = 2 * MIN_GAP_S + 0.06 + 0.12 * (1 - self._tempo[song])
        start_s = rng.uniform(0.05, 0.25) + period_s * np.arange(_N_PAIRS)
        time_s = (start_s[:, None] + [0, MIN_GAP_S]).ravel()
        return Onsets(time_s, pitch, loud, instrument)

    def synthesize(self, song: int) -> NDArray[np.float32]:
        """Return the samples of ``song`` at `SR`, mono, within [-1, 1]."""
        rng = np.random.default_rng([self.settings.random_state, 4, song])
        samples: NDArray[np.float32]
        onsets = self.onsets(song)
        n_samples = round((onsets.time_s[-1] + MIN_GAP_S) * SR)
        root, lead = int(onsets.pitch.min()) - 12, int(self._instruments[song, 0])
        chord = sum(_tone(lead, root + step, 0) for step in (0, 4, 7))
        # Recording noise, as every recording has it, some 65 dB below the loud notes.
        samples = rng.standard_normal(n_samples, dtype=np.float32)
        samples *= np.float32(1e-4)
        samples += _gain(-52 + 18 * self._backing[song]) * np.resize(
            np.roll(chord, rng.integers(SR)), n_samples
        )
        soft = _gain(-15)
        for time_s, pitch, loud, instrument in zip(
            onsets.time_s, onsets.pitch, onsets.loud, onsets.instrument, strict=True
        ):
            note = _note(int(instrument), int(pitch), int(loud))
            start = round(time_s * SR)
            samples[start : start + len(note)] += note if loud else soft * note
        return samples

    def order(self, song: int) -> str:
        """Say in words what comes first in the pairs of ``song``."""
        words = (("low", "high"), ("soft", "loud"), ("dull", "bright"))
        return ", ".join(pair[on] for pair, on in zip(words, self.time_traits[song], strict=True)) + " first"

    def write(
        self,
        directory: Path,
        *,
        n_threads: int | None = None,
        progress: Progress | None = None,
    ) -> None:
        """Write ``audio/``, ``songs.tsv`` and ``plays.parquet``; audio files that are there stay.

        The columns of ``songs.tsv`` are song, artist, title, style and order (what comes first in pairs).

        Parameters
        ----------
        directory : Path
            Created if missing.
        n_threads : int, optional
            Threads; the files do not depend on it.
        progress : Progress, optional
            Told of the songs now and then.
        """
        import soundfile

        audio = Path(directory) / "audio"
        audio.mkdir(parents=True, exist_ok=True)
        labels = self.labels()
        lines = ["song\tartist\ttitle\tstyle\torder\n"]
        for song, song_id in enumerate(self.song_ids):
            style, order = labels["style"][song_id], labels["order"][song_id]
            lines.append(f"{song_id}\t{self.artist_id(song)}\t{style}, {order}\t{style}\t{order}\n")
        (Path(directory) / "songs.tsv").write_text("".join(lines), "utf-8")
        self.plays().write_parquet(Path(directory) / "plays.parquet")

        def write_one(song: int, _: Event) -> None:
            file = audio / f"{self.song_ids[song]}.flac"
            if not file.exists():
                partial = file.with_suffix(".partial")
                samples = self.synthesize(song)
                try:
                    soundfile.write(partial, samples, SR, "PCM_16", format="FLAC", compression_level=0.0)
                    partial.rename(file)
                except (OSError, soundfile.LibsndfileError) as error:
                    raise DcbmrError(f"{file} cannot be written: {error}") from error

        n_songs = self.settings.n_songs
        with OrderedPool(write_one, n_threads=n_threads) as pool:
            for done, _ in enumerate(pool.in_order(range(n_songs)), start=1):
                if progress is not None and (done % 20 == 0 or done == n_songs):
                    progress("synthesize", done, n_songs, {})

    def artist_id(self, song: int) -> str:
        """Return the name of the artist of ``song``."""
        return f"artist-{self.artist[song]:0{len(str(self.settings.n_artists - 1))}d}"

    def labels(self) -> dict[str, dict[str, str]]:
        """Return the style and the order of every song, in words: "style" -> song -> "style 3"."""
        return {
            "style": {name: f"style {style}" for name, style in zip(self.song_ids, self.style, strict=True)},
            "order": {name: self.order(song) for song, name in enumerate(self.song_ids)},
        }


def _gain(decibels: float) -> np.float32:
    return np.float32(10 ** (decibels / 20))


@cache
def _note(instrument: int, pitch: int, loud: int) -> NDArray[np.float32]:
    """One note of `NOTE_S` seconds: struck, fading, silent at its end."""
    n = round(NOTE_S * SR)
    t = np.arange(n) / SR
    envelope = np.minimum(t / 0.004, 1) * np.exp(-t / 0.1) * np.minimum((NOTE_S - t) / 0.01, 1)
    return np.asarray(0.3 * envelope * _tone(instrument, pitch, loud)[:n], np.float32)


@lru_cache(maxsize=128)
def _tone(instrument: int, pitch: int, loud: int) -> NDArray[np.float32]:
    """One second of a steady tone that repeats seamlessly, peak 1; accented tones are brighter, too.

    Harmonics of a whole number of hertz (some cents off) are bins of a spectrum of one second.
    """
    bright, nasal, breathy = (instrument >> bit & 1 for bit in range(3))
    rng = np.random.default_rng([instrument, pitch, loud])
    f0 = round(440 * 2 ** ((pitch - 69) / 12))
    harmonics = np.arange(1, min(40, int(0.45 * SR) // f0) + 1)
    strength = harmonics ** -((0.8 if bright else 1.8) - 0.2 * loud)
    if nasal:
        strength = strength * (1 + 40 * np.exp(-((np.log2(f0 * harmonics / 1600) / 0.5) ** 2)))
    hertz = np.arange(SR // 2 + 1)
    spectrum = np.zeros(SR // 2 + 1, dtype=np.complex128)
    if breathy:
        breath = np.exp(-(np.log2(np.maximum(hertz, 1) / (6 * f0)) ** 2)) / math.sqrt(6 * f0)
        spectrum += 0.9 * breath * (rng.standard_normal(len(hertz)) + 1j * rng.standard_normal(len(hertz)))
    spectrum[f0 * harmonics] += strength * np.exp(2j * np.pi * rng.random(len(harmonics)))
    tone = np.fft.irfft(spectrum, SR)
    return np.asarray(tone / np.abs(tone).max(), np.float32)


def _uniform(values: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return every column's ranks, scaled to [0, 1]."""
    ranks = values.argsort(axis=0).argsort(axis=0)
    return np.asarray(ranks / max(1, len(values) - 1))


def _standardized(values: NDArray[Any]) -> NDArray[np.float64]:
    """Return columns of mean 0 and variance 1; a constant column becomes 0."""
    centred = values - values.mean(axis=0)
    return np.asarray(centred / np.maximum(values.std(axis=0), 1e-12))
