"""MODEL, a path or a `models:/` address, becomes a file on this machine.

Importing mlflow takes seconds and 250 MB, so that only a process of its own does it: `serving.registry`.
The service spawns it, waits for its answer, and only ever sees paths. A version that was resolved before
is answered from a record in the cache, without that process.
"""

from __future__ import annotations

import asyncio
import json
import os
import re
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from serving.cache import RegistryCache
from serving.errors import RegistryError
from serving.seal import check_seal
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


async def resolve(models: Sequence[str], settings: Settings) -> list[Resolved]:
    """Find the file of each MODEL.

    Raises:
        RegistryError: Where an address is malformed, or the registry does not have it.
        ArtifactError: Where a version's file in the registry is not an artifact.
    """
    found = {model: _file(model) for model in models if not model.startswith(SCHEME)}
    if len(found) == len(set(models)):
        return list(found.values())
    cache = RegistryCache(settings.cache_folder(), settings.registry())
    asked: list[str] = []
    for model in dict.fromkeys(models):
        if model in found:
            continue
        address = Address.parse(model)
        known = cache.recall(address.name, address.version) if address.version else None
        if known is not None:
            found[model] = Resolved(known, address.name, address.version)
        else:
            asked.append(model)
    if asked:
        for model, resolved in zip(asked, await _ask(asked, settings), strict=True):
            cache.remember(resolved.name, resolved.version, resolved.path, check_seal(resolved.path))
            found[model] = resolved
    return [found[model] for model in dict.fromkeys(models)]


def _file(model: str) -> Resolved:
    """Return a file by its path, or by PATH.onnx@ALIAS, under which requests may then name it."""
    match = _FILE.fullmatch(model)
    if match is None or Path(model).exists():
        return Resolved(Path(model))
    return Resolved(Path(match["path"]), aliases=(match["alias"],))


async def _ask(models: Sequence[str], settings: Settings) -> list[Resolved]:
    """Ask the registry, in a process of its own that ends with this call."""
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "serving.registry"),
        *("--registry", settings.registry(), "--cache", str(settings.cache_folder())),
        *models,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
        env={**os.environ, **_QUIET, "PYTHONPATH": _import_path()},
    )
    try:
        stdout, stderr = await process.communicate()
    except asyncio.CancelledError:
        process.kill()
        await process.wait()
        raise
    if process.returncode:
        said = stderr.decode(errors="replace").strip().splitlines() or ["no message"]
        raise RegistryError(said[-1])
    answers = json.loads(stdout)
    return [
        Resolved(Path(one["path"]), one["name"], one["version"], tuple(one["aliases"])) for one in answers
    ]


_QUIET = {"DO_NOT_TRACK": "true", "MLFLOW_DISABLE_TELEMETRY": "true", "PYTHONWARNINGS": "ignore"}


def _import_path() -> str:
    """Let the process find this package also where the service runs from a checkout."""
    here = str(Path(__file__).resolve().parent.parent)
    return os.pathsep.join(filter(None, [here, os.environ.get("PYTHONPATH")]))
