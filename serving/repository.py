"""Which versions are live, and which of them a request means."""

from __future__ import annotations

import functools
import logging
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace

import numpy as np
from numpy.typing import NDArray

from serving.artifact import Artifact, Device
from serving.entries import Inputs
from serving.errors import ArtifactError, ModelNotFound
from serving.gpu import NO_LIMITS, Gpu
from serving.orders import Refusal
from serving.policies import Rule, profile_rules
from serving.quote import listed, quoted
from serving.resolve import Resolved
from serving.wire import ordinal_pb2 as wire

CHAMPION = "champion"

logger = logging.getLogger(__name__)


@dataclass(frozen=True, eq=False)
class Served:
    """One version of a model, loaded and warm."""

    name: str
    version: str
    aliases: tuple[str, ...]
    artifact: Artifact
    profiles: Mapping[str, Rule]
    cost: NDArray[np.float32]  # (1, 1, K, A), where a request has no policy
    coverage: NDArray[np.float32]  # (1,), where a request has none
    inputs: Inputs
    heads: dict[int, list[bytes]] = field(default_factory=dict)  # of replies, by the number of rows

    @functools.cached_property
    def heading(self) -> bytes:
        """What every reply of it has in common, as the bytes of a `PredictResponse`."""
        reply = wire.PredictResponse(
            model=self.name,
            version=self.version,
            labels=self.artifact.manifest.labels,
            provider=self.artifact.provider,
        )
        return reply.SerializeToString()


class Repository:
    """The live versions; never changed once made."""

    def __init__(
        self, served: Iterable[Served], refusals: Mapping[str, Sequence[Refusal]] | None = None
    ) -> None:
        """Take what is served, and by name of a model what was to be served of it too and could not.

        Raises ArtifactError where two different files claim the same name and version.
        """
        self.refusals: Mapping[str, Sequence[Refusal]] = refusals or {}
        self._models: dict[str, dict[str, Served]] = {}
        self._found: dict[tuple[str, str], Served] = {}  # by what requests have named
        for new in served:
            versions = self._models.setdefault(new.name, {})
            known = versions.get(new.version)
            if known is None:
                versions[new.version] = new
            elif known.artifact.digest == new.artifact.digest:  # under a number and an alias, say
                aliases = tuple(sorted({*known.aliases, *new.aliases}))
                versions[new.version] = replace(known, aliases=aliases)
            else:
                raise ArtifactError(
                    f"{new.artifact.path}: version {new.version} of {new.name!r} is already served from "
                    f"{known.artifact.path}; serve files of one name through a registry"
                )

    def __iter__(self) -> Iterator[Served]:
        return (served for versions in self._models.values() for served in versions.values())

    def lookup(self, model: str, version: str) -> Served:
        """Return the version that a request means; arguments and errors as of `_look_up`."""
        found = self._found.get((model, version))
        if found is None:
            found = self._found[model, version] = self._look_up(model, version)
        return found

    def _look_up(self, model: str, version: str) -> Served:
        """Return the version that a request means.

        Args:
            model: A name; empty for the only model served.
            version: A version number or an alias; empty for the champion, or the only version served.

        Raises:
            ModelNotFound: Naming those that are there.
        """
        if not model:
            if len(self._models) != 1:
                raise ModelNotFound(
                    f"the request names no model, which only works where one is served; "
                    f"served are {listed(sorted(self._models))}"
                )
            (model,) = self._models
        versions = self._models.get(model)
        if versions is None:
            raise ModelNotFound(
                f"model {quoted(model)} is not served; served are {listed(sorted(self._models))}"
            )
        return _version(model, version, versions)


def load(resolved: Iterable[Resolved], device: Device, gpu: Gpu = NO_LIMITS) -> Repository:
    """Load and check what was resolved.

    Raises ArtifactError and DeviceError as `Artifact` does.
    """
    served = []
    for entry in resolved:
        logger.info("loading %s", entry.path)
        served.append(as_served(entry, Artifact(entry.path, device, gpu)))
    return Repository(served)


def as_served(entry: Resolved, artifact: Artifact) -> Served:
    """Return a loaded file as what it was resolved to be."""
    manifest = artifact.manifest
    return Served(
        entry.name or manifest.name,
        entry.version,
        entry.aliases,
        artifact,
        profile_rules(manifest),
        artifact.cost,
        artifact.coverage,
        Inputs(manifest.inputs),
    )


def _version(model: str, version: str, versions: Mapping[str, Served]) -> Served:
    by_alias = {alias: served for served in versions.values() for alias in served.aliases}
    if version:
        found = versions.get(version) or by_alias.get(version)
    else:
        found = by_alias.get(CHAMPION)
        if found is None and len(versions) == 1:
            (found,) = versions.values()
    if found is not None:
        return found
    numbers = sorted(versions, key=int)
    there = f"served are versions {listed(numbers)}"
    if by_alias:
        there += f" and aliases {listed(sorted(by_alias))}"
    if version:
        raise ModelNotFound(f"version {quoted(version)} of {model!r} is not served; {there}")
    raise ModelNotFound(
        f"the request names no version of {model!r}, and none of several is its {CHAMPION}; {there}"
    )
