"""What the supervisor and its workers tell each other: messages as lines of JSON.

The supervisor writes to a worker's standard input: `Start` once, then `Wanted` whenever something else is
to be served. The worker writes `Applied` for each `Wanted`, `Counted` every now and then, and `Failed`
where it cannot go on. The end of its input tells a worker to drain and to end, also where that is because
the supervisor was killed.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from serving.counts import Counts
from serving.resolve import Resolved
from serving.settings import Settings

LONGEST = 2**24
"""Bytes of a line."""


def now() -> str:
    """The time as `Refusal.since` has it."""
    return datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


@dataclass(frozen=True)
class Refusal:
    """What was to be served, and could not."""

    version: str  # empty where it is not known
    reason: str
    since: str = field(default_factory=now, compare=False)
    kind: str = "ArtifactError"  # the class of the error


@dataclass(frozen=True)
class Description:
    """A version that is served, in a few words."""

    name: str
    version: str
    aliases: tuple[str, ...]
    provider: str
    digest: str
    order: str  # of its labels

    def __str__(self) -> str:
        aliases = "".join(f" @{alias}" for alias in self.aliases)
        return f"{self.name} version {self.version}{aliases} on {self.provider}: labels {self.order}"


@dataclass(frozen=True)
class Start:
    """How a worker runs; it has the `number`, counted from 1, of so many as `settings` say."""

    settings: Settings
    number: int
    counted: bool  # whether anybody wants to know what it counts


@dataclass(frozen=True)
class Wanted:
    """What to serve by MODEL, and what cannot be served, of which callers are told."""

    models: Mapping[str, Resolved]
    refused: Mapping[str, Refusal] = field(default_factory=dict)
    kept: Mapping[str, Path] = field(default_factory=dict)
    """Where the same files are found if others have taken their paths."""


@dataclass(frozen=True)
class Applied:
    """What is served now by MODEL, and what of the `Wanted` could not be taken."""

    served: Mapping[str, Description]
    refused: Mapping[str, Refusal] = field(default_factory=dict)


@dataclass(frozen=True)
class Failed:
    """Why a worker ends."""

    reason: str
    kind: str  # the class of the error


@dataclass(frozen=True)
class Counted:
    """What a worker has counted since it told so last."""

    counts: Counts


Message = Start | Wanted | Applied | Failed | Counted


def encode(message: Message) -> bytes:
    """Return a message as a line."""
    content = {type(message).__name__: asdict(message)}
    return json.dumps(content, default=str).encode() + b"\n"  # paths become texts


def decode(line: bytes) -> Message:
    """Return the message that a line is."""
    ((name, content),) = json.loads(line).items()
    match name:
        case "Start":
            return Start(**{**content, "settings": Settings(**content["settings"])})
        case "Wanted":
            models = {model: _resolved(one) for model, one in content["models"].items()}
            kept = {model: Path(path) for model, path in content["kept"].items()}
            return Wanted(models, _refused(content), kept)
        case "Applied":
            served = {model: _description(one) for model, one in content["served"].items()}
            return Applied(served, _refused(content))
        case "Failed":
            return Failed(**content)
        case "Counted":
            return Counted(_counts(content["counts"]))
    raise ValueError(f"a message must be one of {Message}, got {name!r}")


def _resolved(content: Mapping[str, Any]) -> Resolved:
    return Resolved(**{**content, "path": Path(content["path"]), "aliases": tuple(content["aliases"])})


def _refused(content: Mapping[str, Any]) -> dict[str, Refusal]:
    return {model: Refusal(**one) for model, one in content["refused"].items()}


def _description(content: Mapping[str, Any]) -> Description:
    return Description(**{**content, "aliases": tuple(content["aliases"])})


def _counts(content: Mapping[str, Any]) -> Counts:
    return Counts(
        [(name, tuple(labels), number) for name, labels, number in content["counters"]],
        [(name, tuple(labels), counts, total) for name, labels, counts, total in content["histograms"]],
        [(name, tuple(labels), count, total) for name, labels, count, total in content["summaries"]],
        [(name, tuple(labels), value) for name, labels, value in content["gauges"]],
    )
