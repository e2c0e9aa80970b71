"""Log losses whose terms are weighted by distance from the truth: CDW-CE and SLACE."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import keras
import numpy as np
from keras import KerasTensor, ops
from numpy.typing import NDArray

from pipeline.losses import rows
from pipeline.losses.soft_labels import exponential
from pipeline.topology import Topology


def class_distance_weighted(
    y_true: KerasTensor, log_p: KerasTensor, weights: NDArray[np.floating], margin: float = 0.0
) -> KerasTensor:
    """Return −Σ_i w_i·log(1 − p_i), w_i = d_i^α: mass far from the truth is pushed away hardest.

    Improper, and the more so the larger α: it rewards overconfidence. Calibrate before trusting it.

    Args:
        y_true: `(batch,)`, index of the true label, 0 … K−1.
        log_p: `(batch, K)`, log-probabilities.
        weights: `(K, K)`, d^α of [true label, label].
        margin: Probability that a wrong label may have for nothing: 1 − p_i + margin, at most 1.

    Returns:
        `(batch,)`, ≥ 0, in nats.

    Reference:
        Polat, Ergenc, Kani, Alahdab, Atug, Temizel, Class Distance Weighted Cross-Entropy Loss for
        Ulcerative Colitis Severity Estimation, 2022. The same formula: Castagnos, Mihelich, Dognin, A
        Simple Log-based Loss Function for Ordinal Text Classification (OLL), COLING 2022. The margin is
        that of dlordinal 2.7.

    >>> class_distance_weighted(
    ...     np.array([0]), np.log([[0.5, 0.5]]), np.array([[0, 1], [1, 0]])
    ... ).numpy().round(4).tolist()
    [0.6931]
    """
    classes = log_p.shape[-1]
    others = ops.convert_to_tensor(1 - np.eye(classes), dtype=log_p.dtype)
    rest = ops.matmul(ops.exp(log_p), others)  # (batch, K): 1 − p_i as a sum, which does not cancel
    if margin:
        rest = ops.minimum(rest + margin, 1.0)
    return -ops.sum(rows.of_labels(weights, y_true, log_p) * ops.log(rest + rows.SMALLEST), axis=-1)


def accumulating_cross_entropy(
    y_true: KerasTensor, log_p: KerasTensor, nearer: NDArray[np.floating], weights: NDArray[np.floating]
) -> KerasTensor:
    """Return −Σ_i t_i·log Σ_{j: d_j ≤ d_i} p_j, the soft-labels accumulating cross-entropy (SLACE).

    t is the soft label of y; each of its parts is compared with all the mass that is at least as near
    to the truth. Nearly proper: the larger α, the nearer to cross-entropy.

    Args:
        y_true: `(batch,)`, index of the true label, 0 … K−1.
        log_p: `(batch, K)`, log-probabilities.
        nearer: `(K, S)`, the balls of labels around labels, as columns of 0 and 1.
        weights: `(K, S)`, of [true label, ball]: t_i summed over the labels i that the ball reaches.

    Returns:
        `(batch,)`, ≥ 0, in nats.

    Reference:
        SLACE: A Monotone and Balance-Sensitive Loss Function for Ordinal Regression, AAAI 2025.

    >>> accumulating_cross_entropy(
    ...     np.array([0]), np.log([[0.5, 0.5]]), np.array([[1, 1], [0, 1]]), np.array([[0.75, 0.25]])
    ... ).numpy().round(4).tolist()
    [0.5199]
    """
    return -ops.sum(rows.of_labels(weights, y_true, log_p) * rows.log_mass(log_p, nearer), axis=-1)


def balls(topology: Topology, soft: NDArray[np.float64]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return the distinct sets {j: d(j, y) ≤ d(i, y)} and how much of y's soft label each carries.

    Args:
        topology: Gives the distances.
        soft: `(K, K)`, soft label of each true label.

    Returns:
        `(K, S)` members and `(K, S)` weights of [true label, set]; the set of all labels, whose mass
        is always 1, is left out.
    """
    distances = topology.distances()
    found: dict[tuple[bool, ...], NDArray[np.float64]] = {}
    for true in range(topology.classes):
        for label in range(topology.classes):
            ball = tuple((distances[true] <= distances[true, label]).tolist())
            if not all(ball):
                found.setdefault(ball, np.zeros(topology.classes))[true] += soft[true, label]
    return np.array(list(found), dtype=float).T, np.array(list(found.values())).T


@keras.saving.register_keras_serializable("ordinal")
class ClassDistanceWeighted(keras.losses.Loss):
    """`class_distance_weighted` with weights d^`alpha`."""

    proper = False

    def __init__(
        self,
        values: Sequence[float],
        period: float | None = None,
        alpha: float = 1.0,
        margin: float = 0.0,
        name: str = "cdw_ce",
        **kwargs: Any,
    ) -> None:
        if not 0 < alpha < math.inf:
            raise ValueError(f"alpha must be finite and > 0, got {alpha}")
        if not 0 <= margin < 1:
            raise ValueError(f"margin must be at least 0 and below 1, got {margin}")
        topology = Topology.of(values, period)
        farthest = float(topology.distances().max())
        if alpha * math.log(farthest) > math.log(rows.LARGEST_WEIGHT):
            raise ValueError(f"alpha {alpha} makes {farthest:g}^alpha larger than {rows.LARGEST_WEIGHT:g}")
        super().__init__(name=name, **kwargs)
        self.topology = topology
        self.alpha = float(alpha)
        self.margin = float(margin)
        self._weights = topology.distances() ** self.alpha

    def call(self, y_true: KerasTensor, y_pred: KerasTensor) -> KerasTensor:
        """Return the loss of each row; `y_pred` holds log-probabilities."""
        return class_distance_weighted(y_true, y_pred, self._weights, self.margin)

    def get_config(self) -> dict[str, Any]:
        """Everything `from_config` needs."""
        own = {"alpha": self.alpha, "margin": self.margin}
        return {**super().get_config(), **self.topology.get_config(), **own}


@keras.saving.register_keras_serializable("ordinal")
class Slace(keras.losses.Loss):
    """`accumulating_cross_entropy` with the soft labels softmax(−`alpha`·d)."""

    proper = False

    def __init__(
        self,
        values: Sequence[float],
        period: float | None = None,
        alpha: float = 1.0,
        name: str = "slace",
        **kwargs: Any,
    ) -> None:
        if not 0 < alpha < math.inf:
            raise ValueError(f"alpha must be finite and > 0, got {alpha}")
        super().__init__(name=name, **kwargs)
        self.topology = Topology.of(values, period)
        self.alpha = float(alpha)
        self._members, self._weights = balls(self.topology, exponential(self.topology, self.alpha))

    def call(self, y_true: KerasTensor, y_pred: KerasTensor) -> KerasTensor:
        """Return the loss of each row; `y_pred` holds log-probabilities."""
        return accumulating_cross_entropy(y_true, y_pred, self._members, self._weights)

    def get_config(self) -> dict[str, Any]:
        """Everything `from_config` needs."""
        return {**super().get_config(), **self.topology.get_config(), "alpha": self.alpha}
