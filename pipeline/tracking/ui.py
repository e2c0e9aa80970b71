"""MLflow's own server as a process, for looking at a store."""

from __future__ import annotations

import os
from types import TracebackType
from typing import Self

from pipeline import web
from pipeline.child import Child
from pipeline.errors import PipelineError
from pipeline.tracking import store

PORT = 5000
"""MLflow's own default."""

_SECONDS = 120.0  # of the first start, which makes tables
_QUIET = {"MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false"}  # processes that evaluate chats


class MlflowServer:
    """`mlflow server` of a store on this machine, for as long as the context is open.

    Where the store is a server itself, that is used, and no process is started.
    """

    def __init__(self, uri: str, port: int = PORT) -> None:
        """Serve the store at `uri`, or MLflow's default one, on a port of loopback; 0 takes a free one.

        Raises InputError where the port is taken, or the store is a file that is missing.
        """
        self.uri = store.address(uri)
        self._child: Child | None = None
        if self.uri.startswith(("http://", "https://")):
            self.url = self.uri.rstrip("/")
            return
        store.check_database(self.uri)
        port = web.free(port, "MLflow's UI", "--port")
        self.url = f"http://127.0.0.1:{port}"
        # One process is enough for one person, and each takes 250 MB.
        arguments = ["server", "--host", "127.0.0.1", "--port", str(port), "--workers", "1"]
        # Anybody on this machine sees a command line, and a password in it.
        address = {"MLFLOW_BACKEND_STORE_URI": self.uri}
        self._child = Child("mlflow", arguments, {**os.environ, **_QUIET, **address})

    def __enter__(self) -> Self:
        if self._child:
            self._child.__enter__()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._child:
            self._child.__exit__(kind, error, trace)

    def check(self) -> None:
        """Raise PipelineError where its process has ended."""
        if self._child and self._child.status is not None:
            raise PipelineError(f"MLflow's UI has ended{self._child.last_words}")

    def wait(self) -> None:
        """Return once it answers; raises PipelineError where it ends before, or takes too long."""
        web.wait(f"{self.url}/health", "MLflow's UI", _SECONDS, self._child)
