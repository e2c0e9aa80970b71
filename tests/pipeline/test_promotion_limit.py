"""The lock of a store that is no SQLite file: a limit of the Prefect server that is set."""

from __future__ import annotations

import contextvars
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from prefect.client.orchestration import get_client
from prefect.settings import PREFECT_API_URL, temporary_settings
from prefect.testing.utilities import prefect_test_harness

from pipeline import promotion
from pipeline.errors import PromotionError

URI = "http://mlflow.example"


@pytest.fixture(scope="module")
def _prefect() -> Iterator[None]:
    with prefect_test_harness(server_startup_timeout=120):
        yield


def _elsewhere(wait: float) -> BaseException | None:
    """Take the lock and leave it, on another thread; return what came of it."""
    caught: list[BaseException] = []

    def run() -> None:
        try:
            with promotion.lock(URI, "wine", wait):
                pass
        except PromotionError as error:
            caught.append(error)

    # Prefect's settings belong to a context, which a thread does not take over.
    thread = threading.Thread(target=contextvars.copy_context().run, args=(run,))
    thread.start()
    thread.join()
    return caught[0] if caught else None


@pytest.mark.slow
@pytest.mark.usefixtures("_prefect")
def test_a_prefect_limit_lets_one_promote_at_a_time(caplog: pytest.LogCaptureFixture) -> None:
    """It is made when it is missing; who comes second waits, and is told how to free one that is stuck."""
    with promotion.lock(URI, "wine"), promotion.lock(URI, "beer"):
        with get_client(sync_client=True) as client:
            limit = client.read_global_concurrency_limit_by_name("promote-wine")
        assert (limit.limit, limit.active_slots) == (1, 1)
        error = _elsewhere(wait=1)
    assert "the Prefect limit 'promote-wine' was not free in 1 s" in str(error)
    assert "waiting for the Prefect limit promote-wine" in caplog.text
    assert "prefect gcl update promote-wine --active-slots 0" in caplog.text
    assert _elsewhere(wait=30) is None
    with pytest.raises(ValueError, match="the work itself"), promotion.lock(URI, "wine"):
        raise ValueError("the work itself")
    assert _elsewhere(wait=30) is None


def test_a_prefect_server_that_does_not_answer_moves_nothing() -> None:
    """One sentence with its address."""
    with (
        temporary_settings({PREFECT_API_URL: "http://127.0.0.1:9/api"}),
        pytest.raises(PromotionError, match=r"server at http://127\.0\.0\.1:9/api does not lock: "),
        promotion.lock(URI, "wine"),
    ):
        raise AssertionError("locked by nobody")


def test_without_a_prefect_server_the_machine_is_kept_apart(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """A file locks, and it is told that other machines do not see it."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    with temporary_settings(restore_defaults={PREFECT_API_URL}), promotion.lock(URI, "wine"):
        assert "holds the lock for over 0 s" in str(_elsewhere(wait=0))
    assert "PREFECT_API_URL is not set: only promotions of this machine wait for one another" in caplog.text
    assert [path.name[16:] for path in (tmp_path / "ordinal" / "locks").iterdir()] == ["-wine.lock"]
