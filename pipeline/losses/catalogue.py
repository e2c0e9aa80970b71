"""Every method by name: which loss it is, on which head, what it is for, and where it comes from.

The page docs/losses.md is made from this table, and the property tests hold its figures.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import keras

from pipeline.losses.brier import Brier
from pipeline.losses.by_distance import ClassDistanceWeighted, Slace
from pipeline.losses.cross_entropy import CrossEntropy, Focal
from pipeline.losses.cumulative import CumulativeCrossEntropy, RankedProbabilityScore
from pipeline.losses.expected_cost import DistancePenalty, ExpectedCost
from pipeline.losses.expected_value import ExpectedValue
from pipeline.losses.kappa import WeightedKappa
from pipeline.losses.soft_cross_entropy import SoftLabels
from pipeline.losses.soft_labels import RING_KINDS
from pipeline.losses.unimodality import Unimodality


@dataclass(frozen=True)
class Method:
    """What a config may name: a loss, or a preset of loss, parameters and head.

    Attributes:
        name: As in the config.
        loss: Its class.
        formula: Of one row with true label y.
        optimises: In words.
        use: When to choose it.
        source: Where it comes from.
        fixed: Parameters that make it this method; a config cannot change them.
        defaults: Parameters whose default differs from the class's.
        head: The head that belongs to it; empty where any will do.
        gap: Mean total variation between the minimiser and the truth with default parameters, for
            K = 5 and 60 true distributions drawn from Dirichlet(1); None where there is no such thing,
            since a batch is scored as a whole.
        kept: Share of those whose absolute-cost decision is still the right one.
    """

    name: str
    loss: type[keras.losses.Loss]
    formula: str
    optimises: str
    use: str
    source: str
    fixed: Mapping[str, Any] = field(default_factory=dict)
    defaults: Mapping[str, Any] = field(default_factory=dict)
    head: str = ""
    gap: float | None = None
    kept: float | None = None

    @property
    def ring(self) -> bool:
        """Whether it has a cyclic twin: no ordered head, and no soft labels that need two ends."""
        return not self.head and self.fixed.get("kind", RING_KINDS[0]) in RING_KINDS


_SOFT = "−Σ_i t_i·log p_i, t = (1 − η)·e_y + η·T_y"
_SOFT_USE = "Labels are noisy and mistaken for their neighbours; undo T before costs decide"
_LIU = "Liu and others, Neurocomputing 2020"

METHODS: tuple[Method, ...] = (
    Method(
        "cross_entropy", CrossEntropy,
        "−log p_y",
        "the probability of the true label",
        "The baseline; on an ordered head it is already an ordinal model",
        "Good 1952",
        gap=0, kept=1,
    ),
    Method(
        "brier", Brier,
        "Σ_i (p_i − 1[i = y])²",
        "the squared error of all K probabilities",
        "Labels that are sometimes wrong: one certain mistake costs 2 at most",
        "Brier 1950",
        gap=0, kept=1,
    ),
    Method(
        "mce", Brier,
        "(1/K)·Σ_i (p_i − 1[i = y])²",
        "the same, as a mean over classes",
        "To compare with dlordinal",
        "dlordinal 2.7",
        fixed={"over_classes": "mean"}, gap=0, kept=1,
    ),
    Method(
        "expected_value", ExpectedValue,
        "−log p_y + λ·½(Σ_j v_j p_j − v_y)²; on a ring (period/2π)²·|z − u_y|² in place of the square",
        "the expected value, beside the log score",
        "The expected value is what is used; values are unequally spaced",
        "An answer on Stack Exchange about MNIST",
        gap=0, kept=1,
    ),
    Method(
        "distance_penalty", DistancePenalty,
        "−log p_y + Σ_i p_i·w(d_i), w linear, quadratic or given",
        "less probability far from the truth, beside the log score",
        "Fewer far mistakes matter more than honest probabilities",
        "A question on Stack Exchange, 2021",
        gap=0.13, kept=0.88,
    ),
    Method(
        "expected_cost", ExpectedCost,
        "−log p_y + λ·Σ_i p_i·cost[y, i]",
        "the cost that decisions will have, beside the log score",
        "One cost matrix is known and will not change; its actions are the labels",
        "Elkan 2001",
        gap=0.07, kept=0.90,
    ),
    Method(
        "rps", RankedProbabilityScore,
        "Σ_k (F_k − 1[y ≤ k])²; on a ring its mean over the K cut points",
        "the cumulative distribution; near misses cost less",
        "First choice where distances matter and costs will be decided later",
        "Epstein 1969; Hou and others 2016 (EMD²)",
        gap=0, kept=1,
    ),
    Method(
        "cumulative_cross_entropy", CumulativeCrossEntropy,
        "−Σ_k (1[y ≤ k]·log F_k + 1[y > k]·log(1 − F_k)); on a ring its mean over the K cut points",
        "each question 'more than k?' by the log score",
        "As rps, with more weight on what is rare",
        "Cao and others 2020",
        gap=0, kept=1,
    ),
    Method(
        "cdw_ce", ClassDistanceWeighted,
        "−Σ_i d_i^α·log(1 − p_i)",
        "little mass far from the truth",
        "Kappa and MAE of the mode are what counts; calibrate before costs decide",
        "Polat and others 2022",
        gap=0.31, kept=0.70,
    ),
    Method(
        "oll", ClassDistanceWeighted,
        "−Σ_i d_i^α·log(1 − p_i)",
        "the same by its other name",
        "As cdw_ce",
        "Castagnos and others, COLING 2022",
        fixed={"margin": 0.0}, gap=0.31, kept=0.70,
    ),
    Method(
        "sord", SoftLabels,
        "−Σ_i t_i·log p_i, t = softmax(−α·d^power)",
        "soft labels that fall with distance",
        _SOFT_USE,
        "Díaz and Marathe, CVPR 2019",
        fixed={"kind": "exponential", "eta": 1.0}, gap=0.18, kept=0.62,
    ),
    Method(
        "slace", Slace,
        "−Σ_i softmax(−α·d)_i·log Σ_{j: d_j ≤ d_i} p_j",
        "mass at least as near to the truth as each label",
        "Nearly honest probabilities with fewer far mistakes; larger α is more honest",
        "SLACE, AAAI 2025",
        gap=0.02, kept=0.97,
    ),
    Method(
        "triangular", SoftLabels, _SOFT, "soft labels with a little on the neighbours alone", _SOFT_USE,
        "Vargas and others, Information Fusion 2023",
        fixed={"kind": "triangular", "power": 1.0}, gap=0.03, kept=0.95,
    ),
    Method(
        "beta", SoftLabels, _SOFT, "soft labels from beta distributions", _SOFT_USE,
        "Vargas and others, Pattern Recognition 2022",
        fixed={"kind": "beta", "alpha": None, "power": 1.0}, gap=0.12, kept=0.8,
    ),
    Method(
        "binomial", SoftLabels, _SOFT, "soft labels from binomial distributions", _SOFT_USE,
        _LIU,
        fixed={"kind": "binomial", "alpha": None, "power": 1.0}, gap=0.21, kept=0.58,
    ),
    Method(
        "poisson", SoftLabels, _SOFT, "soft labels from Poisson distributions",
        "Counts; cannot be undone for many classes",
        _LIU,
        fixed={"kind": "poisson", "alpha": None, "power": 1.0}, gap=0.29, kept=0.48,
    ),
    Method(
        "exponential", SoftLabels, _SOFT, "soft labels exp(−α·d^power), mixed with hard ones", _SOFT_USE,
        f"{_LIU}; Vargas and others 2023",
        fixed={"kind": "exponential"}, gap=0.18, kept=0.62,
    ),
    Method(
        "geometric", SoftLabels, _SOFT, "soft labels that fall geometrically with distance", _SOFT_USE,
        "Haas and Hüllermeier 2023",
        fixed={"kind": "geometric", "power": 1.0}, gap=0.05, kept=0.88,
    ),
    Method(
        "weighted_kappa", WeightedKappa,
        "Σ w·O / Σ w·E over a batch, w = d² or d",
        "weighted kappa itself",
        "Kappa is the contract; large batches, and calibrate before costs decide",
        "de la Torre and others 2018",
    ),
    Method(
        "mce_wk", WeightedKappa,
        "(1 − c)·Σ w·O / Σ w·E + c·MCE, c = `mce`",
        "weighted kappa, steadied by the Brier score",
        "As weighted_kappa, where it trains badly alone",
        "dlordinal 2.7",
        defaults={"mce": 0.5},
    ),
    Method(
        "focal", Focal,
        "−(1 − p_y)^γ·log p_y",
        "rows that are not right yet",
        "Very many easy rows; it knows no order",
        "Lin and others, ICCV 2017",
        gap=0.07, kept=0.75,
    ),
    Method(
        "co2", Unimodality,
        "−log p_y + λ·Σ_e relu(ω ± Δp_e)",
        "the log score, and probabilities that fall on both sides of the truth",
        "One peak is wanted without an ordered head",
        "Albuquerque and others 2021",
        fixed={"term": "cross_entropy"}, gap=0.002, kept=0.98,
    ),
    Method(
        "ho2", Unimodality,
        "H(p) + λ·Σ_e relu(ω ± Δp_e)",
        "low entropy, and probabilities that fall on both sides of the truth",
        "To compare with the source; its probabilities say nothing",
        "Albuquerque and others 2021",
        fixed={"term": "entropy"}, defaults={"lam": 1.0}, gap=0.55, kept=0.65,
    ),
    Method(
        "coral", CumulativeCrossEntropy,
        "Σ_k λ_k·BCE(σ(w·h + b_k), 1[y > k])",
        "each question 'more than k?', with one weight vector",
        "An ordered model that stays honest; importance weighs thresholds",
        "Cao and others 2020",
        head="coral", gap=0, kept=1,
    ),
    Method(
        "corn", CrossEntropy,
        "Σ_{k: y > k−1} BCE(σ(z_k), 1[y > k])",
        "each step 'further than k, having come so far?'",
        "Ordered labels that are reached one after the other; flexible",
        "Shi and others 2021",
        head="conditional", gap=0, kept=1,
    ),
    Method(
        "condor", CrossEntropy,
        "−log p_y, P(y > k) = Π_{j≤k} σ(z_j)",
        "the same form, written for all rows",
        "As corn: the two are equal",
        "Jenkinson and others 2021",
        head="conditional", gap=0, kept=1,
    ),
    Method(
        "cumulative_link", CrossEntropy,
        "−log p_y, P(y ≤ k) = g⁻¹(θ_k − f)",
        "the likelihood of one score and K−1 thresholds",
        "Few rows; one score explains the order; logit, probit or cloglog",
        "McCullagh 1980",
        head="cumulative", gap=0, kept=1,
    ),
    Method(
        "obd", RankedProbabilityScore,
        "Σ_k (σ_k − 1[y > k])²",
        "the code of K−1 thresholds, here in order, on one weight vector; K−1 times the source's mean",
        "Robust like brier, with distances",
        "Frank and Hall 2001; Barbero-Gómez and others 2023",
        head="coral", gap=0, kept=1,
    ),
)  # fmt: skip

NAMES = tuple(method.name for method in METHODS)
