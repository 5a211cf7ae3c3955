"""The table of estimators: each is fitted by scikit-learn, and kept as the arrays that it predicts from."""

import numpy as np
from sklearn.ensemble import RandomForestRegressor
from sklearn.kernel_ridge import KernelRidge
from sklearn.metrics.pairwise import rbf_kernel
from sklearn.neighbors import KNeighborsRegressor

from dcbmr import InputError


def fit_kernel_ridge(how, vectors, factors, n_threads):
    """Kernel ridge regression with a Gaussian kernel."""
    fitted = KernelRidge(alpha=how.alpha, kernel="rbf").fit(vectors, factors)
    return {"vectors": vectors, "weights": fitted.dual_coef_.astype(np.float32)}


def predict_kernel_ridge(how, arrays, vectors):
    return rbf_kernel(vectors, arrays["vectors"]) @ arrays["weights"]


def fit_neighbours(how, vectors, factors, n_threads):
    """The nearest songs: nothing is learned, all of them are kept."""
    return {"vectors": vectors, "factors": factors}


def predict_neighbours(how, arrays, vectors):
    n_neighbors = min(how.n_neighbors, len(arrays["vectors"]))
    nearest = KNeighborsRegressor(n_neighbors=n_neighbors, weights="distance")
    return nearest.fit(arrays["vectors"], arrays["factors"]).predict(vectors)


def fit_forest(how, vectors, factors, n_threads):
    """A random forest: the nodes of all trees one after the other, children behind their parents."""
    fitted = RandomForestRegressor(
        n_estimators=how.n_estimators,
        min_samples_leaf=how.min_samples_leaf,
        max_features=1 / 3,  # Breiman's choice for regression
        random_state=how.random_state,
        n_jobs=n_threads or -1,
    ).fit(vectors, factors)
    trees = [estimator.tree_ for estimator in fitted.estimators_]
    roots = np.cumsum([0, *(tree.node_count for tree in trees)])[:-1]

    def of_all(name, offset=False):
        parts = [getattr(tree, name) + root * offset for tree, root in zip(trees, roots, strict=True)]
        return np.concatenate(parts)

    is_leaf = of_all("children_left") < 0
    return {
        "roots": roots,
        "left": np.where(is_leaf, -1, of_all("children_left", offset=True)),
        "right": np.where(is_leaf, -1, of_all("children_right", offset=True)),
        "dimension": np.where(is_leaf, 0, of_all("feature")),
        "threshold": of_all("threshold"),
        "factors": of_all("value").reshape(len(is_leaf), -1).astype(np.float32),
    }


def predict_forest(how, arrays, vectors):
    """Walk down all trees at once; the mean of the leaves that a song comes to."""
    songs = np.arange(len(vectors))
    total = np.zeros((len(vectors), arrays["factors"].shape[1]))
    for root in arrays["roots"]:
        node = np.full(len(vectors), root)
        while (inner := arrays["left"][node] >= 0).any():
            goes_left = vectors[songs, arrays["dimension"][node]] <= arrays["threshold"][node]
            child = np.where(goes_left, arrays["left"][node], arrays["right"][node])
            node = np.where(inner, child, node)
        total += arrays["factors"][node]
    return total / len(arrays["roots"])


def check_forest(arrays, n_dims):
    """Raise InputError for nodes that are no forest: a walk down them must end, and stay inside them."""
    left, right, dimension = arrays["left"], arrays["right"], arrays["dimension"]
    inner = left >= 0
    places = np.arange(len(left))[inner]
    for part in (right, dimension, arrays["threshold"], arrays["factors"]):
        if len(part) != len(left):
            raise InputError(f"the nodes of the forest are damaged: {len(left)} and {len(part)} of them")
    for child in (left[inner], right[inner]):
        if not ((places < child) & (child < len(left))).all():
            raise InputError("the nodes of the forest are damaged: a child must stand behind its parent")
    for name, values, end in (("dimension", dimension, n_dims), ("root", arrays["roots"], len(left))):
        if not ((values >= 0) & (values < end)).all():
            raise InputError(f"the nodes of the forest are damaged: a {name} is out of range")


ESTIMATORS = {
    "kernel_ridge": (fit_kernel_ridge, predict_kernel_ridge),
    "random_forest": (fit_forest, predict_forest),
    "neighbours": (fit_neighbours, predict_neighbours),
}
