"""How much room on disk the features of audio files will take."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from itertools import islice

import numpy as np

from dcbmr.audio.decode import length_of
from dcbmr.base.needs import Need
from dcbmr.contract.features import FeatureConfig

_N_LOOKED_AT = 16  # files whose length stands for that of all


def need_of_features(
    configs: Sequence[FeatureConfig],
    files: Iterable[tuple[str, str]],
    n_files: int,
    *,
    duration: float | None = None,
) -> Need:
    """Return what is needed to store the features of files, told from the lengths of the first of them.

    A kind of frames whose settings do not say how many there are a second is not counted, nor is a file whose
    length only decoding tells.
    """
    lengths = [seconds for _, path in islice(files, _N_LOOKED_AT) if (seconds := length_of(path))]
    mean = float(np.mean(lengths)) if lengths else 0.0
    if duration is not None:
        mean = min(mean, duration)
    return Need(0, n_files * sum(_bytes_of(config, mean) for config in configs))


def _bytes_of(config: FeatureConfig, seconds: float) -> float:
    n_rows = 1.0
    if config.shape == "frames":
        n_rows = seconds * config.settings.get("sr", 0) / config.settings.get("hop_length", 1)
    return n_rows * config.n_dims * np.dtype(config.dtype).itemsize
