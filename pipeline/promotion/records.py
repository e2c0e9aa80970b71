"""The record of every change of the champion: one MLflow run each, written before the alias moves."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Literal

from pipeline.tracking import links, store
from pipeline.tracking.runs import NOTE, Experiment, Recorded, Run

EXPERIMENT = "promotions"
_ABOUT = (
    "Every change of a champion, a run each: `FINISHED` where the alias has moved, `FAILED` or `KILLED` "
    "where it was put back. `ordinal-pipeline history NAME` shows the same."
)
_LONGEST = 4000  # characters of a tag; MLflow's SQL stores take 8000

Kind = Literal["promote", "rollback"]


@dataclass(frozen=True)
class Change:
    """One change of the champion, or the attempt at one.

    Attributes:
        number: Of the changes of this model, from 1 on without gaps.
        kind: By which command.
        before: The champion until then; None where there was none.
        to: The version that was to be it.
        why: In words.
        who: By whom.
        digest: SHA-256 of the gate's verdict; empty where nobody judged.
        when: It began, in UTC.
        state: `running`, `finished`; `failed` where the version did not answer as it should, `killed` where
            its process ended in between. Only what finished has moved the alias.
        reason: Why it did not finish.
        run_id: Of the record in MLflow.
    """

    number: int
    kind: Kind
    before: int | None
    to: int
    why: str
    who: str
    digest: str
    when: datetime
    state: str
    reason: str
    run_id: str

    @property
    def words(self) -> str:
        """What it is, for a sentence."""
        return f"{self.kind} {self.before or 'none'} → {self.to}"


def history(uri: str, name: str) -> list[Change]:
    """Return all changes of a model's champion, the oldest first.

    Raises:
        InputError: Where MLflow's store does not answer.
        StoreError: Where it fails later.
    """
    experiment = Experiment.find(uri, EXPERIMENT)
    if experiment is None:
        return []
    found = experiment.search(f"tags.model = {store.quoted(name)}")
    return sorted((_change(run) for run in found if "number" in run.tags), key=lambda change: change.number)


def _change(run: Recorded) -> Change:
    tags = run.tags
    return Change(
        number=int(tags["number"]),
        kind="rollback" if tags["kind"] == "rollback" else "promote",
        before=int(tags["from"]) if tags["from"] else None,
        to=int(tags["to"]),
        why=tags["why"],
        who=tags["who"],
        digest=tags["digest"],
        when=run.began,
        state=run.status.lower(),
        reason=tags.get("reason", ""),
        run_id=run.id,
    )


def begin(
    uri: str, name: str, kind: Kind, before: int | None, to: int, why: str, who: str, digest: str
) -> Run:
    """Write down what is about to happen, in one transaction; the caller holds the lock.

    Raises StoreError where MLflow's store fails.
    """
    number = max((change.number for change in history(uri, name)), default=0) + 1
    tags = {
        "model": name,
        "kind": kind,
        "from": "" if before is None else str(before),
        "to": str(to),
        "why": _cut(why),
        "who": who,
        "digest": digest,
        "number": str(number),
        NOTE: f"[{name} version {to}]({links.version(name, to)}) by {who}: {_cut(why)}",
    }
    return Experiment(uri, EXPERIMENT, _ABOUT).begin(f"{name}: {kind} {before or 'none'} → {to}", tags)


def fail(run: Run, status: Literal["FAILED", "KILLED"], reason: str) -> None:
    """End a record whose change did not hold."""
    run.tags({"reason": _cut(reason)})
    run.end(status)


def close(uri: str, change: Change, reason: str) -> None:
    """End the record of a process that has died."""
    Experiment(store.address(uri), EXPERIMENT).close(change.run_id, "KILLED", {"reason": _cut(reason)})


def earlier(changes: Sequence[Change], champion: int, there: Collection[int]) -> int | None:
    """Return the champion before the current one, which a rollback goes to; None where there is none.

    Finished changes are a stack: a promotion puts its version on top, a rollback takes the top off, so
    that a second rollback goes one further back. An alias that was moved by hand in between counts as
    a promotion that nobody wrote down.

    Args:
        changes: The oldest first.
        champion: What the alias points to now.
        there: Versions that still exist; others are passed over.
    """
    stack: list[int] = []
    for change in changes:
        if change.state != "finished":
            continue
        if change.before is not None:
            _put(stack, change.before)
        if change.kind == "rollback":
            stack.pop()
            while stack and stack[-1] != change.to:  # versions that were passed over
                stack.pop()
        _put(stack, change.to)
    _put(stack, champion)
    return next((v for v in reversed(stack[:-1]) if v in there and v != champion), None)


def _put(stack: list[int], version: int) -> None:
    if not stack or stack[-1] != version:
        stack.append(version)


def _cut(text: str) -> str:
    return text if len(text) <= _LONGEST else text[: _LONGEST - 1] + "…"
