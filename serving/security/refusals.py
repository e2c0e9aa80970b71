"""What the guard refuses is counted, and told in the log now and then."""

from __future__ import annotations

import logging
import time
from collections import Counter

from serving.calls import status_of
from serving.errors import Exhausted, OrdinalError
from serving.telemetry import Telemetry

_COUNTED = ("/ordinal.v1.OrdinalService/", "/inference.GRPCInferenceService/")
_TELL = 10.0  # seconds between lines of the log about the same

logger = logging.getLogger(__name__)


class Refusals:
    """Calls that were refused before anything was done for them; used on the event loop's thread.

    They are counted by their status, but not among the seconds that requests take: a flood of them would
    hide how long the others wait.
    """

    def __init__(self, telemetry: Telemetry) -> None:
        self._telemetry = telemetry
        self._untold: Counter[str] = Counter()
        self._told: dict[str, float] = {}

    def count(self, method: str, error: OrdinalError) -> None:
        """Count a call of a method that there is; one beyond its limits also as such: that is no fault."""
        if not method.startswith(_COUNTED):
            return
        self._telemetry.call(method.rpartition("/")[2]).refused(status_of(error).name)
        if isinstance(error, Exhausted):
            self._telemetry.refused("", "token_limit")

    def tell(self, what: str) -> None:
        """Log how often this was so, now and then: a line for each would be one more load."""
        self._untold[what] += 1
        now = time.monotonic()
        if now - self._told.get(what, -_TELL) >= _TELL:
            logger.warning("%s: %d", what, self._untold.pop(what))
            self._told[what] = now
