"""What is counted of one version of a model: runs, the stages of requests, what was decided.

Counting must cost a request next to nothing: it adds to plain numbers in place, in Python where rows are
few and in NumPy where they are many. The cheapest requests are only put aside, and added up some at a
time.
"""

from __future__ import annotations

import math
import threading
import weakref
from bisect import bisect_left
from collections import deque
from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from serving.counts import REQUESTS, ROWS, STAGE_SECONDS, Counts, Labels, Tally
from serving.manifest import ABSTAIN

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from serving.artifact import Answer
    from serving.policies import Rule
    from serving.repository import Served

STAGES = ("read", "queue", "run", "reply")

_MANY = 64  # requests that are put aside, to be added up together
_FEW = 4  # rows, up to which a loop is faster than NumPy


class Version:
    """What one version has done, on whichever thread.

    Names of models, profiles and actions come from what is served, never from a request: the metrics' size
    must be bounded.
    """

    def __init__(self, served: Served) -> None:
        self.of = weakref.ref(served)  # which is forgotten with its last request once others take its place
        self.model, self.version = served.name, served.version
        self.queued = 0  # requests that wait now; kept by `batching`, under its lock
        self.lowest = served.artifact.manifest.values[0]
        self._lock = threading.Lock()
        self._rows, self._requests = Tally(ROWS), Tally(REQUESTS)
        self._stages = {stage: Tally(STAGE_SECONDS) for stage in STAGES}
        self._read, _, self._run, self._reply = self._stages.values()
        # What is put aside by `at_once`, and by `answered` of one row: threads may append at any time.
        self._at_once: deque[tuple[int, float, float, float]] = deque()
        self._single: deque[tuple[float, _Profile, int, float]] = deque()
        self._answered, self._above = 0, 0.0
        self._abstained = 0  # by costs of requests
        # A policy of a request that is one of the profiles has this very array, whatever it is called.
        self._profiles = {id(rule.cost): _Profile(rule) for rule in served.profiles.values()}

    def at_once(self, rows: int, read: float, run: float, reply: float) -> None:
        """Count a request that had a run of its own without a wait, and the seconds of its stages."""
        self._at_once.append((rows, read, run, reply))
        if len(self._at_once) >= _MANY:
            self._settle()

    def ran(self, requests: int, rows: int) -> None:
        """Count a run that has answered so many requests with so many rows in all."""
        with self._lock:
            tally = self._requests
            tally.counts[bisect_left(REQUESTS, requests)] += 1
            tally.sum += requests
            tally = self._rows
            tally.counts[bisect_left(ROWS, rows)] += 1
            tally.sum += rows

    def staged(self, seconds: Sequence[float]) -> None:
        """Count a request that has waited for its run: the seconds of `STAGES`."""
        with self._lock:
            for tally, taken in zip(self._stages.values(), seconds, strict=True):
                tally.counts[bisect_left(STAGE_SECONDS, taken)] += 1
                tally.sum += taken

    def answered(self, answer: Answer, rules: Sequence[Rule]) -> None:
        """Count what a request was told, decided by these rules; none where they are not known."""
        value = answer.expected_value
        rows = len(value)
        if rows == 1 and len(rules) == 1:
            profile = self._profiles.get(id(rules[0].cost))
            if profile is not None:
                action = answer.decision.item()
                self._single.append((value.item(), profile, action, answer.expected_cost.item(action)))
                if len(self._single) >= _MANY:
                    self._settle()
                return
        with self._lock:
            self._answered += rows
            self._above += float(np.add.reduce(value)) - rows * self.lowest
            for index, rule in enumerate(rules):
                profile = self._profiles.get(id(rule.cost))
                if profile is not None:
                    profile.add(answer.decision[:, index], answer.expected_cost[:, index])
                elif rule.actions[-1] == ABSTAIN:
                    last = len(rule.actions) - 1
                    self._abstained += int(np.count_nonzero(answer.decision[:, index] == last))

    def _settle(self) -> None:
        """Add up what was put aside: that costs less for many together than between other code."""
        reads, runs, replies = self._read, self._run, self._reply
        with self._lock:
            while self._at_once:
                rows, read, run, reply = self._at_once.popleft()
                self._requests.counts[0] += 1
                self._requests.sum += 1
                self._rows.counts[bisect_left(ROWS, rows)] += 1
                self._rows.sum += rows
                reads.counts[bisect_left(STAGE_SECONDS, read)] += 1
                reads.sum += read
                runs.counts[bisect_left(STAGE_SECONDS, run)] += 1
                runs.sum += run
                replies.counts[bisect_left(STAGE_SECONDS, reply)] += 1
                replies.sum += reply
            while self._single:
                value, profile, action, cost = self._single.popleft()
                self._answered += 1
                self._above += value - self.lowest
                profile.counts[action] += 1
                profile.cost += cost

    def take(self, into: Counts) -> None:
        """Move what was counted."""
        labels = (self.model, self.version)
        self._settle()
        with self._lock:
            for stage, tally in self._stages.items():
                tally.take("stage_seconds", (*labels, stage), into)
            self._rows.take("run_rows", labels, into)
            self._requests.take("run_requests", labels, into)
            abstained, self._abstained = self._abstained, 0
            for profile in self._profiles.values():
                abstained += profile.take(labels, into)
            if self._answered:
                into.counters.append(("abstentions", labels, abstained))
                into.summaries.append(("value_above_lowest", labels, self._answered, _finite(self._above)))
                self._answered, self._above = 0, 0.0


class _Profile:
    """What was decided by one of the model's own profiles."""

    def __init__(self, rule: Rule) -> None:
        self._rule = rule
        self.counts = [0] * (len(rule.actions) + 1)  # the last: abstentions, which a request may add
        self.cost = 0.0

    def add(self, decision: NDArray[np.int64], expected_cost: NDArray[np.float32]) -> None:
        """Count the decisions for some rows, `(batch,)`; `expected_cost` is `(batch, actions)`."""
        counts, rows = self.counts, len(decision)
        if rows <= _FEW:
            for action, costs in zip(decision.tolist(), expected_cost.tolist(), strict=True):
                counts[action] += 1
                self.cost += costs[action]
            return
        for action, number in enumerate(np.bincount(decision).tolist()):
            counts[action] += number
        self.cost += float(np.add.reduce(expected_cost[np.arange(rows), decision]))

    def take(self, labels: Labels, into: Counts) -> int:
        """Move what was counted; return how many decisions were to abstain."""
        decisions = sum(self.counts)
        if not decisions:
            return 0
        labels = (*labels, self._rule.name)
        by_action = dict.fromkeys((*self._rule.actions, ABSTAIN), 0)
        for action, number in zip((*self._rule.actions, ABSTAIN), self.counts, strict=True):
            by_action[action] += number
        into.counters.extend(
            ("decisions", (*labels, action), number) for action, number in by_action.items() if number
        )
        into.summaries.append(("expected_cost", labels, decisions, _finite(self.cost)))
        self.counts, self.cost = [0] * len(self.counts), 0.0
        return by_action[ABSTAIN]


def _finite(total: float) -> float:
    """Return a sum; 0 where a network that overflows has made it NaN, which would stay for ever."""
    return total if math.isfinite(total) else 0.0
