"""What a report takes: time and memory to make it, its size, and how it opens and moves in Chromium.

    python benchmarks/report.py --songs 10000 100000

Songs are made: 40 factors of artists in 60 genres, two models, titles, artists, three tags each, paths of
audio. The layout is t-SNE of them, as of any report.
"""

from __future__ import annotations

import argparse
import resource
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
from scipy.sparse import csr_array

from dcbmr.factorization.factors import Factors
from dcbmr.plays.songs import SongTable
from dcbmr.plays.tags import SongTags
from dcbmr.recommendation.recommender import Recommender
from dcbmr.report.page import Page
from dcbmr.report.report import save_page
from dcbmr.report.song_map import Measure, map_songs

sys.path.insert(0, str(Path(__file__).parents[1] / "tests" / "report"))
from browser import Browser, find_browser

N_FACTORS, N_GENRES, N_USERS, PLAYS_EACH = 40, 60, 20_000, 60
MOVES = 60


def made(n_songs: int, folder: Path) -> Page:
    """Return a page of made songs, and say how long each step takes."""
    rng = np.random.default_rng(0)
    n_artists = n_songs // 9
    genre = rng.standard_normal((N_GENRES, N_FACTORS))
    artist = 0.8 * genre[rng.integers(0, N_GENRES, n_artists)] + 0.6 * rng.standard_normal(
        (n_artists, N_FACTORS)
    )
    artist_of = rng.zipf(1.5, n_songs) % n_artists
    songs = artist[artist_of] + 0.5 * rng.standard_normal((n_songs, N_FACTORS))
    users = songs[rng.integers(0, n_songs, N_USERS)] + 0.5 * rng.standard_normal((N_USERS, N_FACTORS))
    rows = np.repeat(np.arange(N_USERS), PLAYS_EACH)
    columns = np.sort(rng.zipf(1.3, len(rows)) % n_songs)
    rng.shuffle(columns)
    columns[:n_songs] = np.arange(n_songs)[: len(columns)]  # somebody plays each
    plays = csr_array((np.ones(len(rows), np.float32), (rows, columns)), shape=(N_USERS, n_songs))
    plays.sum_duplicates()
    ids = [f"song-{song:06}" for song in range(n_songs)]
    factors = Factors(user_factors=users, song_factors=songs, counts=plays, song_ids=ids)
    is_cold = rng.random(n_songs) < 0.2
    listeners = Recommender(factors, ids, songs, is_predicted=is_cold)
    audio = Recommender(factors, ids, songs + 0.5 * rng.standard_normal(songs.shape))
    tags = folder / "tags.tsv"
    tags.write_text("".join(f"{song}\ttag {tag}\t1\n" for song in ids for tag in rng.integers(0, 300, 3)))
    began, stage = time.perf_counter(), ""

    def show(name: str, *_: object) -> None:
        nonlocal began, stage
        if name != stage:
            now = time.perf_counter()
            print(f"    {stage or 'begin'}: {now - began:.1f} s")
            began, stage = now, name

    song_map = map_songs(
        {"by listeners": listeners, "by audio": audio},
        songs=SongTable(
            ids,
            [f"Artist number {number}" for number in artist_of],
            [f"A title of usual length {song}" for song in range(n_songs)],
        ),
        tags=SongTags.read(tags),
        measures=[
            Measure("listeners", "users who play it", listeners.n_listeners.astype(np.float32)),
            Measure("error", "made", rng.random(n_songs, np.float32)),
        ],
        audio={song: f"audio/{song}.mp3" for song in ids},
        progress=show,
    )
    show("end")
    return Page("Made songs", songs=song_map)


def looked_at(file: Path) -> None:
    """Open a page, move its map, and print how long it takes."""
    program = find_browser()
    if program is None:
        print("    no Chromium: not opened")
        return
    with Browser(program) as browser:
        began = time.perf_counter()
        browser.open(file)
        browser.wait("'ready' in document.documentElement.dataset", seconds=300)
        print(f"    open in {time.perf_counter() - began:.1f} s")
        browser.js("document.getElementById('map').scrollIntoView({block: 'center'})")
        x, y = browser.js(
            "(({x, y, width, height}) => [x + width / 2, y + height / 2])("
            "document.getElementById('map').getBoundingClientRect())"
        )
        browser.js(
            "(() => { window.frames_ = [];"
            " const note = (at) => { frames_.push(at); requestAnimationFrame(note) };"
            " requestAnimationFrame(note) })()"
        )
        browser.mouse("mouseMoved", x, y)
        browser.mouse("mousePressed", x, y, button="left", clickCount=1)
        for move in range(1, MOVES + 1):
            browser.mouse("mouseMoved", x + 2 * move, y + move, button="left", buttons=1)
        frames = np.diff(browser.js("frames_"))
        browser.mouse("mouseReleased", x, y, button="left", clickCount=1)
        print(f"    a frame while panning: median {np.median(frames):.0f} ms, longest {frames.max():.0f} ms")
        if browser.errors:
            print("   ", *browser.errors)


def main() -> None:
    """Make and open pages of the sizes asked for."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--songs", type=int, nargs="+", default=[10_000])
    for n_songs in parser.parse_args().songs:
        print(f"{n_songs:,} songs")
        with tempfile.TemporaryDirectory() as folder:
            began = time.perf_counter()
            file = Path(folder) / "report.html"
            save_page(file, made(n_songs, Path(folder)))
            mib = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
            print(
                f"    made in {time.perf_counter() - began:.0f} s, at most {mib:,.0f} MiB; "
                f"{file.stat().st_size / 1e6:.1f} MB"
            )
            looked_at(file)


if __name__ == "__main__":
    main()
