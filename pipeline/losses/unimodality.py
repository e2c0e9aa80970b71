"""Penalties for probabilities that do not fall on both sides of the true label: CO2 and HO2."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, Literal

import keras
import numpy as np
from keras import KerasTensor, ops
from numpy.typing import NDArray

from pipeline.losses import rows
from pipeline.losses.cross_entropy import cross_entropy
from pipeline.topology import Topology

Matrix = NDArray[np.float64]


def falling(topology: Topology) -> Matrix:
    """Return which way probabilities shall fall over each edge, `(K, E)` of [true label, edge].

    1 where the edge leads away from the true label, −1 where it leads towards it, 0 where both of its
    ends are equally far, as opposite the true label of an odd ring.

    >>> falling(Topology.of(range(4))).tolist()[1]
    [-1.0, 1.0, 1.0]
    """
    return np.sign(topology.distances() @ topology.edges())


def unimodality_penalty(
    y_true: KerasTensor, log_p: KerasTensor, edges: Matrix, signs: Matrix, omega: float
) -> KerasTensor:
    """Return Σ_e relu(ω + sign_e·Δp_e): how far p is from falling by ω over every edge away from y.

    Args:
        y_true: `(batch,)`, index of the true label, 0 … K−1.
        log_p: `(batch, K)`, log-probabilities.
        edges: `(K, E)`, `Topology.edges`.
        signs: `(K, E)`, `falling`; an edge of sign 0 costs nothing.
        omega: ω ≥ 0, the fall that is asked for.

    Returns:
        `(batch,)`, ≥ 0.

    Reference:
        Albuquerque, Cruz, Cardoso, Ordinal losses for classification of cervical cancer risk, PeerJ
        Computer Science, 2021.

    >>> line = Topology.of(range(3))
    >>> log_p = np.log([[0.5, 0.125, 0.375]])
    >>> penalty = unimodality_penalty(np.array([0]), log_p, line.edges(), falling(line), 0.0)
    >>> penalty.numpy().round(4).tolist()
    [0.25]
    """
    rise = ops.matmul(ops.exp(log_p), ops.convert_to_tensor(edges, dtype=log_p.dtype))  # (batch, E)
    sign = rows.of_labels(signs, y_true, log_p)
    return ops.sum(ops.relu(omega * ops.square(sign) + sign * rise), axis=-1)


def entropy(log_p: KerasTensor) -> KerasTensor:
    """Return −Σ_i p_i·log p_i of each row, in nats.

    >>> entropy(np.log([[0.5, 0.5]])).numpy().round(4).tolist()
    [0.6931]
    """
    return -ops.sum(ops.exp(log_p) * log_p, axis=-1)


@keras.saving.register_keras_serializable("ordinal")
class Unimodality(keras.losses.Loss):
    """`term` + `lam`·`unimodality_penalty` with ω = `omega`.

    The term is cross-entropy (CO2), or the entropy of p itself (HO2), which leaves the true label to the
    penalty.
    """

    def __init__(
        self,
        values: Sequence[float],
        period: float | None = None,
        term: Literal["cross_entropy", "entropy"] = "cross_entropy",
        lam: float = 0.01,
        omega: float = 0.05,
        name: str = "unimodality",
        **kwargs: Any,
    ) -> None:
        if term not in ("cross_entropy", "entropy"):
            raise ValueError(f"term must be 'cross_entropy' or 'entropy', got {term!r}")
        if not (0 <= lam < math.inf and 0 <= omega < math.inf):
            raise ValueError(f"lam and omega must be finite and ≥ 0, got {lam} and {omega}")
        super().__init__(name=name, **kwargs)
        self.topology = Topology.of(values, period)
        self.term = term
        self.lam = float(lam)
        self.omega = float(omega)
        self._edges, self._signs = self.topology.edges(), falling(self.topology)

    @property
    def proper(self) -> bool:
        """Whether trained probabilities can be trusted by a cost decision."""
        return self.term == "cross_entropy" and self.lam == 0

    def call(self, y_true: KerasTensor, y_pred: KerasTensor) -> KerasTensor:
        """Return the loss of each row; `y_pred` holds log-probabilities."""
        term = cross_entropy(y_true, y_pred) if self.term == "cross_entropy" else entropy(y_pred)
        penalty = unimodality_penalty(y_true, y_pred, self._edges, self._signs, self.omega)
        return term + self.lam * penalty

    def get_config(self) -> dict[str, Any]:
        """Everything `from_config` needs."""
        own = {"term": self.term, "lam": self.lam, "omega": self.omega}
        return {**super().get_config(), **self.topology.get_config(), **own}
