"""Scores of the exported file, not of the Keras object: metrics describe what is served."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from pipeline import metrics
from pipeline.data import Dataset
from pipeline.metrics import CostForecast
from pipeline.metrics.arrays import Costs, mean
from serving.artifact import Artifact
from serving.manifest import ABSTAIN, PADDING

LEVELS = (0.5, 0.8, 0.9, 0.95, 0.99)
"""Coverages that intervals are looked at with, beside the default one."""


@dataclass(frozen=True)
class Coverage:
    """What intervals of a wanted coverage are like."""

    wanted: float
    coverage: float  # share of rows whose label is in its interval
    width: float  # mean number of labels in an interval


@dataclass(frozen=True)
class Evaluation:
    """What the artifact does on the test part, which nothing before has seen."""

    metrics: dict[str, float]
    confusion: NDArray[np.int64]  # (K, A), [true label, action] of the default profile
    by_class: list[dict[str, float]]  # of each label, in their order
    costs: dict[str, CostForecast]  # of each profile, under its own decision
    abstained: dict[str, float]  # share of rows, of each profile that has an abstention
    coverages: list[Coverage]  # rising


def evaluate(artifact: Artifact, data: Dataset) -> Evaluation:
    """Answer the test rows and score the answers; costs of each profile under its own decision."""
    rows, y = data.raw(data.parts.test), data.y[data.parts.test]
    manifest = artifact.manifest
    matrices = {name: np.asarray(profile.cost) for name, profile in manifest.profiles.items()}
    answer = artifact.run(rows, _policies(list(matrices.values())))
    decisions = dict(zip(matrices, answer.decision.T, strict=True))
    topology = data.labels.topology
    costs = {
        name: metrics.cost_forecast(y, answer.probabilities, decisions[name], cost)
        for name, cost in matrices.items()
    }
    abstained = {
        name: mean(decisions[name] == profile.actions.index(ABSTAIN))
        for name, profile in manifest.profiles.items()
        if ABSTAIN in profile.actions and profile.actions != manifest.labels
    }
    default = manifest.default_profile
    actions, cost, decision = manifest.profiles[default].actions, matrices[default], decisions[default]
    own = actions != manifest.labels
    scores = metrics.score(y, answer.probabilities, cost, topology, own_actions=own, decision=decision)
    for name, forecast in costs.items():
        scores[f"{name}/realised_cost"] = forecast.realised
        scores[f"{name}/expected_cost"] = forecast.expected
    scores |= {f"{name}/abstained": share for name, share in abstained.items()}
    wanted = manifest.interval.coverage
    coverages = []
    for level in sorted({*LEVELS, wanted}):
        ends = artifact.run(rows, coverage=np.array([level], np.float32)).interval
        lower, upper = ends[:, 0], ends[:, 1]
        coverages.append(
            Coverage(
                level,
                metrics.interval_coverage(y, lower, upper, topology),
                metrics.mean_interval_width(lower, upper, topology),
            )
        )
        if level == wanted:
            scores["interval_coverage"] = coverages[-1].coverage
            scores["mean_interval_width"] = coverages[-1].width
    scores["aleatoric"], scores["epistemic"] = map(float, answer.uncertainty.mean(axis=0))
    return Evaluation(
        scores,
        metrics.confusion_matrix(y, decision, len(manifest.labels), len(actions)),
        metrics.by_class(y, answer.probabilities, cost, topology, own_actions=own, decision=decision),
        costs,
        abstained,
        coverages,
    )


def _policies(matrices: Sequence[Costs]) -> NDArray[np.float32]:
    """Return cost matrices as one input of the graph, `(1, P, K, A)`, the narrower ones padded."""
    widest = max(cost.shape[1] for cost in matrices)
    padded = [
        np.pad(cost, ((0, 0), (0, widest - cost.shape[1])), constant_values=PADDING) for cost in matrices
    ]
    return np.stack(padded)[np.newaxis].astype(np.float32)
