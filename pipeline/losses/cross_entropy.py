"""The log score, which knows nothing of the order, and its focal variant."""

from __future__ import annotations

import math
from typing import Any

import keras
from keras import KerasTensor, ops


def cross_entropy(y_true: KerasTensor, log_p: KerasTensor) -> KerasTensor:
    """Return −log p_y, the (sparse categorical) cross-entropy.

    Strictly proper: its expectation is least where p is the true distribution.

    Args:
        y_true: `(batch,)`, index of the true label, 0 … K−1.
        log_p: `(batch, K)`, log-probabilities.

    Returns:
        `(batch,)`, ≥ 0, in nats.

    Reference:
        Good, Rational Decisions, Journal of the Royal Statistical Society B, 1952.

    >>> cross_entropy(np.array([1]), np.log([[0.2, 0.5, 0.3]])).numpy().round(4).tolist()
    [0.6931]
    """
    labels = ops.cast(ops.reshape(y_true, (-1,)), "int32")
    # Log-probabilities are logits of themselves: softmax(log p) = p.
    return ops.sparse_categorical_crossentropy(labels, log_p, from_logits=True)


def focal(y_true: KerasTensor, log_p: KerasTensor, gamma: float) -> KerasTensor:
    """Return −(1 − p_y)^γ·log p_y, which turns from rows that are already right to those that are not.

    Improper for γ > 0: the minimiser is less certain than the truth.

    Args:
        y_true: `(batch,)`, index of the true label, 0 … K−1.
        log_p: `(batch, K)`, log-probabilities.
        gamma: γ ≥ 0; 0 is cross-entropy.

    Returns:
        `(batch,)`, ≥ 0, in nats.

    Reference:
        Lin, Goyal, Girshick, He, Dollár, Focal Loss for Dense Object Detection, ICCV 2017.

    >>> focal(np.array([1]), np.log([[0.2, 0.5, 0.3]]), 2.0).numpy().round(4).tolist()
    [0.1733]
    """
    surprise = cross_entropy(y_true, log_p)
    # 1 − p_y without cancellation; kept off 0, where a power below 1 has no finite slope.
    doubt = ops.maximum(-ops.expm1(-surprise), keras.config.epsilon())
    return ops.power(doubt, gamma) * surprise


@keras.saving.register_keras_serializable("ordinal")
class CrossEntropy(keras.losses.Loss):
    """`cross_entropy` as a Keras loss."""

    proper = True

    def __init__(self, name: str = "cross_entropy", **kwargs: Any) -> None:
        super().__init__(name=name, **kwargs)

    def call(self, y_true: KerasTensor, y_pred: KerasTensor) -> KerasTensor:
        """Return the loss of each row; `y_pred` holds log-probabilities."""
        return cross_entropy(y_true, y_pred)


@keras.saving.register_keras_serializable("ordinal")
class Focal(keras.losses.Loss):
    """`focal` as a Keras loss."""

    def __init__(self, gamma: float = 2.0, name: str = "focal", **kwargs: Any) -> None:
        if not 0 <= gamma < math.inf:
            raise ValueError(f"gamma must be finite and ≥ 0, got {gamma}")
        super().__init__(name=name, **kwargs)
        self.gamma = float(gamma)

    @property
    def proper(self) -> bool:
        """Whether trained probabilities can be trusted by a cost decision."""
        return self.gamma == 0

    def call(self, y_true: KerasTensor, y_pred: KerasTensor) -> KerasTensor:
        """Return the loss of each row; `y_pred` holds log-probabilities."""
        return focal(y_true, y_pred, self.gamma)

    def get_config(self) -> dict[str, Any]:
        """Everything `from_config` needs."""
        return {**super().get_config(), "gamma": self.gamma}
