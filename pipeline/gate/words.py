"""Numbers as a verdict says them."""

from __future__ import annotations

import math


def percent(share: float) -> str:
    """Return a share as it is said.

    >>> percent(0.95), percent(0.999)
    ('95 %', '99.9 %')
    """
    return f"{100 * share:.6g} %"


def places(size: float) -> int:
    """Return the decimal places that show three digits of a number of that size, and at least three.

    >>> places(1.25), places(0.0125), places(0)
    (3, 4, 3)
    """
    return max(3, 2 - math.floor(math.log10(size))) if size > 0 else 3
