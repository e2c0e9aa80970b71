"""MLflow stores in SQLite with registered versions, and what breaks them."""

from __future__ import annotations

import os
import shutil
import sqlite3
import subprocess
import sys
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

from pipeline.tracking import registry
from pipeline.tracking.runs import Experiment
from serving.artifact import Artifact

NAME = "digits"
ROOT = Path(__file__).parent.parent


class Store:
    """A SQLite store of MLflow, and the file that every version in it is made of."""

    def __init__(self, folder: Path, artifact: Path) -> None:
        self.path = folder / "mlflow.db"
        self.uri = f"sqlite:///{self.path}"
        self.artifact = artifact

    def add(self, name: str = NAME) -> registry.Logged:
        """Log the artifact in a finished run, and return it unregistered."""
        experiment = Experiment(self.uri, NAME)
        with experiment.run(f"retrain {name}", {"kind": "retrain"}) as run:
            return registry.log(experiment, run, self.artifact, Artifact(self.artifact, "cpu").manifest)

    def register(self, logged: registry.Logged | None = None, name: str = NAME) -> int:
        """Register what was logged, or a new run's artifact; return the version."""
        return registry.register(self.uri, logged or self.add(name), name, "words", {"a": "b"})

    def copy(self, folder: Path) -> Store:
        """Return a store of its own with the same versions, whose files stay where they are."""
        shutil.copy(self.path, folder / self.path.name)
        return Store(folder, self.artifact)

    def rows(self, query: str) -> list[tuple[Any, ...]]:
        """What the tables say."""
        with closing(sqlite3.connect(self.path)) as database:
            return database.execute(query).fetchall()

    @contextmanager
    def failing(self, what: str) -> Iterator[None]:
        """Let the database refuse, such as `insert on model_version_tags`, as a broken disk does."""
        refusal = "select raise(abort, 'database or disk is full')"
        self._execute(f"create trigger broken before {what} begin {refusal}; end")
        try:
            yield
        finally:
            self._execute("drop trigger broken")

    def _execute(self, statement: str) -> None:
        with closing(sqlite3.connect(self.path, isolation_level=None)) as database:
            database.execute(statement)

    def process(self, program: str) -> subprocess.Popen[str]:
        """Start a process of Python that has `uri`, `promotion`, `moves` and `registry`."""
        head = (
            "from pipeline import environment; environment.prepare()\n"
            "import sys, time\n"
            "from pipeline import promotion\n"
            "from pipeline.promotion import moves\n"
            "from pipeline.tracking import registry\n"
            f"uri = {self.uri!r}\n"
        )
        kept = {k: v for k, v in os.environ.items() if not k.startswith(("MLFLOW_", "PREFECT_"))}
        kept["PYTHONPATH"] = str(ROOT)
        return subprocess.Popen(
            [sys.executable, "-c", head + program],
            cwd=self.path.parent, env=kept, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
        )  # fmt: skip
