"""The trials of one run: which begins when, and what becomes of it."""

from __future__ import annotations

import logging
import time
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any

from pipeline.errors import Died, Diverged, PipelineError, Pruned, Stopped
from pipeline.report import trial as report
from pipeline.session import Session
from pipeline.sweep.study import State, Study
from pipeline.sweep.trial import Trial
from pipeline.sweep.tried import COST, Begun, Drawn, Ended, Reached, Said, Tried
from pipeline.sweep.workers import Lease, Places, Tell
from pipeline.tracking.runs import Run

Log = logging.Logger | logging.LoggerAdapter[logging.Logger]

EVERY = 30.0
"""Seconds between two sentences about a long training."""


class Sweep:
    """The trials of a run, with those that an earlier process has done."""

    def __init__(self, session: Session, run: Run) -> None:
        """Go on from what the session's folder has; trials are runs below `run`."""
        self._session = session
        self._run = run
        self._study = Study(session.config, session.pairs)
        self._began = time.monotonic()
        self._failed = False
        self._earlier = session.folder.seconds
        self._tried: list[Tried] = []
        self._failures: list[str] = []
        self.found = session.folder.ended()
        """Trials that an earlier process has done, by number."""
        self._again: dict[int, Trial] = {}
        for begun in session.folder.begun():
            number = begun.trial.number
            self._study.redraw(begun.trial, begun.drawn)
            if number in self.found:
                for epoch, cost in self.found[number].looks.items():
                    self._study.is_unpromising(number, epoch, cost)
                self._note(number, self.found[number])
            else:
                self._again[number] = begun.trial

    def trials(self, places: Places) -> Iterator[tuple[Trial, Lease]]:
        """Yield what is to be done, each with a place to do it at, as soon as one is idle.

        Ends early where the budget of seconds is spent, or a trial has failed in a way that others would.
        """
        folder = self._session.folder
        for number in range(self._session.config.search.trials):
            if folder.searched or number in self.found:
                continue
            lease = places.take()
            if self._failed or (self._until is not None and time.monotonic() >= self._until):
                lease.give()
                return
            trial = self._again.get(number)
            if trial is None:
                trial = self._study.draw(number)
                folder.begin(Drawn(trial, self._study.drawn_for(number)))
            yield trial, lease

    def do(self, trial: Trial, lease: Lease, log: Log) -> None:
        """Train once, score on validation, keep all of it in a nested MLflow run.

        A trial that diverges, is ended or whose process dies leaves the others to go on. The worker is
        given back as soon as the training has ended.
        """
        try:
            self._do(trial, lease, log)
        except (Diverged, Stopped, Died) as error:
            log.warning("trial %d of %d: %s", trial.number + 1, self._session.config.search.trials, error)
        except BaseException:
            self._failed = True
            raise
        finally:
            lease.give()

    def _do(self, trial: Trial, lease: Lease, log: Log) -> None:
        session, number, of = self._session, trial.number, self._session.config.search.trials
        looks: dict[int, float] = {}
        said = time.monotonic()
        tags = {"kind": "trial", "loss": trial.loss.name, "head": trial.head.name, **session.tags}
        with session.experiment.run(trial.title, tags, self._run) as run:

            def heard(message: Any) -> bool:
                nonlocal said
                match message:
                    case Begun(parameters):
                        run.params(parameters)
                    case Said(text):
                        log.warning("trial %d of %d: %s", number + 1, of, text)
                    case Reached(epoch, cost):
                        looks[epoch] = cost
                        if time.monotonic() - said > EVERY:
                            said = time.monotonic()
                            log.info(
                                "trial %d of %d: epoch %d of at most %d, realised cost %.4f",
                                number + 1, of, epoch, session.config.search.epochs, cost,
                            )  # fmt: skip
                        return not self._study.is_unpromising(number, epoch, cost)
                return True

            try:
                tried = self._trained(trial, lease, looks, heard)
            except (Diverged, Stopped, Died) as error:
                run.steps(f"val_{COST}", looks)
                run.tags({"ended": str(error)})
                raise
            tried = replace(tried, run_id=run.id)
            report.log(run, self._run, tried, session.config, session.data)
        self._end(number, Ended(looks, tried))
        log.info("trial %d of %d: %s (%.1f s)", number + 1, of, briefly(tried.metrics), tried.seconds)

    def _trained(self, trial: Trial, lease: Lease, looks: dict[int, float], heard: Tell) -> Tried:
        """Return what the worker reached; note how it ended where it reached nothing."""
        number, folder = trial.number, self._session.folder
        paths = (folder.rows, folder.network(number), folder.backup(number))
        try:
            tried: Tried = lease.worker.call(
                "train", trial, self._session.config, *paths, until=self._until, heard=heard
            )
        except Diverged as error:
            self._end(number, Ended(looks, None, str(error)))
            raise
        except Pruned as error:
            self._end(number, Ended(looks, None, str(error), pruned=True))
            raise
        except (Stopped, Died) as error:  # another process may bring it to its end
            if isinstance(error, Died):
                lease.worker.end()  # whatever has eaten its memory
            self._failures.append(str(error))
            self._study.end(number, State.FAIL)
            folder.note(seconds=self._spent)
            raise
        lease.give()
        return tried

    @property
    def _spent(self) -> float:
        """Seconds that trials have had, those of earlier processes too."""
        return self._earlier + time.monotonic() - self._began

    @property
    def best(self) -> list[Tried]:
        """The trials that ended well, the cheapest first; ties go to the lower NLL.

        Raises PipelineError where there is none.
        """
        if not self._tried:
            several = Counter(self._failures).most_common()
            raise PipelineError(
                "no trial ended well: "
                + "; ".join(f"{count} × {why}" for why, count in several)
                + f"; search.seconds is {self._session.config.search.seconds or 'not set'}"
            )
        return sorted(self._tried, key=lambda t: (t.metrics["realised_cost"], t.metrics["nll"]))

    @property
    def _until(self) -> float | None:
        """`time.monotonic()` at which the budget is spent, of which earlier processes had their part."""
        budget = self._session.config.search.seconds
        return None if budget is None else self._began + budget - self._earlier

    def _end(self, number: int, ended: Ended) -> None:
        folder = self._session.folder
        folder.note(seconds=self._spent)
        folder.end(number, ended)
        self._note(number, ended)

    def _note(self, number: int, ended: Ended) -> None:
        if ended.tried is not None:
            self._tried.append(ended.tried)
            self._study.end(number, State.COMPLETE, ended.tried.metrics["realised_cost"])
        else:
            self._failures.append(ended.failure)
            self._study.end(number, State.PRUNED if ended.pruned else State.FAIL)


def briefly(
    scores: Mapping[str, float], names: Sequence[str] = ("realised_cost", "accuracy", "rps", "nll")
) -> str:
    """Return some scores in one line."""
    return ", ".join(f"{name.replace('_', ' ')} {scores[name]:.4f}" for name in names)
