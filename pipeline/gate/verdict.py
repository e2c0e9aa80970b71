"""What was looked at, what came of it, and whether that is enough."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field

_MARKS = {True: "✓", False: "✗", None: "–"}


@dataclass(frozen=True)
class Check:
    """One thing that was looked at.

    Attributes:
        name: What: `rows`, `champion`, `cost`, `slice: quality = 3`, `calibration`, `coverage`, and what
            was measured elsewhere, such as `service` and `latency`.
        passed: Whether it is good enough; None where it is only told.
        words: One sentence with its numbers, for somebody who has not read the config.
        numbers: The same numbers by name.
    """

    name: str
    passed: bool | None
    words: str
    numbers: Mapping[str, float] = field(default_factory=dict)


@dataclass(frozen=True)
class Verdict:
    """All checks of a candidate.

    Attributes:
        champion: The version it was compared with; None for the base-rate forecast.
        rows: Test rows that both were scored on.
        left_out: Test rows that the champion was trained on, which count for nothing.
        checks: In the order that they are told in.
    """

    champion: int | None
    rows: int
    left_out: int
    checks: tuple[Check, ...]

    @property
    def passed(self) -> bool:
        """Whether the candidate may become the champion."""
        return all(check.passed is not False for check in self.checks)

    @property
    def reasons(self) -> list[str]:
        """Why: the sentences of what failed, or of everything that had to pass."""
        failed = [check.words for check in self.checks if check.passed is False]
        return failed or [check.words for check in self.checks if check.passed]

    def json(self) -> str:
        """Return it as a JSON object with sorted keys."""
        return json.dumps({"passed": self.passed, **asdict(self)}, sort_keys=True, indent=2)

    def markdown(self, title: str) -> str:
        """Return it as a page: what came of it, what was compared, and a table of all checks.

        Args:
            title: Its heading, of one line.
        """
        failed = [check.name for check in self.checks if check.passed is False]
        came = f"**Not promoted:** {', '.join(failed)}." if failed else "**May become the champion.**"
        other = "the base-rate forecast" if self.champion is None else f"version {self.champion}"
        out = f", {self.left_out} left out" if self.left_out else ""
        lines = [
            f"# {title}",
            "",
            came,
            "",
            f"Compared with {other} on {self.rows} test rows{out}.",
            "",
            "| | check | what came of it |",
            "|:-:|---|---|",
            *(
                f"| {_MARKS[check.passed]} | {_cell(check.name)} | {_cell(check.words)} |"
                for check in self.checks
            ),
            "",
            "✓ good enough, ✗ not good enough, – only told.",
        ]
        return "\n".join(lines) + "\n"

    @property
    def digest(self) -> str:
        """SHA-256 of `json`."""
        return hashlib.sha256(self.json().encode()).hexdigest()


def _cell(text: str) -> str:
    """Return text that neither ends the cell of a table nor is taken for HTML or emphasis."""
    for mark in "\\|<*_`":
        text = text.replace(mark, f"\\{mark}")
    return " ".join(text.split())
