"""Promotion, rollback, and what is done about those that died half-way."""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import dataclass

from pipeline.errors import InputError, PipelineError, PromotionError, StoreError
from pipeline.promotion import records
from pipeline.promotion.lock import lock, whoami
from pipeline.promotion.records import Kind
from pipeline.promotion.smoke import Golden, try_champion
from pipeline.tracking import registry, store
from pipeline.tracking.registry import CHAMPION
from pipeline.tracking.runs import Run

logger = logging.getLogger(__name__)

Rejudge = Callable[[int | None], tuple[bool, str, str]]
"""Judges the candidate against another champion: whether it may move, why, and the verdict's digest."""


@dataclass(frozen=True)
class Moved:
    """What became of it.

    Attributes:
        moved: Whether the alias was moved.
        before: The champion until then; None where there was none.
        champion: The champion now.
        why: It was moved, or not.
        notes: What was put right first.
    """

    moved: bool
    before: int | None
    champion: int | None
    why: str
    notes: tuple[str, ...] = ()


def promote(
    uri: str,
    name: str,
    version: int,
    *,
    why: str,
    who: str = "",
    digest: str = "",
    judged_against: int | None = None,
    rejudge: Rejudge | None = None,
    golden: Golden | None = None,
) -> Moved:
    """Make a version the champion.

    Under the lock: what died half-way is put right, the champion is read anew, the change is written
    down, the alias moves, and what a service then gets is tried. Where that fails the alias is put back.

    Args:
        uri: Of MLflow's store.
        name: Of the registered model.
        version: Which one.
        why: In words.
        who: By default this process's user and host.
        digest: SHA-256 of the verdict that allows it.
        judged_against: The champion that this verdict compares with; counts where `rejudge` is given.
        rejudge: Called with the champion where it is another meanwhile, and may decline.
        golden: Rows whose answers are known.

    Raises:
        InputError: Where there is no such model or version, or no reason is given.
        PromotionError: Where the version does not answer as it should; the champion is then what it was.
        StoreError: Where MLflow's store fails; the next promotion or retraining puts right what is left.
    """
    _check_reason(why)
    uri = store.address(uri)
    registry.find(uri, name, version=version)
    with lock(uri, name):
        notes = _reconcile(uri, name)
        before = registry.champion(uri, name)
        if before == version:
            return Moved(False, before, before, f"version {version} is the champion already", notes)
        if rejudge is not None and before != judged_against:
            logger.warning(
                "the champion of %r is version %s by now, not %s: judging again",
                name,
                before,
                judged_against,
            )
            allowed, why, digest = rejudge(before)
            if not allowed:
                return Moved(False, before, before, why, notes)
        _move(uri, name, "promote", before, version, why, who, digest, golden)
        return Moved(True, before, version, why, notes)


def rollback(uri: str, name: str, *, why: str, who: str = "") -> Moved:
    """Make the champion before the current one the champion; arguments and errors as of `promote`.

    Raises:
        InputError: Also where there is no champion, or none before it.
    """
    _check_reason(why)
    uri = store.address(uri)
    registry.find(uri, name)
    with lock(uri, name):
        notes = _reconcile(uri, name)
        before = registry.champion(uri, name)
        if before is None:
            raise InputError(f"model {name!r} has no champion to roll back from: promote a version")
        target = records.earlier(records.history(uri, name), before, registry.versions(uri, name))
        if target is None:
            raise InputError(
                f"model {name!r} had no champion before version {before}: promote another version instead"
            )
        _move(uri, name, "rollback", before, target, why, who, "", None)
        return Moved(True, before, target, why, notes)


def reconcile(uri: str, name: str) -> tuple[str, ...]:
    """Put right what promotions that died half-way have left; return what was done, in words.

    Raises:
        InputError: Where MLflow's store does not answer.
        PromotionError: Where another promotion holds the lock for too long.
        StoreError: Where MLflow's store fails.
    """
    uri = store.address(uri)
    if not any(change.state == "running" for change in records.history(uri, name)):
        return ()
    with lock(uri, name):
        return _reconcile(uri, name)


def _reconcile(uri: str, name: str) -> tuple[str, ...]:
    """Close the records that are left; we hold the lock, so that their processes are dead."""
    done = []
    left = [change for change in records.history(uri, name) if change.state == "running"]
    for change in reversed(left):  # each began where the one before it had left the alias
        outcome = _put_back(uri, name, change.before, change.to)
        reason = f"its process ended in between; {outcome}"
        records.close(uri, change, reason)
        done.append(f"{name} change {change.number}, {change.words}, by {change.who}: {reason}")
    return tuple(done)


def _move(
    uri: str,
    name: str,
    kind: Kind,
    before: int | None,
    to: int,
    why: str,
    who: str,
    digest: str,
    golden: Golden | None,
) -> None:
    record = records.begin(uri, name, kind, before, to, why, who or whoami(), digest)
    try:
        registry.set_alias(uri, name, CHAMPION, to)
        try_champion(uri, name, to, golden)
        record.end("FINISHED")
    except BaseException as error:
        reason = _give_up(record, uri, name, before, to, error)
        if isinstance(error, Exception):
            raise (StoreError if isinstance(error, StoreError) else PromotionError)(reason) from error
        raise


def _give_up(record: Run, uri: str, name: str, before: int | None, to: int, error: BaseException) -> str:
    """Put the alias back and end the record; return what has happened, in words."""
    what = str(error) if isinstance(error, Exception) else f"ended by {type(error).__name__}"
    reason = f"version {to} of {name!r} did not become the champion: {what}"
    try:
        reason += f"; {_put_back(uri, name, before, to)}"
        records.fail(record, "FAILED" if isinstance(error, Exception) else "KILLED", reason)
    except PipelineError as failure:
        # The record is still RUNNING, which tells the next one who comes.
        reason += f"; the next promotion or retraining puts the alias back, since now {failure}"
        logger.warning("%s", reason)
    return reason


def _put_back(uri: str, name: str, before: int | None, to: int) -> str:
    """Point the alias where it was, unless it is there or somebody has moved it elsewhere; say so."""
    now = registry.champion(uri, name)
    if now == before:
        return f"the champion is still {_named(before)}"
    if now != to:
        return f"the champion is {_named(now)}, which somebody else has set"
    if before is None:
        registry.remove_alias(uri, name, CHAMPION)
    elif before in registry.versions(uri, name):
        registry.set_alias(uri, name, CHAMPION, before)
    else:
        return f"the champion stays {_named(to)}, since {_named(before)} is gone"
    return f"the champion is {_named(before)} again"


def _named(version: int | None) -> str:
    return "none" if version is None else f"version {version}"


def _check_reason(why: str) -> None:
    if not why.strip():
        raise InputError("a change of the champion needs a reason: give --why TEXT")
