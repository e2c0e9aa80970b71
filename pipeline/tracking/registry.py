"""Registered models: versions and aliases in MLflow."""

from __future__ import annotations

import logging
from dataclasses import dataclass
from importlib.metadata import version as installed
from pathlib import Path

import mlflow
import numpy as np
import onnx
from mlflow.models import ModelSignature
from mlflow.tracking import MlflowClient
from mlflow.types import ColSpec, Schema, TensorSpec

from pipeline.tracking.runs import Experiment, Run
from serving.manifest import Manifest

CHAMPION = "champion"


@dataclass(frozen=True)
class Logged:
    """An artifact as MLflow keeps it: its address there, and its file on this machine."""

    uri: str
    path: Path


def log(experiment: Experiment, run: Run, path: Path, manifest: Manifest) -> Logged:
    """Log the artifact as an ONNX model of `run`; return where MLflow keeps it.

    `mlflow.pyfunc.load_model` loads it, and the service reads the very same bytes.
    """
    mlflow.set_tracking_uri(experiment.uri)
    logging.getLogger("mlflow").setLevel(logging.WARNING)
    with mlflow.start_run(run_id=run.id, experiment_id=experiment.id):
        logged = mlflow.onnx.log_model(
            onnx.load(path),
            name=manifest.name,
            # Inferring them takes 10 s and lists both builds of onnxruntime.
            pip_requirements=[
                f"{name}=={installed(name)}" for name in ("onnx", "onnxruntime-gpu", "numpy")
            ],
            signature=_signature(manifest),
            save_as_external_data=False,
            metadata={"labels": list(manifest.labels), "loss": manifest.best.loss.name},
        )
    folder = Path(mlflow.artifacts.download_artifacts(logged.model_uri))
    return Logged(logged.model_uri, folder / "model.onnx")


def register(experiment: Experiment, logged: Logged, name: str, description: str) -> int:
    """Register a logged artifact; return the new version's number."""
    created = mlflow.register_model(logged.uri, name)
    MlflowClient(experiment.uri).update_model_version(name, created.version, description=description)
    return int(created.version)


def set_champion(experiment: Experiment, name: str, version: int) -> None:
    """Point the alias `champion` at a version."""
    MlflowClient(experiment.uri).set_registered_model_alias(name, CHAMPION, str(version))


def _signature(manifest: Manifest) -> ModelSignature:
    inputs: list[ColSpec | TensorSpec] = [
        TensorSpec(np.dtype(i.dtype), (-1, *i.shape), i.name) for i in manifest.inputs
    ]
    classes = len(manifest.labels)
    single = np.dtype("float32")
    outputs: list[ColSpec | TensorSpec] = [
        TensorSpec(single, (-1, classes), "probabilities"),
        TensorSpec(single, (-1,), "expected_value"),
        TensorSpec(single, (-1, -1, -1), "expected_cost"),
        TensorSpec(np.dtype("int64"), (-1, -1), "decision"),
        TensorSpec(single, (-1, -1), "margin"),
        TensorSpec(np.dtype("int64"), (-1, 2), "interval"),
        TensorSpec(single, (-1, 2), "uncertainty"),
    ]
    if manifest.topology.kind == "cyclic":
        outputs.append(TensorSpec(single, (-1,), "resultant"))
    return ModelSignature(inputs=Schema(inputs), outputs=Schema(outputs))
