"""A queue in which nobody waits behind all that one caller has sent."""

from __future__ import annotations

from collections import OrderedDict, deque
from collections.abc import Callable, Hashable, Iterator
from typing import Generic, TypeVar

_Item = TypeVar("_Item")


class FairQueue(Generic[_Item]):
    """Items of several flows, one of each in turn; within a flow the first that came goes first.

    A stream is a flow, and so is every single call: a call waits for at most one message of each stream.
    """

    def __init__(self) -> None:
        self._flows: OrderedDict[Hashable, deque[_Item]] = OrderedDict()
        self._length = 0

    def __len__(self) -> int:
        return self._length

    def has(self, flow: Hashable) -> bool:
        """Whether an item of this flow is there."""
        return flow in self._flows

    def put(self, flow: Hashable, item: _Item) -> None:
        """Add an item at the end of its flow; a flow that had none is the last in turn."""
        self._flows.setdefault(flow, deque()).append(item)
        self._length += 1

    def get(self) -> _Item:
        """Remove and return the next item; raises IndexError where there is none."""
        if not self._flows:
            raise IndexError("the queue is empty")
        return self._pop(next(iter(self._flows)))

    def take(self, fits: Callable[[_Item], bool]) -> Iterator[_Item]:
        """Remove and yield items that fit, one of each flow in turn, as long as there are any.

        Only the first item of a flow is looked at, so that its order is kept. What does not fit keeps its
        turn: it cannot be overtaken for ever.
        """
        taken = True
        while taken:
            taken = False
            for flow in tuple(self._flows):
                if fits(self._flows[flow][0]):
                    taken = True
                    yield self._pop(flow)

    def _pop(self, flow: Hashable) -> _Item:
        items = self._flows.pop(flow)
        item = items.popleft()
        if items:
            self._flows[flow] = items  # at the end: the others are next
        self._length -= 1
        return item
