"""The cutting-plane solver of metric learning to rank.

It minimises over the metrics W of a cone

    f(W) = trace(W) + C * risk(W),    risk(W) = max over all rankings of  loss - <W, plane>

which is the 1-slack structural SVM with its slack put in. The risk is convex and known only through its
oracle, which for a W finds the plane that is violated most; the planes found so far model it from below. The
minimum of that model alone jumps about while the planes are few, so that each step stays near the best
metric found (a proximal bundle method: Kiwiel, Mathematical Programming 46, 1990):

    minimise  trace(W) + C * max(0, max_r(losses[r] - <W, planes[r]>)) + |W - center|^2 / (2 step)

The dual of this step has one multiplier a plane, and W follows from the multipliers by one projection onto
the cone. Scaled until trace dominates, the same multipliers give a lower bound of f over the whole cone: the
solver stops on a certificate, not on a feeling.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from dcbmr_mlr._cone import Array, Cone

# metric -> loss and plane of the rankings that violate most, averaged over the queries
Oracle = Callable[[Array], tuple[float, Array]]


@dataclass(frozen=True)
class CuttingPlane:
    """One iteration of :func:`minimize`.

    Attributes
    ----------
    objective : float
        f of the best metric so far; never rises.
    bound : float
        No metric has a lower f than this; never falls.
    slack : float
        Slack of the constraints in hand at the metric tried.
    violation : float
        How far the ranking that violates most at that metric goes beyond that slack.
    n_planes : int
        Constraints in hand.
    """

    objective: float
    bound: float
    slack: float
    violation: float
    n_planes: int


def simplex_qp(hessian: Array, linear: Array, start: Array) -> Array:
    """Minimise a'Ha / 2 - b'a over a >= 0 with the sum of ``start``, by a primal active-set method."""
    a, total = start.copy(), float(start.sum())
    # In units of the largest curvature; planes that nearly repeat one another make the free systems
    # singular, and the ridge keeps them solvable.
    least = 1e-12 * float(np.abs(linear).max()) / total
    unit = max(float(hessian.diagonal().max()), least, 1e-300)
    hessian, linear = hessian / unit + 1e-10 * np.eye(len(a)), linear / unit
    tolerance = 1e-9 * float(np.abs(linear).max())
    free = a > 0
    for _ in range(20 * len(a)):
        index = np.flatnonzero(free)
        system = np.ones((len(index) + 1, len(index) + 1))
        system[:-1, :-1] = hessian[np.ix_(index, index)]
        system[-1, -1] = 0.0
        solution = np.linalg.solve(system, np.append(linear[index], total))
        target, price = solution[:-1], solution[-1]
        if target.min() < 0:
            # Go towards the free minimum until the first multiplier reaches zero, and fix that one.
            falling = np.flatnonzero(target < 0)
            lengths = a[index[falling]] / (a[index[falling]] - target[falling])
            a[index] = np.maximum(a[index] + lengths.min() * (target - a[index]), 0.0)
            leaving = index[falling[lengths.argmin()]]
            a[leaving], free[leaving] = 0.0, False
            continue
        a[index] = target
        reduced = np.where(free, 0.0, hessian @ a - linear + price)
        entering = int(reduced.argmin())
        if reduced[entering] >= -tolerance:
            break
        free[entering] = True
    return a


class Bundle:
    """The planes in hand with their multipliers, which sum to C; plane 0 says that slack is not negative."""

    def __init__(self, cone: Cone, C: float) -> None:
        self.cone, self.C = cone, C
        self.planes = np.zeros((1, cone.identity.size))
        self.losses = np.zeros(1)
        self.gram = np.zeros((1, 1))
        self.multipliers = np.array([C])
        self.idle = np.zeros(1, np.int64)

    def add(self, loss: float, plane: Array) -> None:
        self.planes = np.concatenate([self.planes, plane.reshape(1, -1)])
        products = self.planes @ self.planes[-1]
        self.gram = np.block([[self.gram, products[:-1, None]], [products]])
        self.losses = np.append(self.losses, loss)
        self.multipliers = np.append(self.multipliers, 0.0)
        self.idle = np.append(self.idle, 0)

    def drop_idle(self, limit: int) -> None:
        """Forget the planes that had no weight in the last ``limit`` steps."""
        self.idle = np.where(self.multipliers > 0, 0, self.idle + 1)
        keep = self.idle <= limit
        keep[0] = True
        self.planes, self.losses = self.planes[keep], self.losses[keep]
        self.gram = self.gram[np.ix_(keep, keep)]
        self.multipliers, self.idle = self.multipliers[keep], self.idle[keep]

    def step(self, center: Array, objective: float, step: float) -> tuple[Array, float]:
        """Solve the proximal problem around ``center``, whose f is ``objective``; return W and its slack.

        The dual is concave and curves at most as -step * gram does: it is climbed by maximising one
        quadratic model after the other, until the duality gap is a tenth of the decrease it promises.
        """
        curvature = step * self.gram
        for _ in range(100):
            pull = (self.multipliers @ self.planes).reshape(center.shape)
            w = self.cone.project(center + step * (pull - self.cone.identity))
            slacks = self.losses - self.planes @ w.ravel()
            slack = float(slacks.max())
            gap = self.C * slack - float(self.multipliers @ slacks)
            promise = objective - trace(self.cone, w) - self.C * slack
            if gap <= 0.1 * max(promise, 1e-6 * objective):
                break
            self.multipliers = simplex_qp(curvature, slacks + curvature @ self.multipliers, self.multipliers)
        return w, slack

    def bound(self) -> float:
        """Return what no metric's f is below, by weak duality without the proximal term."""
        pull = (self.multipliers @ self.planes).reshape(self.cone.identity.shape)
        return float(self.multipliers @ self.losses) / max(1.0, self.cone.largest(pull))


def trace(cone: Cone, w: Array) -> float:
    return float(np.sum(w * cone.identity))


def minimize(
    oracle: Oracle,
    cone: Cone,
    *,
    C: float,
    tolerance: float,
    max_iterations: int,
    callback: Callable[[int, CuttingPlane], None],
) -> tuple[Array, bool]:
    """Minimise f; return the best metric, and whether it is within C * tolerance of the optimum.

    It ends there when the last violation is under the tolerance too, or after ``max_iterations`` planes.
    """

    def measure(w: Array) -> tuple[float, float, Array]:
        loss, plane = oracle(w)
        return trace(cone, w) + C * (loss - float(np.sum(w * plane))), loss, plane

    # Start from the best multiple of the identity: f is convex along it.
    center = 0.0 * cone.identity
    objective, loss, plane = measure(center)
    for exponent in range(-4, 21, 2):
        candidate = 2.0**exponent * cone.identity
        tried = measure(candidate)
        if tried[0] < objective:
            center, (objective, loss, plane) = candidate, tried
        elif tried[0] > 2 * objective:
            break
    bundle = Bundle(cone, C)
    bundle.add(loss, plane)
    gradient = cone.identity - C * plane
    step = 0.1 * objective / max(float(np.sum(gradient * gradient)), 1e-300)
    bound = 0.0
    for iteration in range(max_iterations):
        w, slack = bundle.step(center, objective, step)
        bound = max(bound, bundle.bound())
        promise = objective - trace(cone, w) - C * slack
        reached, loss, plane = measure(w)
        violation = (reached - trace(cone, w)) / C - slack
        bundle.drop_idle(15)
        bundle.add(loss, plane)
        if C * violation <= 0.5 * max(promise, 0.02 * C * tolerance):
            step *= 2.0  # the model was right here: trust it further away
        elif reached - objective > promise:
            step *= 0.6
        if objective - reached > 0.1 * max(promise, 0.0):
            center, objective = w, reached
        callback(iteration, CuttingPlane(objective, bound, slack, violation, n_planes=len(bundle.losses) - 1))
        if objective - bound <= C * tolerance and violation <= tolerance:
            return center, True
    return center, False
