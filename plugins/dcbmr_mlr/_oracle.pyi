import numpy as np
from numpy.typing import NDArray

def most_violated(
    scores: NDArray[np.float64], relevance: NDArray[np.int8], loss: str, n_threads: int
) -> tuple[NDArray[np.float64], NDArray[np.float64]]: ...
