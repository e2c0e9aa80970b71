"""One promotion of a model at a time."""

from __future__ import annotations

import getpass
import hashlib
import logging
import os
import socket
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from urllib.parse import quote

from filelock import FileLock, Timeout

from pipeline.errors import PromotionError
from pipeline.promotion import limit
from pipeline.tracking import store

LONGEST = 3600.0
"""Seconds that a promotion waits for another one, which may have a champion to judge anew."""

logger = logging.getLogger(__name__)


@contextmanager
def lock(uri: str, name: str, wait: float = LONGEST) -> Iterator[None]:
    """Hold the right to move the champion of a model.

    Beside a SQLite store it is a file, which the kernel frees with the process, however that ends. For
    any other store it is a Prefect limit, or a file of this machine where no Prefect server is set.

    Args:
        uri: Of MLflow's store.
        name: Of the registered model.
        wait: Seconds, at most.

    Raises:
        PromotionError: Where another promotion holds it for longer, or nobody can tell who does.
    """
    uri = store.address(uri)
    database = store.database(uri)
    if database is not None:
        database = database.resolve()  # the same lock, whatever link leads to the store
        path = database.with_name(f".{database.name}.promote-{_plain(name)}.lock")
    elif limit.server() is not None:
        with limit.held(f"promote-{_plain(name)}", wait):
            yield
        return
    else:
        logger.warning(
            "PREFECT_API_URL is not set: only promotions of this machine wait for one another, and %s may "
            "have others", store.shown(uri),
        )  # fmt: skip
        path = _of_this_machine(uri, name)
    with _file(path, name, wait):
        yield


def whoami() -> str:
    """Return `user@host` of this process."""
    try:
        user = getpass.getuser()
    except (KeyError, OSError):  # a container's user need not have a name
        user = f"uid {os.getuid()}"
    return f"{user}@{socket.gethostname()}"


def _plain(name: str) -> str:
    """Return a name that files and Prefect's limits may have."""
    return quote(name, safe="").replace("%", "_")


def _of_this_machine(uri: str, name: str) -> Path:
    folder = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "ordinal" / "locks"
    which = hashlib.sha256(uri.encode()).hexdigest()[:16]
    return folder / f"{which}-{_plain(name)}.lock"


@contextmanager
def _file(path: Path, name: str, wait: float) -> Iterator[None]:
    held = FileLock(path)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        try:
            held.acquire(timeout=0)
        except Timeout:
            logger.warning("waiting for another promotion of %r%s", name, _holder(path))
            held.acquire(timeout=wait)
    except Timeout as error:
        raise PromotionError(
            f"another promotion of {name!r} holds the lock for over {wait:.0f} s{_holder(path)}"
        ) from error
    except OSError as error:
        raise PromotionError(f"the lock {path} cannot be taken: {error.strerror}") from error
    try:
        with suppress(OSError):  # on a full disk: who waits is then not told for whom
            path.write_text(f"{whoami()}, process {os.getpid()}, since {time.strftime('%F %T')}")
        yield
    finally:
        held.release()


def _holder(path: Path) -> str:
    try:
        text = path.read_text()
    except (OSError, ValueError):
        text = ""
    return f": {text}" if text else ""
