"""Pieces of inline SVG: elements that escape what they are given, and scales."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass

from markupsafe import Markup, escape


def element(name: str, *inside: str, **attributes: object) -> Markup:
    """Return an element; texts are escaped unless they are Markup.

    `_` in the name of an attribute is `-`, at its end nothing; one that is None is left out.

    >>> element("text", "a < b", text_anchor="end", class_="tick")
    Markup('<text text-anchor="end" class="tick">a &lt; b</text>')
    """
    given = Markup("").join(
        Markup(' {}="{}"').format(key.rstrip("_").replace("_", "-"), _short(value))
        for key, value in attributes.items()
        if value is not None
    )
    content = Markup("").join(escape(part) for part in inside)
    return Markup("<{0}{1}>{2}</{0}>").format(Markup(name), given, content)


def joined(parts: Iterable[str]) -> Markup:
    """Return elements one after another."""
    return Markup("").join(parts)


def _short(value: object) -> str:
    return f"{value:.5g}" if isinstance(value, float) else str(value)


@dataclass(frozen=True)
class Scale:
    """From numbers to places on an axis.

    Attributes:
        low: What lies at its beginning.
        high: What lies at its end.
    """

    low: float
    high: float

    @classmethod
    def around(cls, values: Iterable[float], *, zero: bool = False, room: float = 0.06) -> Scale:
        """Return a scale that holds all finite values, with some room on either side.

        Args:
            values: Not finite ones are left out.
            zero: Whether it begins at 0.
            room: Share of its length.
        """
        finite = [value for value in values if math.isfinite(value)] or [0.0, 1.0]
        low, high = (0.0 if zero else min(finite)), max(finite)
        width = (high - low) or abs(high) or 1.0
        return cls(low if zero else low - room * width, high + room * width)

    def share(self, value: float) -> float:
        """Return where a value lies, 0 … 1, and never beyond."""
        return min(max((value - self.low) / (self.high - self.low), 0.0), 1.0)

    def percent(self, value: float) -> str:
        """Return where a value lies as SVG says it."""
        return f"{100 * self.share(value):.3g}%"

    def ticks(self, most: int = 6) -> list[float]:
        """Return round numbers on it, at least two steps apart from none.

        >>> Scale(0, 0.92).ticks()
        [0.0, 0.2, 0.4, 0.6, 0.8]
        """
        step = 10.0 ** math.floor(math.log10((self.high - self.low) / most))
        step *= next(factor for factor in (1, 2, 5, 10) if (self.high - self.low) / (step * factor) <= most)
        first, last = math.ceil(self.low / step - 1e-9), math.floor(self.high / step + 1e-9)
        return [round(place * step, 10) + 0.0 for place in range(first, last + 1)]
