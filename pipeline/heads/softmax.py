"""The head that knows no order."""

from __future__ import annotations

import keras
from keras import KerasTensor


def softmax(features: KerasTensor, classes: int) -> KerasTensor:
    """Each label for itself, p the softmax of W·h + b.

    Args:
        features: h, `(batch, units)`.
        classes: K.

    Returns:
        `(batch, K)`, log-probabilities.
    """
    logits = keras.layers.Dense(classes, dtype="float32", name="logits")(features)
    return keras.layers.Activation("log_softmax", dtype="float32", name="log_probabilities")(logits)
