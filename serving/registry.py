"""Asks the MLflow registry of MLFLOW_TRACKING_URI: `python -m serving.registry --cache FOLDER URI …`.

Prints what it found as a line of JSON, `serving.resolve.Findings`. With `--watch SECONDS` it looks on, and
a line on standard input makes it look at once; it ends when standard input does, so that it never
outlives the service. The only file of `serving` that imports mlflow, always in a process of its own.
"""

from __future__ import annotations

import argparse
import contextlib
import logging
import os
import signal
import sys
import threading
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from serving.cache import Copy, RegistryCache
from serving.errors import ArtifactError, OrdinalError, RegistryError
from serving.quote import listed
from serving.registry_address import check_database, shown
from serving.resolve import Address, Findings, Problem, Resolved, Unreachable
from serving.seal import check_seal

_SEAL = "ordinal.sha256"  # tag of a version: the seal of the file that was registered

_ENVIRONMENT = {
    # A registry that is down is told in seconds; by default MLflow tries for minutes.
    "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "2",
    "MLFLOW_HTTP_REQUEST_TIMEOUT": "20",
    "MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR": "false",
    # Else a database that was put in place of another would not be seen.
    "MLFLOW_SQLALCHEMYSTORE_POOLCLASS": "NullPool",
}
_RARELY = 120.0  # seconds between looks at a registry that does not answer, unless it is polled less often
_REFUSED = 600.0  # seconds after which a version that was refused is fetched again
_NICENESS = 10  # of looking, beside workers that answer requests


class Registry:
    """A registry, and the copies of its versions on this machine."""

    def __init__(self, address: str, cache: Path) -> None:
        self._address = address
        self._shown = shown(address)
        self._cache = RegistryCache(cache, address)
        self._models: dict[str, Any] = {}  # registered models by name, and why there are none: of one look
        self._down: Unreachable | None = None
        self._refused: dict[tuple[str, str, str], tuple[float, OrdinalError]] = {}

    def look(self, models: Sequence[str]) -> Findings:
        """Find each MODEL in the registry; its file is copied to this machine, and whole."""
        self._models, self._down = {}, None
        found: dict[str, Resolved] = {}
        problems: dict[str, Problem] = {}
        for model in models:
            try:
                address = Address.parse(model)
                found[model] = resolved = self._find(address)
                if address.alias:
                    self._cache.remember(address.name, address.alias, resolved.version, resolved.aliases)
            except OrdinalError as error:
                problems[model] = Problem.of(error)
        return Findings(found, problems)

    def forget_refusals(self) -> None:
        """Fetch versions that were refused again at the next look."""
        self._refused.clear()

    def prune(self, findings: Findings) -> None:
        """Remove copies that no service needs."""
        used = {one.path for one in findings.found.values()}
        for name in {one.name for one in findings.found.values()}:
            self._cache.prune(name, used)

    def _find(self, address: Address) -> Resolved:
        name, version = address.name, address.version
        copy = self._cache.recall(name, version) if version else None
        if copy is not None:
            return Resolved(copy.path, name, version, digest=copy.digest)
        model = self._registered(name)
        aliases = model.aliases
        version = version or str(aliases.get(address.alias, ""))
        if not version:
            raise RegistryError(
                f"model {name!r} has no alias {address.alias!r}; there are {listed(sorted(aliases))}"
            )
        made = str(model.creation_timestamp)
        copy = self._cache.recall(name, version, made) or self._fetched(name, version, made)
        # An address that fixes the version says nothing of aliases: it means the same at every start.
        pointing = (
            () if address.version else tuple(sorted(a for a, v in aliases.items() if str(v) == version))
        )
        return Resolved(copy.path, name, version, pointing, copy.digest)

    def _registered(self, name: str) -> Any:
        """Return a registered model, asked for once a look."""
        if self._down is not None:
            raise self._down
        if name not in self._models:
            try:
                self._models[name] = self._ask_for(name)
            except Unreachable as error:
                self._down = error  # each further question would take as long to fail
                raise
        return self._models[name]

    def _ask_for(self, name: str) -> Any:
        with self._reached() as client:
            from mlflow.exceptions import MlflowException  # here, for a registry that is not there at all

            try:
                return client.get_registered_model(name)
            except MlflowException as error:
                if error.error_code != "RESOURCE_DOES_NOT_EXIST":
                    raise
                names = listed(sorted(model.name for model in client.search_registered_models()))
                raise RegistryError(f"no model {name!r} is registered; there are {names}") from error

    def _fetched(self, name: str, version: str, made: str) -> Copy:
        """Copy a version's file to this machine, unless it was refused a short while ago."""
        key = (name, version, made)
        refused = self._refused.get(key)
        if refused is not None and time.monotonic() < refused[0] + _REFUSED:
            raise refused[1]
        self._refused.pop(key, None)
        try:
            return self._fetch(name, version, made)
        except Unreachable:
            raise
        except OrdinalError as error:
            self._refused[key] = (time.monotonic(), error)
            raise

    def _fetch(self, name: str, version: str, made: str) -> Copy:
        import mlflow

        address = f"models:/{name}/{version}"
        with self._reached() as client:
            stated = _seal(client, name, version)
        with self._cache.unfinished() as folder:
            try:
                fetched = Path(mlflow.artifacts.download_artifacts(address, dst_path=str(folder)))
                file = _onnx_file(fetched, address)
            except OrdinalError:
                raise
            except Exception as error:  # each kind of store raises exceptions of its own
                raise Unreachable(f"{address} cannot be fetched: {self._first_line(error)}") from error
            try:
                digest = check_seal(file)
            except ArtifactError as error:
                raise ArtifactError(str(error).replace(str(file), address)) from error
            if stated not in ("", digest):
                raise ArtifactError(f"{address}: its file is whole, but not the one that was registered")
            try:
                return self._cache.keep(name, version, file, digest, made)
            except OSError as error:
                raise Unreachable(f"{address} cannot be kept on this machine: {error}") from error

    @contextlib.contextmanager
    def _reached(self) -> Iterator[Any]:
        """A client of the registry; raises Unreachable where it does not answer."""
        check_database(self._address)
        for name, value in _ENVIRONMENT.items():
            os.environ.setdefault(name, value)
        import mlflow
        from mlflow.exceptions import MlflowException

        for noisy in ("mlflow", "alembic", "urllib3"):
            logging.getLogger(noisy).setLevel(logging.ERROR)
        try:
            mlflow.set_tracking_uri(self._address)
            yield mlflow.MlflowClient(self._address)
        except ImportError as error:  # mlflow-skinny speaks HTTP only
            raise RegistryError(
                f"the registry {self._shown} takes more than is installed here ({error}): "
                "install ordinal[train,servers], or serve from a registry over HTTP"
            ) from error
        except (MlflowException, OSError) as error:
            raise Unreachable(
                f"the registry {self._shown} does not answer: {self._first_line(error)}"
            ) from error

    def _first_line(self, error: Exception) -> str:
        line = (str(error).strip().splitlines() or [type(error).__name__])[0]
        return line.replace(self._address, self._shown)[:500]


def _seal(client: Any, name: str, version: str) -> str:
    """Return the seal that a version was registered with, empty where it was registered without."""
    from mlflow.exceptions import MlflowException

    try:
        return str(client.get_model_version(name, version).tags.get(_SEAL, ""))
    except MlflowException as error:
        if error.error_code != "RESOURCE_DOES_NOT_EXIST":
            raise
        found = client.search_model_versions(f"name='{name}'")
        versions = listed(sorted(int(one.version) for one in found))
        raise RegistryError(f"model {name!r} has no version {version}; there are {versions}") from error


def _onnx_file(folder: Path, address: str) -> Path:
    """Return the file of a folder made by `mlflow.onnx.log_model`."""
    import yaml

    if not (folder / "MLmodel").is_file():  # removed, or on a share that is not there now
        raise Unreachable(f"{address}: its files are gone: there is no MLmodel among them")
    # MLflow's own `Model.load` takes pandas, which mlflow-skinny does not bring.
    described = yaml.safe_load((folder / "MLmodel").read_text(encoding="utf-8"))
    flavor = described["flavors"].get("onnx")
    if flavor is None:
        raise RegistryError(f"{address} is not an ONNX model: it was not made by this product")
    return folder / str(flavor["data"])


def _watch(registry: Registry, models: Sequence[str], poll: float) -> None:
    """Look every `poll` seconds and whenever asked to, less often while the registry does not answer."""
    signal.signal(
        signal.SIGTERM, signal.SIG_IGN
    )  # a signal to all processes of a service is for the service
    asked = threading.Event()
    threading.Thread(target=_listen, args=(asked,), daemon=True).start()
    before, failures = None, 0
    while True:
        findings = registry.look(models)
        print(findings.as_line(), file=sys.__stdout__, flush=True)
        if before is None:
            os.nice(_NICENESS)
        if findings.found != before:
            registry.prune(findings)
        before = findings.found
        failed = any(problem.kind == "unreachable" for problem in findings.problems.values())
        failures = failures + 1 if failed else 0
        if asked.wait(_pause(poll, failures)):
            asked.clear()
            registry.forget_refusals()


def _listen(asked: threading.Event) -> None:
    for _ in sys.stdin:
        asked.set()
    os._exit(0)  # also out of a download


def _pause(poll: float, failures: int) -> float | None:
    return min(poll * 2.0 ** min(failures, 20), max(poll, _RARELY)) if poll else None


def _main(arguments: Sequence[str]) -> int:
    parser = argparse.ArgumentParser(
        prog="python -m serving.registry",
        description="Copy registered models to this machine, and print where they lie, as a line of JSON.",
    )
    parser.add_argument(
        "models", nargs="+", metavar="URI", help="models:/NAME@ALIAS or models:/NAME/VERSION"
    )
    parser.add_argument("--cache", type=Path, required=True, help="folder of copies")
    parser.add_argument("--watch", type=float, metavar="SECONDS", help="look again; 0: only when asked to")
    options = parser.parse_args(arguments)
    sys.stdout = sys.stderr  # what libraries print is no answer
    registry = Registry(os.environ["MLFLOW_TRACKING_URI"], options.cache)
    if options.watch is not None:
        _watch(registry, options.models, options.watch)
    print(registry.look(options.models).as_line(), file=sys.__stdout__, flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(_main(sys.argv[1:]))
