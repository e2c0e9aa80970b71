"""The installed distributions, as their metadata tells."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from importlib import metadata


@dataclass(frozen=True)
class Package:
    """One distribution.

    Attributes:
        name: As PEP 503 normalises it.
        version: Empty where its metadata cannot be read.
        requires: Its requirements, unparsed.
        python: Which versions of Python it is for.
        folder: Where its metadata lies.
    """

    name: str
    version: str
    requires: tuple[str, ...] = ()
    python: str = ""
    folder: str = ""


def normal(name: str) -> str:
    """Return a distribution's name as PEP 503 normalises it.

    >>> normal("Onnxruntime_GPU")
    'onnxruntime-gpu'
    """
    return re.sub(r"[-_.]+", "-", name).lower()


def packages() -> list[Package]:
    """Return what `sys.path` holds, in its order; a name may come twice, and the first is imported."""
    return [_package(one) for one in metadata.distributions()]


def _package(one: metadata.Distribution) -> Package:
    known = one.metadata
    return Package(
        normal(_field(known, "Name")),
        _field(known, "Version"),
        tuple(one.requires or ()),
        _field(known, "Requires-Python"),
        str(one.locate_file("")),
    )


def _field(known: metadata.PackageMetadata, name: str) -> str:
    if name not in known:  # of an installation that was cut off
        return ""
    return known[name] or ""


def first(found: Iterable[Package]) -> dict[str, Package]:
    """Return the one of each name that is imported."""
    by_name: dict[str, Package] = {}
    for package in found:
        by_name.setdefault(package.name, package)
    return by_name
