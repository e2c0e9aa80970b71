"""A stack of a test's own, a client that asks its service all the time, and what must hold after it."""

from __future__ import annotations

import os
import shutil
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest
from mlflow.tracking import MlflowClient

from deploy.stack import left, postgres
from deploy.stack.servers import CONFIG, MODEL
from pipeline import promotion
from pipeline.tracking import registry
from serving.artifact import Artifact
from serving.client import Client

ROWS = np.random.default_rng(0).integers(0, 17, (3, 8, 8, 1)).astype(np.uint8)
SMALL = f"""
name = "{MODEL}"
[data]
source = "digits"
[model]
hidden = [16]
[search]
losses = ["rps"]
trials = 1
epochs = 4
learning_rate = 0.01
[gate]
calibration_margin = 1.0
latency_ms = 2000
"""
"""Better than base rates, so that it becomes the first champion; what `BETTER` makes of it beats it."""
BETTER = ("search.trials=2", "search.epochs=30")


@contextmanager
def folder(config: str = SMALL) -> Iterator[Path]:
    """A folder for a stack that retrains a small network; skips where there is no PostgreSQL.

    Not pytest's, since PostgreSQL refuses to run as root, and others may not come there.
    """
    if postgres.programs() is None:
        pytest.skip(
            "no PostgreSQL: make postgres installs it where it may (Debian: apt install postgresql)"
        )
    path = Path(tempfile.mkdtemp(prefix="stack-"))
    try:
        path.chmod(0o755)
        (path / "work" / CONFIG).parent.mkdir(parents=True)
        (path / "work" / CONFIG).write_text(config, encoding="utf-8")
        yield path
    finally:
        left.end(path)
        shutil.rmtree(path)


class Asking:
    """A thread that asks a service some 20 times a second, and keeps what it is told."""

    def __init__(self, address: str) -> None:
        self.answers: dict[int, list[np.ndarray]] = {}
        """Probabilities of `ROWS` by version; those that differ from the first of a version too."""
        self.count = 0
        self.failures: list[str] = []
        self._address = address
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._ask)

    def __enter__(self) -> Asking:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join()

    def _ask(self) -> None:
        with Client(self._address) as client:
            while not self._stop.wait(0.05):
                began = time.strftime("%T")
                try:
                    answer = client.predict(ROWS)
                except Exception as error:  # noqa: BLE001 - whatever it is, the test tells it
                    self.failures.append(f"{began}: {type(error).__name__}: {error}")
                    continue
                self.count += 1
                known = self.answers.setdefault(int(answer.version), [])
                if not known or not np.array_equal(known[0], answer.probabilities):
                    known.append(answer.probabilities)

    def assert_right(self, uri: str, scratch: Path) -> None:
        """Fail where a request has failed, or was answered otherwise than that version's artifact does."""
        assert self.failures == []
        assert self.count > 20
        for version, given in self.answers.items():
            wanted = answers_of(uri, version, scratch)
            for probabilities in given:
                np.testing.assert_allclose(probabilities, wanted, atol=1e-6)


def answers_of(uri: str, version: int, scratch: Path) -> np.ndarray:
    """Return what the artifact of a version says of `ROWS`, loaded here."""
    place = scratch / f"{version}-{time.monotonic_ns()}"
    place.mkdir()
    artifact = Artifact(registry.fetch(uri, MODEL, place, version=version).path, "cpu")
    return artifact.run({artifact.manifest.inputs[0].name: ROWS}).probabilities


def assert_in_order(uri: str, scratch: Path) -> int:
    """Fail unless the registry is whole; return the champion."""
    changes = promotion.history(uri, MODEL)
    assert [change.number for change in changes] == list(range(1, len(changes) + 1))
    assert {change.state for change in changes} == {"finished"}
    champion = registry.champion(uri, MODEL)
    assert champion == changes[-1].to
    client = MlflowClient(uri)
    everything = [experiment.experiment_id for experiment in client.search_experiments()]
    assert [run.info.run_name for run in client.search_runs(everything, "status = 'RUNNING'")] == []
    versions = client.search_model_versions(f"name = '{MODEL}'")
    assert sorted(int(one.version) for one in versions) == list(range(1, len(versions) + 1))
    by_run = [one.run_id for one in versions]
    assert len(set(by_run)) == len(by_run)  # nothing was registered twice
    place = scratch / f"champion-{time.monotonic_ns()}"
    place.mkdir()
    kept = Artifact(registry.fetch(uri, MODEL, place).path, "cpu")
    assert kept.digest == registry.version_seal(uri, MODEL, champion)
    return champion


def wait_until(true: Callable[[], object], seconds: float) -> None:
    """Return once something holds; fails where it takes too long."""
    end = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < end, "it has not come true"
        time.sleep(0.2)


def environment(path: Path) -> dict[str, str]:
    """Return what a stack has written for those who want to use it."""
    lines = (path / "env").read_text(encoding="utf-8").splitlines()
    return dict(line.removeprefix("export ").split("=", 1) for line in lines)


def kept_environment() -> dict[str, str]:
    """Return this process's environment without the servers that it may be set to."""
    return {k: v for k, v in os.environ.items() if not k.startswith(("MLFLOW_", "PREFECT_"))}
