"""One run in MLflow: what it was given, what it reached, what it keeps."""

from __future__ import annotations

import csv
import io
import json
import time
from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mlflow.entities import Dataset, DatasetInput, InputTag, Metric, Param, RunTag
from mlflow.tracking import MlflowClient
from mlflow.utils.mlflow_tags import MLFLOW_DATASET_CONTEXT, MLFLOW_RUN_NOTE

from pipeline.tracking import store
from pipeline.tracking.store import reached

if TYPE_CHECKING:
    from matplotlib.figure import Figure  # which costs a second, and commands draw nothing


NOTE = MLFLOW_RUN_NOTE
"""Tag with what a page begins with, in Markdown."""


@dataclass(frozen=True)
class Used:
    """A data set that a run learns from, as MLflow's page of the run shows it.

    Attributes:
        name: Of the file, without its folder.
        digest: At most 36 characters: the same where the rows, labels and parts are.
        source: Its path, or its name where it is built in.
        columns: MLflow's type of each column that is learned from, and of the label.
        rows: How many each part has.
    """

    name: str
    digest: str
    source: str
    columns: Mapping[str, str]
    rows: Mapping[str, int]


class Run:
    """One MLflow run, open until it is ended.

    Every method raises StoreError where the store fails.
    """

    def __init__(self, client: MlflowClient, run_id: str, experiment_id: str) -> None:
        self._client = client
        self.id = run_id
        self.experiment_id = experiment_id

    def params(self, params: Mapping[str, Any]) -> None:
        """Log parameters."""
        with self._reached():
            self._client.log_batch(
                self.id, params=[Param(key, str(value)) for key, value in params.items()]
            )

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
        with self._reached():
            for start in range(0, len(points), 1000):  # MLflow's limit of one call
                self._client.log_batch(self.id, metrics=points[start : start + 1000])

    def steps(self, name: str, values: Mapping[int, float]) -> None:
        """Log numbers of one name at some steps."""
        now = int(time.time() * 1000)
        with self._reached():
            points = [Metric(name, value, now, step) for step, value in values.items()]
            self._client.log_batch(self.id, metrics=points)

    def tags(self, tags: Mapping[str, str]) -> None:
        """Set tags."""
        with self._reached():
            self._client.log_batch(self.id, tags=[RunTag(key, value) for key, value in tags.items()])

    def note(self, text: str) -> None:
        """Set the description that its page begins with, in Markdown."""
        self.tags({NOTE: store.cut(text, 8000)})

    def used(self, data: Used) -> None:
        """Log what it learns from; once more is no second time."""
        schema = [{"name": name, "type": kind, "required": True} for name, kind in data.columns.items()]
        logged = Dataset(
            data.name,
            data.digest,
            "local",
            json.dumps({"uri": data.source}),
            json.dumps({"mlflow_colspec": schema}),
            json.dumps({"num_rows": sum(data.rows.values()), **data.rows}),
        )
        context = [InputTag(MLFLOW_DATASET_CONTEXT, "training")]
        with self._reached():
            self._client.log_inputs(self.id, [DatasetInput(logged, context)])

    def figure(self, figure: Figure, name: str) -> None:
        """Keep a picture."""
        with self._reached():
            self._client.log_figure(self.id, figure, name)

    def table(self, rows: Sequence[Mapping[str, Any]], name: str) -> None:
        """Keep rows that all have the same keys as a `.csv`, which MLflow shows as a table."""
        text = io.StringIO()
        writer = csv.DictWriter(text, fieldnames=list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)
        self.text(text.getvalue(), name)

    def text(self, text: str, name: str) -> None:
        """Keep a file of text."""
        with self._reached():
            self._client.log_text(self.id, text, name)

    def file(self, path: Path, folder: str | None = None) -> None:
        """Keep a file."""
        with self._reached():
            self._client.log_artifact(self.id, str(path), folder)

    def end(self, status: str) -> None:
        """End it: FINISHED, FAILED or KILLED."""
        with self._reached():
            self._client.set_terminated(self.id, status)

    def _reached(self) -> AbstractContextManager[None]:
        return reached(self._client.tracking_uri)
