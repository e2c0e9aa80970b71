"""What is installed where, for results must not depend on which machine does the work."""

from __future__ import annotations

from collections.abc import Callable, Sequence


def installed(packages: Sequence[str]) -> Callable[[], dict[str, str]]:
    """Return a function that returns the versions of packages, and a digest of our own code.

    It needs nothing but Python where it runs.
    """

    def look() -> dict[str, str]:
        import hashlib
        import platform
        from importlib.metadata import PackageNotFoundError, version
        from importlib.util import find_spec
        from pathlib import Path

        found = {"Python": platform.python_version()}
        for name in packages:
            try:
                found[name] = version(name)
            except PackageNotFoundError:
                found[name] = ""
        digest = hashlib.sha256()
        for name in ("pipeline", "serving"):
            spec = find_spec(name)
            for folder in (spec.submodule_search_locations or ()) if spec else ():
                for path in sorted(Path(folder).rglob("*.py")):
                    digest.update(path.read_bytes() + b"\0")
        found["ordinal's code"] = digest.hexdigest()[:12]
        return found

    return look


def difference(ours: dict[str, str], theirs: dict[str, str]) -> str:
    """Return what a node must have and has not, as the end of a sentence; "" where all is the same."""
    for name, version in ours.items():
        if theirs.get(name) != version:
            return (
                f"must have {name} {version or 'not installed'}, as this machine has, and has "
                f"{theirs.get(name) or 'none'}: install the same lock and the same ordinal on all nodes"
            )
    return ""
