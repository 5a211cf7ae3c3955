import numpy as np
from numpy.typing import NDArray

def isa() -> str: ...
def set_isa(name: str) -> None: ...

class NearestWord:
    def __init__(self, words: NDArray[np.float32], scale: NDArray[np.float32] | None = None) -> None: ...
    def assign(
        self,
        frames: NDArray[np.float32],
        labels: NDArray[np.int32],
        distances: NDArray[np.float32] | None,
        n_threads: int,
    ) -> None: ...

def add_to_words(
    frames: NDArray[np.float32],
    labels: NDArray[np.int32],
    sums: NDArray[np.float64],
    counts: NDArray[np.int64],
    n_threads: int,
) -> None: ...

class SongScores:
    def __init__(self, songs: NDArray[np.float32]) -> None: ...
    def rank(
        self,
        users: NDArray[np.float32],
        indptr: NDArray[np.int64],
        indices: NDArray[np.int32],
        excluded_indptr: NDArray[np.int64],
        excluded_indices: NDArray[np.int32],
        songs: NDArray[np.int32],
        above: NDArray[np.int64],
        level: NDArray[np.int64],
        top_songs: NDArray[np.int64],
        top_scores: NDArray[np.float32],
        n_threads: int,
    ) -> None: ...
    def top(
        self,
        users: NDArray[np.float32],
        indptr: NDArray[np.int64],
        indices: NDArray[np.int32],
        songs: NDArray[np.int64],
        scores: NDArray[np.float32],
        n_threads: int,
    ) -> None: ...

def gramian(rows: NDArray[np.float32], n_threads: int) -> NDArray[np.float64]: ...

class Plays:
    def __init__(
        self,
        indptr: NDArray[np.int64],
        indices: NDArray[np.int32],
        surplus: NDArray[np.float32],
        n_others: int,
    ) -> None: ...

class FixedFactors:
    def __init__(
        self,
        factors: NDArray[np.float32],
        eigenvalues: NDArray[np.float64],
        eigenvectors: NDArray[np.float64],
        *,
        regularization: float,
        unobserved_weight: float,
        n_threads: int,
    ) -> None: ...
    def solve_rows(
        self,
        plays: Plays,
        rows: tuple[int, int],
        out: NDArray[np.float32],
        *,
        regularization: NDArray[np.float64] | None,
        cg_steps: int,
        with_errors: bool,
        n_threads: int,
    ) -> NDArray[np.float64]: ...

class FeaturePlan:
    def __init__(
        self,
        *,
        sr: float,
        n_fft: int,
        hop_length: int,
        n_mels: int,
        fmin: float,
        fmax: float,
        htk: bool,
        area_norm: bool,
        log_mel: bool,
        n_mfcc: int,
        n_deltas: int,
    ) -> None: ...

class OnlineFeature:
    def __init__(self, plan: FeaturePlan) -> None: ...
    def accept(
        self, samples: NDArray[np.float32]
    ) -> tuple[NDArray[np.float32] | None, NDArray[np.float32] | None]: ...
    def finish(self) -> tuple[NDArray[np.float32] | None, NDArray[np.float32] | None]: ...

class OnlineStats:
    def __init__(self, *, n_mels: int, n_mfcc: int, n_deltas: int, frame_rate: float) -> None: ...
    def accept_mel(self, rows: NDArray[np.float32]) -> None: ...
    def accept_mfcc(self, rows: NDArray[np.float32]) -> None: ...
    def finish(self) -> NDArray[np.float32]: ...

def to_half(single: NDArray[np.float32]) -> NDArray[np.uint16]: ...
def read_windows(
    shards: list[NDArray[np.uint16]],
    shard: NDArray[np.int64],
    row: NDArray[np.int64],
    n_frames: NDArray[np.int64],
    start: NDArray[np.int64],
    out: NDArray[np.float32] | NDArray[np.uint16],
) -> None: ...
def catch_stderr() -> None: ...
def caught_stderr() -> bytes: ...
