"""Whether replies are right: each is compared with a run of the same file in this process."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from google.protobuf.message import DecodeError
from numpy.typing import NDArray

from serving.artifact import Answer, Artifact
from serving.bench.speech import Speech
from serving.quote import listed
from serving.random_rows import Rows

_CLOSE = 1e-5  # of the numbers that an output is made of, since other batches sum in another order
_EXAMPLES = 3
_ROOM = 64 * 2**20  # bytes of replies that are kept


class Seen:
    """Replies that came to each request, equal ones once: they are compared after the load, not during it.

    `replies[request]` says how often each came; `left_out` how many came that there was no room for, where
    a service hardly ever gives the same bytes twice.
    """

    def __init__(self, requests: int) -> None:
        self.replies: list[dict[bytes, int]] = [{} for _ in range(requests)]
        self.left_out = 0
        self._room = _ROOM

    def note(self, request: int, reply: bytes, times: int = 1) -> None:
        """Note a reply to the request of a number."""
        came = self.replies[request]
        if reply in came:
            came[reply] += times
        elif len(reply) <= self._room:
            came[reply] = times
            self._room -= len(reply)
        else:
            self.left_out += times

    def add(self, other: Seen) -> None:
        """Note what another one has."""
        for request, came in enumerate(other.replies):
            for reply, times in came.items():
                self.note(request, reply, times)
        self.left_out += other.left_out


class Expected:
    """What an artifact answers to each of some requests."""

    def __init__(self, artifact: Artifact, pool: Sequence[Rows], speech: Speech) -> None:
        self._speech = speech
        self._answers = [artifact.run(rows) for rows in pool]
        self._alone = [speech.expected(answer) for answer in self._answers]
        # In a batch numbers differ in their last bits, and a tie may fall the other way.
        together = artifact.run({name: np.concatenate([rows[name] for rows in pool]) for name in pool[0]})
        ends = np.cumsum([len(answer.probabilities) for answer in self._answers])
        parts = itertools.pairwise([0, *ends.tolist()])
        self._among = [speech.expected(together.of(slice(*part))) for part in parts]
        self._close = {name: _CLOSE * _size(name, together) for name in self._alone[0]}

    def wrong(self, request: int, reply: bytes) -> str:
        """Return what is wrong with a reply to the request of a number; empty where it is right."""
        alone, among = self._alone[request], self._among[request]
        try:
            came = self._speech.outputs(reply)
        except (ValueError, DecodeError) as error:
            return f"the reply cannot be read: {error}"
        if came.keys() != alone.keys():
            return f"outputs must be {listed(sorted(alone))}, got {listed(sorted(came))}"
        for name, output in came.items():
            if output.shape != alone[name].shape:
                return f"{name} must have shape {alone[name].shape}, got {output.shape}"
            right = _right(output, alone[name], among[name], self._close[name])
            if name == "decision":
                right |= _costs_least(output, self._answers[request], self._close["expected_cost"])
            if not right.all():
                row = int(np.argmin(right.reshape(len(right), -1).all(axis=1)))
                must, got = (listed(np.ravel(each[row]).tolist()) for each in (alone[name], output))
                return f"{name} of row {row} must be {must}, got {got}"
        return ""


@dataclass(frozen=True)
class Verdict:
    """How many replies were right, how many wrong, and how many could not be kept for the comparison.

    `examples` says of some of the wrong ones what is wrong.
    """

    right: int
    wrong: int
    left_out: int
    examples: tuple[str, ...]


def judge(seen: Seen, expected: Expected) -> Verdict:
    """Compare each reply with what is expected."""
    right = wrong = 0
    examples: list[str] = []
    for request, came in enumerate(seen.replies):
        for reply, times in came.items():
            fault = expected.wrong(request, reply)
            if not fault:
                right += times
                continue
            wrong += times
            if len(examples) < _EXAMPLES:
                examples.append(f"request {request}, {times} times: {fault}")
    return Verdict(right, wrong, seen.left_out, tuple(examples))


def _size(name: str, answer: Answer) -> float:
    """Return the largest of the numbers that an output is made of."""
    values = answer._asdict()["expected_cost" if name == "margin" else name]
    return float(np.abs(values).max(initial=0))


def _right(
    output: NDArray[np.generic], alone: NDArray[np.generic], among: NDArray[np.generic], close: float
) -> NDArray[np.bool_]:
    """Return for each number whether it is what one of two local runs says."""
    if alone.dtype.kind == "f":
        return np.asarray(np.isclose(output, alone, rtol=0, atol=close))
    return np.asarray((output == alone) | (output == among))


def _costs_least(decision: NDArray[np.generic], answer: Answer, close: float) -> NDArray[np.bool_]:
    """Return for each decision whether no other action costs less, but for rounding."""
    costs = answer.expected_cost  # (batch, P, A)
    chosen = decision.reshape(costs.shape[:2]).astype(np.int64)
    known = (chosen >= 0) & (chosen < costs.shape[2])
    taken = np.take_along_axis(costs, np.where(known, chosen, 0)[..., np.newaxis], axis=2)[..., 0]
    return np.asarray(known & (taken <= costs.min(axis=2) + close)).reshape(decision.shape)
