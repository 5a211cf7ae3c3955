"""``dcbmr dataset``: published data sets, as they are published, into what the other commands read."""

from __future__ import annotations

from pathlib import Path

import click

from dcbmr.cli._common import begin, output_option, overwrite_option, show_progress


@click.command("dataset", short_help="Turn a published data set into plays, songs, tags, vectors.")
@click.argument("name")
@click.argument("source", type=click.Path(path_type=Path), nargs=-1, required=True)
@output_option("plays, songs, tags, vectors and a first CONFIG.toml")
@overwrite_option
def command(name: str, source: tuple[Path, ...], output: Path, overwrite: bool) -> None:
    """Turn the published files of the data set NAME, in SOURCE, into what the other commands read.

    SOURCE are folders, which are searched with those within, and files. They are read as they are published,
    unpacked; nothing is downloaded, and what is missing is named with the page where it is published. NAME,
    and its files (after a semicolon: those that may be missing):

    \b
      msd         the Million Song Dataset: train_triplets.txt;
                  taste_profile_song_to_tracks.txt, unique_tracks.txt,
                  sid_mismatches.txt, sid_matches_manually_accepted.txt,
                  lastfm_tags.db, clips named by track
      yambda      Yambda: listens.parquet (flat, of one size);
                  embeddings.parquet, artist_item_mapping.parquet
      music4all   Music4All: listening_history.csv, id_information.csv;
                  id_tags.csv, id_metadata.csv, clips named by song
      lastfm360k  Last.fm 360K: usersha1-artmbid-artname-plays.tsv
      hetrec2011  HetRec 2011 Last.fm: user_artists.dat, artists.dat,
                  user_taggedartists.dat, tags.dat

    \b
    Example:  dcbmr dataset hetrec2011 hetrec2011-lastfm-2k -o lastfm
              dcbmr dataset yambda yambda/flat/50m yambda/embeddings.parquet -o yambda-50m
              dcbmr dataset msd millionsong/ /music/7digital-clips -o msd
    """
    from dcbmr.datasets.convert import converted
    from dcbmr.experiment.initial import write_initial_config

    begin(output, kind="dataset", overwrite=overwrite)
    with show_progress() as bars, converted(name, source, output, overwrite=overwrite, progress=bars) as made:
        can_experiment = "audio" in made.parts or "vectors" in made.parts
        if can_experiment:
            write_initial_config(made.folder / "CONFIG.toml", **made.parts)
        else:
            made.lacks("CONFIG.toml", "models predict from audio or vectors; experiment --init takes yours")
    for note in made.notes:
        click.echo(note)
    then, file = ("experiment", "CONFIG.toml") if can_experiment else ("factorize", "plays.parquet")
    click.echo(f"wrote {output}; next: dcbmr {then} {output / file} -o DIR", err=True)
