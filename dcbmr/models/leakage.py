"""Nothing that a model is made of may have seen the songs that it is to be scored on."""

from __future__ import annotations

import warnings
from collections.abc import Sequence

import numpy as np

from dcbmr.errors import InputError
from dcbmr.factorization.factors import Factors
from dcbmr.features.joined import JoinedPipeline
from dcbmr.features.pipeline import FeaturePipeline


def refuse_leakage(factors: Factors, heldout_songs: Sequence[str], what: str) -> None:
    """Raise InputError when ``factors`` were fitted on plays of the songs that are held out."""
    songs = np.asarray(factors.song_ids, object)[factors.has_plays]
    seen = sorted(set(songs) & set(heldout_songs))
    if seen:
        raise InputError(
            f"{what} has seen plays of {len(seen)} of the {len(heldout_songs)} songs that are held out "
            f"{_named(seen)}: factorize the split directory, not all plays, and train on those factors "
            "(factors of all plays serve as the upper bound only)"
        )


def refuse_pipeline_leakage(
    pipeline: FeaturePipeline | JoinedPipeline, heldout_songs: Sequence[str], what: str
) -> None:
    """Raise InputError when words or components were learned from held-out songs; warn when not known."""
    if not heldout_songs:
        return
    for part, learned in pipeline.learned():
        seen = learned.seen(heldout_songs)
        if seen:
            raise InputError(
                f"the {part} of {what} was learned from {len(seen)} of the {len(heldout_songs)} songs that "
                f"are held out {_named(seen)}: learn it again from the training songs alone (`dcbmr codebook "
                "--without heldout_songs.txt` of the split, then featurize --kind bow), and train again"
            )
        if learned.songs_ is None:
            warnings.warn(
                f"the {part} of {what} does not know the songs that it was learned from: held-out songs may "
                "be among them; one that `dcbmr codebook` or `dcbmr train` makes knows",
                stacklevel=3,
            )


def _named(songs: Sequence[str]) -> str:
    return f"({', '.join(songs[:3])}{', ...' if len(songs) > 3 else ''})"
