"""What can go wrong in the pipeline.

PipelineError
├── InputError      the user's config or data is wrong: says where, what must hold, what came
├── Diverged        a training ended in numbers that are not finite
├── Stopped         a training was ended before its end
│   ├── Pruned      since it did not look promising
│   └── OutOfTime   since search.seconds were over
├── Died            the process of a training is gone
├── ExportError     the exported file does not say what the Keras model says
├── StoreError      MLflow's store cannot be used any more
└── PromotionError  the alias has not moved, or was put back
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


class Stopped(PipelineError):
    """A training was ended before its end; the other trials go on."""


class Pruned(Stopped):
    """It did not look promising."""


class OutOfTime(Stopped):
    """The seconds of all trials were over."""


class Died(PipelineError):
    """The process of a training ended by itself, for want of memory, say; the other trials go on."""


class ExportError(PipelineError):
    """The exported graph cannot be trusted; nothing is registered."""


class StoreError(PipelineError):
    """MLflow's store failed while it was used: full, read-only, gone; what it has is whole."""


class PromotionError(PipelineError):
    """A version did not become the champion; the message says why, and which one is."""


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
