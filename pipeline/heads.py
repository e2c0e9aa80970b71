"""Heads: features become log-probabilities of the K labels."""

from __future__ import annotations

from collections.abc import Callable

import keras
from keras import KerasTensor

from pipeline.errors import InputError, nearest

NAMES = ("softmax",)


def softmax(features: KerasTensor, classes: int) -> KerasTensor:
    """Each label for itself: log softmax of W·h + b.

    Args:
        features: `(batch, units)`.
        classes: K.

    Returns:
        `(batch, K)`, log-probabilities in float32 also under mixed precision.
    """
    logits = keras.layers.Dense(classes, dtype="float32", name="logits")(features)
    return keras.layers.Activation("log_softmax", dtype="float32", name="log_probabilities")(logits)


def head(name: str) -> Callable[[KerasTensor, int], KerasTensor]:
    """Return the head of that name, `(features, classes) → log-probabilities`.

    Raises InputError, with the allowed names, where there is none.
    """
    match name:
        case "softmax":
            return softmax
        case _:
            raise InputError(
                f"search.heads: no head is named {name!r}{nearest(name, NAMES)} "
                f"(allowed: {', '.join(NAMES)})"
            )
