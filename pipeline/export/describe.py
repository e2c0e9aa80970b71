"""The manifest of an artifact, from what it was made of."""

from __future__ import annotations

import subprocess
from datetime import UTC, datetime
from importlib.metadata import version

import numpy as np

from pipeline.config import Config
from pipeline.costs import Profile as ProfileName
from pipeline.costs import cost_matrix
from pipeline.data import Dataset
from pipeline.sweep import Trial
from serving.manifest import Manifest, Profile, Provenance, TrainedWith

_PROFILES: tuple[ProfileName, ...] = ("zero_one", "absolute", "quadratic", "asymmetric")
_PACKAGES = ("ordinal", "tensorflow", "keras", "tf2onnx", "onnx", "onnxruntime-gpu", "numpy")


def profiles(config: Config, data: Dataset) -> dict[str, Profile]:
    """Return every cost profile of a model by name; the actions are its labels."""
    steps = np.arange(data.labels.count, dtype=float)
    positions = steps if config.decision.scale == "steps" else data.labels.values
    return {
        name: Profile(
            actions=data.labels.names,
            cost=cost_matrix(name, positions, config.decision.under, config.decision.over).tolist(),
        )
        for name in _PROFILES
    }


def describe(config: Config, data: Dataset, trial: Trial, run_id: str) -> Manifest:
    """Return the manifest of the network that `trial` trained in the MLflow run `run_id`."""
    return Manifest(
        name=config.name,
        labels=data.labels.names,
        values=tuple(data.labels.values.tolist()),
        inputs=(data.spec,),
        profiles=profiles(config, data),
        default_profile=config.decision.profile,
        loss=TrainedWith(name=trial.loss.name, parameters=trial.loss.parameters),
        head=TrainedWith(name=trial.head),
        proper=trial.build_loss(data).proper,
        provenance=Provenance(
            data_fingerprint=data.fingerprint,
            run_id=run_id,
            git_commit=_git_commit(),
            versions={package: version(package) for package in _PACKAGES},
            created=datetime.now(UTC),
        ),
    )


def _git_commit() -> str:
    try:
        asked = subprocess.run(["git", "rev-parse", "HEAD"], capture_output=True, text=True, check=True)
    except (OSError, subprocess.CalledProcessError):
        return "unknown"  # not a checkout, or no git: the manifest says so
    return asked.stdout.strip()
