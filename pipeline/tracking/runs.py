"""Experiments and runs in MLflow."""

from __future__ import annotations

import functools
import logging
import socket
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime

from mlflow.exceptions import MlflowException
from mlflow.tracking import MlflowClient
from mlflow.utils.mlflow_tags import MLFLOW_PARENT_RUN_ID

from pipeline.errors import InputError, PipelineError, Stopped, StoreError
from pipeline.tracking import store
from pipeline.tracking.run import NOTE, Run, Used
from pipeline.tracking.store import reached

__all__ = ["FOLDER", "HOST", "NOTE", "Experiment", "Recorded", "Run", "Used"]

HOST, FOLDER = "ordinal.host", "ordinal.folder"
"""Tags of a run that is closed where its process has died: on which host, and in which folder it worked."""

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Recorded:
    """A run as the store has it."""

    id: str
    status: str  # RUNNING, FINISHED, FAILED, KILLED
    began: datetime
    tags: Mapping[str, str]


class Experiment:
    """An MLflow experiment, made if it is missing.

    Every method raises StoreError where the store fails.
    """

    def __init__(self, uri: str, name: str, note: str = "") -> None:
        """Connect to the store at `uri`, or to MLflow's default: SQLite in the current folder.

        Args:
            uri: Of the store; empty for MLflow's default.
            name: Of the experiment.
            note: What its page begins with, in Markdown, unless it begins with something already.

        Raises InputError where the store does not answer.
        """
        self.uri = store.address(uri)
        with reached(self.uri, InputError), store.alone(self.uri):
            self._client = MlflowClient(self.uri)
            found = self._client.get_experiment_by_name(name)
            self.id: str = found.experiment_id if found else self._create(name)
            if note and not (found and found.tags.get(NOTE)):
                self._client.set_experiment_tag(self.id, NOTE, note)

    @classmethod
    def find(cls, uri: str, name: str) -> Experiment | None:
        """Return an experiment that is there; nothing is made, and None says that there is none.

        Raises InputError where the store does not answer.
        """
        uri = store.address(uri)
        database = store.database(uri)
        if database is not None and not database.is_file():
            return None
        with reached(uri, InputError):
            found = MlflowClient(uri).get_experiment_by_name(name)
        return cls(uri, name) if found else None

    def _create(self, name: str) -> str:
        location = self._location()
        # The UI then opens on runs and models instead of on chat traces.
        kind = {"mlflow.experimentKind": "custom_model_development"}
        try:
            return self._client.create_experiment(name, artifact_location=location, tags=kind)
        except MlflowException:
            # Another process may have been quicker.
            found = self._client.get_experiment_by_name(name)
            if found is None:
                raise
            return str(found.experiment_id)

    def _location(self) -> str | None:
        """Return where files of a new experiment go; a server decides for itself.

        They lie beside a SQLite file; for another database, beside those of its default experiment, since
        MLflow would take the folder that this process happens to run in.
        """
        if self.uri.startswith(("http://", "https://")):
            return None
        if database := store.database(self.uri):
            return (database.resolve().parent / "mlartifacts").as_uri()
        default = self._client.get_experiment("0").artifact_location
        if default.startswith("mlflow-artifacts:"):
            raise InputError(
                f"files of MLflow's store at {store.shown(self.uri)!r} are handed out by its server: give "
                "the server's address, http://…, in place of its database"
            )
        return str(default.rpartition("/")[0])

    def begin(self, name: str, tags: Mapping[str, str], parent: Run | None = None) -> Run:
        """Open a run, below `parent` if there is one, that stays RUNNING until somebody ends it."""
        nested = {MLFLOW_PARENT_RUN_ID: parent.id} if parent else {}
        with reached(self.uri):
            created = self._client.create_run(self.id, run_name=name, tags={**tags, **nested})
        return Run(self._client, created.info.run_id, self.id)

    def reopen(self, run_id: str, tags: Mapping[str, str]) -> Run:
        """Open a run of an earlier process once more: it is RUNNING again.

        Raises StoreError where somebody has deleted it.
        """
        run = Run(self._client, run_id, self.id)
        with reached(self.uri):
            if self._client.get_run(run_id).info.lifecycle_stage == "deleted":
                raise StoreError(
                    f"run {run_id} was deleted, and {tags.get(FOLDER, 'its folder')} would go on with it: "
                    "restore the run, or remove that folder to begin anew"
                )
            self._client.update_run(run_id, status="RUNNING")
        run.tags(tags)
        return run

    @contextmanager
    def run(
        self, name: str, tags: Mapping[str, str], parent: Run | None = None, resume: str | None = None
    ) -> Iterator[Run]:
        """Open a run, below `parent` if there is one, or the one with id `resume` once more.

        It ends FINISHED; FAILED where an error passes; KILLED where that is Stopped, or no error but an
        order to end, such as KeyboardInterrupt.
        """
        run = self.begin(name, tags, parent) if resume is None else self.reopen(resume, tags)
        try:
            yield run
        except BaseException as error:
            ordered = isinstance(error, Stopped) or not isinstance(error, Exception)
            try:
                run.end("KILLED" if ordered else "FAILED")
            except PipelineError as failure:
                # What went wrong first is what must be told.
                logger.warning("run %s stays RUNNING: %s", run.id, failure)
            raise
        run.end("FINISHED")

    def search(self, condition: str) -> list[Recorded]:
        """Return all runs that meet a condition in MLflow's own language, the oldest first."""
        found: list[Recorded] = []
        token = None
        while True:
            with reached(self.uri):
                page = self._client.search_runs(
                    [self.id], condition, order_by=["attributes.start_time"], page_token=token
                )
            found += [
                Recorded(
                    run.info.run_id,
                    run.info.status,
                    datetime.fromtimestamp(run.info.start_time / 1000, UTC),
                    run.data.tags,
                )
                for run in page
            ]
            token = page.token
            if not token:
                return found

    def close(self, run_id: str, status: str, tags: Mapping[str, str] | None = None) -> None:
        """End a run of another process, with tags that say why."""
        run = Run(self._client, run_id, self.id)
        if tags:
            run.tags(tags)
        run.end(status)

    def close_left(self, alive: Callable[[str], bool]) -> list[str]:
        """End the runs that processes of this host have left RUNNING as KILLED; return their ids.

        Args:
            alive: Whether there is a process that works in the folder, which a run's tag names.
        """
        alive = functools.cache(alive)  # the trials of one process share its folder
        here = f"attributes.status = 'RUNNING' and tags.`{HOST}` = '{socket.gethostname()}'"
        left = [
            run.id
            for run in self.search(here)
            if (folder := run.tags.get(FOLDER)) is not None and not alive(folder)
        ]
        for run_id in left:
            self.close(run_id, "KILLED")
        return left
