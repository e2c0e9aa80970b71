"""Weighted kappa as a loss: a batch is scored as a whole."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal

import keras
import numpy as np
from keras import KerasTensor, ops
from numpy.typing import NDArray

from pipeline.losses import rows
from pipeline.losses.brier import brier
from pipeline.topology import Topology


def weighted_disagreement(
    y_true: KerasTensor, log_p: KerasTensor, weights: NDArray[np.floating], row_weight: KerasTensor
) -> KerasTensor:
    """Return Σ w·O / Σ w·E = 1 − weighted kappa, of observed and of chance disagreement in a batch.

    O[i, j] = Σ_n s_n·p_n(i)·1[y_n = j], and E is what O would be if p and y were independent.
    Improper, and not a mean over rows: it depends on which rows share a batch.

    Args:
        y_true: `(batch,)`, index of the true label, 0 … K−1.
        log_p: `(batch, K)`, log-probabilities.
        weights: `(K, K)`, w ≥ 0 of [true label, label], 0 on the diagonal.
        row_weight: `(batch,)`, s ≥ 0.

    Returns:
        A number ≥ 0: 0 for perfect agreement, 1 for chance.

    Reference:
        de la Torre, Puig, Valls, Weighted kappa loss function for multi-class classification of ordinal
        data in deep learning, Pattern Recognition Letters, 2018.

    >>> distance = Topology.of(range(2)).distances()
    >>> y, half = np.array([0, 1]), np.log([[0.5, 0.5], [0.5, 0.5]])
    >>> round(float(weighted_disagreement(y, half, distance, np.ones(2))), 4)
    1.0
    """
    s = ops.reshape(ops.cast(row_weight, log_p.dtype), (-1, 1))  # (batch, 1)
    p = s * ops.exp(log_p)  # (batch, K)
    costs = rows.of_labels(weights, y_true, log_p)  # (batch, K)
    observed = ops.sum(p * costs)
    by_chance = ops.sum(ops.sum(p, axis=0) * ops.sum(s * costs, axis=0)) / (ops.sum(s) + rows.SMALLEST)
    return observed / (by_chance + keras.config.epsilon())


@keras.saving.register_keras_serializable("ordinal")
class WeightedKappa(keras.losses.Loss):
    """(1 − `mce`)·`weighted_disagreement` + `mce`·Brier/K, weighted by distance or its square.

    With `log` the disagreement's logarithm, which has no lower bound. Sample weights go into both counts.
    """

    proper = False
    per_row = False

    def __init__(
        self,
        values: Sequence[float],
        period: float | None = None,
        weights: Literal["linear", "quadratic"] = "quadratic",
        log: bool = False,
        mce: float = 0.0,
        name: str = "weighted_kappa",
        **kwargs: Any,
    ) -> None:
        if weights not in ("linear", "quadratic"):
            raise ValueError(f"weights must be 'linear' or 'quadratic', got {weights!r}")
        if not isinstance(log, bool):
            raise TypeError(f"log must be true or false, got {log!r}")
        if not 0 <= mce < 1:
            raise ValueError(f"mce must be at least 0 and below 1, got {mce}")
        super().__init__(name=name, **kwargs)
        self.topology = Topology.of(values, period)
        self.weights = weights
        self.log = log
        self.mce = float(mce)
        distances = self.topology.distances() / self.topology.distances().max()
        self._matrix = distances if weights == "linear" else distances**2

    def __call__(
        self, y_true: KerasTensor, y_pred: KerasTensor, sample_weight: KerasTensor | None = None
    ) -> KerasTensor:
        """Return the loss of a batch, a number; `y_pred` holds log-probabilities."""
        log_p = ops.convert_to_tensor(y_pred, dtype=self.dtype)
        weight = ops.ones((ops.shape(log_p)[0],), log_p.dtype) if sample_weight is None else sample_weight
        loss = weighted_disagreement(y_true, log_p, self._matrix, weight)
        if self.log:
            loss = ops.log(loss + keras.config.epsilon())
        if self.mce:
            s = ops.reshape(ops.cast(weight, log_p.dtype), (-1,))
            # As Keras' mean over a batch: divided by the number of rows, not by their weight.
            mean = ops.mean(s * brier(y_true, log_p)) / self.topology.classes
            loss = (1 - self.mce) * loss + self.mce * mean
        return loss

    def get_config(self) -> dict[str, Any]:
        """Everything `from_config` needs."""
        own = {"weights": self.weights, "log": self.log, "mce": self.mce}
        return {**super().get_config(), **self.topology.get_config(), **own}
