"""What this machine keeps of a registry: copies of versions, and what aliases pointed to when last asked.

    CACHE/registries/KEY/NAME/3/record.json       which content version 3 has
                             /3/1f0c….onnx        a copy, named by its seal
                             /aliases/champion    what the alias pointed to; changed when last confirmed
                        /unfinished/              downloads under way

Several services may share a cache. A copy is never changed, only put there and removed: `prune` removes
those that no service has used for a day, that are not among the five used last, and that no alias pointed
to when last asked. A service tells what it uses by `touch`, every hour and more often than that.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import secrets
import shutil
import tempfile
import time
from collections.abc import Collection, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from urllib.parse import quote

from serving.errors import ArtifactError, RegistryError
from serving.seal import check_seal

_KEPT = 5  # copies of a model that stay whether they are used or not
_UNUSED = 86_400  # seconds after which a copy is taken for one that no service uses


class Seals:
    """Digests of files; a file is read again only when it is another one or was changed."""

    def __init__(self) -> None:
        self._known: dict[Path, tuple[tuple[int, ...], str | ArtifactError]] = {}

    def digest(self, path: Path) -> str:
        """Return what `check_seal` returns; raises ArtifactError as it does."""
        try:
            # Before reading: a change meanwhile is one that the next call sees.
            status = path.stat()
        except OSError as error:
            raise ArtifactError(f"{path}: cannot be read: {error.strerror}") from error
        state = (status.st_dev, status.st_ino, status.st_size, status.st_mtime_ns)
        known = self._known.get(path)
        if known is None or known[0] != state:
            known = (state, _read(path))
            # What this machine could not read now it may read in a moment: only its content is remembered.
            if not (isinstance(known[1], ArtifactError) and isinstance(known[1].__cause__, OSError)):
                self._known[path] = known
        if isinstance(known[1], ArtifactError):
            raise known[1]
        return known[1]


def _read(path: Path) -> str | ArtifactError:
    try:
        return check_seal(path)
    except ArtifactError as error:
        return error


@dataclass(frozen=True)
class Copy:
    """A whole version on this machine."""

    path: Path
    digest: str


@dataclass(frozen=True)
class Pointed:
    """What an alias pointed to when the registry was last asked."""

    version: str
    aliases: tuple[str, ...]  # all that pointed to this version
    asked: datetime


class RegistryCache:
    """The part of the cache folder that belongs to one registry."""

    def __init__(self, folder: Path, registry: str) -> None:
        # Names of models differ between registries only by their address.
        key = "\n".join((registry, os.environ.get("MLFLOW_REGISTRY_URI", "")))
        self._folder = folder / "registries" / hashlib.sha256(key.encode()).hexdigest()[:16]
        self._seals = Seals()

    def folder(self, name: str, version: str) -> Path:
        """Return the folder of a version, which need not exist."""
        return self._model(name) / version

    def recall(self, name: str, version: str, made: str = "") -> Copy | None:
        """Return the copy of a version, if it is there and whole.

        Args:
            name: Of the registered model.
            version: Its number.
            made: When the registered model was made. Where it was made anew since, the same number means
                another file, and None is returned; empty: not known, any will do.
        """
        folder = self.folder(name, version)
        try:
            record = json.loads((folder / "record.json").read_text())
            if made and record["made"] != made:
                return None
            copy = Copy(folder / Path(record["file"]).name, record["digest"])
            return copy if self._seals.digest(copy.path) == copy.digest else None
        except (OSError, ValueError, KeyError, TypeError, ArtifactError):
            return None  # the registry is asked again

    @contextlib.contextmanager
    def unfinished(self) -> Iterator[Path]:
        """A folder for a download, gone afterwards; raises RegistryError where none can be made."""
        folder = self._folder / "unfinished"
        try:
            folder.mkdir(parents=True, exist_ok=True)
            made = tempfile.TemporaryDirectory(dir=folder)
        except OSError as error:
            raise RegistryError(
                f"the folder of downloaded models, {folder}, cannot be written ({error.strerror}): "
                "set --cache to one that can"
            ) from error
        with made:
            yield Path(made.name)

    def keep(self, name: str, version: str, file: Path, digest: str, made: str) -> Copy:
        """Move a whole file from `unfinished` to its place, and record it; raises OSError."""
        folder = self.folder(name, version)
        folder.mkdir(parents=True, exist_ok=True)
        copy = Copy(folder / f"{digest[:16]}.onnx", digest)
        with file.open("rb") as content:
            os.fsync(content)  # else the name might outlive a power cut, and the content not
        file.replace(copy.path)
        _write(folder / "record.json", {"file": copy.path.name, "digest": digest, "made": made})
        return copy

    def remember(self, name: str, alias: str, version: str, aliases: Collection[str]) -> None:
        """Record what the registry says now of an alias.

        Raises RegistryError where that cannot be written.
        """
        path, content = self._alias(name, alias), {"version": version, "aliases": [*aliases]}
        try:
            if _written(path) == content:
                os.utime(path)
            else:
                path.parent.mkdir(parents=True, exist_ok=True)
                _write(path, content)
        except OSError as error:
            raise RegistryError(
                f"{path} cannot be written ({error.strerror}): a start while the registry is away would "
                f"not know what models:/{name}@{alias} is"
            ) from error

    def recall_alias(self, name: str, alias: str) -> Pointed | None:
        """Return what an alias pointed to when the registry was last asked, if it ever was."""
        path = self._alias(name, alias)
        content = _written(path)
        try:
            asked = datetime.fromtimestamp(path.stat().st_mtime, UTC)
            return Pointed(str(content["version"]), tuple(content["aliases"]), asked) if content else None
        except (OSError, KeyError, TypeError):
            return None

    def prune(self, name: str, used: Collection[Path]) -> None:
        """Remove copies of a model that nobody needs, and downloads that were cut off."""
        self._prune_copies(name, used)
        for left in _entries(self._folder / "unfinished"):
            with contextlib.suppress(OSError):  # gone meanwhile
                if _age(left.stat().st_mtime) > _UNUSED:
                    shutil.rmtree(left, ignore_errors=True)

    def _prune_copies(self, name: str, used: Collection[Path]) -> None:
        model = self._model(name)
        pointed = {str((_written(path) or {}).get("version")) for path in _entries(model / "aliases")}
        last_used: dict[Path, float] = {}
        for copy in model.glob("[0-9]*/*.onnx"):
            with contextlib.suppress(OSError):  # another service has removed it
                last_used[copy] = copy.stat().st_atime
        by_use = sorted(last_used, key=lambda copy: last_used[copy], reverse=True)
        for copy in by_use[_KEPT:]:
            folder = copy.parent
            if copy in used or folder.name in pointed or _age(last_used[copy]) < _UNUSED:
                continue
            with contextlib.suppress(OSError):  # of another user, say: then it stays
                if (_written(folder / "record.json") or {}).get("file") == copy.name:
                    (folder / "record.json").unlink(missing_ok=True)
                copy.unlink(missing_ok=True)
                folder.rmdir()  # unless another content of this version is there

    def _model(self, name: str) -> Path:
        return self._folder / _quoted(name)

    def _alias(self, name: str, alias: str) -> Path:
        return self._model(name) / "aliases" / _quoted(alias)


def touch(copy: Path) -> None:
    """Note that a copy is in use; its time of change stays, by which it is known to be the same."""
    # One that is gone is fetched again at the next look, and one that is another user's stays anyway.
    with contextlib.suppress(OSError):
        os.utime(copy, ns=(time.time_ns(), copy.stat().st_mtime_ns))


def _quoted(name: str) -> str:
    return quote(name, safe="").replace(".", "%2E")


def _entries(folder: Path) -> list[Path]:
    try:
        return list(folder.iterdir())
    except OSError:
        return []  # nothing there yet


def _written(path: Path) -> dict[str, Any] | None:
    """Return a record, unless there is none that can be read."""
    try:
        content = json.loads(path.read_text())
    except (OSError, ValueError):
        return None
    return content if isinstance(content, dict) else None


def _write(path: Path, content: dict[str, Any]) -> None:
    """Write a record whole or not at all."""
    unfinished = path.with_name(f".{path.name}.{secrets.token_hex(4)}")
    unfinished.write_text(json.dumps(content))
    unfinished.replace(path)


def _age(moment: float) -> float:
    return time.time() - moment
