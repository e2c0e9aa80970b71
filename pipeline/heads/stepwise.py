"""Heads that go up the labels step by step: at each one further, or not."""

from __future__ import annotations

from typing import Any

import keras
import numpy as np
from keras import KerasTensor, ops


def conditional_log_probabilities(z: KerasTensor) -> KerasTensor:
    """Return the log-probabilities of P(y > k) = Π_{j≤k} σ(z_j).

    log p_k = Σ_{j<k} log σ(z_j) + log σ(−z_k), without the last term for the last label. Sums of
    log σ ≤ 0 alone: nothing cancels, whatever z is.

    Args:
        z: `(batch, K−1)`, log-odds of going further than k for those that came so far.

    Returns:
        `(batch, K)`.

    Reference:
        Shi, Cao, Raschka, Deep Neural Networks for Rank-Consistent Ordinal Regression Based on Conditional
        Probabilities (CORN), Pattern Analysis and Applications, 2023; Jenkinson and others, Universally
        rank consistent ordinal regression in neural networks (CONDOR), 2021.

    >>> p = np.exp(conditional_log_probabilities(np.zeros((1, 2))).numpy())
    >>> p.round(4).tolist()
    [[0.5, 0.25, 0.25]]
    """
    steps = z.shape[-1]
    before = np.triu(np.ones((steps, steps + 1)), 1)  # of label k: the steps 0 … k−1
    came = ops.matmul(ops.log_sigmoid(z), ops.convert_to_tensor(before, dtype=z.dtype))
    return came + ops.pad(ops.log_sigmoid(-z), [[0, 0], [0, 1]])


@keras.saving.register_keras_serializable("ordinal")
class Conditional(keras.layers.Layer):
    """`conditional_log_probabilities` as a layer; with `reverse` of −z."""

    def __init__(self, reverse: bool = False, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.reverse = reverse

    def call(self, z: KerasTensor) -> KerasTensor:
        """Return `(batch, K)` log-probabilities of `(batch, K−1)` log-odds."""
        return conditional_log_probabilities(-z if self.reverse else z)

    def get_config(self) -> dict[str, Any]:
        """Everything `from_config` needs."""
        return {**super().get_config(), "reverse": self.reverse}


def conditional(features: KerasTensor, classes: int) -> KerasTensor:
    """P(y > k) = Π_{j≤k} σ(z_j), z = W·h + b: the head of CORN and CONDOR.

    Args:
        features: h, `(batch, units)`.
        classes: K.

    Returns:
        `(batch, K)`, log-probabilities.
    """
    z = keras.layers.Dense(classes - 1, dtype="float32", name="log_odds")(features)
    return Conditional(dtype="float32", name="log_probabilities")(z)


def stick_breaking(features: KerasTensor, classes: int) -> KerasTensor:
    """p_k = σ(z_k)·Π_{j<k}(1 − σ(z_j)), z = W·h + b: `conditional` with the sign of z turned.

    Args:
        features: h, `(batch, units)`.
        classes: K.

    Returns:
        `(batch, K)`, log-probabilities.

    Reference:
        Liu and others, Unimodal regularized neuron stick-breaking for ordinal classification,
        Neurocomputing, 2020.
    """
    z = keras.layers.Dense(classes - 1, dtype="float32", name="log_odds")(features)
    return Conditional(reverse=True, dtype="float32", name="log_probabilities")(z)
