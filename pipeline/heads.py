"""Heads: features become log-probabilities of the K labels."""

from __future__ import annotations

import keras
from keras import KerasTensor

from pipeline.errors import InputError, nearest

NAMES = ("softmax",)


def check(name: str) -> None:
    """Raise InputError, with the allowed names, where no head has this one."""
    if name not in NAMES:
        raise InputError(
            f"search.heads: no head is named {name!r}{nearest(name, NAMES)} (allowed: {', '.join(NAMES)})"
        )


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


def attach(name: str, features: KerasTensor, classes: int) -> KerasTensor:
    """Put the head of that name on `features`; returns `(batch, K)` log-probabilities."""
    match name:
        case "softmax":
            return softmax(features, classes)
        case _:
            check(name)
            raise AssertionError(name)
