"""What a run has come to is told: to a webhook, to a command. Nothing of that fails a run.

A failure to tell is a warning. Each is tried for at most half a minute, after the run.
"""

from __future__ import annotations

import contextlib
import json
import logging
import os
import subprocess
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from http.client import HTTPException
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from pipeline.config import Notify, told_of
from pipeline.errors import PipelineError

if TYPE_CHECKING:
    from pipeline.config.notify import Kind
    from pipeline.flow import Retrained

Warn = Callable[[str], object]

SECONDS = 10.0
"""That a webhook, or a command, may take for an answer."""
PAUSES = (1.0, 3.0)
"""Seconds between one try of a webhook and the next."""

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Event:
    """What is told; as JSON with `text`, which Slack, Mattermost and Teams show.

    Attributes:
        event: `failure`, `promotion` or `rejection`.
        text: All of it in one sentence.
        model: Its name.
        version: Of the candidate, once there is one.
        champion: The version that is the champion now.
        reasons: Why: the sentences of the gate, or what went wrong.
        run_id: Of MLflow.
        tracking_uri: MLflow's store, without a password.
        time: Now, in UTC.
    """

    event: Kind
    text: str
    model: str
    version: int | None = None
    champion: int | None = None
    reasons: list[str] = field(default_factory=list)
    run_id: str | None = None
    tracking_uri: str | None = None
    time: str = field(default_factory=lambda: datetime.now(UTC).isoformat(timespec="seconds"))


def verdict(result: Retrained) -> str:
    """Return what a run has come to, in one sentence."""
    version = f"{result.model} version {result.version}"
    reason = f": {result.reasons[0]}" if result.reasons else ""
    if result.promoted:
        return f"{version} is the champion{reason}"
    stays = f"version {result.champion} stays" if result.champion is not None else "there is none"
    return f"{version} does not become the champion ({stays}){reason}"


@contextlib.contextmanager
def watching(
    config: Path, changes: tuple[str, ...] = (), warn: Warn = logger.warning
) -> Iterator[Callable[[Retrained], None]]:
    """Tell what becomes of a run: what the yielded function is called with, or the error that passes.

    An order to end, such as KeyboardInterrupt, is no failure.

    Args:
        config: The file; its own errors are told too, where its section [notify] can be read.
        changes: Made to it, `key=value`.
        warn: Is given what could not be told.
    """

    def ended(result: Retrained) -> None:
        from pipeline.tracking import store  # which loads MLflow; the run has

        event = Event(
            "promotion" if result.promoted else "rejection",
            verdict(result),
            result.model,
            result.version,
            result.champion,
            result.reasons,
            result.run_id,
            store.shown(result.tracking_uri),
        )
        send(told_of(config, changes)[1], event, warn)

    try:
        yield ended
    except Exception as error:
        failed(config, changes, sentence(error), warn)
        raise


def failed(config: Path, changes: tuple[str, ...], why: str, warn: Warn = logger.warning) -> None:
    """Tell that a run has failed.

    Args:
        config: The file.
        changes: Made to it, `key=value`.
        why: One sentence.
        warn: Is given what could not be told.
    """
    name, notify = told_of(config, changes)
    send(notify, Event("failure", f"retraining {name} has failed: {why}", name, reasons=[why]), warn)


def send(notify: Notify, event: Event, warn: Warn = logger.warning) -> None:
    """Tell those that want to know of such an event; never raises."""
    if event.event not in notify.on:
        return
    try:
        if notify.webhook is not None:
            _post(notify.address, json.dumps(asdict(event)).encode())
    except Exception as error:  # noqa: BLE001 - a message is not worth a run, whatever is wrong with it
        warn(f"notify.webhook was not told of the {event.event}: {_reason(error)}")
    try:
        if notify.command:
            _run(notify.command, event)
    except Exception as error:  # noqa: BLE001 - the same
        warn(f"notify.command was not told of the {event.event}: {_reason(error)}")


def _post(address: str, body: bytes) -> None:
    if not address:
        return
    headers = {"Content-Type": "application/json", "User-Agent": "ordinal-pipeline"}
    for pause in (*PAUSES, None):
        try:
            request = urllib.request.Request(address, body, headers, method="POST")
            with urllib.request.urlopen(request, timeout=SECONDS):
                return
        except urllib.error.HTTPError as error:
            error.close()
            busy = error.code in (408, 425, 429) or error.code >= 500
            if pause is None or not busy:
                # Only the host: an address like those of chat services is a secret.
                raise ConnectionError(f"{urlsplit(address).hostname} answers {error.code}") from None
        except (OSError, HTTPException) as error:
            if pause is None:
                # The words of the others may have the address in them.
                reason = (
                    getattr(error, "reason", error) if isinstance(error, OSError) else type(error).__name__
                )
                raise ConnectionError(f"{urlsplit(address).hostname}: {reason}") from None
        time.sleep(pause)


def _run(command: tuple[str, ...], event: Event) -> None:
    parts = {
        f"ORDINAL_{key.upper()}": "\n".join(value) if isinstance(value, list) else str(value)
        for key, value in asdict(event).items()
        if value is not None
    }
    try:
        done = subprocess.run(
            command,
            input=json.dumps(asdict(event)),
            env={**os.environ, **parts},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            errors="replace",
            timeout=SECONDS,
            check=False,
        )
    except subprocess.TimeoutExpired:
        raise ChildProcessError(f"{command[0]} did not end within {SECONDS:g} s") from None
    except OSError as error:
        raise ChildProcessError(f"{command[0]} cannot be run: {error.strerror or error}") from None
    if done.returncode:
        said = done.stdout.strip().splitlines()[-1:] or ["it says nothing"]
        raise ChildProcessError(f"{command[0]} ended with status {done.returncode}: {said[0][:300]}")


def sentence(error: Exception) -> str:
    """Return what went wrong; of an error that is none of ours, its kind as well."""
    text = _reason(error)
    return text if isinstance(error, PipelineError) else f"{type(error).__name__}: {text}"


def _reason(error: Exception) -> str:
    return " ".join(str(error).split())[:500] or type(error).__name__
