"""Soft labels: for each true label a distribution over all of them (NumPy).

`T[true label, label]`; every row sums to 1. Cross-entropy with targets (1 − η)·e_y + η·T_y is least at
p = T'ᵀq with T' = (1 − η)·I + η·T and q the true distribution: improper, but the truth can be found
again where T' is well conditioned.
"""

from __future__ import annotations

import math
from typing import Literal, get_args

import numpy as np
from numpy.typing import NDArray
from scipy.special import betainc

from pipeline.errors import nearest
from pipeline.topology import Topology

Kind = Literal["triangular", "beta", "binomial", "poisson", "exponential", "geometric"]
Matrix = NDArray[np.float64]
RING_KINDS: tuple[Kind, ...] = ("exponential", "geometric")
"""Those that need distances alone, and have a cyclic twin."""


def triangular(classes: int, alpha: float = 0.05) -> Matrix:
    """Return T of triangles over K equal intervals: `alpha` on each neighbour, nothing beyond.

    The first and the last label have half a triangle, whose neighbour gets
    ((1 − √(1 − 4(1 − 2α)(2α − √2α))) / 2)².

    Args:
        classes: K.
        alpha: Probability of each neighbour of an inner label, 0 < α ≤ 2/9.

    Reference:
        Vargas, Gutiérrez, Barbero-Gómez, Hervás-Martínez, Soft labelling based on triangular distributions
        for ordinal classification, Information Fusion, 2023; here the last label mirrors the first.

    >>> triangular(3, 0.01).round(4).tolist()
    [[0.9885, 0.0115, 0.0], [0.01, 0.98, 0.01], [0.0, 0.0115, 0.9885]]
    """
    if not 0 < alpha <= 2 / 9:
        raise ValueError(f"alpha must be above 0 and at most 2/9, where two labels off begin, got {alpha}")
    root = math.sqrt(2 * alpha)
    end = ((1 - math.sqrt(1 - 4 * (1 - 2 * alpha) * (2 * alpha - root))) / 2) ** 2
    beside = np.full(classes, alpha)
    beside[[0, -1]] = end
    soft = np.diag(beside[:-1], 1) + np.diag(beside[1:], -1)
    return np.asarray(soft + np.diag(1 - soft.sum(axis=1)))


def beta(classes: int) -> Matrix:
    """Return T of beta distributions over K equal intervals of [0, 1], each around its own interval.

    An inner label y has the mean (2y + 1)/2K and the standard deviation 1/2K, which are the published
    parameters before they were rounded; the first has Beta(1, 2(K − 1)), the last its mirror image.

    Args:
        classes: K.

    Reference:
        Vargas, Gutiérrez, Hervás-Martínez, Unimodal regularisation based on beta distribution for deep
        ordinal regression, Pattern Recognition, 2022.

    >>> beta(3).round(3).tolist()
    [[0.802, 0.185, 0.012], [0.173, 0.653, 0.173], [0.012, 0.185, 0.802]]
    """
    borders = np.linspace(0, 1, classes + 1)
    soft = np.empty((classes, classes))
    for label in range(classes):
        mean = (2 * label + 1) / (2 * classes)
        concentration = 4 * classes**2 * mean * (1 - mean) - 1
        a, b = mean * concentration, (1 - mean) * concentration
        if label == 0:
            a, b = 1.0, 2.0 * (classes - 1)
        elif label == classes - 1:
            a, b = 2.0 * (classes - 1), 1.0
        soft[label] = np.diff(betainc(a, b, borders))
    return soft


def binomial(classes: int) -> Matrix:
    """Return T of binomial distributions, C(K−1, k)·s^k·(1 − s)^{K−1−k} with s = (2y + 1)/2K.

    Args:
        classes: K.

    Reference:
        Liu, Fan, Kong and others, Unimodal regularized neuron stick-breaking for ordinal classification,
        Neurocomputing, 2020, where s goes from 0.1 to 0.9: the same for 5 labels, but for more than 10 of
        them most of the mass would then be on a wrong one.

    >>> binomial(5).round(3)[0].tolist()
    [0.656, 0.292, 0.049, 0.004, 0.0]
    """
    k = np.arange(classes)
    choose = np.array([math.comb(classes - 1, i) for i in k], dtype=float)
    s = (2 * k[:, np.newaxis] + 1) / (2 * classes)
    return np.asarray(choose * s**k * (1 - s) ** (classes - 1 - k))


def poisson(classes: int) -> Matrix:
    """Return T of Poisson distributions cut off after K labels, λ^k·e^{−λ}/k! with λ = y + 1, normalised.

    Its rows differ little where K is large, so that undoing it is hopeless there (docs/losses.md).

    Args:
        classes: K.

    Reference:
        Liu, Fan, Kong and others, Unimodal regularized neuron stick-breaking for ordinal classification,
        Neurocomputing, 2020; normalised by the sum instead of a softmax, which nearly evens them out.

    >>> poisson(3).round(3).tolist()
    [[0.4, 0.4, 0.2], [0.2, 0.4, 0.4], [0.118, 0.353, 0.529]]
    """
    k = np.arange(classes)
    factorial = np.array([math.factorial(i) for i in k], dtype=float)
    weight = (k[:, np.newaxis] + 1.0) ** k / factorial  # e^{−λ} goes when rows are normalised
    return np.asarray(weight / weight.sum(axis=1, keepdims=True))


def exponential(topology: Topology, alpha: float = 1.0, power: float = 1.0) -> Matrix:
    """Return T = softmax(−α·d^power), on a line or round a ring.

    Args:
        topology: Gives the distances d, in steps.
        alpha: α > 0; the larger, the sharper.
        power: 1 for |i − y|, 2 for its square.

    Reference:
        Díaz, Marathe, Soft Labels for Ordinal Regression, CVPR 2019 (SORD); Liu and others 2020 as
        −d/τ; Vargas and others 2023 with an exponent.

    >>> exponential(Topology.of(range(3))).round(3)[0].tolist()
    [0.665, 0.245, 0.09]
    """
    weight = np.exp(-alpha * topology.distances() ** power)
    return np.asarray(weight / weight.sum(axis=1, keepdims=True))


def geometric(topology: Topology, alpha: float = 0.1) -> Matrix:
    """Return T with 1 − α on the truth and α shared by the others in proportion to α^d.

    Args:
        topology: Gives the distances d, in steps.
        alpha: 0 < α < 1.

    Reference:
        Haas, Hüllermeier, Rectifying Bias in Ordinal Observational Data Using Unimodal Label Smoothing,
        ECML PKDD 2023.

    >>> geometric(Topology.of(range(3))).round(4)[0].tolist()
    [0.9, 0.0909, 0.0091]
    """
    others = np.where(np.eye(topology.classes) > 0, 0.0, alpha ** topology.distances())
    return np.asarray(
        (1 - alpha) * np.eye(topology.classes) + alpha * others / others.sum(axis=1, keepdims=True)
    )


def matrix(kind: Kind, topology: Topology, alpha: float | None = None, power: float = 1.0) -> Matrix:
    """Return T, `(K, K)`, of a kind of soft label.

    Args:
        kind: Its name.
        topology: The labels. A ring has exponential and geometric soft labels, which need distances
            alone; the others are distributions over an interval with two ends.
        alpha: Of triangular, exponential and geometric; default 0.05, 1 and 0.1.
        power: Of exponential.

    Raises:
        ValueError: An unknown kind, a kind that a ring does not have, or a parameter out of range.
    """
    kinds = get_args(Kind)
    if kind not in kinds:
        raise ValueError(f"kind must be one of {', '.join(kinds)}, got {kind!r}{nearest(str(kind), kinds)}")
    if topology.kind == "cyclic" and kind not in RING_KINDS:
        raise ValueError(
            f"{kind} soft labels need a first and a last label, and a ring has none; "
            f"use {' or '.join(RING_KINDS)}"
        )
    given = {} if alpha is None else {"alpha": float(alpha)}
    if given and kind in ("beta", "binomial", "poisson"):
        raise ValueError(f"{kind} soft labels have no alpha, got {alpha}")
    if power != 1 and kind != "exponential":
        raise ValueError(f"only exponential soft labels have a power, got {power} for {kind}")
    if not (0 < given.get("alpha", 1) < math.inf and 0 < power < math.inf):
        raise ValueError(f"alpha and power must be finite and > 0, got {alpha} and {power}")
    match kind:
        case "triangular":
            return triangular(topology.classes, **given)
        case "beta":
            return beta(topology.classes)
        case "binomial":
            return binomial(topology.classes)
        case "poisson":
            return poisson(topology.classes)
        case "exponential":
            return exponential(topology, power=power, **given)
        case "geometric":
            if given.get("alpha", 0) >= 1:
                raise ValueError(f"alpha of geometric soft labels must be below 1, got {alpha}")
            return geometric(topology, **given)
