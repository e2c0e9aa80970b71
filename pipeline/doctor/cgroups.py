"""What control groups, of version 1 or 2, allow this process: containers are limited by them."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path


def of_this_process(proc: Path) -> dict[str, str]:
    """Return this process's group by controller; that of version 2 has no name."""
    lines = (line.split(":", 2) for line in _text(proc / "self" / "cgroup").splitlines())
    return {
        name: path
        for parts in lines
        if len(parts) == 3
        for name in parts[1].split(",")
        for path in parts[2:]
    }


def _above(root: Path, group: str) -> Iterator[Path]:
    """Yield a group's folder and those above it, each of which may limit."""
    place = root / group.strip("/")
    while place != root and root in place.parents:
        yield place
        place = place.parent
    yield root


def cpus(root: Path, groups: dict[str, str]) -> float | None:
    """Return how many cores' worth of time the group may use; None for no limit."""
    limits = []
    for place in _above(root, groups.get("", "/")):
        quota, _, period = _text(place / "cpu.max").strip().partition(" ")
        limits += [int(quota) / int(period)] if quota.isdecimal() and period.isdecimal() else []
    for folder in ("cpu", "cpu,cpuacct"):
        for place in _above(root / folder, groups.get("cpu", "/")):
            quota, period = (_text(place / f"cpu.cfs_{name}_us").strip() for name in ("quota", "period"))
            limits += [int(quota) / int(period)] if quota.isdecimal() and period.isdecimal() else []
    return min(limits, default=None)


def memory(root: Path, groups: dict[str, str]) -> int | None:
    """Return how many bytes the group may use; None for no limit."""
    texts = [_text(place / "memory.max") for place in _above(root, groups.get("", "/"))]
    older = _above(root / "memory", groups.get("memory", "/"))
    texts += [_text(place / "memory.limit_in_bytes") for place in older]
    limits = []
    for text in texts:
        with suppress(ValueError):  # "max", or no such file
            limits.append(int(text))
    return min((limit for limit in limits if limit < 2**60), default=None)  # version 1 writes a huge number


def _text(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8")
    except OSError:
        return ""
