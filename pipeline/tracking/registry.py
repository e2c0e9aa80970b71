"""Registered models: versions and aliases in MLflow."""

from __future__ import annotations

import json
import logging
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import mlflow
from mlflow.exceptions import MlflowException
from mlflow.tracking import MlflowClient
from mlflow.utils.mlflow_tags import MLFLOW_MODEL_VERSIONS

from pipeline.errors import InputError, StoreError, choice
from pipeline.tracking import store
from pipeline.tracking.logged import FILE, SEAL, Logged, log
from pipeline.tracking.store import reached
from serving.seal import check_seal

__all__ = ["CHAMPION", "Fetched", "Logged", "champion", "download", "fetch", "find", "log", "register"]

CHAMPION = "champion"
_ABOUT = (
    f"Services load the version that has the alias `{CHAMPION}`. The page of a version links to the report "
    "on it. Who moved the alias when, and why, is in the experiment `promotions`."
)

logger = logging.getLogger(__name__)


def register(uri: str, logged: Logged, name: str, description: str, tags: Mapping[str, str]) -> int:
    """Register a logged artifact as a new version, all of it at once; return its number.

    A version carries its description, its tags, its run and its seal from the moment that it is there.
    Where the link that MLflow's UI shows on the logged model cannot be set, the version goes again, and
    the registered model too where it was made for it.

    Raises:
        StoreError: Where MLflow's store fails.
        ArtifactError: Where the logged file is not whole.
    """
    uri = store.address(uri)
    tags = {**tags, SEAL: check_seal(logged.path)}
    with reached(uri):
        mlflow.set_tracking_uri(uri)  # MLflow's SQL registry asks the default store for `models:/m-…`
        client = MlflowClient(uri)
        made = _make_model(client, name)
        version = None
        try:
            version = client.create_model_version(
                name,
                logged.uri,
                logged.run_id,
                tags=dict(tags),
                description=description,
                model_id=_model_id(logged),
            ).version
            _link(client, logged, name, version)
        except BaseException:
            _unmake(client, name, version, model_too=made)
            raise
    return int(version)


def _make_model(client: MlflowClient, name: str) -> bool:
    """Make the registered model unless it is there; say whether it was made."""
    try:
        client.create_registered_model(name, description=_ABOUT)
    except MlflowException as error:
        if error.error_code != "RESOURCE_ALREADY_EXISTS":
            raise
        return False
    return True


def relink(uri: str, logged: Logged, name: str, version: int) -> None:
    """Set the link from a logged artifact to its version, where the process that registered it has not.

    Raises StoreError where MLflow's store fails.
    """
    uri = store.address(uri)
    with reached(uri):
        _link(MlflowClient(uri), logged, name, version)


def _link(client: MlflowClient, logged: Logged, name: str, version: int | str) -> None:
    """Note the version on the logged model, once, as `mlflow.register_model` does."""
    model_id = _model_id(logged)
    known = json.loads(client.get_logged_model(model_id).tags.get(MLFLOW_MODEL_VERSIONS, "[]"))
    if (name, str(version)) not in {(link["name"], str(link["version"])) for link in known}:
        links = json.dumps([*known, {"name": name, "version": version}])
        client.set_logged_model_tags(model_id, {MLFLOW_MODEL_VERSIONS: links})


def _model_id(logged: Logged) -> str:
    return logged.uri.removeprefix("models:/")


def _unmake(client: MlflowClient, name: str, version: int | str | None, *, model_too: bool) -> None:
    try:
        with reached(client.tracking_uri):
            if version is not None:
                client.delete_model_version(name, str(version))
            if model_too and not client.search_model_versions(_of(name)):
                client.delete_registered_model(name)
    except StoreError as error:
        what = f"model {name!r}" if version is None else f"version {version} of model {name!r}"
        logger.warning("%s stays registered: %s", what, error)


def registered(uri: str, name: str, run_id: str) -> int | None:
    """Return the version that a run has registered already, if it has.

    Raises StoreError where MLflow's store fails.
    """
    uri = store.address(uri)
    with reached(uri):
        found = MlflowClient(uri).search_model_versions(f"{_of(name)} and run_id='{run_id}'")
    return max((int(one.version) for one in found), default=None)


def champion(uri: str, name: str) -> int | None:
    """Return the version that the alias `champion` points to; None where there is no such model or alias.

    Raises StoreError where MLflow's store fails.
    """
    uri = store.address(uri)
    with reached(uri):
        try:
            aliases = MlflowClient(uri).get_registered_model(name).aliases
        except MlflowException as error:
            if error.error_code != "RESOURCE_DOES_NOT_EXIST":
                raise
            return None
    return int(aliases[CHAMPION]) if CHAMPION in aliases else None


def set_alias(uri: str, name: str, alias: str, version: int) -> None:
    """Point an alias at a version; raises StoreError where MLflow's store fails."""
    uri = store.address(uri)
    with reached(uri):
        MlflowClient(uri).set_registered_model_alias(name, alias, str(version))


def remove_alias(uri: str, name: str, alias: str) -> None:
    """Take an alias away, if it is there; raises StoreError where MLflow's store fails."""
    uri = store.address(uri)
    with reached(uri):
        MlflowClient(uri).delete_registered_model_alias(name, alias)


def versions(uri: str, name: str) -> list[int]:
    """Return the numbers of all versions of a model; raises StoreError where MLflow's store fails."""
    uri = store.address(uri)
    with reached(uri):
        return _versions(MlflowClient(uri), name)


def names(uri: str) -> list[str]:
    """Return the names of all registered models; raises InputError where the store does not answer."""
    uri = store.address(uri)
    with reached(uri, InputError):
        return sorted(model.name for model in MlflowClient(uri).search_registered_models(max_results=1000))


def tag_version(uri: str, name: str, version: int, tags: Mapping[str, str]) -> None:
    """Set tags of a version; raises StoreError where MLflow's store fails."""
    uri = store.address(uri)
    with reached(uri):
        client = MlflowClient(uri)
        for key, value in tags.items():
            client.set_model_version_tag(name, str(version), key, value)


def describe(uri: str, name: str, version: int, text: str) -> None:
    """Set what the page of a version begins with, in Markdown; raises StoreError where the store fails."""
    uri = store.address(uri)
    with reached(uri):
        MlflowClient(uri).update_model_version(name, str(version), store.cut(text, 5000))


def version_run(uri: str, name: str, version: int) -> str | None:
    """Return the id of the run that made a version; None where it was registered without one.

    Raises StoreError where MLflow's store fails.
    """
    uri = store.address(uri)
    with reached(uri):
        return MlflowClient(uri).get_model_version(name, str(version)).run_id or None


def version_seal(uri: str, name: str, version: int) -> str | None:
    """Return the seal that a version was registered with, if it was by `register`.

    Raises StoreError where MLflow's store fails.
    """
    uri = store.address(uri)
    with reached(uri):
        return MlflowClient(uri).get_model_version(name, str(version)).tags.get(SEAL)


def download(uri: str, run_id: str, artifact_path: str, folder: Path) -> Path | None:
    """Copy a file that a run keeps into `folder`; None where it has no such file, or there is no such run.

    Raises StoreError where MLflow's store fails.
    """
    uri = store.address(uri)
    parent, _, _ = artifact_path.rpartition("/")
    with reached(uri):
        client = MlflowClient(uri)
        try:
            there = client.list_artifacts(run_id, parent or None)
        except MlflowException as error:
            if error.error_code != "RESOURCE_DOES_NOT_EXIST":
                raise
            return None
        if artifact_path not in {one.path for one in there}:
            return None
        return Path(client.download_artifacts(run_id, artifact_path, str(folder)))


@dataclass(frozen=True)
class Fetched:
    """A registered version, and its artifact on this machine."""

    version: int
    path: Path


def fetch(
    uri: str, name: str, folder: Path, *, version: int | None = None, alias: str = CHAMPION
) -> Fetched:
    """Copy the artifact of a registered model into `folder`.

    Args:
        uri: Of MLflow's store; empty for MLflow's default.
        name: Of the registered model.
        folder: What it is copied to.
        version: Which version; `None` for the one that `alias` points to.
        alias: Counts where no version is given.

    Raises:
        InputError: Where there is no such model, version or alias, naming those that there are, or where
            the store does not answer.
    """
    uri = store.address(uri)
    found = find(uri, name, version=version, alias=alias)
    with reached(uri, InputError):
        # By its place, since `models:/NAME/VERSION` would be looked up in this process's default registry.
        place = MlflowClient(uri).get_model_version_download_uri(name, str(found))
        kept = mlflow.artifacts.download_artifacts(place, dst_path=str(folder), tracking_uri=uri)
    path = Path(kept) / FILE
    if not path.is_file():
        raise InputError(f"version {found} of model {name!r} has no {FILE}: it was not made by retrain")
    return Fetched(found, path)


def find(uri: str, name: str, *, version: int | None = None, alias: str = CHAMPION) -> int:
    """Return the number of the version that is meant, which exists; arguments are those of `fetch`.

    Raises:
        InputError: Where there is no such model, version or alias, naming those that there are, or where
            the store does not answer.
    """
    uri = store.address(uri)
    store.check_database(uri)
    with reached(uri, InputError):
        client = MlflowClient(uri)
        try:
            aliases = client.get_registered_model(name).aliases
        except MlflowException as error:
            if error.error_code != "RESOURCE_DOES_NOT_EXIST":
                raise
            raise choice(f"MLflow's store at {store.shown(uri)!r}", "model", name, names(uri)) from error
        if version is None:
            if alias not in aliases:
                raise choice(f"model {name!r}", "alias", alias, sorted(aliases))
            return int(aliases[alias])
        numbers = _versions(client, name)
        if version not in numbers:
            raise choice(f"model {name!r}", "version", str(version), map(str, numbers))
        return version


def _versions(client: MlflowClient, name: str) -> list[int]:
    return sorted(int(one.version) for one in client.search_model_versions(_of(name)))


def _of(name: str) -> str:
    """Return the condition that a version is of a model, in MLflow's own language."""
    return f"name={store.quoted(name)}"
