"""The folder of a stack: what lies where, its passwords, its ports, and what processes of it are told."""

from __future__ import annotations

import json
import os
import secrets
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Self

from pipeline import web

BUCKET = "ordinal"
MARK = "ORDINAL_STACK"
"""Environment variable of every process of a stack: the folder that it belongs to."""
_FOREIGN = ("MLFLOW_", "PREFECT_", "AWS_", "ORDINAL_", "PG")
_KEPT = ("MLFLOW_DISABLE_TELEMETRY", "PREFECT_SERVER_ANALYTICS_ENABLED")


@dataclass(frozen=True)
class Passwords:
    """Made at random when the folder is, and kept in it for this user alone."""

    postgres: str
    mlflow: str
    prefect: str
    s3_key: str
    s3_secret: str

    @classmethod
    def of(cls, path: Path) -> Self:
        """Return those that a file has; it is made where it is missing."""
        if not path.is_file():
            made = cls(*(secrets.token_hex(16) for _ in cls.__dataclass_fields__))
            write_secret(path, json.dumps(asdict(made), indent=1))
        return cls(**json.loads(path.read_text(encoding="utf-8")))


@dataclass(frozen=True)
class Ports:
    """Who listens where, all on loopback."""

    service: int = 50051
    metrics: int = 9464
    mlflow: int = 5000
    prefect: int = 4200
    prometheus: int = 9090

    @classmethod
    def chosen(cls, *, free: bool) -> Self:
        """Return the usual ports, or any that are free; raises InputError where one is taken."""
        what = {
            "service": "the service",
            "metrics": "its metrics",
            "mlflow": "MLflow",
            "prefect": "Prefect",
            "prometheus": "Prometheus",
        }
        usual = asdict(cls())
        return cls(
            **{key: web.free(0 if free else usual[key], name, "--free-ports") for key, name in what.items()}
        )


@dataclass(frozen=True)
class Place:
    """A folder that holds a stack."""

    folder: Path

    @property
    def logs(self) -> Path:
        """What the parts write, a file each."""
        return self.folder / "logs"

    @property
    def work(self) -> Path:
        """Where retrainings run: `prefect.yaml`, configs, unfinished runs."""
        return self.folder / "work"

    @property
    def prefect(self) -> Path:
        """PREFECT_HOME of all of them."""
        return self.folder / "prefect"

    def environment(self, **more: str) -> Mapping[str, str]:
        """Return what a process of the stack gets: nothing that leads to other servers, and `more`."""
        own = {k: v for k, v in os.environ.items() if k in _KEPT or not k.startswith(_FOREIGN)}
        return {**own, "PREFECT_HOME": str(self.prefect), MARK: str(self.folder), **more}


def write_secret(path: Path, text: str) -> None:
    """Write a file that nobody else can read at any moment."""
    path.unlink(missing_ok=True)
    with os.fdopen(
        os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w", encoding="utf-8"
    ) as file:
        file.write(text)
