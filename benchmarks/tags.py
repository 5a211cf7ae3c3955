"""Tags of the Last.fm artists from their factors: the HetRec 2011 data, artists taken for songs.

    python benchmarks/tags.py DIRECTORY [--plot FILE] [--json FILE]

DIRECTORY holds user_artists.dat, user_taggedartists.dat and tags.dat (https://grouplens.org/datasets/hetrec-2011/).
A tag's weight is the number of users who gave it; an artist has a tag that two gave.
"""

import argparse
import json
import tempfile
import time
from collections import Counter
from pathlib import Path

import numpy as np

from dcbmr import PlayCounts, SongTags, WeightedALS, evaluate_tags, plot_tags


def read_tags(directory):
    """The assignments as lines of artist, tag, weight, read back as the command reads them."""
    lines = (directory / "tags.dat").read_text("latin-1").splitlines()[1:]
    names = dict(line.split("\t") for line in lines)
    given = Counter()
    for line in (directory / "user_taggedartists.dat").read_text("latin-1").splitlines()[1:]:
        _, artist, tag, *_ = line.split("\t")
        given[artist, names[tag].strip()] += 1
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "tags.tsv")
        path.write_text("".join(f"{artist}\t{tag}\t{n}\n" for (artist, tag), n in given.items()))
        return SongTags.read(path)


def main():
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("directory", type=Path)
    parser.add_argument("--plot", help="draw the AUCs to this file")
    parser.add_argument("--json", help="write the rows to this file")
    options = parser.parse_args()
    tags = read_tags(options.directory)
    plays = PlayCounts.read(options.directory / "user_artists.dat")
    n_listeners = np.bincount(plays.counts.indices, minlength=len(plays.song_ids))
    reports, rows = {}, []
    for n_factors, least in ((50, 1), (50, 5), (20, 5)):
        factors = WeightedALS(n_factors=n_factors).fit(plays).factors_
        in_hand = [song for song, n in zip(factors.song_ids, n_listeners, strict=True) if n >= least]
        songs, names, has_tag = tags.most_popular(in_hand, n_tags=50, min_weight=2)
        row_of = {song: row for row, song in enumerate(factors.song_ids)}
        vectors = factors.song_factors[[row_of[song] for song in songs]]
        started = time.perf_counter()
        report = evaluate_tags(vectors, has_tag, tags=names)
        seconds = time.perf_counter() - started
        shuffled = np.random.default_rng(0).permutation(len(songs))
        chance = evaluate_tags(vectors[shuffled], has_tag, tags=names)
        assert abs(chance.mean - 0.5) < 0.05, chance.mean
        name = f"{n_factors} factors, artists of {least}+ listeners"
        reports[name] = report
        row = {"vectors": name, "artists": len(songs), "auc": report.mean, "std_over_tags": report.std}
        row |= {"auc_of_shuffled_factors": chance.mean, "seconds": seconds}
        rows.append(row)
        print(
            f"{name:<40} {len(songs):>6} artists  AUC {report.mean:.4f} ± {report.std:.4f} over "
            f"{len(report.aucs)} tags  shuffled {chance.mean:.4f}  {seconds:.1f} s",
            flush=True,
        )
        ranked = sorted(report.scores, key=lambda score: score.auc)
        print("   best: " + ", ".join(f"{s.tag} {s.auc:.3f}" for s in ranked[:-7:-1]))
        print("   worst: " + ", ".join(f"{s.tag} {s.auc:.3f}" for s in ranked[:6]))
    if options.plot:
        plot_tags({name: reports[name] for name in list(reports)[:1]}, options.plot)
    if options.json:
        Path(options.json).write_text(json.dumps(rows, indent=2))


if __name__ == "__main__":
    main()
