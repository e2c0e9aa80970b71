"""Processes that trainings run in: each lives for many of them, and can be ended in the middle of one.

They are forked from a server that has imported TensorFlow and done nothing else, so that it is imported
once, however many there are, and a new one is there in milliseconds. Nothing that forks may have used
TensorFlow, and no process but these does.
"""

from __future__ import annotations

import multiprocessing
import os
import queue
import signal
import threading
import time
import traceback
from collections.abc import Callable
from multiprocessing import forkserver
from multiprocessing.connection import Connection, wait
from types import TracebackType
from typing import Any, Protocol, Self

from pipeline import environment
from pipeline.errors import Died, OutOfTime, PipelineError, Stopped

Tell = Callable[[Any], bool]
"""Says something to whoever asked for a job; returns whether the job shall go on."""

_CONTEXT = multiprocessing.get_context("forkserver")


def prepare() -> None:
    """Begin to import TensorFlow where workers are forked from; returns at once."""
    environment.prepare()
    _CONTEXT.set_forkserver_preload(["pipeline.sweep.jobs"])
    forkserver.ensure_running()


class Worker:
    """One process. It does one job at a time."""

    def __init__(self, place: int, threads: int, replicas: int = 1) -> None:
        """A process that is started when it is first needed; see `environment.take_devices`."""
        self._arguments = (place, threads, replicas)
        self._process: Any = None
        self._connection: Connection | None = None
        self._lock = threading.Lock()
        self._closed = False

    def call(
        self,
        job: str,
        *arguments: Any,
        until: float | None = None,
        heard: Tell | None = None,
    ) -> Any:
        """Return what a job returns that is run in the process.

        Args:
            job: Name of a function of `pipeline.sweep.jobs`, which only the process itself imports.
            arguments: Of the job, after what it tells by.
            until: `time.monotonic()` at which the process is ended if it is not done by then.
            heard: Is given what the job tells.

        Raises:
            OutOfTime: It was not done in time.
            Stopped: The worker was closed.
            Died: The process ended.
            Exception: What the job raised.
        """
        connection = self._started()
        try:
            connection.send((job, arguments))
            kind, content = self._next(connection, until)
            while kind == "told":
                connection.send(heard is None or heard(content))
                kind, content = self._next(connection, until)
        except (EOFError, ConnectionError) as error:
            if self._closed:
                raise Stopped("the run was ended") from error
            raise Died(self._epitaph()) from error
        except BaseException:  # of `heard`, or an interrupt: the job is nobody's any more
            self.end()
            raise
        if kind == "raised":
            raise content
        return content

    def _next(self, connection: Connection, until: float | None) -> tuple[str, Any]:
        if connection.poll(None if until is None else max(0.0, until - time.monotonic())):
            kind, content = connection.recv()
            return kind, content
        raise OutOfTime("out of time")

    def end(self) -> None:
        """End the process, whatever it is doing; the next job has a new one."""
        with self._lock:
            process, self._process = self._process, None
        if process is not None:
            process.kill()
            process.join()

    def close(self) -> None:
        """End the process for good."""
        self._closed = True
        self.end()

    def _started(self) -> Connection:
        with self._lock:
            if self._closed:
                raise Stopped("the run was ended")
            if self._process is None or self._connection is None or not self._process.is_alive():
                ours, theirs = _CONTEXT.Pipe()
                process = _CONTEXT.Process(target=_serve, args=(theirs, *self._arguments), daemon=True)
                process.start()
                theirs.close()
                self._process, self._connection = process, ours
            return self._connection

    def _epitaph(self) -> str:
        with self._lock:
            process = self._process
        if process is None:
            return "its process was ended"
        process.join(5)
        code = process.exitcode
        if code is not None and code < 0:
            why = " (too little memory, perhaps)" if -code == signal.SIGKILL else ""
            return f"its process was ended by {signal.Signals(-code).name}{why}"
        return f"its process ended with status {code}"


class Place(Protocol):
    """Where jobs are done, one at a time: a process here, or a place on a cluster."""

    def call(self, job: str, *arguments: Any, until: float | None = None, heard: Tell | None = None) -> Any:
        """Return what a job returns, see `Worker.call`."""

    def end(self) -> None:
        """End whatever is done there."""


class Places(Protocol):
    """Some places, of which each can be taken by one thread at a time."""

    def take(self) -> Lease:
        """Return a place that nobody has taken, once there is one."""

    def close(self) -> None:
        """End whatever is done at any of them, for good."""


class Lease:
    """The right to one place, until it is given back."""

    def __init__(self, worker: Place, idle: queue.SimpleQueue[Any]) -> None:
        self.worker = worker
        self._idle = idle
        self._lock = threading.Lock()
        self._over = False

    def give(self, _: object = None) -> None:
        """Give the worker back; once, however often it is called, and whatever a callback is given."""
        with self._lock:
            over, self._over = self._over, True
        if not over:
            self._idle.put(self.worker)


class Workers:
    """Some processes, of which each can be taken by one thread at a time."""

    def __init__(self, count: int, threads: int = 0, replicas: int = 1) -> None:
        """So many processes, which end with the context.

        Args:
            count: How many.
            threads: Of each; 0: the cores are shared among them.
            replicas: GPUs of each.
        """
        prepare()
        share = threads or max(1, len(os.sched_getaffinity(0)) // count)
        self._all = [Worker(place, share, replicas) for place in range(count)]
        self._idle: queue.SimpleQueue[Worker] = queue.SimpleQueue()
        for worker in self._all:
            self._idle.put(worker)

    def take(self) -> Lease:
        """Return a worker that nobody has taken, once there is one."""
        return Lease(self._idle.get(), self._idle)

    def call(self, job: str, *arguments: Any, heard: Tell | None = None) -> Any:
        """Return what a job returns in the first process that is idle; raises what `Worker.call` does."""
        lease = self.take()
        try:
            return lease.worker.call(job, *arguments, heard=heard)
        except Died as error:
            raise Died(f"{job}: {error}") from error
        finally:
            lease.give()

    def close(self) -> None:
        """End all processes, whatever they are doing, for good."""
        for worker in self._all:
            worker.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


def _serve(connection: Connection, place: int, threads: int, replicas: int) -> None:
    """Do jobs, one after the other, until nobody is left who asks."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # whoever asked is interrupted too, and ends this process
    _end_with(multiprocessing.parent_process())
    environment.take_devices(place, threads, replicas)
    from pipeline.sweep import jobs

    def tell(message: Any) -> bool:
        connection.send(("told", message))
        return bool(connection.recv())

    while True:
        try:
            job, arguments = connection.recv()
        except EOFError:
            return
        try:
            answer = ("returned", getattr(jobs, job)(tell, *arguments))
        except Exception as error:  # noqa: BLE001 - it is raised where the job was asked for
            answer = ("raised", portable(error))
        connection.send(answer)


def portable(error: Exception) -> Exception:
    """Return an error that can be raised where no TensorFlow is, with where it came from as a note."""
    if isinstance(error, OSError):
        return PipelineError(f"{error}; give the same command again once that is mended")
    own = type(error).__module__ in ("builtins", "pipeline.errors", "serving.errors")
    sent = error if own else RuntimeError(f"{type(error).__name__}: {error}")
    if not isinstance(error, PipelineError):
        sent.add_note("".join(traceback.format_exception(error)))
    return sent


def _end_with(parent: Any) -> None:
    """End this process in the middle of whatever it does when its parent is gone."""

    def watch() -> None:
        wait([parent.sentinel])
        os._exit(1)

    threading.Thread(target=watch, daemon=True).start()
