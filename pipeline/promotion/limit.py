"""A Prefect limit as a lock between machines."""

from __future__ import annotations

import logging
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress

from pipeline.errors import PromotionError

LEASE = 120.0
"""Seconds that a lock outlives its process when that is killed; Prefect may look up to 15 s later."""
AWAY = 150.0
"""Seconds that a retraining waits for a server that does not answer."""
_AGAIN = 3.0

logger = logging.getLogger(__name__)


def server() -> str | None:
    """Return the address of the Prefect server that is set, if one is.

    Without one, each process has an embedded server. That one knows the leases of its own process only,
    so that a killed process would hold a limit for ever.
    """
    from prefect.settings import PREFECT_API_URL

    address: str | None = PREFECT_API_URL.value()
    return address


@contextmanager
def held(name: str, wait: float) -> Iterator[None]:
    """Hold the only slot of a global concurrency limit, which is made if it is missing.

    A process that is killed stops renewing its lease, and the server frees the slot a little more than
    `LEASE` later. Leases live in the server's memory unless it is set up otherwise: one that is started
    anew has forgotten them, and then the slot stays taken until somebody frees it by hand.

    Raises:
        PromotionError: Where the server does not answer, or the slot is not free within `wait` seconds.
    """
    import httpx

    stack = _taken(name, wait)
    inside: BaseException | None = None
    try:
        with stack:
            try:
                yield
            except BaseException as error:
                inside = error
                raise
    except httpx.HTTPError as error:
        if error is inside:
            raise
        # What was done under the lock is done: that it is not freed at once is no failure.
        logger.warning(
            "the Prefect limit %s is freed by its lease, within minutes: %s", name, _plain(error)
        )
        if inside is not None:
            raise inside from None


def _taken(name: str, wait: float) -> ExitStack:
    """Take the slot, and return what gives it back."""
    import httpx
    from prefect.concurrency.asyncio import ConcurrencySlotAcquisitionError
    from prefect.concurrency.sync import concurrency

    until = time.monotonic() + (AWAY if _in_a_run() else 0)
    while True:
        stack = ExitStack()
        try:
            _make(name)
            # `strict` ends this process where the lease is lost, since another may then hold the lock.
            stack.enter_context(concurrency(name, timeout_seconds=wait, lease_duration=LEASE, strict=True))
            return stack
        except TimeoutError as error:
            raise PromotionError(
                f"the Prefect limit {name!r} was not free in {wait:.0f} s; {_by_hand(name)}"
            ) from error
        except (httpx.HTTPError, ConcurrencySlotAcquisitionError, RuntimeError) as error:
            if not isinstance(error, httpx.TransportError) or time.monotonic() > until:
                raise PromotionError(
                    f"the Prefect server at {server()} does not lock: {_plain(error)}"
                ) from error
            logger.warning("waiting for the Prefect server at %s: %s", server(), _plain(error))
        time.sleep(_AGAIN)


def _in_a_run() -> bool:
    """Whether this is a retraining, which waits, and not a command, before which somebody sits."""
    from prefect.runtime import flow_run

    return flow_run.id is not None


def _plain(error: Exception) -> str:
    return " ".join(str(error).split())[:300] or type(error).__name__


def _make(name: str) -> None:
    """Make the limit unless it is there; Prefect's own `concurrency` only refuses one that is missing."""
    from prefect.client.orchestration import get_client
    from prefect.client.schemas.actions import GlobalConcurrencyLimitCreate
    from prefect.exceptions import ObjectAlreadyExists, ObjectNotFound

    with get_client(sync_client=True) as client:
        try:
            taken = client.read_global_concurrency_limit_by_name(name).active_slots
        except ObjectNotFound:
            with suppress(ObjectAlreadyExists):  # another process was quicker
                client.create_global_concurrency_limit(GlobalConcurrencyLimitCreate(name=name, limit=1))
            return
    if taken:
        logger.warning("waiting for the Prefect limit %s; %s", name, _by_hand(name))


def _by_hand(name: str) -> str:
    return f"if no promotion is running, free it: prefect gcl update {name} --active-slots 0"
