"""Charts as inline SVG. Colours are classes, which the style sheet gives their light and dark ones.

Lanes have places in percent and no view box, so that they take any width and their dots stay round.
Panels are squares, of which there are several side by side.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from markupsafe import Markup
from numpy.typing import NDArray

from pipeline.metrics import CostForecast, Reliability
from pipeline.report.page.svg import Scale, element, joined

_SIDE, _LEFT, _BELOW, _ABOVE, _GAP = 164, 25, 25, 14, 6  # of a panel
LANE = 22
_NAMED = 14  # labels whose names fit under small bars
_ALL, _WIDEST, _FLAT = 60, 300, 0.005  # labels that all have a bar, pixels, what has none of more labels


class Dot(NamedTuple):
    """A number on a lane."""

    value: float
    title: str
    kind: str = "plain"  # plain, strong or warn
    low: float | None = None  # of a whisker
    high: float | None = None


def lane(
    scale: Scale,
    dots: Sequence[Dot],
    *,
    marks: Sequence[float] = (),
    band: tuple[float, float] | None = None,
) -> Markup:
    """Return dots on a line, with their whiskers.

    Args:
        scale: Of the line.
        dots: The last are drawn over the first.
        marks: Values to compare with, as ticks across.
        band: What is to be expected, as a bar behind.
    """
    middle = LANE / 2
    parts = [element("line", x1="0", x2="100%", y1=middle, y2=middle, class_="guide")]
    if band:
        left, right = map(scale.share, band)
        parts.append(
            element(
                "rect", x=f"{100 * left:.3g}%", width=f"{100 * (right - left):.3g}%",
                y=middle - 5, height=10, rx=2, class_="band",
            )
        )  # fmt: skip
    parts += [
        element("line", x1=scale.percent(mark), x2=scale.percent(mark), y1=2, y2=LANE - 2, class_="mark")
        for mark in marks
    ]
    for dot in dots:
        if dot.low is not None and dot.high is not None:
            ends = {"x1": scale.percent(dot.low), "x2": scale.percent(dot.high)}
            parts.append(element("line", **ends, y1=middle, y2=middle, class_=f"whisker {dot.kind}"))
        title = element("title", dot.title)
        parts.append(
            element(
                "circle", title, cx=scale.percent(dot.value), cy=middle, r=4.5, class_=f"dot {dot.kind}"
            )
        )
    told = "; ".join(dot.title for dot in dots)
    return element("svg", *parts, class_="lane", height=LANE, role="img", aria_label=told)


def axis(scale: Scale, percent: bool = False) -> Markup:
    """Return the ticks of lanes that have this scale."""
    parts = []
    for number, tick in enumerate(scale.ticks()):
        place = scale.share(tick)
        anchor = "start" if place < 0.03 else "end" if place > 0.97 else "middle"
        text = f"{100 * tick:g} %" if percent else f"{tick:g}"
        at = scale.percent(tick)
        parts.append(element("line", x1=at, x2=at, y1=0, y2=4, class_="guide"))
        kind = "tick second" if number % 2 else "tick"  # on narrow screens every other one is left out
        parts.append(element("text", text, x=at, y=15, text_anchor=anchor, class_=kind))
    return element("svg", *parts, class_="lane", height=18, aria_hidden="true")


def reliability(before: Reliability, after: Reliability, title: str) -> Markup:
    """Return how often an event happened over how often it was said to, before and after calibration."""
    scale = Scale(0, 1)
    parts = [_frame(scale, "said", "happened")]
    for curve, kind in ((before, "before"), (after, "after")):
        seen = curve.rows > 0
        size = 1.6 + 5 * np.sqrt(curve.rows[seen] / max(int(curve.rows.sum()), 1))
        x, y = _x(scale, curve.forecast[seen]), _y(scale, curve.frequency[seen])
        points = " ".join(f"{a:.1f},{b:.1f}" for a, b in zip(x, y, strict=True))
        parts.append(element("polyline", points=points, class_=f"curve {kind}"))
        parts += [
            element(
                "circle", element("title", f"{kind}: said {said:.2f}, happened {came:.2f}, {n} rows"),
                cx=f"{a:.1f}", cy=f"{b:.1f}", r=f"{r:.1f}", class_=f"point {kind}",
            )
            for a, b, r, said, came, n in zip(
                x, y, size, curve.forecast[seen], curve.frequency[seen], curve.rows[seen], strict=True
            )
        ]  # fmt: skip
    return _panel(parts, title)


def forecast(costs: CostForecast, title: str) -> Markup:
    """Return realised over expected cost of groups of rows, bars of two standard errors."""
    error = 2 * np.nan_to_num(costs.group_standard_error)
    far = float(max(costs.group_expected.max(), costs.group_realised.max(), 1e-9)) * 1.06
    scale = Scale(0, far)
    parts = [_frame(scale, "expected", "realised")]
    for said, came, bar, n in zip(
        costs.group_expected, costs.group_realised, error, costs.group_rows, strict=True
    ):
        x = f"{_x(scale, said):.1f}"
        ends = {"y1": f"{_y(scale, came - bar):.1f}", "y2": f"{_y(scale, came + bar):.1f}"}
        parts.append(element("line", x1=x, x2=x, **ends, class_="whisker plain"))
        told = element("title", f"{n} rows: expected {said:.3f}, realised {came:.3f} ± {bar:.3f}")
        parts.append(
            element("circle", told, cx=x, cy=f"{_y(scale, came):.1f}", r=3.4, class_="point after")
        )
    return _panel(parts, title)


def bars(probabilities: NDArray[np.floating], truth: int, labels: Sequence[str]) -> Markup:
    """Return the probabilities of one row as small bars, that of the true label marked.

    Args:
        probabilities: `(K,)`.
        truth: Index of the true label.
        labels: K names.
    """
    wide = max(3.0, min(18.0, 150 / len(labels)))
    height = 40.0
    named = len(labels) <= _NAMED and max(map(len, labels)) <= 2
    parts = []
    for k, p in enumerate(probabilities):
        if len(labels) > _ALL and p < _FLAT and k != truth:
            continue
        kind = "truth" if k == truth else "other"
        title = element("title", f"{labels[k]}: {p:.3f}")
        parts.append(element("rect", title, x=k * wide, y=0, width=wide, height=height + 4, class_="catch"))
        tall = max(float(p) * height, 0.75)
        parts.append(
            element("rect", x=k * wide + 0.75, y=height - tall, width=wide - 1.5, height=tall, class_=kind)
        )
        if k == truth:
            parts.append(
                element("rect", x=k * wide + 0.75, y=height + 2, width=wide - 1.5, height=2, class_=kind)
            )
        if named:
            parts.append(element("text", labels[k], x=(k + 0.5) * wide, y=height + 14, class_=kind))
    whole, tall = wide * len(labels), height + (17 if named else 4)
    told = f"probability of the true label {labels[truth]} is {probabilities[truth]:.3f}"
    return element(
        "svg", *parts, class_="bars", viewBox=f"0 0 {whole:g} {tall:g}", width=min(whole, _WIDEST),
        height=tall, preserveAspectRatio="none", role="img", aria_label=told,
    )  # fmt: skip


def _panel(parts: Sequence[Markup], title: str) -> Markup:
    box = f"0 0 {_SIDE} {_SIDE}"
    return element("svg", joined(parts), class_="panel", viewBox=box, role="img", aria_label=title)


def _frame(scale: Scale, across: str, up: str) -> Markup:
    """Return axes with ticks, their names, and the diagonal."""
    right, top = _SIDE - _GAP, _ABOVE
    parts = [
        element("line", x1=_LEFT, x2=right, y1=_SIDE - _BELOW, y2=top, class_="diagonal"),
        element("line", x1=_LEFT, x2=right, y1=_SIDE - _BELOW, y2=_SIDE - _BELOW, class_="guide"),
        element("line", x1=_LEFT, x2=_LEFT, y1=_SIDE - _BELOW, y2=top, class_="guide"),
    ]
    for tick in scale.ticks(3):
        x, y = _x(scale, tick), _y(scale, tick)
        text = f"{tick:g}"
        anchor = "end" if tick >= scale.high else "middle"
        parts.append(element("text", text, x=x, y=_SIDE - _BELOW + 12, text_anchor=anchor, class_="tick"))
        if tick > 0:  # once is enough
            parts.append(element("text", text, x=_LEFT - 5, y=y + 3.5, text_anchor="end", class_="tick"))
    parts.append(element("text", across, x=right, y=_SIDE - 1, text_anchor="end", class_="tick name"))
    parts.append(element("text", up, x=_LEFT - 5, y=8, class_="tick name"))
    return joined(parts)


def _x(scale: Scale, value: NDArray[np.floating] | float) -> NDArray[np.float64]:
    share = (np.asarray(value, float) - scale.low) / (scale.high - scale.low)
    return _LEFT + np.clip(share, 0, 1) * (_SIDE - _GAP - _LEFT)


def _y(scale: Scale, value: NDArray[np.floating] | float) -> NDArray[np.float64]:
    share = (np.asarray(value, float) - scale.low) / (scale.high - scale.low)
    return _SIDE - _BELOW - np.clip(share, 0, 1) * (_SIDE - _ABOVE - _BELOW)
