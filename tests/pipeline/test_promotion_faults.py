"""Processes that die in a promotion, or meet in one, and stores that fail half-way."""

from __future__ import annotations

import resource
import shutil
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import mlflow
import pytest
from mlflow.tracking import MlflowClient
from registered import NAME, Store

from pipeline import promotion
from pipeline.errors import InputError, PipelineError, PromotionError, StoreError
from pipeline.promotion import moves, records
from pipeline.tracking import registry
from pipeline.tracking.runs import Experiment

pytestmark = pytest.mark.slow  # fault tests

FULL = "cannot be used: database or disk is full"


def _promote(store: Store, version: int) -> promotion.Moved:
    return promotion.promote(store.uri, NAME, version, why="it is better", who="ann@box")


def _states(store: Store) -> list[str]:
    return [change.state for change in promotion.history(store.uri, NAME)]


def test_a_promotion_that_was_killed_is_put_back_by_the_next(store: Store) -> None:
    """SIGKILL between the alias and the end of the record: the alias is where it was, and it is told."""
    _promote(store, 1)
    process = store.process(
        "moves.try_champion = lambda *_: (print('moved', flush=True), time.sleep(600))\n"
        "promotion.promote(uri, 'digits', 2, why='it is better', who='bob@box')\n"
    )
    with process:
        assert process.stdout is not None
        assert process.stdout.readline() == "moved\n"
        assert registry.champion(store.uri, NAME) == 2
        assert _states(store) == ["finished", "running"]
        process.send_signal(signal.SIGKILL)
    moved = _promote(store, 3)
    assert moved.before == 1
    assert moved.notes == (
        "digits change 2, promote 1 → 2, by bob@box: its process ended in between; "
        "the champion is version 1 again",
    )
    assert _states(store) == ["finished", "killed", "finished"]
    assert promotion.history(store.uri, NAME)[1].reason.startswith("its process ended in between")
    assert promotion.reconcile(store.uri, NAME) == ()


@pytest.mark.parametrize(
    ("before", "points_to", "expected", "told"),
    [
        (1, 1, 1, "the champion is still version 1"),
        (None, 2, None, "the champion is none again"),
        (1, 3, 3, "the champion is version 3, which somebody else has set"),
        (7, 2, 2, "the champion stays version 2, since version 7 is gone"),
    ],
    ids=["not moved yet", "no champion before", "moved by hand", "the one before was deleted"],
)
def test_what_a_dead_process_left_is_put_right(
    store: Store, before: int | None, points_to: int, expected: int | None, told: str
) -> None:
    """A record that is still RUNNING ends KILLED, and the alias is as it was if it can be."""
    records.begin(store.uri, NAME, "promote", before, 2, "why", "bob@box", "")
    registry.set_alias(store.uri, NAME, registry.CHAMPION, points_to)
    (note,) = promotion.reconcile(store.uri, NAME)
    assert note.endswith(f"its process ended in between; {told}")
    assert registry.champion(store.uri, NAME) == expected
    assert _states(store) == ["killed"]


@pytest.mark.slow
def test_two_processes_take_turns(store: Store) -> None:
    """Each change begins where the one before it ended, and none is missing in the history."""
    program = (
        "print('ready', flush=True)\n"
        "sys.stdin.readline()\n"
        "moved = [promotion.promote(uri, 'digits', v, why='x').moved for v in ({}, {}) * 3]\n"
        "print(sum(moved), flush=True)\n"
    )
    processes = [store.process(program.format(*pair)) for pair in ((1, 2), (3, 2))]
    for process in processes:
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
    for process in processes:
        assert process.stdin is not None
        process.stdin.write("go\n")
        process.stdin.flush()
    outputs = [process.communicate(timeout=120)[0] for process in processes]
    changes = promotion.history(store.uri, NAME)
    assert len(changes) == sum(map(int, outputs))
    assert [change.number for change in changes] == list(range(1, len(changes) + 1))
    assert {change.state for change in changes} == {"finished"}
    assert [change.before for change in changes] == [None, *(change.to for change in changes[:-1])]
    assert registry.champion(store.uri, NAME) == changes[-1].to


def test_a_store_that_refuses_the_alias_leaves_the_champion(store: Store) -> None:
    """The error says what the database says, and the record that it failed."""
    _promote(store, 1)
    with store.failing("update on registered_model_aliases"), pytest.raises(StoreError) as caught:
        _promote(store, 2)
    assert FULL in str(caught.value)
    assert "the champion is still version 1" in str(caught.value)
    assert registry.champion(store.uri, NAME) == 1
    assert _states(store) == ["finished", "failed"]


def test_a_store_that_cannot_end_the_record_is_put_right_later(store: Store) -> None:
    """The alias goes back at once, and the next one who comes closes the record."""
    _promote(store, 1)
    with store.failing("update on runs"), pytest.raises(StoreError, match=FULL):
        _promote(store, 2)
    assert registry.champion(store.uri, NAME) == 1
    assert _states(store) == ["finished", "running"]
    (note,) = promotion.reconcile(store.uri, NAME)
    assert note.endswith("the champion is still version 1")
    assert _states(store) == ["finished", "killed"]


def test_an_alias_that_cannot_be_put_back_is_put_back_later(
    store: Store, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """Where the store dies between the alias and its return, the record stays RUNNING and tells of it."""
    _promote(store, 1)

    def dying(*_: Any) -> None:
        failing.__enter__()
        raise PromotionError("it answers nonsense")

    failing = store.failing("update on registered_model_aliases")
    monkeypatch.setattr(moves, "try_champion", dying)
    with pytest.raises(PromotionError) as caught:
        _promote(store, 2)
    failing.__exit__(None, None, None)
    assert "it answers nonsense; the next promotion or retraining puts the alias back" in str(caught.value)
    assert "puts the alias back" in caplog.text
    assert registry.champion(store.uri, NAME) == 2
    promotion.reconcile(store.uri, NAME)
    assert registry.champion(store.uri, NAME) == 1


def test_a_read_only_store_is_told(store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """One sentence, and nothing has moved: not the alias, not the history."""
    monkeypatch.chdir(tmp_path)  # of such an address MLflow makes a folder `file:`
    _promote(store, 1)
    uri = f"sqlite:///file:{store.path}?mode=ro&uri=true"
    with pytest.raises(StoreError) as caught:
        promotion.promote(uri, NAME, 2, why="it is better")
    assert str(caught.value) == (
        f"MLflow's store at {uri!r} cannot be used: attempt to write a readonly database"
    )
    assert registry.champion(store.uri, NAME) == 1
    assert _states(store) == ["finished"]


@contextmanager
def _no_file_may_grow_beyond(size: int) -> Iterator[None]:
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


def test_a_full_disk_registers_nothing(store: Store) -> None:
    """A version whose description finds no room is not there at all, nor is its registered model."""
    logged = store.add()
    with _no_file_may_grow_beyond(store.path.stat().st_size), pytest.raises(StoreError) as caught:
        registry.register(store.uri, logged, "another", "long " * 20_000, {})
    assert "cannot be used: d" in str(caught.value)  # database or disk is full, disk I/O error
    assert "\n" not in str(caught.value)
    assert store.rows("select name from registered_models") == [(NAME,)]
    assert len(store.rows("select version from model_versions")) == 3
    assert store.register(logged, "another") == 1


@pytest.mark.parametrize("table", ["model_versions", "model_version_tags", "logged_model_tags"])
def test_a_version_is_registered_whole_or_not_at_all(store: Store, table: str) -> None:
    """Whatever cannot be written of it, neither a version nor an empty model is left."""
    logged = store.add()
    with store.failing(f"insert on {table}"), pytest.raises(StoreError, match="cannot be used: "):
        registry.register(store.uri, logged, "another", "words", {"a": "b"})
    assert store.rows("select name from registered_models") == [(NAME,)]
    assert len(store.rows("select version from model_versions")) == 3


def test_a_version_that_cannot_be_linked_goes_again(store: Store) -> None:
    """The model stays where it had versions before; what was made is no version any more."""
    logged = store.add()
    with store.failing("insert on logged_model_tags"), pytest.raises(StoreError, match=FULL):
        store.register(logged)
    assert registry.versions(store.uri, NAME) == [1, 2, 3]
    assert registry.registered(store.uri, NAME, logged.run_id) is None


def test_a_store_that_is_gone_half_way_does_not_hide_what_went_wrong(
    store: Store, caplog: pytest.LogCaptureFixture
) -> None:
    """Logging to it is one sentence; an error of the work passes, and a run that stays open is told."""
    experiment = Experiment(store.uri, "gone")
    kept: list[str] = []

    def work() -> None:
        with experiment.run("retrain", {}) as run:
            kept.append(run.id)
            shutil.move(store.path, store.path.with_name("elsewhere.db"))
            with pytest.raises(StoreError, match="cannot be used: attempt to write a readonly database"):
                run.metrics({"a": 1.0})
            raise ValueError("the work itself")

    with pytest.raises(ValueError, match="the work itself"):
        work()
    assert f"run {kept[0]} stays RUNNING: MLflow's store at" in caplog.text


@pytest.mark.parametrize("uri", ["sqlite:////proc/none/mlflow.db", "nonsense://nowhere"])
def test_a_store_that_never_was_is_the_users_matter(uri: str) -> None:
    """An address that leads nowhere is wrong input, in one sentence."""
    with pytest.raises(InputError, match="cannot be used: ") as caught:
        Experiment(uri, "any")
    assert "\n" not in str(caught.value)


def test_passwords_are_not_told(monkeypatch: pytest.MonkeyPatch) -> None:
    """The address in a sentence has none."""
    for variable in ("MAX_RETRIES", "TIMEOUT"):
        monkeypatch.setenv(f"MLFLOW_HTTP_REQUEST_{variable}", "1")
    with pytest.raises(PipelineError) as caught:
        registry.champion("http://ann:secret@127.0.0.1:9", NAME)
    assert "http://ann:…@127.0.0.1:9" in str(caught.value)
    assert "secret" not in str(caught.value)


def test_the_registry_counts_from_what_is_there(store: Store, tmp_path: Path) -> None:
    """A version knows its run and its seal, a run what it has registered, and which files it keeps."""
    logged = store.add()
    assert registry.registered(store.uri, NAME, logged.run_id) is None
    version = store.register(logged)
    assert registry.registered(store.uri, NAME, logged.run_id) == version == 4
    assert registry.version_run(store.uri, NAME, version) == logged.run_id
    client = MlflowClient(store.uri)
    kept = client.get_model_version(NAME, "4")
    assert kept.description == "words"
    assert kept.tags["a"] == "b"
    assert kept.tags["ordinal.sha256"] == registry.version_seal(store.uri, NAME, version)
    link = client.get_logged_model(logged.uri.removeprefix("models:/")).tags["mlflow.modelVersions"]
    assert link == '[{"name": "digits", "version": 4}]'
    assert client.get_run(logged.run_id).info.status == "FINISHED"
    client.log_text(logged.run_id, "{}", "gate/verdict.json")
    found = registry.download(store.uri, logged.run_id, "gate/verdict.json", tmp_path)
    assert found is not None
    assert found.read_text(encoding="utf-8") == "{}"
    assert registry.download(store.uri, logged.run_id, "gate/none.json", tmp_path) is None
    assert registry.download(store.uri, logged.run_id, "nowhere/none.json", tmp_path) is None
    assert registry.download(store.uri, "0" * 32, "gate/verdict.json", tmp_path) is None


def test_a_link_that_a_killed_process_has_not_set_is_set_once(store: Store) -> None:
    """A run that goes on links its logged model to its version, whether that was done before or not."""
    logged = store.add()
    client = MlflowClient(store.uri)
    version = int(client.create_model_version(NAME, logged.uri, logged.run_id).version)
    model_id = logged.uri.removeprefix("models:/")
    assert "mlflow.modelVersions" not in client.get_logged_model(model_id).tags
    for _ in range(2):
        registry.relink(store.uri, logged, NAME, version)
        link = client.get_logged_model(model_id).tags["mlflow.modelVersions"]
        assert link == '[{"name": "digits", "version": 4}]'
    registry.relink(store.uri, logged, "other", 1)
    link = client.get_logged_model(model_id).tags["mlflow.modelVersions"]
    assert link == '[{"name": "digits", "version": 4}, {"name": "other", "version": 1}]'


def test_a_version_is_fetched_from_the_store_that_is_named(store: Store, tmp_path: Path) -> None:
    """Whatever this process's default store is; and nothing is made of that one."""
    mlflow.set_tracking_uri(f"sqlite:///{tmp_path}/default.db")
    fetched = registry.fetch(store.uri, NAME, tmp_path, version=2)
    assert fetched.path.read_bytes() == store.artifact.read_bytes()
    assert not (tmp_path / "default.db").exists()
