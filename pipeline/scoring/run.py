"""A file of rows is read, scored and written at the same time, and goes on where it was after a kill."""

from __future__ import annotations

import os
import time
from collections import deque
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import onnxruntime
import pyarrow as pa

from pipeline.errors import PipelineError
from pipeline.scoring import output, places
from pipeline.scoring.blocks import BlockScorer
from pipeline.scoring.inputs import Source
from pipeline.scoring.parts import Part, Parts, Plan, beside
from pipeline.scoring.progress import Watch
from pipeline.scoring.rejected import Rejected
from pipeline.scoring.scorer import ROW, Question, Scorer

_FORMAT = 2  # of parts; another one does not go on with them


@dataclass(frozen=True)
class Summary:
    """What a run has done.

    Attributes:
        out: The file of answers.
        rejected: That of the rows that are set aside; "" where there are none.
        scored: How many rows have answers.
        set_aside: How many have none.
        seconds: How long this process took, without what it took to load the model.
        before: How many of all these rows an earlier process had done that was ended.
        first: What is wrong with the first of the rows that are set aside.
    """

    out: str
    rejected: str
    scored: int
    set_aside: int
    seconds: float
    before: int
    first: str

    @property
    def rate(self) -> float:
        """Rows a second, of those that this process has done."""
        return (self.scored + self.set_aside - self.before) / max(self.seconds, 1e-9)


@dataclass(frozen=True)
class Job:
    """What is scored, with what, and where to.

    Attributes:
        rows: Of a block: what is scored, kept and begun anew at once.
        most: Most rows that may be set aside; None for any number, but not all.
    """

    source: Source
    scorer: Scorer
    out: Path
    rows: int
    most: int | None = None
    about: dict[str, str] = field(default_factory=dict)


def plan(source: Source, question: Question, digest: str, provider: str, rows: int, encoding: str) -> Plan:
    """Return all that the answers depend on; the keys are for messages."""
    return {
        "the model": digest,
        "the file of rows": identity(source.path),
        "--profile": list(question.profiles),
        "--coverage": question.coverage,
        "--keep": list(question.kept),
        "--encoding": encoding,
        "--batch-rows": rows,
        "the device": provider,
        "the version of the software": [_FORMAT, onnxruntime.__version__, pa.__version__],
    }


def identity(path: Path) -> list[str | int]:
    """Return which file this is, and in which state."""
    found = path.stat()
    return [str(path.resolve()), found.st_size, found.st_mtime_ns]


def score(job: Job, parts: Parts, own: Plan, watch: Watch, where: places.Open = places.threads) -> Summary:
    """Score the rows that no part holds yet, and write all of them.

    Args:
        job: What to do.
        parts: Held, and begun with the plan.
        own: The plan.
        watch: Who is told how far it is.
        where: What scores the blocks.

    Raises:
        InputError: Where the file cannot be read to its end.
        PipelineError: Where something cannot be written, more rows are set aside than may be, or the file
            has changed meanwhile. What is done is kept.
    """
    began = time.monotonic()
    with _Writing(job, parts) as writing:
        with _kept(parts):
            for part in parts.done():
                writing.write(part)
        before = writing.rows
        watch.go_on_from(before, job.source.share(before))
        _score(job, writing, watch, where)
    if identity(job.source.path) != own["the file of rows"]:
        raise PipelineError(f"{job.source.path} has changed while it was read; give the same command again")
    summary = Summary(
        str(job.out),
        str(beside(job.out)) if writing.set_aside else "",
        writing.scored,
        writing.set_aside,
        time.monotonic() - began,
        before,
        writing.first,
    )
    with _kept(parts):
        if writing.set_aside and not writing.scored:
            parts.unfinished.unlink()  # answers to nothing are none
        elif not writing.set_aside:
            parts.rejected.unlink()
        parts.finish(own, vars(summary))
    return summary


def _score(job: Job, writing: _Writing, watch: Watch, where: places.Open) -> None:
    """Read on this thread, score somewhere, write on one; each is at most some blocks ahead of the next."""
    scorer = BlockScorer(job.scorer, list(job.source.at), job.source.file.delimiter)
    start = writing.blocks * job.rows

    def kept(share: float, part: Part) -> None:
        writing.add(part)
        watch.update(writing.rows, share)

    waiting: deque[tuple[float, places.Pending]] = deque()
    last: Future[None] | None = None
    with ThreadPoolExecutor(1) as keeping, where(scorer) as place:

        def hand_on() -> Future[None]:
            share, pending = waiting.popleft()
            part = pending.result()
            if last is not None:
                last.result()
            return keeping.submit(kept, share, part)

        for block in job.source.blocks(job.rows, start):
            waiting.append((block.share, place.submit(block)))
            if len(waiting) > place.ahead:
                last = hand_on()
        while waiting:
            last = hand_on()
        if last is not None:
            last.result()


class _Writing:
    """The unfinished files, and what has gone into them."""

    def __init__(self, job: Job, parts: Parts) -> None:
        self._job, self._parts = job, parts
        self.blocks = self.scored = self.set_aside = 0
        self.first = ""

    @property
    def rows(self) -> int:
        """All that are done."""
        return self.scored + self.set_aside

    def __enter__(self) -> _Writing:
        kind = output.ending(self._job.out)
        none = self._job.scorer.score(self._job.source.none()).answers
        schema = pa.schema([pa.field(ROW, pa.int64()), *none.schema])
        rejected = Rejected(list(self._job.source.at), self._job.source.file.delimiter)
        with _kept(self._parts):
            self._aside = self._parts.rejected.open("wb")
            self._aside.write(rejected.header)
            self._output = output.opened(self._parts.unfinished, kind, schema, self._job.about)
            self._write = self._output.__enter__()
        return self

    def __exit__(self, *error: object) -> None:
        with _kept(self._parts):
            self._aside.close()
            self._output.__exit__(None, None, None)

    def add(self, part: Part) -> None:
        """Keep a part, and write it."""
        with _kept(self._parts):
            self._parts.add(self.blocks, part)
            self.write(part)

    def write(self, part: Part) -> None:
        """Write a part that is kept."""
        self._write(part.answers)
        self._aside.write(part.rejected)
        self.first = self.first or part.first
        self.blocks += 1
        self.scored += len(part.answers)
        self.set_aside += part.set_aside
        most = self._job.most
        if most is not None and self.set_aside > most:
            self._aside.flush()
            raise PipelineError(
                f"more than {most:,} rows of {self._job.source.path} are set aside, the first: "
                f"{self.first}; those so far are in {self._parts.rejected}; with a larger --max-rejected "
                "it goes on"
            )


@contextmanager
def _kept(parts: Parts) -> Iterator[None]:
    """Say in one sentence where something could not be written."""
    try:
        yield
    except (OSError, pa.ArrowException) as error:
        number = getattr(error, "errno", None)  # Arrow's own sentences do not say why
        reason = os.strerror(number) if number else " ".join(str(error).split())
        raise PipelineError(
            f"{parts.folder} cannot be written: {reason}; what is done is kept: "
            "give the same command again once that is mended"
        ) from error
