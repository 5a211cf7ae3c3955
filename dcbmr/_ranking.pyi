import numpy as np
from numpy.typing import NDArray

def count_above(
    scores: NDArray[np.float32],
    n_songs: int,
    indptr: NDArray[np.int64],
    indices: NDArray[np.int32],
    above: NDArray[np.int64],
    level: NDArray[np.int64],
) -> None: ...
