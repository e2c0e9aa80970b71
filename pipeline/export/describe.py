"""The manifest of an artifact, from what it was made of."""

from __future__ import annotations

import subprocess
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path

from pipeline import costs
from pipeline.config import Config
from pipeline.data import Dataset
from pipeline.sweep import Trial
from serving.manifest import Manifest, Profile, Provenance, Topology, TrainedWith

_PACKAGES = ("ordinal", "tensorflow", "keras", "tf2onnx", "onnx", "onnxruntime-gpu", "numpy")


def profiles(config: Config, data: Dataset) -> dict[str, Profile]:
    """Return every cost profile of a model by name; the actions are its labels."""
    return {
        name: Profile(actions=data.labels.names, cost=matrix.tolist())
        for name, matrix in costs.profiles(config.decision, data.labels.topology).items()
    }


def describe(config: Config, data: Dataset, trial: Trial, run_id: str) -> Manifest:
    """Return the manifest of the network that `trial` trained in the MLflow run `run_id`."""
    return Manifest(
        name=config.name,
        labels=data.labels.names,
        values=data.labels.topology.values,
        topology=Topology(kind=data.labels.topology.kind, period=data.labels.topology.period),
        inputs=(data.spec,),
        profiles=profiles(config, data),
        default_profile=config.decision.profile,
        loss=TrainedWith(name=trial.loss.name, parameters=trial.loss.parameters),
        head=TrainedWith(name=trial.head.name, parameters=trial.head.parameters),
        proper=trial.build_loss(config, data).proper,
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
