"""The log on standard error: lines of text, or an object of JSON each."""

from __future__ import annotations

import atexit
import contextlib
import json
import logging
import os
import select
import socket
import sys
import threading
from datetime import UTC, datetime
from types import TracebackType

from serving.settings import LogFormat

FIELDS = ("method", "model", "version", "request_id", "code", "error", "trace_id")
"""What a line of JSON has besides, where its `extra` says so."""

_LONGEST = 2**14  # characters of a message or of an exception, of which the end says most
_OURS = b'{"time": '
_RECORD = 2**18  # bytes that come at once

logger = logging.getLogger(__name__)


def begin(log_format: LogFormat, worker: int | None = None, *, alone: bool = False) -> None:
    """Write the log of this process; `worker` is its number, which text leaves out of one that is alone.

    The process that is not a worker is the one that others are started by: as JSON it also passes on what
    they, and libraries in them, write to standard error, so that every line there is an object.
    """
    logging.getLogger("grpc._cython.cygrpc").addFilter(_is_news)
    if log_format == "text":
        which = "" if worker is None or alone else f"worker {worker}: "
        logging.basicConfig(level=logging.INFO, format=f"%(asctime)s %(levelname)-7s {which}%(message)s")
        return
    if worker is None:
        _collect()
    handler = _Lines(2)
    handler.setFormatter(_Json(worker))
    logging.basicConfig(level=logging.INFO, handlers=[handler])
    logging.captureWarnings(True)
    sys.excepthook = _uncaught


def _collect() -> None:
    """Have all that this process and its children write to standard error come out as JSON.

    Records of a socket, unlike what goes through a pipe, are never torn by those of another process.
    """
    kept = os.dup(2)
    received, sent = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    os.dup2(sent.fileno(), 2)
    sent.close()
    thread = threading.Thread(target=_pass_on, args=(received, kept), name="stderr", daemon=True)
    thread.start()

    def finish() -> None:
        sys.stderr.flush()
        os.dup2(kept, 2)
        thread.join(1.0)  # a process that was left behind may hold the other end

    atexit.register(finish)


def _pass_on(received: socket.socket, kept: int) -> None:
    rest = b""
    poll = select.poll()
    poll.register(received, select.POLLHUP)
    # Somebody may write nothing at all, which is a record too, and looks like the end.
    while (record := received.recv(_RECORD)) or not poll.poll(0):
        if record.startswith(_OURS):
            lines = [record]
        else:
            *foreign, rest = (rest + record).split(b"\n")
            lines = [_foreign(line) for line in foreign]
        # Where nobody reads the log any more it is lost, and those who write it must not wait for ever.
        with contextlib.suppress(OSError):
            _write(kept, b"".join(lines))
    with contextlib.suppress(OSError):
        _write(kept, _foreign(rest))


def _foreign(line: bytes) -> bytes:
    """Return what some library has written as one of our lines; an empty one as nothing."""
    text = line.decode(errors="replace").strip()
    if not text:
        return b""
    content = {"time": _time(datetime.now(UTC)), "level": "WARNING", "logger": "stderr", "message": text}
    return json.dumps(content).encode() + b"\n"


def _write(to: int, line: bytes) -> None:
    while line:
        line = line[os.write(to, line) :]


class _Lines(logging.Handler):
    """Writes each line at once and whole."""

    def __init__(self, to: int) -> None:
        super().__init__()
        self._to = to

    def emit(self, record: logging.LogRecord) -> None:
        try:
            _write(self._to, self.format(record).encode() + b"\n")
        except Exception:  # noqa: BLE001 - as logging's own handlers do: a log that is full ends no service
            self.handleError(record)


class _Json(logging.Formatter):
    """Makes an object of a record; ASCII, so that nothing in it looks like the end of a line."""

    def __init__(self, worker: int | None) -> None:
        super().__init__()
        self._worker = worker

    def format(self, record: logging.LogRecord) -> str:
        content: dict[str, object] = {
            "time": _time(datetime.fromtimestamp(record.created, UTC)),
            "level": record.levelname,
            "logger": record.name,
            "message": record.getMessage()[-_LONGEST:],
        }
        if self._worker is not None:
            content["worker"] = self._worker
        for name in FIELDS:
            if (value := getattr(record, name, None)) not in (None, ""):
                content[name] = value
        if record.exc_info:
            content["exception"] = self.formatException(record.exc_info)[-_LONGEST:]
        return json.dumps(content)


def _time(moment: datetime) -> str:
    """Return a time in UTC as RFC 3339 has it."""
    return moment.strftime("%Y-%m-%dT%H:%M:%S.") + f"{moment.microsecond // 1000:03}Z"


def _is_news(record: logging.LogRecord) -> bool:
    """Tell whether a line of gRPC is more than that a caller has left, which may fill the log."""
    return not str(record.msg).startswith("ExecuteBatchError raised in core by")


def _uncaught(kind: type[BaseException], error: BaseException, traceback: TracebackType | None) -> None:
    logger.critical("ended by an error", exc_info=(kind, error, traceback))
