"""MODEL, a path or the name of a registered model, becomes an artifact.

`python -m pipeline.scoring.fetch` asks MLflow, in a process of its own: importing MLflow takes 250 MB.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from pipeline import environment
from pipeline.errors import InputError, PipelineError
from serving.artifact import Artifact, ArtifactError, Device, DeviceError

_ROOT = Path(__file__).resolve().parents[2]


@contextmanager
def found(model: str, version: int | None, alias: str | None, tracking_uri: str) -> Iterator[Path]:
    """Have the file of a model at hand, by its path or out of the registry.

    Raises:
        InputError: Where there is no such model.
        PipelineError: Where the registry fails.
    """
    if version is not None and alias is not None:
        raise InputError("--version and --alias each name a version: give one of them")
    if not model.endswith(".onnx"):
        with tempfile.TemporaryDirectory() as folder:
            yield _fetched(model, version, alias, tracking_uri, folder)
        return
    if version is not None or alias is not None:
        raise InputError(f"--version and --alias are of registered models, and {model!r} is a file")
    yield Path(model)


def load(path: Path, device: Device) -> Artifact:
    """Load an artifact.

    Raises:
        InputError: Where it may not be served.
        PipelineError: Where it cannot be run on the device.
    """
    try:
        return Artifact(path, device)
    except ArtifactError as error:
        raise InputError(str(error)) from error
    except DeviceError as error:
        raise PipelineError(str(error)) from error


def _fetched(model: str, version: int | None, alias: str | None, tracking_uri: str, folder: str) -> Path:
    asked = [model, folder, f"--tracking-uri={tracking_uri}"]
    asked += [f"--version={version}"] if version is not None else []
    asked += [f"--alias={alias}"] if alias is not None else []
    paths = os.pathsep.join(filter(None, [str(_ROOT), os.environ.get("PYTHONPATH")]))
    done = subprocess.run(
        [sys.executable, "-m", "pipeline.scoring.fetch", *asked],
        capture_output=True,
        text=True,
        env={**os.environ, "PYTHONPATH": paths},
    )
    if done.returncode:
        said = done.stderr.strip().splitlines() or [f"MLflow's process ended with status {done.returncode}"]
        raise (InputError if done.returncode == 2 else PipelineError)(said[-1])
    return Path(done.stdout.splitlines()[-1])


def _main() -> int:
    parser = argparse.ArgumentParser()
    parser.add_argument("model")
    parser.add_argument("folder", type=Path)
    parser.add_argument("--tracking-uri")
    parser.add_argument("--version", type=int)
    parser.add_argument("--alias")
    given = parser.parse_args()
    environment.prepare()
    from pipeline.tracking import registry, store

    store.hurry()
    alias = given.alias or registry.CHAMPION
    try:
        print(
            registry.fetch(
                given.tracking_uri, given.model, given.folder, version=given.version, alias=alias
            ).path
        )
    except PipelineError as error:
        print(error, file=sys.stderr)
        return 2 if isinstance(error, InputError) else 1
    return 0


if __name__ == "__main__":
    sys.exit(_main())
