"""Installed packages against the ranges that they ask of one another."""

from __future__ import annotations

import importlib.util
from collections.abc import Iterable, Iterator, Mapping
from typing import TYPE_CHECKING

from pipeline.doctor.finding import Finding, error, ok, warning
from pipeline.doctor.installed import Package, first, normal

if TYPE_CHECKING:
    from packaging.requirements import Requirement

OWN = "ordinal"
"""Our own distribution, whose ranges are pyproject's."""
NEEDED = ("", "serve", "train")
"""The extras that `ordinal-pipeline` needs."""
FURTHER = ("scale", "dev", "serve-gpu", "train-gpu")
"""Extras whose packages must fit where they are installed."""

TWINS = {
    "onnxruntime": (
        "onnxruntime-gpu", "onnxruntime", "onnxruntime-directml", "onnxruntime-openvino",
        "onnxruntime-qnn", "ort-nightly", "ort-nightly-gpu",
    ),
    "tensorflow": (
        "tensorflow", "tensorflow-cpu", "tensorflow-gpu", "tensorflow-intel", "tf-nightly",
        "tf-nightly-cpu",
    ),
}  # fmt: skip
"""Distributions that install the same module, the one that we want first."""


def check(found: Iterable[Package]) -> Iterator[Finding]:
    """Say which packages are missing, outside of a range, or installed twice."""
    every = list(found)
    try:
        import packaging.requirements  # noqa: F401 - the functions below import of it
    except ImportError as problem:
        yield error(
            "packages", f"versions cannot be compared without packaging: {problem}", "pip install packaging"
        )
        return
    by_name = first(every)
    problems = [*_own(by_name), *_one_another(by_name), *_twice(every)]
    yield from problems
    if not problems:
        yield ok("packages", f"{len(by_name)} packages are within the ranges of one another")


def twins(found: Iterable[Package]) -> Iterator[Finding]:
    """Say where two distributions have installed one module over the other."""
    by_name = first(found)
    for module, names in TWINS.items():
        there = [name for name in names if name in by_name]
        if len(there) > 1:
            yield error(
                module,
                f"{' and '.join(f'{name} {by_name[name].version}' for name in there)} install the same "
                f"module {module}, and which files lie there is chance",
                f'pip uninstall -y {" ".join(there)} && pip install "{_range(by_name, names[0])}"',
            )
        elif there:
            yield from _module(module, by_name[there[0]], _range(by_name, names[0]))


def _module(module: str, package: Package, wanted: str) -> Iterator[Finding]:
    try:
        spec = importlib.util.find_spec(module)
    except (ImportError, ValueError):
        spec = None
    if spec is None or spec.origin is None:  # a namespace of what an uninstalled twin has left
        yield error(
            module,
            f"{package.name} {package.version} is installed, but has no module {module}: a twin of it was "
            "uninstalled and took the files along",
            f'pip install --force-reinstall --no-deps "{wanted}"',
        )
    else:
        yield ok(module, f"{package.name} {package.version} alone installs it")


def _range(by_name: Mapping[str, Package], name: str) -> str:
    """Return what pyproject asks of a package, as pip takes it."""
    for extra in NEEDED:
        for requirement in _requirements(by_name.get(OWN), extra):
            if normal(requirement.name) == name:
                return f"{name}{requirement.specifier}"
    return name


def _own(by_name: Mapping[str, Package]) -> Iterator[Finding]:
    """Say what is not as pyproject asks for."""
    own = by_name.get(OWN)
    if own is None:
        yield error(
            "packages",
            f"the distribution {OWN} is not installed, so that what it needs is not known",
            'pip install "ordinal[train]", or in a checkout: pip install --editable ".[train]"',
        )
        return
    missing: set[str] = set()
    seen: set[str] = set()
    for extra in (*NEEDED, *FURTHER):
        for requirement in _requirements(own, extra):
            name = normal(requirement.name)
            if name == OWN or str(requirement) in seen:
                continue
            seen.add(str(requirement))
            package = by_name.get(name)
            if package is None:
                missing |= {name} if extra in NEEDED else set()
            elif not _fits(requirement, package):
                say = error if extra in NEEDED else warning
                wanted = f"{name}{requirement.specifier}"
                yield say(
                    "packages",
                    f"{name} {package.version or 'of an unknown version'} is installed, and {OWN} needs "
                    f"{wanted}" + _why(name),
                    f'pip install "{wanted}"',
                )
    if missing:
        yield error(
            "packages", f"not installed: {', '.join(sorted(missing))}", f'pip install "{OWN}[train]"'
        )


def _why(name: str) -> str:
    return ": newer ones break Prefect's server, whose metadata allows them" if name == "fastapi" else ""


def _one_another(by_name: Mapping[str, Package]) -> Iterator[Finding]:
    """Say what packages do not find as they need it; an error only below what we need ourselves."""
    ours = _closure(by_name)
    for package in by_name.values():
        if package.name == OWN:
            continue
        say = error if package.name in ours else warning
        for requirement in _requirements(package, ""):
            other = by_name.get(normal(requirement.name))
            if other is not None and _fits(requirement, other):
                continue
            if other is None and package.name not in ours:
                continue  # it is missing to a package that we do not use
            wanted = f"{requirement.name}{requirement.specifier}"
            has = f"{other.name} {other.version} is installed" if other else "it is not installed"
            yield say(
                "packages",
                f"{package.name} {package.version} needs {wanted}, and {has}",
                f'pip install "{wanted}"',
            )


def _closure(by_name: Mapping[str, Package]) -> set[str]:
    """Return the names of all that `ordinal[train]` draws in, as far as it is installed."""
    waiting = [
        normal(requirement.name)
        for extra in NEEDED
        for requirement in _requirements(by_name.get(OWN), extra)
    ]
    reached: set[str] = set()
    while waiting:
        name = waiting.pop()
        if name not in reached and name in by_name:
            reached.add(name)
            waiting += [normal(one.name) for one in _requirements(by_name[name], "")]
    return reached


def _twice(found: Iterable[Package]) -> Iterator[Finding]:
    """Say which packages have two versions in one folder, which an interrupted installation leaves."""
    places: dict[tuple[str, str], list[str]] = {}
    for package in found:
        places.setdefault((package.name, package.folder), []).append(package.version)
    for (name, folder), versions in places.items():
        if len(versions) > 1 and name:
            yield warning(
                "packages",
                f"{name} is installed twice in {folder}: {' and '.join(versions)}",
                f"pip uninstall -y {name}; pip uninstall -y {name}; pip install {name}=={max(versions)}",
            )
    broken = sorted({package.folder for package in found if not package.name})
    for folder in broken:
        yield warning(
            "packages",
            f"{folder} holds a distribution whose metadata has no name: an installation was cut off",
            f"rm -r the .dist-info folders in {folder} that have no file METADATA, and install anew",
        )


def _requirements(package: Package | None, extra: str) -> Iterator[Requirement]:
    from packaging.requirements import InvalidRequirement, Requirement

    for text in package.requires if package else ():
        try:
            requirement = Requirement(text)
        except InvalidRequirement:
            continue  # of an old package; pip does not heed it either
        marker = requirement.marker
        if marker is None:
            if not extra:
                yield requirement
        elif marker.evaluate({"extra": extra}) and (not extra or not marker.evaluate({"extra": ""})):
            yield requirement


def _fits(requirement: Requirement, package: Package) -> bool:
    from packaging.version import InvalidVersion

    try:
        return requirement.specifier.contains(package.version, prereleases=True)
    except InvalidVersion:
        return False
