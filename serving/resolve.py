"""MODEL, a path or a `models:/` address, becomes a file on this machine.

Importing mlflow takes seconds and 250 MB, so that only a process of its own does it: `serving.registry`.
The service spawns it, reads its answers, and only ever sees paths. A version that was fetched before is
answered from the cache, without that process.
"""

from __future__ import annotations

import asyncio
import json
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Literal

from serving.cache import RegistryCache, Seals
from serving.errors import ArtifactError, OrdinalError, RegistryError
from serving.registry_process import ask
from serving.settings import Settings

SCHEME = "models:/"
_ADDRESS = re.compile(r"models:/(?P<name>[^/:@]+)(?:/(?P<version>[1-9][0-9]*)|@(?P<alias>[^/:@]+))")
_FILE = re.compile(r"(?P<path>.+\.onnx)@(?P<alias>[^/:@]+)")


@dataclass(frozen=True)
class Resolved:
    """A file to serve, and what it is known as."""

    path: Path
    name: str = ""  # of the registered model; empty for a path, whose manifest tells
    version: str = "0"  # in the registry; "0" for a path
    aliases: tuple[str, ...] = ()  # that point to it; not asked for an address that fixes the version
    digest: str = ""  # the file's seal when it was resolved


@dataclass(frozen=True)
class Address:
    """A parsed `models:/` address: either `version` or `alias` is set."""

    name: str
    version: str = ""
    alias: str = ""

    @classmethod
    def parse(cls, text: str) -> Address:
        """Read `models:/NAME/VERSION` or `models:/NAME@ALIAS`; raises RegistryError on anything else."""
        match = _ADDRESS.fullmatch(text)
        if match is None:
            raise RegistryError(
                f"{text!r}: a registry address is models:/NAME@ALIAS or models:/NAME/VERSION, "
                "where VERSION is a number"
            )
        return cls(match["name"], match["version"] or "", match["alias"] or "")


class Unreachable(RegistryError):
    """The registry, or its store, does not answer: what was known of it before may still be true."""


@dataclass(frozen=True)
class Problem:
    """Why a MODEL has no file, or not the one that it should have now."""

    kind: Literal["unreachable", "registry", "artifact"]
    text: str

    @classmethod
    def of(cls, error: OrdinalError) -> Problem:
        """Describe an error, so that it can be passed on to another process."""
        if isinstance(error, ArtifactError):
            return cls("artifact", str(error))
        return cls("unreachable" if isinstance(error, Unreachable) else "registry", str(error))

    def error(self) -> OrdinalError:
        """Return the error that was described."""
        match self.kind:
            case "artifact":
                return ArtifactError(self.text)
            case "unreachable":
                return Unreachable(self.text)
            case "registry":
                return RegistryError(self.text)


@dataclass(frozen=True)
class Findings:
    """What one look found of each MODEL: a file, a problem, or both."""

    found: Mapping[str, Resolved]
    problems: Mapping[str, Problem]

    def as_line(self) -> str:
        """Return one line of JSON, which `from_line` reads."""
        found = {model: {**asdict(one), "path": str(one.path)} for model, one in self.found.items()}
        problems = {model: asdict(problem) for model, problem in self.problems.items()}
        return json.dumps({"found": found, "problems": problems})

    @classmethod
    def from_line(cls, line: bytes) -> Findings:
        """Read what `as_line` wrote; raises RegistryError on anything else."""
        try:
            content = json.loads(line)
            found = {
                model: Resolved(**{**one, "path": Path(one["path"]), "aliases": tuple(one["aliases"])})
                for model, one in content["found"].items()
            }
            return cls(found, {model: Problem(**problem) for model, problem in content["problems"].items()})
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            raise RegistryError(
                f"the process that asks the registry must answer with found and problems, got {line[:80]!r}"
            ) from error

    def all_found(self) -> dict[str, Resolved]:
        """Return the files of all MODELs; raises the error of the first one that has none."""
        for model, problem in self.problems.items():
            if model not in self.found:
                raise problem.error()
        return dict(self.found)


class Files:
    """MODELs that are paths, maybe with an alias: `PATH.onnx` or `PATH.onnx@ALIAS`."""

    def __init__(self, models: Iterable[str]) -> None:
        """Take those of `models` that are paths."""
        self._named = {model: _named(model) for model in models if not model.startswith(SCHEME)}
        self._seals = Seals()

    def __len__(self) -> int:
        return len(self._named)

    def look(self) -> Findings:
        """Check the seals of those files that are others than at the last look."""
        found: dict[str, Resolved] = {}
        problems: dict[str, Problem] = {}
        # Once for each path: a file replaced meanwhile would be two that contradict each other.
        looked = {path: self._digest(path) for path in {named.path for named in self._named.values()}}
        for model, named in self._named.items():
            match looked[named.path]:
                case Problem() as problem:
                    problems[model] = problem
                case digest:
                    found[model] = replace(named, digest=digest)
        return Findings(found, problems)

    def _digest(self, path: Path) -> str | Problem:
        try:
            return self._seals.digest(path)
        except ArtifactError as error:
            return Problem.of(error)


def _named(model: str) -> Resolved:
    """Return a file by its path, or by PATH.onnx@ALIAS, under which requests may then name it."""
    match = _FILE.fullmatch(model)
    if match is None or Path(model).exists():
        return Resolved(Path(model))
    return Resolved(Path(match["path"]), aliases=(match["alias"],))


def addresses(models: Iterable[str]) -> dict[str, Address]:
    """Return those of `models` that are of the registry; raises RegistryError where one is malformed."""
    return {model: Address.parse(model) for model in models if model.startswith(SCHEME)}


def kept(asked: Mapping[str, Address], settings: Settings) -> dict[str, Resolved]:
    """Return the versions that are whole on this machine; an alias may have moved, and has to be asked."""
    fixed = {model: address for model, address in asked.items() if address.version}
    if not fixed:
        return {}
    cache = RegistryCache(settings.cache_folder(), settings.registry())
    copies = {model: cache.recall(address.name, address.version) for model, address in fixed.items()}
    return {
        model: Resolved(copy.path, fixed[model].name, fixed[model].version, digest=copy.digest)
        for model, copy in copies.items()
        if copy is not None
    }


async def resolve(models: Sequence[str], settings: Settings) -> list[Resolved]:
    """Find the file of each MODEL.

    Raises:
        RegistryError: Where an address is malformed, or the registry does not answer or does not have it.
        ArtifactError: Where a file is not an artifact, or not whole.
    """
    asked = addresses(models)
    files = await asyncio.to_thread(Files(models).look)
    found = files.all_found()
    found |= await asyncio.to_thread(kept, asked, settings)
    missing = [model for model in asked if model not in found]
    if missing:
        found |= Findings.from_line(await ask(missing, settings)).all_found()
    return [found[model] for model in dict.fromkeys(models)]
