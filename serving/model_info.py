"""What the client knows of a served model, from the message that describes it."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from serving.quote import listed
from serving.wire import ordinal_pb2 as wire

_SHOWN = 12


@dataclass(frozen=True, eq=False)
class Input:
    """What a model wants to be fed: `(rows, *shape)` of `dtype`.

    Attributes:
        name: `"numeric"` or `"categorical"` for tables, which may want both, `"image"` for images.
        dtype: `"float32"`, `"uint8"`, or of categories `"string"`.
        shape: Of one row.
        features: Names of the columns; empty for images.
        missing: Those of `features` whose values may be missing: NaN, or of categories an empty text.
        missing_texts: What else stands for a missing value, in columns of categories and in files of rows.
        categories: Of categories only: for each of `features` those seen in training.
        unknown_allowed: Of categories only: whether others are taken, as unknown to the model, or refused.
    """

    name: str
    dtype: str
    shape: tuple[int, ...]
    features: tuple[str, ...] = ()
    missing: tuple[str, ...] = ()
    missing_texts: tuple[str, ...] = ()
    categories: tuple[tuple[str, ...], ...] = ()
    unknown_allowed: bool = True

    def __repr__(self) -> str:
        features = f", features {listed(self.features)}" if self.features else ""
        missing = f", {len(self.missing)} of them may be missing" if self.missing else ""
        return f"Input({self.name} {self.dtype} {list(self.shape)}{features}{missing})"


@dataclass(frozen=True, eq=False)
class Profile:
    """A cost matrix of the model: `cost[true label, action]`, `(K, A)`."""

    name: str
    actions: tuple[str, ...]
    cost: NDArray[np.float32]

    def __repr__(self) -> str:
        size = " × ".join(map(str, self.cost.shape))
        costs = f"cost {size}, {self.cost.min():g} … {self.cost.max():g}"
        return f"Profile({self.name!r}: {costs}, actions {listed(self.actions)})"


@dataclass(frozen=True)
class Refused:
    """A version that the running service was told to serve, and could not; what it served before goes on.

    Attributes:
        version: Empty where it is not known.
        reason: What is wrong with it.
        since: UTC, as 2026-01-31T12:00:00Z.
    """

    version: str
    reason: str
    since: str


@dataclass(frozen=True, eq=False)
class ModelInfo:
    """A served model; fields are named as those of the message `Model`.

    Attributes:
        values: `(K,)`, numeric value of each label.
        topology: `"linear"` or `"cyclic"`.
        profiles: By name.
        manifest: All that the artifact says of itself.
        coverage: Of the interval, where a request names none.
        refused: What could not be served of this name since; empty once a later version is taken.
    """

    name: str
    version: str
    aliases: tuple[str, ...]
    labels: tuple[str, ...]
    values: NDArray[np.float64]
    topology: str
    period: float
    inputs: tuple[Input, ...]
    profiles: dict[str, Profile]
    default_profile: str
    loss: str
    head: str
    proper: bool
    run_id: str
    digest: str
    provider: str
    manifest: dict[str, Any]
    coverage: float
    refused: tuple[Refused, ...] = ()

    def __repr__(self) -> str:
        inputs = ", ".join(f"{one.name} {one.dtype} {list(one.shape)}" for one in self.inputs)
        between = " < " if self.topology == "linear" else " → "
        more = len(self.labels) - _SHOWN
        order = between.join([*self.labels[:_SHOWN], *([f"… {more} more"] if more > 0 else [])])
        return (
            f"ModelInfo({self.name} version {self.version}: {order}; {inputs}; "
            f"profiles {listed(list(self.profiles))}; {self.provider})"
        )


def model_info(message: wire.Model) -> ModelInfo:
    """Read the reply to a `GetModel`."""
    return ModelInfo(
        name=message.name,
        version=message.version,
        aliases=tuple(message.aliases),
        labels=tuple(message.labels),
        values=np.array(message.values, np.float64),
        topology=wire.Topology.Name(message.topology).lower(),
        period=message.period,
        inputs=tuple(_input(one) for one in message.inputs),
        profiles={one.name: _profile(one, len(message.labels)) for one in message.profiles},
        default_profile=message.default_profile,
        loss=message.loss,
        head=message.head,
        proper=message.proper,
        run_id=message.run_id,
        digest=message.digest,
        provider=message.provider,
        manifest=json.loads(message.manifest),
        coverage=message.coverage,
        refused=tuple(Refused(one.version, one.reason, one.since) for one in message.refused),
    )


def _input(message: wire.Input) -> Input:
    return Input(
        name=message.name,
        dtype=wire.DataType.Name(message.dtype).lower(),
        shape=tuple(message.shape),
        features=tuple(message.features),
        missing=tuple(message.missing),
        missing_texts=tuple(message.missing_texts),
        categories=tuple(tuple(one.names) for one in message.categories),
        unknown_allowed=message.unknown_allowed,
    )


def _profile(message: wire.Profile, labels: int) -> Profile:
    matrix = message.cost
    return Profile(
        message.name, tuple(matrix.actions), np.array(matrix.cost, np.float32).reshape(labels, -1)
    )
