"""Songs and people who play them, few enough to be worked through hundreds of times; and what came out."""

import json

import numpy as np
import soundfile

SR = 22050


def make_world(folder, *, n_songs, seconds, n_users):
    """Write ``music/``, ``songs.tsv`` and ``plays.tsv``: songs as long as ``seconds`` says, from and to."""
    rng = np.random.default_rng(0)
    (folder / "music").mkdir(parents=True, exist_ok=True)
    songs, plays = ["song\tartist\ttitle"], []
    for song in range(n_songs):
        t = np.arange(round(SR * rng.uniform(*seconds))) / SR
        sound = 0.1 * np.sin(2 * np.pi * 100 * (1 + song % 7) * t) + 0.02 * rng.standard_normal(len(t))
        soundfile.write(folder / "music" / f"s{song}.wav", sound, SR)
        songs.append(f"s{song}\ta{song // 2}\tSong {song}")
    for user in range(n_users):
        for song in rng.choice(n_songs, n_songs // 4, replace=False):
            plays.append(f"u{user}\ts{song}\t{rng.integers(1, 9)}")
    (folder / "songs.tsv").write_text("\n".join(songs) + "\n")
    (folder / "plays.tsv").write_text("\n".join(plays) + "\n")


class Undisturbed:
    """What a command writes when nobody disturbs it.

    Parameters
    ----------
    write : callable
        Runs the command and returns the directory that it wrote. It is called twice: what differs between
        the two tells of seconds, and is not compared.
    """

    def __init__(self, write):
        one, other = contents(write()), contents(write())
        self.varies = sorted(name for name in one if one[name] != other.get(name))
        self._files = {name: data for name, data in other.items() if name not in self.varies}

    def differs(self, directory):
        """Return the names of the files of a directory that are not as they should be."""
        found = contents(directory)
        names = (set(found) | set(self._files)) - set(self.varies)
        return sorted(name for name in names if found.get(name) != self._files.get(name))


def contents(directory):
    """Return the bytes of all files, by their path in the directory."""
    files = (path for path in directory.rglob("*") if path.is_file() and not path.is_symlink())
    return {str(path.relative_to(directory)): _comparable(path) for path in files}


def _comparable(path):
    data = path.read_bytes()
    # Of a stage: what it took, which two runs may agree on by chance.
    if path.name == "config.json" and "usage" in (record := json.loads(data)):
        return json.dumps({name: value for name, value in record.items() if name != "usage"}).encode()
    return data
