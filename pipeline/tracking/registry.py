"""Registered models: versions and aliases in MLflow."""

from __future__ import annotations

import logging
import os
from dataclasses import dataclass
from importlib.metadata import version as installed
from pathlib import Path
from urllib.parse import unquote, urlsplit

import mlflow
import numpy as np
import onnx
from mlflow.exceptions import MlflowException
from mlflow.models import ModelSignature
from mlflow.tracking import MlflowClient
from mlflow.types import ColSpec, Schema, TensorSpec
from sqlalchemy.exc import SQLAlchemyError

from pipeline.errors import InputError, choice
from pipeline.tracking.runs import Experiment, Run
from serving.manifest import Manifest

CHAMPION = "champion"
_FILE = "model.onnx"  # as `mlflow.onnx` calls it
# Somebody waits at the terminal; by default MLflow tries for minutes.
_PATIENCE = {"MLFLOW_HTTP_REQUEST_MAX_RETRIES": "2", "MLFLOW_HTTP_REQUEST_TIMEOUT": "20"}


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
    return Logged(logged.model_uri, folder / _FILE)


def register(experiment: Experiment, logged: Logged, name: str, description: str) -> int:
    """Register a logged artifact; return the new version's number."""
    created = mlflow.register_model(logged.uri, name)
    MlflowClient(experiment.uri).update_model_version(name, created.version, description=description)
    return int(created.version)


def set_champion(experiment: Experiment, name: str, version: int) -> None:
    """Point the alias `champion` at a version."""
    MlflowClient(experiment.uri).set_registered_model_alias(name, CHAMPION, str(version))


@dataclass(frozen=True)
class Fetched:
    """A registered version, and its artifact on this machine."""

    version: int
    path: Path


def fetch(
    uri: str, name: str, folder: Path, *, version: int | None = None, alias: str = CHAMPION
) -> Fetched:
    """Copy the artifact of a registered model into `folder`.

    Args:
        uri: Of MLflow's store; empty for MLflow's default.
        name: Of the registered model.
        folder: What it is copied to.
        version: Which version; `None` for the one that `alias` points to.
        alias: Counts where no version is given.

    Raises:
        InputError: Where there is no such model, version or alias, naming those that there are, or where
            the store does not answer.
    """
    uri = uri or mlflow.get_tracking_uri()
    _check_database(uri)
    for variable, value in _PATIENCE.items():
        os.environ.setdefault(variable, value)
    for chatty in ("mlflow", "alembic"):
        logging.getLogger(chatty).setLevel(logging.WARNING)
    try:
        found = _find(MlflowClient(uri), uri, name, version, alias)
        kept = mlflow.artifacts.download_artifacts(
            f"models:/{name}/{found}", dst_path=str(folder), tracking_uri=uri
        )
    except (MlflowException, SQLAlchemyError, OSError) as error:
        reason = " ".join(str(error).split())[:300]  # SQLAlchemy's messages run over many lines
        raise InputError(f"MLflow's store at {uri!r} cannot be used: {reason}") from error
    path = Path(kept) / _FILE
    if not path.is_file():
        raise InputError(f"version {found} of model {name!r} has no {_FILE}: it was not made by retrain")
    return Fetched(found, path)


def _find(client: MlflowClient, uri: str, name: str, version: int | None, alias: str) -> int:
    """Return the number of the version that is meant, which exists."""
    try:
        aliases = client.get_registered_model(name).aliases
    except MlflowException as error:
        if error.error_code != "RESOURCE_DOES_NOT_EXIST":
            raise
        names = sorted(model.name for model in client.search_registered_models())
        raise choice(f"MLflow's store at {uri!r}", "model", name, names) from error
    if version is None:
        if alias not in aliases:
            raise choice(f"model {name!r}", "alias", alias, sorted(aliases))
        return int(aliases[alias])
    versions = sorted(int(one.version) for one in client.search_model_versions(f"name='{name}'"))
    if version not in versions:
        raise choice(f"model {name!r}", "version", str(version), map(str, versions))
    return version


def _check_database(uri: str) -> None:
    """Refuse a SQLite file that is missing; MLflow would make one by looking into it."""
    if uri.startswith("sqlite:///"):
        path = Path(unquote(urlsplit(uri).path.removeprefix("/")))
        if not path.is_file():
            raise InputError(
                f"no registry at {uri}: there is no file {path}; set --tracking-uri or MLFLOW_TRACKING_URI"
            )


def _signature(manifest: Manifest) -> ModelSignature:
    inputs: list[ColSpec | TensorSpec] = [
        # Texts are `str` to NumPy, which calls their type by another name.
        TensorSpec(np.dtype(str if i.dtype == "string" else i.dtype), (-1, *i.shape), i.name)
        for i in manifest.inputs
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
