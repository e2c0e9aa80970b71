"""Through which a training on a node and the process that asked for it speak: a Ray actor.

It runs on the head, which is gone only with the cluster, and it ends with the process that made it.
"""

from __future__ import annotations

import asyncio
from collections import defaultdict
from typing import Any

FORGOTTEN: Any = None
"""What is heard of a training that nobody asks for any more."""


class Switchboard:
    """Messages and answers by the key of a training. Its methods wait for each other."""

    def __init__(self) -> None:
        self._said: defaultdict[str, asyncio.Queue[Any]] = defaultdict(asyncio.Queue)
        self._answers: defaultdict[str, asyncio.Queue[bool]] = defaultdict(asyncio.Queue)
        self._forgotten: set[str] = set()

    async def tell(self, key: str, message: Any) -> bool:
        """Say something, and return the answer: whether the training shall go on."""
        if key in self._forgotten:
            return False
        self._said[key].put_nowait(message)
        return await self._answers[key].get()

    async def hear(self, key: str) -> Any:
        """Return what was said next, once something was."""
        return await self._said[key].get()

    async def answer(self, key: str, go_on: bool) -> None:
        """Answer what was heard last."""
        self._answers[key].put_nowait(go_on)

    async def forget(self, key: str) -> None:
        """End all waiting: nobody asks for this training any more."""
        self._forgotten.add(key)
        if key in self._said:
            self._said.pop(key).put_nowait(FORGOTTEN)
        if key in self._answers:
            self._answers.pop(key).put_nowait(False)
