"""The baseline: the log score, which knows nothing of the order."""

from __future__ import annotations

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


@keras.saving.register_keras_serializable("ordinal")
class CrossEntropy(keras.losses.Loss):
    """`cross_entropy` as a Keras loss."""

    proper = True

    def __init__(self, name: str = "cross_entropy", **kwargs: Any) -> None:
        super().__init__(name=name, **kwargs)

    def call(self, y_true: KerasTensor, y_pred: KerasTensor) -> KerasTensor:
        """Return the loss of each row; `y_pred` holds log-probabilities."""
        return cross_entropy(y_true, y_pred)
