"""Tables as Markdown, which is what docs/benchmarks.md takes."""

from __future__ import annotations

from collections.abc import Sequence


def show(
    title: str, headings: Sequence[str], rows: Sequence[Sequence[str]], notes: Sequence[str] = ()
) -> None:
    """Print a table; the first column is text, the others are numbers."""
    widths = [max(len(row[place]) for row in (headings, *rows)) for place in range(len(headings))]

    def line(cells: Sequence[str]) -> str:
        first, *others = cells
        aligned = [cell.rjust(width) for cell, width in zip(others, widths[1:], strict=True)]
        return f"| {' | '.join([first.ljust(widths[0]), *aligned])} |"

    print(f"\n### {title}\n")
    print(line(headings))
    print(f"|{'|'.join(['-' * (widths[0] + 2), *('-' * (width + 1) + ':' for width in widths[1:])])}|")
    print("\n".join(line(row) for row in rows))
    for note in notes:
        print(f"\n{note}")
    print(flush=True)


def held(reached: float, bar: float, *, most: bool = True) -> str:
    """Return a bar, and whether it holds."""
    sign, holds = ("≤", reached <= bar) if most else ("≥", reached >= bar)
    return f"{sign} {bar:g}: {'holds' if holds else 'MISSED'}"
