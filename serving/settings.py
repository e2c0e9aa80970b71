"""The service's settings: name, type, default and help of each, in one place.

The command line comes before the environment variable `ORDINAL_<NAME>`, and that before the default.
"""

from __future__ import annotations

import os
from dataclasses import Field, dataclass, field, fields
from pathlib import Path
from typing import Any, Literal

from serving.errors import RegistryError

Device = Literal["auto", "cpu", "cuda"]  # as in serving.artifact, which costs the import of onnxruntime


@dataclass(frozen=True, kw_only=True)
class Settings:
    """How a service runs; `ordinal-serving serve --help` prints this table."""

    host: str = field(
        default="127.0.0.1",
        metadata={"help": "Address to listen on; 0.0.0.0 for every interface."},
    )
    port: int = field(
        default=50051,
        metadata={"help": "Port to listen on; 0 for any free one, which the log then tells."},
    )
    device: Device = field(
        default="auto",
        metadata={"help": "Where models run; auto: the GPU if there is one; cuda: the GPU or no start."},
    )
    grace: float = field(
        default=20.0,
        metadata={"help": "Seconds that requests in flight have to finish when the service ends."},
    )
    pause: float = field(
        default=0.5,
        metadata={"help": "Seconds between NOT_SERVING and refusing, for load balancers to notice."},
    )
    max_message_bytes: int = field(
        default=16 * 2**20,
        metadata={"help": "Largest request accepted, in bytes."},
    )
    max_batch_rows: int = field(
        default=512,
        metadata={
            "help": "Most rows of several waiting requests that one run answers; 1: each by its own run."
        },
    )
    tracking_uri: str = field(
        default="",
        metadata={
            "help": "MLflow registry of models:/ addresses; empty: MLFLOW_TRACKING_URI or ./mlflow.db."
        },
    )
    cache: str = field(
        default="",
        metadata={
            "help": "Folder of downloaded models; empty: $XDG_CACHE_HOME/ordinal or ~/.cache/ordinal."
        },
    )

    def registry(self) -> str:
        """The MLflow registry in use, where `tracking_uri` may leave it open."""
        asked = self.tracking_uri or os.environ.get("MLFLOW_TRACKING_URI")
        return asked or f"sqlite:///{Path.cwd() / 'mlflow.db'}"

    def cache_folder(self) -> Path:
        """The cache in use, where `cache` may leave it open."""
        if self.cache:
            return Path(self.cache)
        try:
            return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "ordinal"
        except RuntimeError as error:
            raise RegistryError(f"no folder for downloaded models: {error}; set --cache") from error


def variable(name: str) -> str:
    """The environment variable of a setting."""
    return f"ORDINAL_{name.upper()}"


def setting(name: str) -> Field[Any]:
    """The field of `Settings` called `name`: its `default`, and `metadata["help"]`."""
    return next(entry for entry in fields(Settings) if entry.name == name)
