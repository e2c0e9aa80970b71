"""Files in any place where MLflow keeps some: a folder, or an object store."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any

from mlflow.store.artifact.artifact_repository_registry import get_artifact_repository


class Place:
    """The files below an address."""

    def __init__(self, address: str) -> None:
        """Take the address, such as `file:///srv/mlartifacts/1` or `s3://BUCKET/PREFIX`."""
        for chatty in ("botocore", "boto3", "urllib3"):
            logging.getLogger(chatty).setLevel(logging.CRITICAL)
        self.address = address
        self._repository: Any = get_artifact_repository(address)  # not all of MLflow is typed
        # Read without MLflow, which refuses some names that it keeps.
        folder = getattr(self._repository, "artifact_dir", None)
        self._folder = None if folder is None else Path(folder)

    def files(self) -> dict[str, int]:
        """Return the path of each file below, and its size in bytes; nothing where there is no folder."""
        if self._folder is not None:
            below = [path for path in self._folder.rglob("*") if path.is_file()]
            return {path.relative_to(self._folder).as_posix(): path.stat().st_size for path in below}
        found: dict[str, int] = {}
        waiting: list[str | None] = [None]
        while waiting:
            for one in self._repository.list_artifacts(waiting.pop()):
                if one.is_dir:
                    waiting.append(one.path)
                else:
                    found[one.path] = int(one.file_size or 0)
        return found

    def fetch(self, path: str, folder: Path) -> Path:
        """Return a file on this machine: itself where it lies here, or a copy in `folder`."""
        if self._folder is not None:
            return self._folder / path
        return Path(self._repository.download_artifacts(path, str(folder)))

    def put(self, file: Path, path: str) -> None:
        """Keep a file under a path, whose last part is the file's name."""
        parent, _, _ = path.rpartition("/")
        self._repository.log_artifact(str(file), parent or None)
