"""The quadratic score of all K probabilities."""

from __future__ import annotations

from typing import Any, Literal

import keras
import numpy as np
from keras import KerasTensor, ops

from pipeline.losses import rows


def brier(y_true: KerasTensor, log_p: KerasTensor) -> KerasTensor:
    """Return Σ_i (p_i − 1[i = y])², the Brier score.

    Strictly proper, and bounded: one certain mistake costs 2, not without end.

    Args:
        y_true: `(batch,)`, index of the true label, 0 … K−1.
        log_p: `(batch, K)`, log-probabilities.

    Returns:
        `(batch,)`, 0 … 2.

    Reference:
        Brier, Verification of forecasts expressed in terms of probability, Monthly Weather Review, 1950.

    >>> brier(np.array([0]), np.log([[0.5, 0.25, 0.25]])).numpy().tolist()
    [0.375]
    """
    truth = rows.of_labels(np.eye(log_p.shape[-1]), y_true, log_p)  # (batch, K)
    return ops.sum(ops.square(ops.exp(log_p) - truth), axis=-1)


@keras.saving.register_keras_serializable("ordinal")
class Brier(keras.losses.Loss):
    """`brier` as a Keras loss: the sum over classes, or their mean, which is the MCE of dlordinal."""

    proper = True

    def __init__(
        self, over_classes: Literal["sum", "mean"] = "sum", name: str = "brier", **kwargs: Any
    ) -> None:
        if over_classes not in ("sum", "mean"):
            raise ValueError(f"over_classes must be 'sum' or 'mean', got {over_classes!r}")
        super().__init__(name=name, **kwargs)
        self.over_classes = over_classes

    def call(self, y_true: KerasTensor, y_pred: KerasTensor) -> KerasTensor:
        """Return the loss of each row; `y_pred` holds log-probabilities."""
        score = brier(y_true, y_pred)
        return score if self.over_classes == "sum" else score / y_pred.shape[-1]

    def get_config(self) -> dict[str, Any]:
        """Everything `from_config` needs."""
        return {**super().get_config(), "over_classes": self.over_classes}
