"""The champion is moved under a lock, written down first, and tried before it counts."""

from __future__ import annotations

import threading
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from mlflow.tracking import MlflowClient
from registered import NAME, Store

from pipeline import promotion
from pipeline.errors import InputError, PromotionError
from pipeline.promotion import Change, Golden, moves, records, smoke
from pipeline.tracking import registry
from serving.artifact import Artifact
from serving.manifest import Input, Manifest


def _promote(store: Store, version: int, **changes: Any) -> promotion.Moved:
    return promotion.promote(
        store.uri, NAME, version, **{"why": "it is better", "who": "ann@box"} | changes
    )


def _told(store: Store) -> list[tuple[int, str, int | None, int, str]]:
    return [
        (change.number, change.kind, change.before, change.to, change.state)
        for change in promotion.history(store.uri, NAME)
    ]


def test_a_promotion_is_written_down(store: Store) -> None:
    """The record says what, from where to where, why, by whom and by which verdict; the alias has moved."""
    moved = _promote(store, 1, digest="d" * 64)
    assert moved == promotion.Moved(True, None, 1, "it is better")
    assert registry.champion(store.uri, NAME) == 1
    (change,) = promotion.history(store.uri, NAME)
    assert (change.number, change.kind, change.before, change.to) == (1, "promote", None, 1)
    assert (change.why, change.who, change.digest) == ("it is better", "ann@box", "d" * 64)
    assert (change.state, change.reason) == ("finished", "")
    assert abs((datetime.now(UTC) - change.when).total_seconds()) < 60
    _promote(store, 2, who="")
    assert _told(store)[1] == (2, "promote", 1, 2, "finished")
    assert "@" in promotion.history(store.uri, NAME)[1].who


def test_the_record_is_there_before_the_alias_moves(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    """When the alias is set, the change stands in the history as one that is under way."""
    seen: list[list[tuple[int, str, int | None, int, str]]] = []
    set_alias = registry.set_alias

    def looking(*arguments: Any) -> None:
        seen.append(_told(store))
        set_alias(*arguments)

    monkeypatch.setattr(registry, "set_alias", looking)
    _promote(store, 3)
    assert seen == [[(1, "promote", None, 3, "running")]]


def test_the_champion_is_not_promoted_again(store: Store) -> None:
    """It is told, and nothing is written."""
    _promote(store, 2)
    assert _promote(store, 2) == promotion.Moved(False, 2, 2, "version 2 is the champion already")
    assert len(_told(store)) == 1


@pytest.mark.parametrize(
    ("name", "version", "why", "message"),
    [
        ("digit", 1, "x", "no model 'digit'; did you mean 'digits'?"),
        (NAME, 7, "x", r"no version '7' \(allowed: 1, 2, 3\)"),
        (NAME, 1, " ", "needs a reason"),
    ],
    ids=["unknown model", "unknown version", "no reason"],
)
def test_what_is_not_there_is_named(store: Store, name: str, version: int, why: str, message: str) -> None:
    """Nothing is written for a wish that cannot be."""
    with pytest.raises(InputError, match=message):
        promotion.promote(store.uri, name, version, why=why)
    assert promotion.history(store.uri, name) == []


def _damage(store: Store, version: int) -> None:
    logged = MlflowClient(store.uri).get_logged_model(
        MlflowClient(store.uri).get_model_version(NAME, str(version)).source.removeprefix("models:/")
    )
    path = Path(logged.artifact_location.removeprefix("file://")) / "model.onnx"
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)


@pytest.mark.parametrize("before", [1, None])
def test_a_version_whose_file_is_damaged_does_not_stay_champion(store: Store, before: int | None) -> None:
    """The alias is what it was, or none; the record says what was wrong, and so does the error."""
    if before is not None:
        _promote(store, before)
    version = store.register()
    _damage(store, version)
    again = "version 1 again" if before else "none again"
    with pytest.raises(PromotionError, match=f"changed or cut short after export; the champion is {again}"):
        _promote(store, version)
    assert registry.champion(store.uri, NAME) == before
    last = promotion.history(store.uri, NAME)[-1]
    assert last.state == "failed"
    assert "changed or cut short after export" in last.reason


def test_another_file_than_the_registered_one_is_refused(store: Store) -> None:
    """A file with a seal of its own does not pass for the one that was registered."""
    MlflowClient(store.uri).set_model_version_tag(NAME, "2", "ordinal.sha256", "0" * 64)
    with pytest.raises(PromotionError, match="its file is not the one that was registered"):
        _promote(store, 2)
    assert registry.champion(store.uri, NAME) is None


def test_known_rows_must_be_answered_as_before(store: Store) -> None:
    """Answers that the gate has seen are asked for again from what a service gets."""
    artifact = Artifact(store.artifact, "cpu")
    rows = smoke.plausible_rows(artifact.manifest, 5, np.random.default_rng(0))
    p = artifact.run(rows).probabilities
    with pytest.raises(PromotionError, match=r"answers known rows otherwise than before, by 0\.001"):
        _promote(store, 1, golden=Golden(rows, p + 0.001))
    with pytest.raises(PromotionError, match=r"probabilities of shape \(5, 10\), not \(5, 9\)"):
        _promote(store, 1, golden=Golden(rows, p[:, 1:]))
    assert registry.champion(store.uri, NAME) is None
    assert _promote(store, 1, golden=Golden(rows, p)).moved
    assert [change.state for change in promotion.history(store.uri, NAME)] == [
        "failed",
        "failed",
        "finished",
    ]


def test_an_interrupted_promotion_is_put_back(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    """Ctrl-C during the trial leaves the champion as it was, and passes."""
    _promote(store, 1)

    def interrupted(*_: Any) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(moves, "try_champion", interrupted)
    with pytest.raises(KeyboardInterrupt):
        _promote(store, 2)
    assert registry.champion(store.uri, NAME) == 1
    last = promotion.history(store.uri, NAME)[-1]
    assert last.state == "killed"
    assert "ended by KeyboardInterrupt; the champion is version 1 again" in last.reason


def test_a_champion_that_changed_meanwhile_is_judged_against(store: Store) -> None:
    """The verdict on the old champion does not count: a new one declines, or allows and is recorded."""
    asked: list[int | None] = []

    def judging(allowed: bool) -> Callable[[int | None], tuple[bool, str, str]]:
        def rejudge(champion: int | None) -> tuple[bool, str, str]:
            asked.append(champion)
            return allowed, f"compared with {champion}", "e" * 64

        return rejudge

    _promote(store, 1, judged_against=None, rejudge=judging(False))
    assert asked == []
    declined = _promote(store, 2, judged_against=3, rejudge=judging(False))
    assert declined == promotion.Moved(False, 1, 1, "compared with 1")
    assert len(_told(store)) == 1
    assert _promote(store, 2, judged_against=None, rejudge=judging(True)).moved
    assert asked == [1, 1]
    last = promotion.history(store.uri, NAME)[-1]
    assert (last.why, last.digest) == ("compared with 1", "e" * 64)


def test_rolling_back_twice_goes_back_two_champions(store: Store) -> None:
    """Each goes one further back, until there is none before."""
    for version in (1, 2, 3):
        _promote(store, version)
    for expected in (2, 1):
        assert promotion.rollback(store.uri, NAME, why="complaints").champion == expected
        assert registry.champion(store.uri, NAME) == expected
    with pytest.raises(InputError, match="had no champion before version 1"):
        promotion.rollback(store.uri, NAME, why="complaints")
    assert _told(store)[3:] == [
        (4, "rollback", 3, 2, "finished"),
        (5, "rollback", 2, 1, "finished"),
    ]


def _changes(*moves: tuple[str, int | None, int]) -> list[Change]:
    now = datetime.now(UTC)
    return [
        Change(n, "rollback" if kind == "r" else "promote", before, to, "", "", "", now, state, "", "")
        for n, (kind, before, to) in enumerate(moves, 1)
        for state in ["failed" if kind == "f" else "finished"]
    ]


@pytest.mark.parametrize(
    ("moves", "champion", "there", "expected"),
    [
        ([("p", None, 1)], 1, {1}, None),
        ([("p", 1, 2)], 2, {1, 2}, 1),
        ([("p", None, 1), ("p", 1, 2), ("f", 2, 3)], 2, {1, 2, 3}, 1),
        ([("p", None, 1), ("p", 1, 2), ("p", 2, 1)], 1, {1, 2}, 2),
        ([("p", None, 1), ("p", 1, 2), ("r", 2, 1), ("p", 1, 3)], 3, {1, 2, 3}, 1),
        ([("p", None, 1), ("p", 1, 2)], 5, {1, 2, 5}, 2),
        ([("p", None, 1), ("p", 1, 2), ("p", 5, 3)], 3, {1, 2, 3, 5}, 5),
        ([("p", None, 1), ("p", 1, 2), ("p", 2, 3)], 3, {1, 3}, 1),
        ([("p", None, 1), ("p", 1, 2), ("p", 2, 3), ("r", 3, 1)], 1, {1, 3}, None),
        ([("p", None, 3), ("p", 3, 5), ("p", 5, 3)], 3, {3}, None),
    ],
    ids=[
        "the first", "one before records began", "a failed one between", "to and fro", "after a rollback",
        "moved by hand", "moved by hand in between", "a deleted version", "past a deleted version",
        "only itself",
    ],
)  # fmt: skip
def test_the_champion_before_is_read_from_the_history(
    moves: list[tuple[str, int | None, int]], champion: int, there: set[int], expected: int | None
) -> None:
    """Promotions and rollbacks are a stack; what did not finish, or is gone, does not count."""
    assert records.earlier(_changes(*moves), champion, there) == expected


def test_a_rollback_needs_a_champion(store: Store) -> None:
    """Without one, the aliases that there are, none, are named."""
    with pytest.raises(InputError, match="no alias 'champion'"):
        promotion.rollback(store.uri, NAME, why="complaints")


def test_one_promotion_at_a_time_and_who_has_it(store: Store, caplog: pytest.LogCaptureFixture) -> None:
    """Who has to wait is told for whom; after too long a wait nothing has moved."""
    errors: list[PromotionError] = []

    def second() -> None:
        try:
            with promotion.lock(store.uri, NAME, wait=0.2):
                raise AssertionError("two at a time")
        except PromotionError as error:
            errors.append(error)

    with promotion.lock(store.uri, NAME), promotion.lock(store.uri, "another"):
        thread = threading.Thread(target=second)
        thread.start()
        thread.join()
    with promotion.lock(store.uri, NAME, wait=0):
        pass
    assert "waiting for another promotion of 'digits': " in caplog.text
    assert ", process " in caplog.text
    assert "another promotion of 'digits' holds the lock for over 0 s: " in str(errors[0])


def test_reconciling_where_nothing_ever_happened_makes_nothing(tmp_path: Path, store: Store) -> None:
    """No experiment and no database comes of looking."""
    assert promotion.reconcile(store.uri, NAME) == ()
    assert store.rows("select name from experiments where name = 'promotions'") == []
    assert promotion.reconcile(f"sqlite:///{tmp_path}/none.db", NAME) == ()
    assert not (tmp_path / "none.db").exists()


def test_rows_for_the_trial_are_like_those_of_training() -> None:
    """Within the ranges, of the categories, and missing only where training had gaps."""
    numeric = Input(
        name="numeric", dtype="float32", shape=(2,), features=("a", "b"),
        ranges=((-1, 1), (5, 5)), missing=("a",),
    )  # fmt: skip
    texts = Input(
        name="categorical", dtype="string", shape=(2,), features=("c", "d"),
        categories=(("x", "y"), ("z",)), missing=("d",),
    )  # fmt: skip
    manifest = Manifest.model_construct(inputs=(numeric, texts))
    rows = smoke.plausible_rows(manifest, 500, np.random.default_rng(0))
    numbers, words = rows["numeric"], rows["categorical"]
    assert numbers.dtype == np.float32
    assert np.nanmin(numbers[:, 0]) >= -1
    assert np.nanmax(numbers[:, 0]) <= 1
    assert 20 < np.isnan(numbers[:, 0]).sum() < 90
    assert (numbers[:, 1] == 5).all()
    assert set(words[:, 0]) == {"x", "y"}
    assert set(words[:, 1]) == {"z", ""}
