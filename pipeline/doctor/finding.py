"""What was found, how bad it is, and what mends it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

Severity = Literal["error", "warning", "ok"]

ORDER: tuple[Severity, ...] = ("error", "warning", "ok")
"""The worst first."""


@dataclass(frozen=True)
class Finding:
    """One thing about the set-up.

    Attributes:
        name: Of the check, such as `disk`.
        severity: `error`: something will fail; `warning`: something may, or is not as it looks; `ok`.
        found: One sentence.
        mend: A command or a setting; empty where nothing is to be mended.
    """

    name: str
    severity: Severity
    found: str
    mend: str = ""


def error(name: str, found: str, mend: str) -> Finding:
    """Return a finding that lets a command fail."""
    return Finding(name, "error", found, mend)


def warning(name: str, found: str, mend: str) -> Finding:
    """Return a finding that may do so."""
    return Finding(name, "warning", found, mend)


def ok(name: str, found: str) -> Finding:
    """Return a finding that is none."""
    return Finding(name, "ok", found)
