"""Where the files of registered models lie: `python -m serving.registry URI …` prints it as JSON.

The only file of `serving` that imports mlflow, and it runs in a process of its own; see `serving.resolve`.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import logging
import os
import shutil
import sqlite3
import sys
import tempfile
from collections.abc import Sequence
from contextlib import closing
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

from serving.cache import RegistryCache
from serving.errors import ArtifactError, OrdinalError, RegistryError
from serving.quote import listed
from serving.resolve import Address, Resolved
from serving.seal import check_seal

_SQLITE = "sqlite:///"

# A registry that is down is told in seconds; by default MLflow tries for minutes.
_PATIENCE = {
    "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "2",
    "MLFLOW_HTTP_REQUEST_TIMEOUT": "20",
    "MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR": "false",
}


def look_up(addresses: Sequence[Address], registry: str, cache: Path) -> list[Resolved]:
    """Find each address in the registry, fetching its file where it is not on this machine.

    Raises RegistryError, in one sentence.
    """
    _check_database(registry)
    for name, value in _PATIENCE.items():
        os.environ.setdefault(name, value)
    import mlflow
    from mlflow.exceptions import MlflowException

    logging.getLogger("mlflow").setLevel(logging.ERROR)
    logging.getLogger("alembic").setLevel(logging.ERROR)
    try:
        mlflow.set_tracking_uri(registry)
        client = mlflow.MlflowClient(registry)
        return [_look_up(client, address, RegistryCache(cache, registry)) for address in addresses]
    except ImportError as error:  # mlflow-skinny speaks HTTP only
        raise RegistryError(
            f"the registry {_shown(registry)} takes more than is installed here ({error}): "
            "install ordinal[train], or serve from a registry over HTTP"
        ) from error
    except (MlflowException, OSError) as error:
        raise RegistryError(
            f"the registry {_shown(registry)} does not answer: {_first_line(error)}"
        ) from error


def _look_up(client: Any, address: Address, cache: RegistryCache) -> Resolved:
    from mlflow.exceptions import MlflowException

    try:
        aliases = client.get_registered_model(address.name).aliases
    except MlflowException as error:
        if error.error_code != "RESOURCE_DOES_NOT_EXIST":
            raise
        names = listed(sorted(model.name for model in client.search_registered_models()))
        raise RegistryError(f"no model {address.name!r} is registered; there are {names}") from error
    version = address.version or str(aliases.get(address.alias, ""))
    if not version:
        raise RegistryError(
            f"model {address.name!r} has no alias {address.alias!r}; there are {listed(sorted(aliases))}"
        )
    try:
        source = client.get_model_version_download_uri(address.name, version)
    except MlflowException as error:
        if error.error_code != "RESOURCE_DOES_NOT_EXIST":
            raise
        found = client.search_model_versions(f"name='{address.name}'")
        versions = listed(sorted(int(one.version) for one in found))
        raise RegistryError(
            f"model {address.name!r} has no version {version}; there are {versions}"
        ) from error
    path = _file(source, address.name, version, cache)
    # An address that fixes the version says nothing of aliases, so that it means the same at every start.
    pointing = () if address.version else tuple(sorted(a for a, v in aliases.items() if str(v) == version))
    return Resolved(path, address.name, version, pointing)


def _file(source: str, name: str, version: str, cache: RegistryCache) -> Path:
    parts = urlsplit(source)
    if parts.scheme in ("", "file"):
        return _onnx_file(Path(unquote(parts.path)), f"models:/{name}/{version}")
    return _downloaded(name, version, cache.folder(name, version))


def _downloaded(name: str, version: str, folder: Path) -> Path:
    """Return a version's file in the cache, fetched unless it is there whole."""
    import mlflow

    address, kept = f"models:/{name}/{version}", folder / "model"
    if kept.is_dir():
        path = _onnx_file(kept, address)
        try:
            check_seal(path)
        except ArtifactError:
            shutil.rmtree(kept)
        else:
            return path
    folder.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=folder) as unfinished:
        fetched = mlflow.artifacts.download_artifacts(address, dst_path=unfinished)
        Path(fetched).rename(kept)
    return _onnx_file(kept, address)


def _onnx_file(folder: Path, address: str) -> Path:
    """Return the file of a folder made by `mlflow.onnx.log_model`."""
    from mlflow.models import Model

    if not (folder / "MLmodel").is_file():
        raise RegistryError(f"{address}: its files are gone: {folder} has no MLmodel")
    flavor = Model.load(str(folder)).flavors.get("onnx")
    if flavor is None:
        raise RegistryError(f"{address} is not an ONNX model: it was not made by this product")
    return folder / str(flavor["data"])


def _check_database(registry: str) -> None:
    """Refuse a SQLite file that is no registry; MLflow would make it one by looking."""
    if not registry.startswith(_SQLITE):
        return
    path = Path(unquote(registry.removeprefix(_SQLITE).partition("?")[0]))
    if not path.is_file():
        raise RegistryError(
            f"no registry at {registry}: there is no file {path}; set --tracking-uri or MLFLOW_TRACKING_URI"
        )
    try:
        with closing(sqlite3.connect(f"{path.resolve().as_uri()}?mode=ro", uri=True)) as database:
            found = database.execute(
                "select 1 from sqlite_master where name = 'registered_models'"
            ).fetchone()
    except sqlite3.Error as error:
        raise RegistryError(f"{path} cannot be read as a registry: {error}") from error
    if found is None:
        raise RegistryError(f"{path} is a SQLite file, but no MLflow registry")


def _shown(registry: str) -> str:
    """The registry's address without a password in it."""
    parts = urlsplit(registry)
    if parts.password is None:
        return registry
    return parts._replace(netloc=parts.netloc.replace(f":{parts.password}@", ":…@")).geturl()


def _first_line(error: Exception) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[0][:300]


def _main(arguments: Sequence[str]) -> int:
    parser = argparse.ArgumentParser(
        prog="python -m serving.registry",
        description="Print where the files of registered models lie, as a JSON list.",
    )
    parser.add_argument(
        "models", nargs="+", metavar="URI", help="models:/NAME@ALIAS or models:/NAME/VERSION"
    )
    parser.add_argument("--registry", required=True, help="address of the MLflow registry")
    parser.add_argument("--cache", type=Path, required=True, help="folder of downloads")
    options = parser.parse_args(arguments)
    try:
        addresses = [Address.parse(model) for model in options.models]
        answers = look_up(addresses, options.registry, options.cache)
    except OrdinalError as error:
        print(error, file=sys.stderr)
        return 2
    print(json.dumps([{**dataclasses.asdict(one), "path": str(one.path)} for one in answers]))
    return 0


if __name__ == "__main__":
    sys.exit(_main(sys.argv[1:]))
