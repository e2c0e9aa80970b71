"""What the client knows of a served model, from the message that describes it."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from serving.wire import ordinal_pb2 as wire


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


@dataclass(frozen=True, eq=False)
class Profile:
    """A cost matrix of the model: `cost[true label, action]`, `(K, A)`."""

    name: str
    actions: tuple[str, ...]
    cost: NDArray[np.float32]


@dataclass(frozen=True, eq=False)
class ModelInfo:
    """A served model; fields are named as those of the message `Model`.

    Attributes:
        values: `(K,)`, numeric value of each label.
        topology: `"linear"` or `"cyclic"`.
        profiles: By name.
        manifest: All that the artifact says of itself.
        coverage: Of the interval, where a request names none.
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

    def __repr__(self) -> str:
        inputs = ", ".join(f"{one.name} {one.dtype} {list(one.shape)}" for one in self.inputs)
        order = (" < " if self.topology == "linear" else " → ").join(self.labels)
        return (
            f"ModelInfo({self.name} version {self.version}: {order}; {inputs}; "
            f"profiles {list(self.profiles)}; {self.provider})"
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
