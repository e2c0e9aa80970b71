"""Environment variables that break things."""

from __future__ import annotations

import os
import re
import urllib.request
from collections.abc import Iterator, Mapping
from pathlib import Path

from pipeline.doctor import addresses
from pipeline.doctor.finding import Finding, error, ok, warning

NAME = "environment"
_OURS = ("pipeline", "serving")
_PROXIES = ("http_proxy", "https_proxy", "all_proxy", "HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY")
_CUDA = re.compile(r"lib(?:cudart|cublas|cublasLt)\.so\.(\d+)$")


def check(
    environment: Mapping[str, str], root: Path, servers: Mapping[str, str], stacks: tuple[int, ...]
) -> Iterator[Finding]:
    """Say which variables break something.

    Args:
        environment: The variables.
        root: The folder that our packages lie in.
        servers: Addresses that are asked over HTTP, by what says them.
        stacks: The versions of CUDA whose wheels are installed.
    """
    problems = [
        *_keras(environment),
        *_shadows(environment, root),
        *_libraries(environment, stacks),
        *_proxies(environment, servers),
    ]
    yield from problems
    if not problems:
        yield ok(NAME, "no variable that breaks something is set")


def _keras(environment: Mapping[str, str]) -> Iterator[Finding]:
    backend = environment.get("KERAS_BACKEND")
    if backend is not None and backend != "tensorflow":
        yield error(
            NAME,
            f"KERAS_BACKEND must be tensorflow, from which models are exported, got {backend!r}",
            "export KERAS_BACKEND=tensorflow",
        )
    if environment.get("TF_USE_LEGACY_KERAS") in ("1", "true", "True"):
        yield error(
            NAME,
            "TF_USE_LEGACY_KERAS lets TensorFlow use Keras 2, whose models cannot be exported here",
            "unset TF_USE_LEGACY_KERAS",
        )


def _shadows(environment: Mapping[str, str], root: Path) -> Iterator[Finding]:
    """Say which folder of PYTHONPATH has a package of the name of one of ours."""
    for entry in filter(None, environment.get("PYTHONPATH", "").split(os.pathsep)):
        folder = Path(entry).absolute()
        if folder.resolve() == root.resolve():
            return  # what comes after it is not found any more
        for name in _OURS:
            for path in (folder / name, folder / f"{name}.py"):
                if path.is_dir() or path.is_file():
                    yield error(
                        NAME,
                        f"PYTHONPATH has {entry}, whose {path.name} is imported in place of ours in {root}",
                        f"take {entry} out of PYTHONPATH",
                    )


def _libraries(environment: Mapping[str, str], stacks: tuple[int, ...]) -> Iterator[Finding]:
    for folder in filter(None, environment.get("LD_LIBRARY_PATH", "").split(os.pathsep)):
        found = {match[1] for path in _listed(Path(folder)) if (match := _CUDA.fullmatch(path.name))}
        other = sorted(int(one) for one in found if int(one) not in (stacks or (12, 13)))
        if other:
            wants = " and ".join(map(str, stacks)) if stacks else "12 to train and 13 to serve"
            yield warning(
                NAME,
                f"LD_LIBRARY_PATH has {folder} with CUDA {', '.join(map(str, other))}; wanted is {wants}",
                f"take {folder} out of LD_LIBRARY_PATH",
            )


def _listed(folder: Path) -> list[Path]:
    try:
        return list(folder.iterdir())
    except OSError:
        return []


def _proxies(environment: Mapping[str, str], servers: Mapping[str, str]) -> Iterator[Finding]:
    """Say which servers of this machine or network are asked through a proxy."""
    told = [name for name in _PROXIES if environment.get(name)]
    if not told:
        return
    through = {"127.0.0.1": "Prefect's embedded server"} if "PREFECT_API_URL" not in servers else {}
    for place, uri in servers.items():
        name = addresses.host(uri)
        if uri.startswith("http") and (addresses.is_here(name) or addresses.is_internal(name)):
            through.setdefault(name, place)
    through = {name: place for name, place in through.items() if not _passed_by(environment, name)}
    for name, place in through.items():
        say = error if addresses.is_here(name) else warning
        yield say(
            NAME,
            f"{told[0]} is set, and {name} ({place}) is asked through that proxy",
            f"export {_no_proxy(environment, list(through))}",
        )


def _passed_by(environment: Mapping[str, str], name: str) -> bool:
    excepted = environment.get("no_proxy") or environment.get("NO_PROXY") or ""
    return bool(urllib.request.proxy_bypass_environment(name, {"no": excepted}))  # type: ignore[attr-defined]


def _no_proxy(environment: Mapping[str, str], names: list[str]) -> str:
    before = environment.get("no_proxy") or environment.get("NO_PROXY") or ""
    every = dict.fromkeys([*filter(None, before.split(",")), "localhost", "127.0.0.1", *names])
    return f"no_proxy={','.join(every)}"
