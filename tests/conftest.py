"""Fixtures that several test files share."""

import os
import sys
import textwrap

import numpy as np
import pytest
import soundfile

# Processes that tests start import the installed dcbmr, not the sources of the folder they start in.
os.environ["PYTHONSAFEPATH"] = "1"
# As the command line does: tests must end on machines that do other work, too.
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")

N_SONGS, N_USERS, N_ARTISTS = 40, 60, 10


@pytest.fixture(params=["portable", "avx2", "avx512"])
def isa(request):
    """Each instruction set that this processor has, in force for the test."""
    from dcbmr import _core

    best = _core.isa()
    try:
        _core.set_isa(request.param)
    except ValueError as error:
        pytest.skip(str(error))
    yield request.param
    _core.set_isa(best)


@pytest.fixture(scope="session")
def small_world(tmp_path_factory):
    """A folder with audio/, plays.tsv, songs.tsv, split/, factors/ and features/: each step really run.

    Forty songs of two to four seconds: each artist has a pitch, and each user likes a range of pitches.
    """
    from dcbmr.factorization.als import WeightedALS
    from dcbmr.features.featurize import featurize
    from dcbmr.plays.counts import PlayCounts
    from dcbmr.plays.songs import read_songs
    from dcbmr.plays.split import split_plays

    root = tmp_path_factory.mktemp("world")
    rng = np.random.default_rng(7)
    (root / "audio").mkdir()
    artists = np.arange(N_SONGS) % N_ARTISTS
    songs = [f"song{i:02d}" for i in range(N_SONGS)]
    for song, artist in zip(songs, artists, strict=True):
        time = np.arange(int(22050 * rng.uniform(2, 4))) / 22050
        sound = 0.3 * np.sin(2 * np.pi * 220 * 1.2**artist * time) * (1 + 0.5 * np.sin(2 * np.pi * 4 * time))
        soundfile.write(root / "audio" / f"{song}.wav", sound + 0.01 * rng.standard_normal(len(time)), 22050)
    likes = rng.uniform(0, N_ARTISTS, N_USERS)
    with (root / "plays.tsv").open("w") as file:
        for user, pitch in enumerate(likes):
            for song, artist in zip(songs, artists, strict=True):
                if rng.random() < np.exp(-((artist - pitch) ** 2) / 4):
                    file.write(f"user{user:02d}\t{song}\t{rng.integers(1, 20)}\n")
    lines = ["song\tartist\ttitle"]
    lines += [f"{song}\tartist{artist}\tTitle of {song}" for song, artist in zip(songs, artists, strict=True)]
    (root / "songs.tsv").write_text("\n".join(lines) + "\n")

    plays, artist_of = PlayCounts.read(root / "plays.tsv"), read_songs(root / "songs.tsv").artist_of()
    split = split_plays(plays, by="artist", artists=artist_of)
    split.save(root / "split")
    als = WeightedALS(n_factors=6, n_iterations=5).fit(split)
    als.factors_.save(root / "factors")
    featurize(root / "audio", root / "features")
    return root


@pytest.fixture
def install(tmp_path, monkeypatch):
    """Lay a distribution with one plugin module into a folder that is on the path."""
    from dcbmr.contract import registry

    monkeypatch.syspath_prepend(str(tmp_path))

    def lay(distribution, source):
        module = distribution.replace("-", "_")
        (tmp_path / f"{module}.py").write_text(textwrap.dedent(source))
        info = tmp_path / f"{module}-1.0.dist-info"
        info.mkdir(exist_ok=True)
        (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {distribution}\nVersion: 1.0\n")
        (info / "entry_points.txt").write_text(f"[dcbmr]\n{module} = {module}\n")
        monkeypatch.delitem(sys.modules, module, raising=False)
        registry.installed.cache_clear()

    yield lay
    registry.installed.cache_clear()
