"""How often a call is made, and when again."""

from __future__ import annotations

import random
import time

from serving.errors import Exhausted, OrdinalError

_MOST = 8  # the last wait is then 64 times what was told at first
_LATER = 1.2  # at most so many times what was wished for, lest all that were refused together come together


class Attempts:
    """The attempts of one call, within its timeout.

    A service that has too many requests says when there may be room: so long the caller waits, after
    another refusal twice, four, eight times as long, as google.rpc.RetryInfo has it. What is UNAVAILABLE
    is not seen here: gRPC makes it again (connections.py), within each of these attempts. It cannot do this
    too, since a request that is too large has the same status, and would be sent again.
    """

    def __init__(self, timeout: float | None, *, retry: bool) -> None:
        self._end = None if timeout is None else time.monotonic() + timeout
        self._left = _MOST if retry else 1
        self._factor = 1

    def timeout(self) -> float | None:
        """Seconds that the next attempt has; None: as many as it takes."""
        return None if self._end is None else max(0.0, self._end - time.monotonic())

    def wait(self, failure: OrdinalError) -> float | None:
        """Return seconds to wait before the next attempt; None where there is none.

        Nobody waits for a moment that comes after the end of the timeout.
        """
        self._left -= 1
        if not isinstance(failure, Exhausted) or not self._left:
            return None
        wait = failure.retry_after * self._factor * random.uniform(1, _LATER)
        self._factor *= 2
        left = self.timeout()
        return wait if left is None or wait < left else None
