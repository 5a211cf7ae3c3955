"""Log-mel spectra and MFCCs, computed by the core, and vectors made of them."""

from __future__ import annotations

from collections.abc import Iterable

from dcbmr import FeatureSpec, hookimpl

DCBMR_CONTRACT = 2


@hookimpl
def dcbmr_features() -> Iterable[FeatureSpec]:
    """Offer them, of one spectrum where several are wanted."""
    return [
        FeatureSpec(
            "mel",
            "dcbmr:LogMel",
            "log-mel spectra: log(1 + 1e4 * mel power)",
            shape="frames",
            dtype="<f2",  # which loses nothing that matters; c0 of an MFCC is too large for it
            is_streaming=True,
            joint="dcbmr:share_spectrum",
        ),
        FeatureSpec(
            "mfcc",
            "dcbmr:MFCC",
            "MFCCs and their differences",
            shape="frames",
            is_streaming=True,
            joint="dcbmr:share_spectrum",
        ),
        FeatureSpec(
            "patterns",
            "dcbmr_spectra.patterns:SongPatterns",
            "how mel bands move together, rhythm at the beat and harmony in any key",
            made_of=("mel",),
        ),
        FeatureSpec(
            "stats",
            "dcbmr:SongStatistics",
            "statistics of both: moments, percentiles, correlation, modulation, onsets and tempo",
            is_streaming=True,
            made_of=("mel", "mfcc"),
        ),
    ]
