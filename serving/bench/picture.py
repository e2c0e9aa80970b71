"""Latencies as small pictures of text: how they are spread, and how they went over time."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

_EIGHTHS = " ▏▎▍▌▋▊▉█"
_HEIGHTS = "▁▂▃▄▅▆▇█"
_STEPS = ((1, 1.5, 2, 3, 5, 7), (1, 2, 5), (1,))  # borders within a decade, the finest first
_MOST_BARS = 14


def duration(seconds: float) -> str:
    """Return a time in the unit that suits it, with three digits."""
    if math.isnan(seconds):
        return "–"
    for unit, size in (("s", 1.0), ("ms", 1e-3), ("µs", 1e-6)):
        if seconds >= size or unit == "µs":
            number = seconds / size
            return f"{number:.{2 if number < 9.995 else 1 if number < 99.95 else 0}f} {unit}"
    raise AssertionError


def histogram(latency: NDArray[np.float64], width: int = 40) -> list[str]:
    """Return a line for each class of latencies, the classes growing as the latencies do."""
    borders = _borders(max(float(latency.min()), 1e-9), max(float(latency.max()), 1e-9))
    counts, _ = np.histogram(latency, borders)
    lines = []
    for low, high, count in zip(borders, borders[1:], counts.tolist(), strict=False):
        eighths = math.ceil(8 * width * count / counts.max())
        bar = _EIGHTHS[-1] * (eighths // 8) + _EIGHTHS[eighths % 8].strip()
        lines.append(f"{duration(low):>8} … {duration(high):>8} {count:>9,}  {bar}".rstrip())
    return lines


def _borders(least: float, most: float) -> list[float]:
    """Return round numbers around both, as many as there is room for."""
    decades = range(math.floor(math.log10(least)), math.floor(math.log10(most)) + 2)
    for steps in _STEPS:
        borders = [step * 10.0**decade for decade in decades for step in steps]
        first = sum(border <= least for border in borders) - 1
        last = sum(border <= most for border in borders)
        if last - first <= _MOST_BARS:
            break
    return borders[max(first, 0) : last + 1]


def over_time(
    intended: NDArray[np.float64], latency: NDArray[np.float64], seconds: float, width: int = 60
) -> tuple[str, float]:
    """Return a line of bars, each the highest latency of a slice of time, and the highest of all."""
    highest = np.zeros(width)
    np.maximum.at(highest, np.minimum((intended / seconds * width).astype(int), width - 1), latency)
    top = float(highest.max())
    levels = np.ceil(highest / top * len(_HEIGHTS)).astype(int).tolist()
    return "".join(_HEIGHTS[level - 1] if level else " " for level in levels), top
