"""Waking up on time: to some microseconds, where the timers of asyncio and uvloop round to milliseconds."""

from __future__ import annotations

import asyncio
import ctypes
import functools
import os
import time
from types import TracebackType
from typing import Self

_NONBLOCK_CLOEXEC = os.O_NONBLOCK | os.O_CLOEXEC  # TFD_NONBLOCK and TFD_CLOEXEC are the same numbers
_ABSOLUTE = 1  # TFD_TIMER_ABSTIME
_SOONEST = 1  # ns; 0 would disarm the timer


class _Time(ctypes.Structure):
    _fields_ = (("seconds", ctypes.c_long), ("nanoseconds", ctypes.c_long))


class _Timer(ctypes.Structure):
    _fields_ = (("interval", _Time), ("value", _Time))


class Alarm:
    """A timer of the kernel, timerfd_create(2), on the running event loop; for one task at a time."""

    def __enter__(self) -> Self:
        self._descriptor = _checked(_libc().timerfd_create(time.CLOCK_MONOTONIC, _NONBLOCK_CLOEXEC))
        self._loop = asyncio.get_running_loop()
        self._woken: asyncio.Future[None] | None = None
        self._loop.add_reader(self._descriptor, self._ring)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._loop.remove_reader(self._descriptor)
        os.close(self._descriptor)

    async def until(self, moment: float) -> None:
        """Return when `time.monotonic()` is `moment`; at once where that is past."""
        if moment <= time.monotonic():
            return
        seconds, rest = divmod(moment, 1)
        timer = _Timer(value=_Time(int(seconds), max(int(rest * 1e9), _SOONEST)))
        _checked(_libc().timerfd_settime(self._descriptor, _ABSOLUTE, ctypes.byref(timer), None))
        self._woken = self._loop.create_future()
        await self._woken

    def _ring(self) -> None:
        os.read(self._descriptor, 8)  # how often it rang
        if self._woken is not None and not self._woken.done():
            self._woken.set_result(None)


@functools.cache
def _libc() -> ctypes.CDLL:
    return ctypes.CDLL(None, use_errno=True)


def _checked(result: int) -> int:
    if result < 0:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number))
    return result
