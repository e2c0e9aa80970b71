"""Agreement beyond chance, and correlation of ranks, from counts of [true label, decision] (NumPy)."""

from __future__ import annotations

from typing import Literal

import numpy as np
from numpy.typing import NDArray

from pipeline.metrics.arrays import Indices, ratio, require
from pipeline.metrics.decisions import confusion_matrix
from pipeline.topology import Topology


def weighted_kappa(
    y: Indices, decision: Indices, topology: Topology, weights: Literal["linear", "quadratic"]
) -> float:
    """Return 1 − Σ w·O / Σ w·E, of observed and of chance disagreement (QWK where quadratic).

    O counts rows by [true label, decision]; E = its row sums × its column sums / rows; w is the distance
    of the two labels or its square.

    Args:
        y: `(rows,)`, index of the true label, 0 … K−1.
        decision: `(rows,)`, index of the decided label, 0 … K−1.
        topology: Gives the distances.
        weights: "linear" for w = d, "quadratic" for w = d².

    Returns:
        At most 1, for perfect agreement; 0 for chance. NaN where chance alone would never disagree: all
        rows have one label, and all decisions are that label.

    Raises:
        ValueError: The weights have another name.

    Reference:
        Cohen, Weighted kappa: nominal scale agreement with provision for scaled disagreement or partial
        credit, 1968.

    >>> y, decision = np.array([0, 0, 1, 1]), np.array([0, 0, 1, 0])
    >>> weighted_kappa(y, decision, Topology.of(range(2)), "quadratic")
    0.5
    """
    if weights not in ("linear", "quadratic"):
        raise ValueError(f"weights must be 'linear' or 'quadratic', got {weights!r}")
    counts = confusion_matrix(y, decision, topology.classes)
    w = topology.distances() ** (1 if weights == "linear" else 2)
    by_chance = np.outer(counts.sum(axis=1), counts.sum(axis=0))
    return float(1 - ratio(counts.sum() * np.sum(w * counts), np.sum(w * by_chance)))


def spearman(y: Indices, decision: Indices, topology: Topology) -> float:
    """Return Spearman's ρ: Pearson's correlation of the ranks, equal labels sharing their mean rank.

    Args:
        y: `(rows,)`, index of the true label, 0 … K−1.
        decision: `(rows,)`, index of the decided label, 0 … K−1.
        topology: Gives K.

    Returns:
        −1 … 1; NaN where all labels or all decisions are equal.

    Raises:
        ValueError: The labels lie on a ring, where nothing has a rank: see `circular_correlation`.

    Reference:
        Spearman, The proof and measurement of association between two things, 1904.

    >>> spearman(np.array([0, 1, 2]), np.array([0, 2, 1]), Topology.of(range(3)))
    0.5
    """
    require("linear", topology, "spearman")
    counts = confusion_matrix(y, decision, topology.classes)
    of_y, of_decision = counts.sum(axis=1), counts.sum(axis=0)
    a, b = _centred_ranks(of_y), _centred_ranks(of_decision)
    return float(ratio(a @ counts @ b, np.sqrt((of_y @ a**2) * (of_decision @ b**2))))


def kendall_tau_b(y: Indices, decision: Indices, topology: Topology) -> float:
    """Return Kendall's τ_b: (concordant − discordant pairs of rows) / √(pairs untied in y · in decision).

    Args:
        y: `(rows,)`, index of the true label, 0 … K−1.
        decision: `(rows,)`, index of the decided label, 0 … K−1.
        topology: Gives K.

    Returns:
        −1 … 1; NaN where all labels or all decisions are equal.

    Raises:
        ValueError: The labels lie on a ring, where no pair has an order: see `circular_correlation`.

    Reference:
        Kendall, The treatment of ties in ranking problems, 1945.

    >>> round(kendall_tau_b(np.array([0, 1, 2]), np.array([0, 2, 1]), Topology.of(range(3))), 4)
    0.3333
    """
    require("linear", topology, "kendall_tau_b")
    counts = confusion_matrix(y, decision, topology.classes).astype(float)
    order = np.sign(topology.offsets())  # 1 where the second label is above the first
    ahead = np.sum(counts * (order @ counts @ order.T))  # each pair twice, as in what follows
    untied_y = counts.sum() ** 2 - np.sum(counts.sum(axis=1) ** 2)
    untied_decision = counts.sum() ** 2 - np.sum(counts.sum(axis=0) ** 2)
    return float(ratio(ahead, np.sqrt(untied_y * untied_decision)))


def _centred_ranks(counts: NDArray[np.int64]) -> NDArray[np.float64]:
    """Return the mean rank of the rows of each label, minus the mean of all ranks, `(K,)`."""
    return np.asarray(np.cumsum(counts) - counts / 2 - counts.sum() / 2)
