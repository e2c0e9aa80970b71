"""The service's settings: name, type, default and help of each, in one place.

The command line comes before the environment variable `ORDINAL_<NAME>`, and that before the default.
"""

from __future__ import annotations

import os
from dataclasses import Field, dataclass, field, fields
from pathlib import Path
from typing import Any, Literal

from serving.errors import RegistryError, SettingError
from serving.gpu import NO_LIMITS, ConvSearch, Gpu

Device = Literal["auto", "cpu", "cuda"]  # as in serving.artifact, which costs the import of onnxruntime
Batch = Literal["auto", "on", "off"]
LogFormat = Literal["text", "json"]

NO_TELEMETRY = {"ORT_DISABLE_TELEMETRY": "1"}
"""Environment in which onnxruntime, which reads it when it is imported, sends nothing to anybody."""


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
        metadata={
            "help": "Where models run; auto: the GPU where there is one and it is faster; cuda: the GPU or "
            "no start."
        },
    )
    gpu_memory: int = field(
        default=NO_LIMITS.memory,
        metadata={"help": "MB of the GPU's memory that a model may take in a worker; 0: no limit."},
    )
    gpu_conv_search: ConvSearch = field(
        default=NO_LIMITS.conv_search,
        metadata={
            "help": "How algorithms of convolutions are chosen on a GPU: by rules, or by trying all, which "
            "takes five times as long at each change of the number of rows."
        },
    )
    gpu_tf32: bool = field(
        default=NO_LIMITS.tf32,
        metadata={"help": "Whether a GPU may round products to 10 bits; answers are then not the CPU's."},
    )
    gpu_graphs: bool = field(
        default=NO_LIMITS.graphs,
        metadata={
            "help": "Whether runs on a GPU are recorded as CUDA graphs when a model is loaded, which "
            "answers sooner."
        },
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
    tls_certificate: str = field(
        default="",
        metadata={"help": "PEM file of the service's certificate and its chain; empty: plain text."},
    )
    tls_key: str = field(
        default="",
        metadata={"help": "PEM file of the certificate's private key."},
    )
    tls_client_ca: str = field(
        default="",
        metadata={"help": "PEM file of the authorities that must have signed every client's certificate."},
    )
    tokens: str = field(
        default="",
        metadata={
            "help": "TOML file of the tokens of which a caller must have one, see `token`; empty: nobody "
            "has to log in."
        },
    )
    reflection: bool = field(
        default=True,
        metadata={"help": "Whether tools may ask for the protocol's description."},
    )
    workers: int = field(
        default=1,
        metadata={"help": "Processes that answer, each with its models; the kernel spreads connections."},
    )
    batch: Batch = field(
        default="auto",
        metadata={
            "help": "Whether one run answers several waiting requests; auto: of a model where that was "
            "measured to pay when it was loaded."
        },
    )
    max_batch_rows: int = field(
        default=512,
        metadata={"help": "Most rows of several waiting requests that one run answers."},
    )
    batch_delay: float = field(
        default=0.0,
        metadata={"help": "Seconds that a run which is not full waits for more requests."},
    )
    max_queue: int = field(
        default=256,
        metadata={
            "help": "Requests of a model that may wait in a worker; more are told RESOURCE_EXHAUSTED."
        },
    )
    max_connection_age: float = field(
        default=0.0,
        metadata={
            "help": "Seconds after which clients are asked to connect anew, which spreads them over "
            "workers; 0: never."
        },
    )
    poll: float = field(
        default=15.0,
        metadata={"help": "Seconds between looks at aliases and files for other versions; 0: never."},
    )
    metrics: str = field(
        default="",
        metadata={"help": "HOST:PORT of the Prometheus endpoint, port 0 for any free one; empty: none."},
    )
    traces: str = field(
        default="",
        metadata={
            "help": "OTLP address that gets traces of calls whose caller traces them, such as "
            "http://localhost:4318; empty: none."
        },
    )
    log_format: LogFormat = field(
        default="text",
        metadata={"help": "Of the log on standard error: lines of text, or an object of JSON each."},
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

    def __post_init__(self) -> None:
        """Raise SettingError where settings do not go together."""
        for name in ("memory", "conv_search", "tf32", "graphs"):
            given = getattr(self.gpu, name)
            if self.device == "cpu" and given != getattr(NO_LIMITS, name):
                option = f"--gpu-{name.replace('_', '-')}"
                raise SettingError(
                    f"{option} is of a GPU, and with --device cpu none is used: leave it out, or use "
                    f"--device cuda or auto"
                )

    @property
    def gpu(self) -> Gpu:
        """How a GPU is used."""
        return Gpu(self.gpu_memory, self.gpu_conv_search, self.gpu_tf32, self.gpu_graphs)

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
