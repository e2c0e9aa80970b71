"""Experiments and runs in MLflow."""

from __future__ import annotations

import csv
import io
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import mlflow
from matplotlib.figure import Figure
from mlflow.entities import Metric, Param, RunTag
from mlflow.exceptions import MlflowException
from mlflow.tracking import MlflowClient
from mlflow.utils.mlflow_tags import MLFLOW_PARENT_RUN_ID
from sqlalchemy.exc import SQLAlchemyError

from pipeline.errors import InputError


class Run:
    """One MLflow run, open until its context ends."""

    def __init__(self, client: MlflowClient, run_id: str, experiment_id: str) -> None:
        self._client = client
        self.id = run_id
        self.experiment_id = experiment_id

    def params(self, params: Mapping[str, Any]) -> None:
        """Log parameters."""
        self._client.log_batch(self.id, params=[Param(key, str(value)) for key, value in params.items()])

    def metrics(self, metrics: Mapping[str, float]) -> None:
        """Log one number for each name."""
        self.curves({name: [value] for name, value in metrics.items()})

    def curves(self, curves: Mapping[str, list[float]]) -> None:
        """Log one number an epoch for each name."""
        now = int(time.time() * 1000)
        points = [
            Metric(name, value, now, step)
            for name, values in curves.items()
            for step, value in enumerate(values)
        ]
        for start in range(0, len(points), 1000):  # MLflow's limit of one call
            self._client.log_batch(self.id, metrics=points[start : start + 1000])

    def tags(self, tags: Mapping[str, str]) -> None:
        """Set tags."""
        self._client.log_batch(self.id, tags=[RunTag(key, value) for key, value in tags.items()])

    def figure(self, figure: Figure, name: str) -> None:
        """Keep a picture."""
        self._client.log_figure(self.id, figure, name)

    def table(self, rows: Sequence[Mapping[str, Any]], name: str) -> None:
        """Keep rows that all have the same keys as a `.csv`, which MLflow shows as a table."""
        text = io.StringIO()
        writer = csv.DictWriter(text, fieldnames=list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)
        self._client.log_text(self.id, text.getvalue(), name)

    def file(self, path: Path, folder: str | None = None) -> None:
        """Keep a file."""
        self._client.log_artifact(self.id, str(path), folder)


class Experiment:
    """An MLflow experiment, made if it is missing."""

    def __init__(self, uri: str, name: str) -> None:
        """Connect to the store at `uri`, or to MLflow's default: SQLite in the current folder.

        Raises InputError where the store does not answer.
        """
        self.uri = uri or mlflow.get_tracking_uri()
        try:
            self._client = MlflowClient(self.uri)
            found = self._client.get_experiment_by_name(name)
            self.id: str = found.experiment_id if found else self._create(name)
        except (MlflowException, SQLAlchemyError, OSError) as error:
            reason = " ".join(str(error).split())[:300]  # SQLAlchemy's messages run over many lines
            raise InputError(f"MLflow's store at {self.uri!r} cannot be used: {reason}") from error

    def _create(self, name: str) -> str:
        # A SQLite store keeps its files beside the database; a server decides for itself.
        location = None
        if self.uri.startswith("sqlite:///"):
            database = Path(urlsplit(self.uri).path.removeprefix("/"))
            location = (database.resolve().parent / "mlartifacts").as_uri()
        # The UI then opens on runs and models instead of on chat traces.
        kind = {"mlflow.experimentKind": "custom_model_development"}
        return self._client.create_experiment(name, artifact_location=location, tags=kind)

    @contextmanager
    def run(self, name: str, tags: Mapping[str, str], parent: Run | None = None) -> Iterator[Run]:
        """Open a run, below `parent` if there is one; it ends FINISHED, or FAILED where an error passes."""
        nested = {MLFLOW_PARENT_RUN_ID: parent.id} if parent else {}
        created = self._client.create_run(self.id, run_name=name, tags={**tags, **nested})
        run_id = created.info.run_id
        try:
            yield Run(self._client, run_id, self.id)
        except BaseException:
            self._client.set_terminated(run_id, "FAILED")
            raise
        self._client.set_terminated(run_id, "FINISHED")
