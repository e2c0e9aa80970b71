"""An artifact as an ONNX model of an MLflow run, which a version is registered of."""

from __future__ import annotations

from dataclasses import dataclass
from importlib.metadata import version as installed
from pathlib import Path

import mlflow
import numpy as np
import onnx
from mlflow.entities import LoggedModelStatus
from mlflow.models import Model, ModelSignature
from mlflow.tracking import MlflowClient
from mlflow.types import ColSpec, Schema, TensorSpec

from pipeline.tracking import store
from pipeline.tracking.runs import Experiment, Run
from serving.manifest import Manifest
from serving.seal import check_seal

FILE = "model.onnx"  # as `mlflow.onnx` calls it
SEAL = "ordinal.sha256"
"""Tag of logged models and of versions: the artifact's seal."""


@dataclass(frozen=True)
class Logged:
    """An artifact as MLflow keeps it: its address there, its file on this machine, and its run."""

    uri: str
    path: Path
    run_id: str


def log(experiment: Experiment, run: Run, path: Path, manifest: Manifest) -> Logged:
    """Log the artifact as an ONNX model of `run`; return where MLflow keeps it.

    `mlflow.pyfunc.load_model` loads it, and the service reads the very same bytes. The same file is
    not logged twice for one run, so that a run that goes on after a crash may ask again.

    Raises:
        StoreError: Where MLflow's store cannot keep it.
        ArtifactError: Where the file is not whole.
    """
    seal, model = check_seal(path), onnx.load(path)
    client = MlflowClient(experiment.uri)
    with store.reached(experiment.uri):
        mlflow.set_tracking_uri(experiment.uri)  # `Model.log` asks for it
        model_id = _known(client, experiment, run, seal)
        if model_id is None:
            # Made here, since without an active run MLflow would make it in its default experiment.
            model_id = client.create_logged_model(
                experiment.id,
                name=manifest.name,
                source_run_id=run.id,
                tags={SEAL: seal},
                params=client.get_run(run.id).data.params,
            ).model_id
            Model.log(
                None,
                mlflow.onnx,
                run_id=run.id,
                model_id=model_id,
                name=manifest.name,
                onnx_model=model,
                # Inferring them takes 10 s and lists both builds of onnxruntime.
                pip_requirements=[
                    f"{name}=={installed(name)}" for name in ("onnx", "onnxruntime-gpu", "numpy")
                ],
                signature=_signature(manifest),
                save_as_external_data=False,
                metadata={"labels": list(manifest.labels), "loss": manifest.best.loss.name},
            )
        uri = f"models:/{model_id}"
        folder = Path(mlflow.artifacts.download_artifacts(uri, tracking_uri=experiment.uri))
    return Logged(uri, folder / FILE, run.id)


def _known(client: MlflowClient, experiment: Experiment, run: Run, seal: str) -> str | None:
    """Return the id of the model that this run has logged of this very file, if it has."""
    found = client.search_logged_models(
        [experiment.id], f"source_run_id = '{run.id}' and tags.`{SEAL}` = '{seal}'"
    )
    return next((one.model_id for one in found if one.status == LoggedModelStatus.READY), None)


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
