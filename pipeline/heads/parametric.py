"""Heads whose probabilities have one peak: binomial, Poisson, and the nonparametric one of COPOC."""

from __future__ import annotations

import math
from typing import Any

import keras
import numpy as np
from keras import KerasTensor, ops

_SMALLEST = 1e-37


def binomial_log_probabilities(score: KerasTensor, classes: int) -> KerasTensor:
    """Return log C(K−1, k) + k·log s + (K−1−k)·log(1 − s), s = σ(score).

    Args:
        score: `(batch, 1)`.
        classes: K.

    Returns:
        `(batch, K)`.

    Reference:
        da Costa, Alonso, Cardoso, The unimodal model for the classification of ordinal data, Neural
        Networks, 2008; Beckham, Pal, Unimodal Probability Distributions for Deep Ordinal Classification,
        ICML 2017.

    >>> np.exp(binomial_log_probabilities(np.zeros((1, 1)), 3)).round(4).tolist()
    [[0.25, 0.5, 0.25]]
    """
    k = np.arange(classes)
    choose = np.array([[math.log(math.comb(classes - 1, i)) for i in k]])
    either = ops.concatenate([ops.log_sigmoid(score), ops.log_sigmoid(-score)], axis=-1)  # (batch, 2)
    times = ops.convert_to_tensor(np.stack([k, classes - 1 - k]), dtype=score.dtype)
    return ops.matmul(either, times) + ops.convert_to_tensor(choose, dtype=score.dtype)


def poisson_log_probabilities(score: KerasTensor, temperature: KerasTensor, classes: int) -> KerasTensor:
    """Return log softmax((k·log λ − λ − log k!)/τ), λ = softplus(score).

    Args:
        score: `(batch, 1)`.
        temperature: τ > 0.
        classes: K.

    Returns:
        `(batch, K)`.

    Reference:
        Beckham, Pal, Unimodal Probability Distributions for Deep Ordinal Classification, ICML 2017.

    >>> one = np.array([[np.log(np.e - 1)]])  # softplus of it is 1
    >>> np.exp(poisson_log_probabilities(one, 1.0, 3)).round(4).tolist()
    [[0.4, 0.4, 0.2]]
    """
    k = np.arange(classes)
    factorial = np.array([[math.lgamma(i + 1) for i in k]])
    rate = ops.log(ops.softplus(score) + _SMALLEST)  # log λ; −λ is the same for all k
    count = ops.convert_to_tensor(k[np.newaxis], dtype=score.dtype)
    weight = rate * count - ops.convert_to_tensor(factorial, dtype=score.dtype)
    return ops.log_softmax(weight / temperature, axis=-1)


def unimodal_log_probabilities(eta: KerasTensor) -> KerasTensor:
    """Return log softmax(−|r|), r = cumsum(η_0, |η_1|, …, |η_{K−1}|): |r| falls to one valley and rises.

    Args:
        eta: η, `(batch, K)`.

    Returns:
        `(batch, K)`.

    Reference:
        Dey, Merugu, Kaveri, Conformal Prediction Sets for Ordinal Classification (COPOC), NeurIPS 2023.

    >>> np.exp(unimodal_log_probabilities(np.array([[-1.0, 1.0, 1.0]]))).round(4).tolist()
    [[0.2119, 0.5761, 0.2119]]
    """
    classes = eta.shape[-1]
    steps = ops.concatenate([eta[:, :1], ops.abs(eta[:, 1:])], axis=-1)
    so_far = ops.convert_to_tensor(np.triu(np.ones((classes, classes))), dtype=eta.dtype)
    return ops.log_softmax(-ops.abs(ops.matmul(steps, so_far)), axis=-1)


@keras.saving.register_keras_serializable("ordinal")
class Binomial(keras.layers.Layer):
    """`binomial_log_probabilities` as a layer."""

    def __init__(self, classes: int, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.classes = classes

    def call(self, score: KerasTensor) -> KerasTensor:
        """Return `(batch, K)` log-probabilities of `(batch, 1)` scores."""
        return binomial_log_probabilities(score, self.classes)

    def get_config(self) -> dict[str, Any]:
        """Everything `from_config` needs."""
        return {**super().get_config(), "classes": self.classes}


@keras.saving.register_keras_serializable("ordinal")
class Poisson(keras.layers.Layer):
    """`poisson_log_probabilities` as a layer that learns τ, from 1 on."""

    def __init__(self, classes: int, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.classes = classes

    def build(self, input_shape: tuple[int | None, ...]) -> None:
        """Make the raw temperature; τ = softplus of it."""
        del input_shape
        raw = math.log(math.e - 1)  # softplus of it is 1
        self.raw = self.add_weight(shape=(), initializer=keras.initializers.Constant(raw), name="raw")

    def call(self, score: KerasTensor) -> KerasTensor:
        """Return `(batch, K)` log-probabilities of `(batch, 1)` scores."""
        return poisson_log_probabilities(score, ops.softplus(self.raw) + 1e-6, self.classes)

    def get_config(self) -> dict[str, Any]:
        """Everything `from_config` needs."""
        return {**super().get_config(), "classes": self.classes}


@keras.saving.register_keras_serializable("ordinal")
class Unimodal(keras.layers.Layer):
    """`unimodal_log_probabilities` as a layer."""

    def call(self, eta: KerasTensor) -> KerasTensor:
        """Return `(batch, K)` log-probabilities of `(batch, K)` steps."""
        return unimodal_log_probabilities(eta)


def binomial(features: KerasTensor, classes: int) -> KerasTensor:
    """A binomial distribution over 0 … K−1: one score, one peak.

    Args:
        features: h, `(batch, units)`.
        classes: K.

    Returns:
        `(batch, K)`, log-probabilities.
    """
    score = keras.layers.Dense(1, dtype="float32", name="score")(features)
    return Binomial(classes, dtype="float32", name="log_probabilities")(score)


def poisson(features: KerasTensor, classes: int) -> KerasTensor:
    """A Poisson distribution cut off after K labels, sharpened by a learned temperature.

    Args:
        features: h, `(batch, units)`.
        classes: K.

    Returns:
        `(batch, K)`, log-probabilities.
    """
    score = keras.layers.Dense(1, dtype="float32", name="score")(features)
    return Poisson(classes, dtype="float32", name="log_probabilities")(score)


def unimodal(features: KerasTensor, classes: int) -> KerasTensor:
    """Any distribution with one peak: K numbers shape it.

    Args:
        features: h, `(batch, units)`.
        classes: K.

    Returns:
        `(batch, K)`, log-probabilities.
    """
    eta = keras.layers.Dense(classes, dtype="float32", name="steps")(features)
    return Unimodal(dtype="float32", name="log_probabilities")(eta)
