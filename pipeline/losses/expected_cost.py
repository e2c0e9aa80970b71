"""The expected cost of the probability on wrong labels: by distance (seed question 2), or by any costs."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, Literal

import keras
import numpy as np
from keras import KerasTensor, ops
from numpy.typing import NDArray

from pipeline.losses import rows
from pipeline.losses.cross_entropy import cross_entropy
from pipeline.topology import Topology

Weights = Literal["linear", "quadratic"] | list[float] | tuple[float, ...]


def distance_weights(weights: Weights, topology: Topology) -> NDArray[np.float64]:
    """Return w(distance) for each pair of labels, as a matrix `(K, K)` of [true label, label].

    Args:
        weights: "linear" for d, "quadratic" for d², or one weight for each distance 0, 1, 2 …, the largest
            included: K on a line, ⌊K/2⌋ + 1 on a ring.
        topology: Gives the distances, in steps.

    Raises:
        ValueError: An unknown word, or a vector that is not so many finite numbers ≥ 0.
    """
    distances = topology.distances()
    match weights:
        case "linear":
            return distances
        case "quadratic":
            return distances**2
        case list() | tuple():
            by_distance = rows.vector(weights)
            wanted = int(distances.max()) + 1
            if (
                by_distance.shape != (wanted,)
                or not np.isfinite(by_distance).all()
                or by_distance.min() < 0
            ):
                raise ValueError(
                    f"weights must be {wanted} finite numbers ≥ 0, one for each distance "
                    f"0 … {wanted - 1}, got {list(weights)}"
                )
            return np.asarray(by_distance[distances.astype(int)])
        case _:
            raise ValueError(f"weights must be 'linear', 'quadratic' or a list, got {weights!r}")


def expected_cost(y_true: KerasTensor, log_p: KerasTensor, cost: NDArray[np.floating]) -> KerasTensor:
    """Return Σ_i p_i·cost[y, i], the cost of drawing a label from p instead of knowing it.

    Improper: linear in p, so that its minimiser puts all mass on one label. Add cross-entropy.
    With cost = distance it is the earth mover's distance to the one-hot label.

    Args:
        y_true: `(batch,)`, index of the true label, 0 … K−1.
        log_p: `(batch, K)`, log-probabilities.
        cost: `(K, K)`, cost[true label, label], such as `distance_weights`.

    Returns:
        `(batch,)`, ≥ 0, in the unit of the cost.

    Reference:
        A question on Stack Exchange (2021) about five ordered classes in Keras, which imagines a penalty
        on the probability one class away, and a larger one two away. For costs of any kind: Elkan, The
        Foundations of Cost-Sensitive Learning, IJCAI 2001.

    >>> w = distance_weights("linear", Topology.of(range(3)))
    >>> expected_cost(np.array([2]), np.log([[0.5, 0.25, 0.25]]), w).numpy().tolist()
    [1.25]
    """
    return ops.sum(ops.exp(log_p) * rows.of_labels(cost, y_true, log_p), axis=-1)


@keras.saving.register_keras_serializable("ordinal")
class DistancePenalty(keras.losses.Loss):
    """Σ_i p_i·w(d_i) + `cross_entropy`·(−log p_y), d_i the distance of label i from the true one.

    With `cross_entropy=0` it is the penalty alone.
    """

    proper = False

    def __init__(
        self,
        values: Sequence[float],
        period: float | None = None,
        weights: Weights = "linear",
        cross_entropy: float = 1.0,
        name: str = "distance_penalty",
        **kwargs: Any,
    ) -> None:
        if not 0 <= cross_entropy < math.inf:
            raise ValueError(f"cross_entropy must be finite and ≥ 0, got {cross_entropy}")
        topology = Topology.of(values, period)
        matrix = distance_weights(weights, topology)
        super().__init__(name=name, **kwargs)
        self.topology = topology
        self.weights: Weights = weights if isinstance(weights, str) else [float(w) for w in weights]
        self.cross_entropy = float(cross_entropy)
        self._matrix = matrix

    def call(self, y_true: KerasTensor, y_pred: KerasTensor) -> KerasTensor:
        """Return the loss of each row; `y_pred` holds log-probabilities."""
        loss = expected_cost(y_true, y_pred, self._matrix)
        if self.cross_entropy:
            loss += self.cross_entropy * cross_entropy(y_true, y_pred)
        return loss

    def get_config(self) -> dict[str, Any]:
        """Everything `from_config` needs."""
        own = {"weights": self.weights, "cross_entropy": self.cross_entropy}
        return {**super().get_config(), **self.topology.get_config(), **own}


@keras.saving.register_keras_serializable("ordinal")
class ExpectedCost(keras.losses.Loss):
    """−log p_y + `lam`·Σ_i p_i·cost[y, i], for the costs that the decision will have."""

    def __init__(
        self,
        cost: Sequence[Sequence[float]],
        lam: float = 0.5,
        name: str = "expected_cost",
        **kwargs: Any,
    ) -> None:
        matrix = np.asarray(cost, dtype=float)
        if matrix.ndim != 2 or matrix.shape[0] != matrix.shape[1]:
            raise ValueError(f"cost must be a K × K matrix, cost[true label][label], got {matrix.shape}")
        if not (np.isfinite(matrix).all() and matrix.min() >= 0):
            raise ValueError("cost must hold finite numbers ≥ 0")
        if not 0 <= lam < math.inf:
            raise ValueError(f"lam must be finite and ≥ 0, got {lam}")
        super().__init__(name=name, **kwargs)
        self.lam = float(lam)
        self._cost = matrix

    @property
    def proper(self) -> bool:
        """Whether trained probabilities can be trusted by a cost decision."""
        return self.lam == 0

    def call(self, y_true: KerasTensor, y_pred: KerasTensor) -> KerasTensor:
        """Return the loss of each row; `y_pred` holds log-probabilities."""
        return cross_entropy(y_true, y_pred) + self.lam * expected_cost(y_true, y_pred, self._cost)

    def get_config(self) -> dict[str, Any]:
        """Everything `from_config` needs."""
        return {**super().get_config(), "cost": self._cost.tolist(), "lam": self.lam}
