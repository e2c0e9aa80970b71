"""The probability of each wrong label, weighted by its distance from the truth (seed question 2)."""

from __future__ import annotations

import math
from typing import Any, Literal

import keras
import numpy as np
from keras import KerasTensor, ops
from numpy.typing import NDArray

from pipeline.losses.cross_entropy import cross_entropy

Weights = Literal["linear", "quadratic"] | list[float] | tuple[float, ...]


def distance_weights(weights: Weights, classes: int) -> NDArray[np.float64]:
    """Return w(|i − y|) for each pair, as a matrix `(K, K)` of [true label, label].

    Args:
        weights: "linear" for d, "quadratic" for d², or the K weights of the distances 0 … K−1.
        classes: K.

    Raises:
        ValueError: An unknown word, or a vector that is not K finite numbers ≥ 0.
    """
    steps = np.arange(classes)
    match weights:
        case "linear":
            by_distance = steps.astype(float)
        case "quadratic":
            by_distance = steps.astype(float) ** 2
        case list() | tuple():
            by_distance = np.asarray(weights, dtype=float)
            if (
                by_distance.shape != (classes,)
                or not np.isfinite(by_distance).all()
                or by_distance.min() < 0
            ):
                raise ValueError(
                    f"weights must be {classes} finite numbers ≥ 0, one for each distance "
                    f"0 … {classes - 1}, got {list(weights)}"
                )
        case _:
            raise ValueError(f"weights must be 'linear', 'quadratic' or a list, got {weights!r}")
    matrix: NDArray[np.float64] = by_distance[np.abs(steps[:, np.newaxis] - steps)]
    return matrix


def distance_penalty(y_true: KerasTensor, log_p: KerasTensor, matrix: NDArray[np.floating]) -> KerasTensor:
    """Return Σ_i p_i·w(|i − y|), the expected weight of the distance from the truth.

    Improper: linear in p, so that its minimiser puts all mass on one label. Add cross-entropy.
    With linear weights it is the earth mover's distance to the one-hot label.

    Args:
        y_true: `(batch,)`, index of the true label, 0 … K−1.
        log_p: `(batch, K)`, log-probabilities.
        matrix: `(K, K)`, from `distance_weights`.

    Returns:
        `(batch,)`, ≥ 0, in the unit of the weights.

    Reference:
        A question on Stack Exchange (2021) about five ordered classes in Keras, which imagines a penalty
        on the probability one class away, and a larger one two away.

    >>> w = distance_weights("linear", 3)
    >>> distance_penalty(np.array([2]), np.log([[0.5, 0.25, 0.25]]), w).numpy().tolist()
    [1.25]
    """
    labels = ops.cast(ops.reshape(y_true, (-1,)), "int32")
    weights = ops.take(ops.convert_to_tensor(matrix, dtype=log_p.dtype), labels, axis=0)  # (batch, K)
    return ops.sum(ops.exp(log_p) * weights, axis=-1)


@keras.saving.register_keras_serializable("ordinal")
class DistancePenalty(keras.losses.Loss):
    """Σ_i p_i·w(|i − y|) + `cross_entropy`·(−log p_y).

    With `cross_entropy=0` it is the penalty alone.
    """

    proper = False

    def __init__(
        self,
        classes: int,
        weights: Weights = "linear",
        cross_entropy: float = 1.0,
        name: str = "distance_penalty",
        **kwargs: Any,
    ) -> None:
        if not 0 <= cross_entropy < math.inf:
            raise ValueError(f"cross_entropy must be finite and ≥ 0, got {cross_entropy}")
        matrix = distance_weights(weights, classes)
        super().__init__(name=name, **kwargs)
        self.classes = classes
        self.weights: Weights = weights if isinstance(weights, str) else [float(w) for w in weights]
        self.cross_entropy = float(cross_entropy)
        self._matrix = matrix

    def call(self, y_true: KerasTensor, y_pred: KerasTensor) -> KerasTensor:
        """Return the loss of each row; `y_pred` holds log-probabilities."""
        loss = distance_penalty(y_true, y_pred, self._matrix)
        if self.cross_entropy:
            loss += self.cross_entropy * cross_entropy(y_true, y_pred)
        return loss

    def get_config(self) -> dict[str, Any]:
        """Everything `from_config` needs."""
        own = {"classes": self.classes, "weights": self.weights, "cross_entropy": self.cross_entropy}
        return {**super().get_config(), **own}
