"""What this machine remembers of a registry: where a version's file lies, and its seal.

A registered version never changes, so that a record holds while its file is there and unchanged.
"""

from __future__ import annotations

import hashlib
import json
import logging
import os
import tempfile
from pathlib import Path
from urllib.parse import quote

from serving.errors import ArtifactError
from serving.seal import check_seal

logger = logging.getLogger(__name__)


class RegistryCache:
    """The part of the cache folder that belongs to one registry."""

    def __init__(self, folder: Path, registry: str) -> None:
        # Names of models differ between registries only by their address.
        key = "\n".join((registry, os.environ.get("MLFLOW_REGISTRY_URI", "")))
        self._folder = folder / "registries" / hashlib.sha256(key.encode()).hexdigest()[:16]

    def folder(self, name: str, version: str) -> Path:
        """Return the folder of a version, which need not exist."""
        return self._folder / quote(name, safe="").replace(".", "%2E") / version

    def recall(self, name: str, version: str) -> Path | None:
        """Return the file of a version resolved before, if it is there and unchanged."""
        try:
            record = json.loads((self.folder(name, version) / "record.json").read_text())
            path = Path(record["path"])
            return path if check_seal(path) == record["digest"] else None
        except (OSError, ValueError, KeyError, TypeError, ArtifactError):
            return None  # the registry is asked again

    def remember(self, name: str, version: str, path: Path, digest: str) -> None:
        """Record a version; without a writable cache the service starts all the same, slower next time."""
        folder = self.folder(name, version)
        try:
            folder.mkdir(parents=True, exist_ok=True)
            with tempfile.NamedTemporaryFile("w", dir=folder, suffix=".json", delete=False) as file:
                json.dump({"path": str(path), "digest": digest}, file)
            Path(file.name).replace(folder / "record.json")
        except OSError as error:
            logger.warning(
                "%s cannot be written (%s): the next start asks the registry again", folder, error
            )
