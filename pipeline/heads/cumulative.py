"""One score and K−1 ordered thresholds: cumulative link models, and CORAL, which is one of them."""

from __future__ import annotations

import math
from collections.abc import Callable
from statistics import NormalDist
from typing import Any, Literal

import keras
import numpy as np
from keras import KerasTensor, ops

from pipeline.heads import links

Link = Literal["logit", "probit", "cloglog"]


@keras.saving.register_keras_serializable("ordinal")
class Thresholds(keras.layers.Layer):
    """P(y ≤ k) = g⁻¹(θ_k − f), with θ_k = θ_{k−1} + softplus(a_k): in order whatever the weights are.

    At first the thresholds make all labels equally probable at f = 0.
    """

    def __init__(self, classes: int, link: Link = "logit", **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.classes = classes
        self.link: Link = link

    def build(self, input_shape: tuple[int | None, ...]) -> None:
        """Make θ_0, `(1, 1)`, and the raw gaps a, `(1, K−2)`."""
        del input_shape
        thetas = np.array([_inverse(self.link, k / self.classes) for k in range(1, self.classes)])
        raw = np.log(np.expm1(np.diff(thetas)))  # softplus of it is the gap
        self.first = self.add_weight(
            shape=(1, 1), initializer=keras.initializers.Constant(thetas[0]), name="first"
        )
        self.gaps = self.add_weight(
            shape=(1, self.classes - 2),
            initializer=lambda shape, dtype=None: ops.convert_to_tensor(raw.reshape(shape), dtype),
            name="gaps",
        )

    def thresholds(self) -> KerasTensor:
        """Return θ, `(1, K−1)`, rising."""
        steps = np.triu(np.ones((self.classes - 2, self.classes - 1)), 1)
        rise = ops.matmul(ops.softplus(self.gaps), ops.convert_to_tensor(steps, dtype=self.gaps.dtype))
        return self.first + rise

    def call(self, score: KerasTensor) -> KerasTensor:
        """Return `(batch, K)` log-probabilities of scores f, `(batch, 1)`."""
        return _log_probabilities(self.link)(self.thresholds() - score, self.gaps)

    def get_config(self) -> dict[str, Any]:
        """Everything `from_config` needs."""
        return {**super().get_config(), "classes": self.classes, "link": self.link}


def _log_probabilities(link: Link) -> Callable[[KerasTensor, KerasTensor], KerasTensor]:
    match link:
        case "logit":
            return links.logit
        case "probit":
            return links.probit
        case "cloglog":
            return links.cloglog


def _inverse(link: Link, p: float) -> float:
    match link:
        case "logit":
            return math.log(p / (1 - p))
        case "probit":
            return NormalDist().inv_cdf(p)
        case "cloglog":
            return math.log(-math.log1p(-p))


def cumulative(features: KerasTensor, classes: int, link: Link = "logit") -> KerasTensor:
    """P(y ≤ k) = g⁻¹(θ_k − w·h) for a link g: the cumulative link model, proportional odds for the logit.

    Args:
        features: h, `(batch, units)`.
        classes: K.
        link: "logit", "probit" or "cloglog".

    Returns:
        `(batch, K)`, log-probabilities.

    Reference:
        McCullagh, Regression Models for Ordinal Data, Journal of the Royal Statistical Society B, 1980.
    """
    # No bias: the thresholds have it.
    score = keras.layers.Dense(1, use_bias=False, dtype="float32", name="score")(features)
    return Thresholds(classes, link, dtype="float32", name="log_probabilities")(score)


def coral(features: KerasTensor, classes: int) -> KerasTensor:
    """P(y > k) = σ(w·h + b_k) with b falling by construction: `cumulative` with the logit, θ_k = −b_k.

    As published the b_k are free and their order is only reached by training; here no probability is
    ever negative.

    Args:
        features: h, `(batch, units)`.
        classes: K.

    Returns:
        `(batch, K)`, log-probabilities.

    Reference:
        Cao, Mirjalili, Raschka, Rank consistent ordinal regression for neural networks with application to
        age estimation, Pattern Recognition Letters, 2020.
    """
    return cumulative(features, classes, link="logit")
