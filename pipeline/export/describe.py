"""The manifest of an artifact, from what it was made of."""

from __future__ import annotations

import subprocess
from collections.abc import Sequence
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from pipeline import costs, metrics
from pipeline.calibrate import Calibrated
from pipeline.calibration import Distortion
from pipeline.config import Config
from pipeline.data import Dataset
from pipeline.sweep import Trial
from pipeline.sweep.planning import build_loss
from pipeline.topology import Topology as Arranged
from serving.manifest import (
    Calibration,
    Interval,
    Manifest,
    Member,
    Profile,
    Provenance,
    Quality,
    Topology,
    TrainedWith,
)

_PACKAGES = ("ordinal", "tensorflow", "keras", "tf2onnx", "onnx", "onnxruntime-gpu", "numpy")


def profiles(config: Config, data: Dataset) -> dict[str, Profile]:
    """Return every cost profile of a model by name."""
    found = costs.profiles(config.decision, data.labels.topology, data.labels.names)
    return {name: Profile(actions=one.actions, cost=one.cost.tolist()) for name, one in found.items()}


def member(config: Config, data: Dataset, trial: Trial, run_id: str, undone: Distortion) -> Member:
    """Return the manifest's words for the network that `trial` trained in the MLflow run `run_id`."""
    return Member(
        loss=TrainedWith(name=trial.loss.name, parameters=trial.loss.parameters),
        head=TrainedWith(name=trial.head.name, parameters=trial.head.parameters),
        proper=build_loss(trial.loss, config, data).proper,
        undone=undone.parts,
        run_id=run_id,
    )


def calibration(y: NDArray[np.integer], calibrated: Calibrated, arranged: Arranged) -> Calibration:
    """Return the manifest's words for a calibration, and what it did to the rows that it was fitted on.

    Args:
        y: `(rows,)`, index of the true label of the validation rows.
        calibrated: What came of them.
        arranged: How the labels are.
    """
    scaling = calibrated.scaling
    none = scaling.method == "none"
    return Calibration(
        method=scaling.method,
        slopes=() if none else tuple(scaling.slopes.tolist()),
        offsets=() if none else tuple(scaling.offsets.tolist()),
        rows=len(y),
        before=_quality(y, calibrated.before, arranged),
        after=_quality(y, calibrated.after, arranged),
    )


def _quality(y: NDArray[np.integer], p: NDArray[np.floating], arranged: Arranged) -> Quality:
    return Quality(
        nll=metrics.negative_log_likelihood(y, p),
        rps=metrics.ranked_probability_score(y, p, arranged),
        ece=metrics.expected_calibration_error(y, p),
        threshold_ece=metrics.mean_threshold_calibration_error(y, p, arranged),
    )


def describe(
    config: Config,
    data: Dataset,
    members: Sequence[Member],
    scaled: Calibration | None = None,
    seen: Dataset | None = None,
) -> Manifest:
    """Return the manifest of networks that answer together.

    Args:
        config: What was asked for.
        data: What was learned from.
        members: The best first.
        scaled: Their calibration; none where left out.
        seen: What their weights have seen, where that is not the training part of `data`.
    """
    decision = config.decision
    return Manifest(
        name=config.name,
        labels=data.labels.names,
        values=data.labels.topology.values,
        topology=Topology(kind=data.labels.topology.kind, period=data.labels.topology.period),
        inputs=(seen or data).inputs,
        profiles=profiles(config, data),
        default_profile=decision.profile,
        members=tuple(members),
        passes=config.model.passes * len(members),
        calibration=scaled or Calibration(),
        interval=Interval(
            kind=decision.interval, coverage=decision.coverage, rows=len(data.parts.calibration)
        ),
        provenance=Provenance(
            data_fingerprint=data.fingerprint,
            refitted=seen is not None,
            git_commit=_git_commit(),
            versions={package: version(package) for package in _PACKAGES},
            created=datetime.now(UTC),
        ),
    )


def _git_commit() -> str:
    try:
        asked = subprocess.run(
            ["git", "describe", "--always", "--dirty", "--abbrev=40", "--exclude=*"],
            cwd=Path(__file__).parent,  # the code's repository, not the one that the user stands in
            capture_output=True,
            text=True,
            check=True,
        )
    except (OSError, subprocess.CalledProcessError):
        return "unknown"  # not a checkout, or no git: the manifest says so
    return asked.stdout.strip()
