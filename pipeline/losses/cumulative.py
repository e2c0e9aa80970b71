"""Scores of the cumulative distribution: of P(y ≤ k), and on a ring of every arc."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import keras
import numpy as np
from keras import KerasTensor, ops
from numpy.typing import NDArray

from pipeline.losses import rows
from pipeline.topology import Topology


def ranked_probability_score(
    y_true: KerasTensor, log_p: KerasTensor, sets: NDArray[np.floating]
) -> KerasTensor:
    """Return Σ_s (P(s) − 1[y ∈ s])² over contiguous sets s of labels.

    On a line the sets are {0 … k}, so that it is Σ_{k<K−1}(F_k − 1[y ≤ k])², the squared earth mover's
    distance EMD². It is strictly proper, and so it is over the arcs of a ring.

    Args:
        y_true: `(batch,)`, index of the true label, 0 … K−1.
        log_p: `(batch, K)`, log-probabilities.
        sets: `(K, S)`, `Topology.sets`.

    Returns:
        `(batch,)`, 0 … S, not normalised.

    Reference:
        Epstein, A Scoring System for Probability Forecasts of Ranked Categories, Journal of Applied
        Meteorology, 1969. As a loss: Hou, Yu, Samaras, Squared Earth Mover's Distance-based Loss for
        Training Deep Neural Networks, 2016.

    >>> sets = Topology.of(range(3)).sets()
    >>> ranked_probability_score(np.array([0]), np.log([[0.5, 0.25, 0.25]]), sets).numpy().tolist()
    [0.3125]
    """
    mass = ops.matmul(ops.exp(log_p), ops.convert_to_tensor(sets, dtype=log_p.dtype))  # (batch, S)
    return ops.sum(ops.square(mass - rows.of_labels(sets, y_true, log_p)), axis=-1)


def cumulative_cross_entropy(
    y_true: KerasTensor,
    log_p: KerasTensor,
    sets_and_complements: NDArray[np.floating],
    weights: NDArray[np.floating],
) -> KerasTensor:
    """Return Σ_s w_s·(−log P(s or not s, whichever y is in)) over contiguous sets s of labels.

    On a line with w = 1 it is the binary cross-entropy of the K−1 questions whether y > k, the loss of
    CORAL: −Σ_k (1[y > k]·log(1 − F_k) + 1[y ≤ k]·log F_k). Strictly proper for positive weights.

    Args:
        y_true: `(batch,)`, index of the true label, 0 … K−1.
        log_p: `(batch, K)`, log-probabilities.
        sets_and_complements: `(K, 2S)`, the sets and then what each leaves.
        weights: `(S,)`, ≥ 0, importance of each set.

    Returns:
        `(batch,)`, ≥ 0, in nats.

    Reference:
        Cao, Mirjalili, Raschka, Rank consistent ordinal regression for neural networks with application to
        age estimation, Pattern Recognition Letters, 2020.

    >>> sets = np.array([[1, 0], [0, 1]])
    >>> cumulative_cross_entropy(np.array([0]), np.log([[0.5, 0.5]]), sets, [1]).numpy().round(4).tolist()
    [0.6931]
    """
    holding = sets_and_complements * np.concatenate([weights, weights])  # [label, set]
    return -ops.sum(
        rows.of_labels(holding, y_true, log_p) * rows.log_mass(log_p, sets_and_complements), axis=-1
    )


def _share_of_a_set(topology: Topology) -> float:
    """Return what an arc weighs so that all of them make the mean over the K cut points of a ring.

    A cut leaves a line with K−1 thresholds, and each of the K(K−1)/2 pairs of an arc and its complement
    comes up at two cuts.
    """
    return 1.0 if topology.kind == "linear" else 2.0 / topology.classes


@keras.saving.register_keras_serializable("ordinal")
class RankedProbabilityScore(keras.losses.Loss):
    """`ranked_probability_score`; on a ring its mean over the lines that the K cut points leave."""

    proper = True

    def __init__(
        self, values: Sequence[float], period: float | None = None, name: str = "rps", **kwargs: Any
    ) -> None:
        super().__init__(name=name, **kwargs)
        self.topology = Topology.of(values, period)
        self._sets = self.topology.sets()
        self._share = _share_of_a_set(self.topology)

    def call(self, y_true: KerasTensor, y_pred: KerasTensor) -> KerasTensor:
        """Return the loss of each row; `y_pred` holds log-probabilities."""
        score = ranked_probability_score(y_true, y_pred, self._sets)
        return score if self._share == 1 else self._share * score

    def get_config(self) -> dict[str, Any]:
        """Everything `from_config` needs."""
        return {**super().get_config(), **self.topology.get_config()}


@keras.saving.register_keras_serializable("ordinal")
class CumulativeCrossEntropy(keras.losses.Loss):
    """`cumulative_cross_entropy`; on a ring its mean over the lines that the K cut points leave."""

    proper = True

    def __init__(
        self,
        values: Sequence[float],
        period: float | None = None,
        importance: Sequence[float] | None = None,
        name: str = "cumulative_cross_entropy",
        **kwargs: Any,
    ) -> None:
        topology = Topology.of(values, period)
        sets = topology.sets()
        thresholds = sets.shape[1]
        if importance is None:
            weights = np.full(thresholds, _share_of_a_set(topology))
        elif topology.kind == "cyclic":
            raise ValueError("importance weighs the thresholds of a line; a ring has none")
        else:
            weights = rows.vector(importance)
            if weights.shape != (thresholds,) or not (
                weights.min() > 0 and weights.max() <= rows.LARGEST_WEIGHT
            ):
                raise ValueError(
                    f"importance must be {thresholds} numbers above 0 and at most {rows.LARGEST_WEIGHT:g}, "
                    "one for each threshold, "
                    f"got {importance!r}"
                )
        super().__init__(name=name, **kwargs)
        self.topology = topology
        self.importance = None if importance is None else weights.tolist()
        self._sets_and_complements = np.concatenate([sets, 1 - sets], axis=1)
        self._weights = weights

    def call(self, y_true: KerasTensor, y_pred: KerasTensor) -> KerasTensor:
        """Return the loss of each row; `y_pred` holds log-probabilities."""
        return cumulative_cross_entropy(y_true, y_pred, self._sets_and_complements, self._weights)

    def get_config(self) -> dict[str, Any]:
        """Everything `from_config` needs."""
        own = {"importance": self.importance}
        return {**super().get_config(), **self.topology.get_config(), **own}
