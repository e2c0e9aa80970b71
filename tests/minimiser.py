"""The distribution that a loss is least at, found numerically, for random true distributions."""

from __future__ import annotations

from dataclasses import dataclass

import keras
import numpy as np
import tensorflow as tf
from numpy.typing import NDArray
from scipy.optimize import minimize

DISTRIBUTIONS = 60


@dataclass(frozen=True)
class Found:
    """True distributions q and the minimisers p of the expected loss, both `(n, K)`."""

    q: NDArray[np.float64]
    p: NDArray[np.float64]

    @property
    def gap(self) -> float:
        """Mean total variation between p and q: 0 for a proper score."""
        return float(np.mean(np.abs(self.p - self.q).sum(axis=1) / 2))

    def kept(self, cost: NDArray[np.float64]) -> float:
        """Share of distributions whose least-cost decision is the same under p and under q."""
        return float(np.mean(np.argmin(self.p @ cost, axis=1) == np.argmin(self.q @ cost, axis=1)))


def true_distributions(classes: int = 5, seed: int = 0) -> NDArray[np.float64]:
    """Return 60 draws from Dirichlet(1, …, 1)."""
    return np.random.default_rng(seed).dirichlet(np.ones(classes), DISTRIBUTIONS)


def find(loss: keras.losses.Loss, q: NDArray[np.float64], starts: int = 3) -> Found:
    """Minimise Σ_y q_y·loss(y, p) over p = softmax(z) for all q at once, from several starts, in float64.

    None of the starts knows q. Each q keeps the best of what they reached, so that one valley of a loss
    that has several does not pass for its minimum.
    """
    loss = type(loss).from_config({**loss.get_config(), "dtype": "float64"})
    count, classes = q.shape
    labels = tf.tile(tf.range(classes), [count])
    weights = tf.constant(q)

    @tf.function  # type: ignore[untyped-decorator]
    def expected(z: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        log_p = tf.nn.log_softmax(z)
        each = loss.call(labels, tf.repeat(log_p, classes, axis=0))  # (count · K,)
        rows = tf.reduce_sum(tf.reshape(each, [count, classes]) * weights, axis=1)
        return rows, tf.gradients(tf.reduce_sum(rows), z)[0]

    def objective(flat: NDArray[np.float64]) -> tuple[float, NDArray[np.float64]]:
        rows, gradient = expected(tf.constant(flat.reshape(q.shape)))
        return float(tf.reduce_sum(rows)), gradient.numpy().ravel()

    random = np.random.default_rng(1)
    best, value = np.zeros_like(q), np.full(count, np.inf)
    for start in [np.zeros_like(q), *random.normal(0, 1, (starts - 1, *q.shape))]:
        done = minimize(
            objective, start.ravel(), jac=True, method="L-BFGS-B",
            options={"maxiter": 1000, "maxcor": 30, "ftol": 1e-13, "gtol": 1e-7},
        )  # fmt: skip
        z = done.x.reshape(q.shape)
        rows = expected(tf.constant(z))[0].numpy()
        better = rows < value
        best[better], value[better] = z[better], rows[better]
    return Found(q, tf.nn.softmax(tf.constant(best)).numpy())
