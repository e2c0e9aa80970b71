"""Findings as people read them, and as JSON."""

from __future__ import annotations

import json
import sys
from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict

from pipeline.doctor.finding import ORDER, Finding

_MARKS = {"error": ("✗", "bold red"), "warning": ("!", "bold yellow"), "ok": ("✓", "green")}


def status(found: Sequence[Finding]) -> int:
    """Return the exit status: 1 where there is an error."""
    return int(any(one.severity == "error" for one in found))


def as_json(found: Sequence[Finding]) -> str:
    """Return one JSON object: the counts, and every finding."""
    counts = Counter(one.severity for one in found)
    return json.dumps(
        {
            **{f"{name}s" if name != "ok" else name: counts[name] for name in ORDER},
            "findings": _plain(found),
        },
        indent=2,
    )


def _plain(found: Sequence[Finding]) -> list[dict[str, str]]:
    return [asdict(one) for one in found]


def show(found: Sequence[Finding]) -> None:
    """Print them, each mend on a line of its own; without colours where rich is broken."""
    width = max((len(one.name) for one in found), default=0)
    try:
        from rich.console import Console
        from rich.text import Text
    except Exception:  # noqa: BLE001 - this command is for when packages do not work
        for one in found:
            print(f"{_MARKS[one.severity][0]} {one.name:{width}}  {one.found}")
            if one.mend:
                print(f"  {'':{width}}  mend: {one.mend}")
        print(summary(found))
        return
    console = Console(
        highlight=False, markup=False, emoji=False, soft_wrap=True, force_terminal=sys.stdout.isatty()
    )
    for one in found:
        mark, style = _MARKS[one.severity]
        console.print(Text.assemble((mark, style), f" {one.name:{width}}  ", one.found))
        if one.mend:
            console.print(Text.assemble(f"  {'':{width}}  ", ("mend: ", "dim"), (one.mend, "cyan")))
    console.print(Text(summary(found), "bold"))


def summary(found: Sequence[Finding]) -> str:
    """Return how many of each there are, in a line.

    >>> summary([Finding("disk", "error", "full", "rm"), Finding("gpu", "ok", "none")])
    '1 error, 0 warnings, 1 check without a finding'
    """
    counts = Counter(one.severity for one in found)
    return ", ".join(
        (
            _count(counts["error"], "error", "errors"),
            _count(counts["warning"], "warning", "warnings"),
            _count(counts["ok"], "check without a finding", "checks without a finding"),
        )
    )


def _count(number: int, one: str, more: str) -> str:
    return f"{number} {one if number == 1 else more}"
