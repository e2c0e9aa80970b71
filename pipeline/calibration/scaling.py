"""Temperature and vector scaling of log-probabilities, fitted by likelihood (NumPy)."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, Literal

import keras
import numpy as np
from keras import KerasTensor, ops
from numpy.typing import ArrayLike, NDArray
from scipy.optimize import minimize, minimize_scalar
from scipy.special import log_softmax, logsumexp

Floats = NDArray[np.float64]
Method = Literal["none", "temperature", "vector"]

_LOG_TEMPERATURES = (-4.0, 5.0)  # from 0.018 to 148
_LEAST_SLOPE = 1e-3


@dataclass(frozen=True)
class Scaling:
    """p = softmax(slopes·log p + offsets).

    Attributes:
        method: "none" changes nothing; "temperature" has all slopes 1/T and no offsets; "vector" has a
            slope and an offset for each label.
        slopes: `(K,)`, > 0.
        offsets: `(K,)`.
    """

    method: Method
    slopes: Floats
    offsets: Floats

    @classmethod
    def none(cls, classes: int) -> Scaling:
        """Return the one that changes nothing."""
        return cls("none", np.ones(classes), np.zeros(classes))

    def __call__(self, log_p: NDArray[np.floating]) -> Floats:
        """Return the log-probabilities `(…, K)` of as many."""
        scaled = log_p.astype(float) * self.slopes + self.offsets
        return np.asarray(log_softmax(scaled, axis=-1))

    @property
    def temperature(self) -> float:
        """T, the inverse of the mean slope: above 1 where probabilities were too sure."""
        return float(1 / np.mean(self.slopes))


def mean_negative_log_likelihood(log_p: Floats, y: NDArray[np.integer]) -> float:
    """Return the mean of −log((1/S)·Σ_s p_s[y]) over rows.

    Args:
        log_p: `(rows, S, K)`, log-probabilities of each pass.
        y: `(rows,)`, index of the true label.

    Returns:
        In nats.
    """
    of_truth = log_p[np.arange(len(y)), :, y]  # (rows, S)
    return float(np.mean(math.log(of_truth.shape[1]) - logsumexp(of_truth, axis=1)))


def fit_temperature(log_p: NDArray[np.floating], y: NDArray[np.integer]) -> Scaling:
    """Return the scaling by the one temperature, for all passes, with the highest likelihood of their mean.

    Args:
        log_p: `(rows, S, K)`, log-probabilities of each pass.
        y: `(rows,)`, index of the true label.

    Reference:
        Guo, Pleiss, Sun, Weinberger, On calibration of modern neural networks, ICML 2017; here on
        log-probabilities, which any head has, softmax(log p / T).

    >>> p = np.array([[[0.9, 0.1]]] * 3)  # right two times of three
    >>> scaling = fit_temperature(np.log(p), np.array([0, 0, 1]))
    >>> np.exp(scaling(np.log(p)))[0, 0].round(3).tolist()
    [0.667, 0.333]
    """
    log_p = log_p.astype(float)
    classes = log_p.shape[2]

    def at(log_temperature: float) -> Scaling:
        slope = math.exp(-log_temperature)
        return Scaling("temperature", np.full(classes, slope), np.zeros(classes))

    found = minimize_scalar(
        lambda log_temperature: mean_negative_log_likelihood(at(log_temperature)(log_p), y),
        bounds=_LOG_TEMPERATURES,
        method="bounded",
        options={"xatol": 1e-6},
    )
    return at(float(found.x))


def fit_vector(log_p: NDArray[np.floating], y: NDArray[np.integer]) -> Scaling:
    """Return the scaling by a slope and an offset for each label with the highest likelihood.

    It starts at the best temperature, and leaving that costs ½·Σ (change)² / rows, where slopes change
    relative to the temperature's: about as much as one more row would say, so that a label without rows
    stays there.

    Args:
        log_p: `(rows, S, K)`, log-probabilities of each pass.
        y: `(rows,)`, index of the true label.

    Reference:
        Guo, Pleiss, Sun, Weinberger, On calibration of modern neural networks, ICML 2017.

    >>> p = np.array([[[0.9, 0.1]]] * 4 + [[[0.1, 0.9]]] * 4)
    >>> scaling = fit_vector(np.log(p), np.array([0, 0, 0, 0, 0, 0, 1, 1]))
    >>> bool(np.exp(scaling(np.log(p)))[4, 0, 1] < 0.7)  # right two times of four
    True
    """
    log_p = log_p.astype(float)
    rows, classes = len(log_p), log_p.shape[2]
    start = fit_temperature(log_p, y)
    slope = start.slopes[0]
    truth = np.eye(classes)[y][:, np.newaxis, :]  # (rows, 1, K)

    def loss(parameters: Floats) -> tuple[float, Floats]:
        slopes, offsets = slope * parameters[:classes], parameters[classes:]
        scaled = Scaling("vector", slopes, offsets)(log_p)  # (rows, S, K)
        of_truth = np.sum(scaled * truth, axis=2)  # (rows, S)
        whole = logsumexp(of_truth, axis=1, keepdims=True)
        share = np.exp(of_truth - whole)  # (rows, S), of each pass in the mean
        value = float(np.mean(math.log(of_truth.shape[1]) - whole))
        error = share[:, :, np.newaxis] * (np.exp(scaled) - truth) / rows
        gradient = np.concatenate([slope * np.sum(error * log_p, axis=(0, 1)), np.sum(error, axis=(0, 1))])
        change = parameters - origin
        return value + np.sum(change**2) / (2 * rows), gradient + change / rows

    origin = np.concatenate([np.ones(classes), np.zeros(classes)])
    bounds = [(_LEAST_SLOPE, None)] * classes + [(None, None)] * classes
    found = minimize(loss, origin, jac=True, method="L-BFGS-B", bounds=bounds)
    return Scaling("vector", slope * found.x[:classes], found.x[classes:] - np.mean(found.x[classes:]))


@keras.saving.register_keras_serializable("ordinal")
class Scale(keras.layers.Layer):
    """`Scaling` as a layer."""

    def __init__(self, slopes: ArrayLike, offsets: ArrayLike, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.slopes = np.asarray(slopes, dtype=float).tolist()
        self.offsets = np.asarray(offsets, dtype=float).tolist()

    def call(self, log_p: KerasTensor) -> KerasTensor:
        """Return `(…, K)` log-probabilities of as many."""
        slopes = ops.convert_to_tensor(self.slopes, dtype=log_p.dtype)
        return ops.log_softmax(log_p * slopes + ops.convert_to_tensor(self.offsets, dtype=log_p.dtype))

    def get_config(self) -> dict[str, Any]:
        """Everything `from_config` needs."""
        return {**super().get_config(), "slopes": self.slopes, "offsets": self.offsets}
