"""Replies that their callers do not take: gRPC holds them, however many there are."""

from __future__ import annotations

import functools
from collections import Counter
from typing import Any

import grpc

from serving.errors import Exhausted

LARGE = 2**16
"""Bytes of replies that are counted; on a connection there are at most 1,000 of smaller ones."""


class Unsent:
    """Bytes of large replies that are not sent, of each connection and in all; used on one thread."""

    def __init__(self, most: int, most_of_one: int) -> None:
        self._most = most
        self._most_of_one = most_of_one
        self._waiting: Counter[str] = Counter()  # by connection
        self._all = 0

    def hold(self, size: int, context: grpc.aio.ServicerContext[Any, Any]) -> Exhausted | None:
        """Count a reply until its call has ended; return why it is not to be sent, if callers take too few.

        A connection may always have one where there is none in the whole worker.
        """
        peer = context.peer()
        own = self._waiting.get(peer, 0)
        if own and own + size > self._most_of_one:
            return Exhausted(
                f"replies of {own} bytes wait until this connection takes them, and no more than "
                f"{self._most_of_one} may; this one has {size}",
                retry_after=1.0,
            )
        if self._all and self._all + size > self._most:
            return Exhausted(
                f"replies of {self._all} bytes wait until callers take them, and no more than "
                f"{self._most} may; this one has {size}",
                retry_after=1.0,
            )
        self._waiting[peer] += size
        self._all += size
        done: Any = functools.partial(self._leave, peer, size)
        context.add_done_callback(done)
        return None

    def _leave(self, peer: str, size: int, _: object) -> None:
        self._all -= size
        self._waiting[peer] -= size
        if not self._waiting[peer]:
            del self._waiting[peer]
