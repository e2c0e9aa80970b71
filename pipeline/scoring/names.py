"""Names of columns that are written beside those of the file of rows."""

from __future__ import annotations

from collections.abc import Container


def free(name: str, taken: Container[str], prefix: str) -> str:
    """Return a name that is not taken, with a prefix as often as that needs.

    >>> free("row", {"row", "input.row"}, "input.")
    'input.input.row'
    """
    while name in taken:
        name = prefix + name
    return name
