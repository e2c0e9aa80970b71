"""What can go wrong in the pipeline.

PipelineError
├── InputError    the user's config or data is wrong: says where, what must hold, what came
├── Diverged      a training ended in numbers that are not finite
└── ExportError   the exported file does not say what the Keras model says
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable


class PipelineError(Exception):
    """Root of the tree."""


class InputError(PipelineError):
    """The config or the data is wrong; the command ends with status 2 and this sentence."""


class Diverged(PipelineError):
    """A trained network answers with numbers that are not finite; the other trials go on."""


class ExportError(PipelineError):
    """The exported graph cannot be trusted; nothing is registered."""


def nearest(name: str, allowed: Iterable[str]) -> str:
    """Return `"; did you mean 'x'?"` for the nearest of the allowed names, in any case, or nothing.

    >>> nearest("epoch", ["epochs", "losses"])
    "; did you mean 'epochs'?"
    """
    names = list(allowed)
    close = difflib.get_close_matches(name, names, n=1)
    if not close:
        by_lower = {other.lower(): other for other in reversed(names)}
        close = [by_lower[lower] for lower in difflib.get_close_matches(name.lower(), by_lower, n=1)]
    return f"; did you mean {close[0]!r}?" if close else ""


def choice(where: str, what: str, name: str, allowed: Iterable[str]) -> InputError:
    """Return the error for a name that is not one of those allowed.

    >>> print(choice("search.losses", "loss is named", "rsp", ["rps", "focal"]))
    search.losses: no loss is named 'rsp'; did you mean 'rps'? (allowed: rps, focal)
    """
    names = list(allowed)
    return InputError(
        f"{where}: no {what} {name!r}{nearest(name, names)} (allowed: {', '.join(names) or 'none'})"
    )
