"""Prefect's server: the one that is set, or one of our own on this machine.

The server that Prefect embeds in a process runs no schedules, and has no UI that outlives the process.
"""

from __future__ import annotations

import base64
import http.client
import json
import logging
import os
import socket
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Callable
from contextlib import ExitStack, suppress
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from filelock import FileLock, Timeout

from pipeline.child import Child
from pipeline.errors import InputError, PipelineError

PORT = 4200
HOST = "127.0.0.1"

_LEASES = "prefect.server.concurrency.lease_storage.filesystem"
_START = 240.0  # seconds; the first start makes the database
_EVERY = 2.0  # seconds between one look whether it is there and the next
_ANSWER = 20.0  # seconds; a server that is asked a lot is slow
_BUSY = (408, 429, 500, 502, 503, 504)

logger = logging.getLogger(__name__)


class _NotPrefect(Exception):
    """Something else answers, or something that does not let us in."""


class PrefectServer:
    """A Prefect server, for as long as the context is open; within, Prefect's clients speak to it.

    Where PREFECT_API_URL is set it is that one. Else it is one on this machine's loopback, with the
    database of PREFECT_HOME: where another process of ours has started it, that is used. It ends with the
    process that started it, whatever that dies of, and then one of the others starts it again.
    """

    def __init__(self, port: int = PORT, say: Callable[[str], object] = logger.warning):
        """A server on this port, unless one is set; `say` is given what happens to it meanwhile."""
        self._port = port
        self._say = say
        self._child: Child | None = None
        self._closed = threading.Event()
        self._watcher: threading.Thread | None = None
        self._stack = ExitStack()
        self.url = f"http://{HOST}:{port}/api"
        """Of its API, as PREFECT_API_URL."""
        self.ui = f"http://{HOST}:{port}"
        """Where people look."""
        self.own = True
        """Whether it is one on this machine, and not one that was set."""

    def __enter__(self) -> Self:
        """Return once it answers.

        Raises:
            InputError: What is set, or on the port, is no Prefect server, or that of another home.
            PipelineError: It does not answer, or cannot be started; that may pass.
        """
        from prefect.settings import PREFECT_API_URL, PREFECT_HOME, PREFECT_UI_URL, temporary_settings

        given = PREFECT_API_URL.value()
        if given:
            self.own, self.url = False, given.rstrip("/")
            self.ui = PREFECT_UI_URL.value() or self.url.removesuffix("/api")
            self._check_given()
            return self
        self._home = Path(PREFECT_HOME.value()).expanduser()
        try:
            self._home.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise PipelineError(f"PREFECT_HOME {self._home} cannot be made: {error.strerror}") from error
        try:
            self._there()
            self._stack.enter_context(temporary_settings({PREFECT_API_URL: self.url}))
            self._watcher = threading.Thread(target=self._watch, daemon=True)
            self._watcher.start()
        except BaseException:
            self._end()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._closed.set()
        self._stack.close()
        if self._watcher is not None:
            self._watcher.join()
        self._end()

    def _there(self) -> None:
        """Return once there is one, and start it where there is none."""
        lock = FileLock(self._home / f".ordinal-server-{self._port}.lock", thread_local=False)
        end = time.monotonic() + _START
        while not self._closed.is_set():
            try:
                lock.acquire(timeout=1)
                break
            except Timeout as error:
                if time.monotonic() > end:
                    raise PipelineError(
                        f"another process has been starting the Prefect server on port {self._port} for "
                        f"over {_START:.0f} s"
                    ) from error
            except OSError as error:
                raise PipelineError(f"{lock.lock_file} cannot be locked: {error.strerror}") from error
        try:
            if not self._closed.is_set() and not self._found():
                self._start()
        finally:
            lock.release()

    def _found(self) -> bool:
        """Return whether our server is on the port; raises InputError where something else is."""
        if not self._listening():
            return False
        try:
            home = Path(self._ask("admin/settings")["home"]).expanduser()
        except (_NotPrefect, TypeError, KeyError) as error:
            raise InputError(
                f"port {self._port} must be free or have our Prefect server, and something else answers "
                f"there ({_plain(error)}): choose another one, such as --port {self._port + 1}"
            ) from error
        except OSError as error:
            raise PipelineError(
                f"what is on port {self._port} does not answer ({_plain(error)}): try again, or choose "
                f"another one, such as --port {self._port + 1}"
            ) from error
        if home.resolve() == self._home.resolve():
            return True
        raise InputError(
            f"port {self._port} must be free or have the Prefect server of {self._home}, and has "
            f"that of {home}: choose another one with --port, or set PREFECT_API_URL to that server"
        )

    def _start(self) -> None:
        given = {key: value for key, value in os.environ.items() if key != "PREFECT_API_URL"}
        environment = {
            # Leases of limits are still known to a server that is started again.
            "PREFECT_SERVER_CONCURRENCY_LEASE_STORAGE": _LEASES,
            **given,
            "PREFECT_HOME": str(self._home),
            "PREFECT_SERVER_API_HOST": HOST,
            "PREFECT_SERVER_API_PORT": str(self._port),
        }
        log = self._home / f"ordinal-server-{self._port}.log"
        child = Child("prefect", ("server", "start"), environment, log=log)
        self._child = child.__enter__()
        end = time.monotonic() + _START
        while time.monotonic() < end and not self._closed.is_set():
            ended = child.status
            with suppress(OSError, _NotPrefect):
                self._ask("health")
                if ended is None:
                    return
            if ended is not None:
                raise PipelineError(
                    f"the Prefect server ended with status {ended} before it was ready{child.last_words}"
                )
            self._closed.wait(0.2)
        if not self._closed.is_set():
            raise PipelineError(f"the Prefect server was not ready within {_START:.0f} s{child.last_words}")

    def _watch(self) -> None:
        while not self._closed.wait(_EVERY):
            try:
                self._renew()
            except (PipelineError, OSError) as error:
                self._end()
                self._say(str(error))
                self._closed.wait(10 * _EVERY)

    def _renew(self) -> None:
        """Start it again where it is gone."""
        last = ""
        if self._child is not None and self._child.status is not None:
            last = self._child.last_words  # the log begins anew with the next one
            self._end()
        if self._listening():
            return
        self._say(f"the Prefect server is gone: it is started again{last}")
        self._there()
        if not self._closed.is_set():
            self._say("the Prefect server is there again")

    def _end(self) -> None:
        child, self._child = self._child, None
        if child is not None:
            child.__exit__(None, None, None)

    def _listening(self) -> bool:
        with suppress(OSError), socket.create_connection((HOST, self._port), timeout=5):
            return True
        return False

    def _check_given(self) -> None:
        try:
            self._ask("health")
        except _NotPrefect as error:
            raise InputError(
                f"PREFECT_API_URL must be the API of a Prefect server, such as http://HOST:4200/api "
                f"({error}): correct it, or unset it for a server of our own"
            ) from error
        except OSError as error:
            raise PipelineError(
                f"PREFECT_API_URL is set, and no Prefect server answers there ({_plain(error)}): start "
                "that one, or unset PREFECT_API_URL for one of our own"
            ) from error

    def _ask(self, path: str) -> Any:
        """Return what the API answers.

        Raises:
            _NotPrefect: It is nothing that Prefect would say.
            OSError: It does not answer, or is busy.
        """
        try:
            return json.loads(self._get(path))
        except urllib.error.HTTPError as error:
            error.close()
            if error.code in _BUSY:
                raise
            raise _NotPrefect(f"{path} answers {error.code}") from error
        except OSError:  # before the next, of which an answer that is cut off is one too
            raise
        except (http.client.HTTPException, ValueError) as error:
            raise _NotPrefect(f"{path}: {_plain(error)}") from error

    def _get(self, path: str) -> bytes:
        request = urllib.request.Request(f"{self.url}/{path}")
        if login := os.environ.get("PREFECT_API_AUTH_STRING"):
            request.add_header("Authorization", f"Basic {base64.b64encode(login.encode()).decode()}")
        elif key := os.environ.get("PREFECT_API_KEY"):
            request.add_header("Authorization", f"Bearer {key}")
        # A proxy of this machine's settings is not for its loopback.
        handlers = [urllib.request.ProxyHandler({})] if self.own else []
        with urllib.request.build_opener(*handlers).open(request, timeout=_ANSWER) as answer:
            return bytes(answer.read())


def _plain(error: Exception) -> str:
    return " ".join(str(getattr(error, "reason", error)).split())[:200] or type(error).__name__
