"""All that a run needs before anything is tried. Whatever is wrong with the input is found here."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from pathlib import Path
from socket import gethostname
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING

import joblib

from pipeline.config import Config, Search
from pipeline.data import Dataset, load
from pipeline.errors import PipelineError
from pipeline.fingerprint import fingerprint
from pipeline.report import notes
from pipeline.run_folder import RunFolder
from pipeline.sweep import Pair, workers
from pipeline.sweep.workers import Workers
from pipeline.tracking.runs import FOLDER, HOST, Experiment

if TYPE_CHECKING:
    from pipeline.sweep.cluster import Cluster


@dataclass(frozen=True, eq=False)
class Session:
    """What a run has at hand.

    Attributes:
        config: What is asked for.
        data: What is learned from.
        experiment: Where its runs are kept.
        folder: Where it keeps what it has reached; held by this process.
        workers: Processes that train.
        pairs: Of loss and head.
        gpus: How many the workers see.
        cluster: Where trials are trained instead, if not by these processes.
    """

    config: Config
    data: Dataset
    experiment: Experiment
    folder: RunFolder
    workers: Workers
    pairs: list[Pair]
    gpus: int
    cluster: Cluster | None = None

    @property
    def tags(self) -> dict[str, str]:
        """What tells of an MLflow run whether its process still lives."""
        return {HOST: gethostname(), FOLDER: str(self.folder.path.resolve())}


_open: ContextVar[Session | None] = ContextVar("session", default=None)


@contextmanager
def opened(config: Config) -> Iterator[Session]:
    """Read the data, hold the folder of an unfinished run or a new one, have processes ready to train.

    Within a session of the same config it is that one: the command opens it before it starts a server,
    where an error is one sentence, and the flow has a session whoever calls it.

    Raises:
        InputError: The config, the data or the store is wrong.
        PipelineError: Nothing can be kept in the working folder.
    """
    outer = _open.get()
    if outer is not None and outer.config == config:
        yield outer
        return
    workers.prepare()
    search = config.search
    with ExitStack() as stack:
        cluster = _cluster(search, stack)
        data = load(config)
        here = (search.workers, search.threads, search.replicas) if cluster is None else (1,)
        pool = stack.enter_context(Workers(*here))
        # Nothing is left where the config is wrong, which only Keras can tell.
        rows = Path(stack.enter_context(TemporaryDirectory(prefix="ordinal-"))) / "rows"
        try:
            joblib.dump(data, rows)
        except OSError as error:
            raise PipelineError(
                f"the rows cannot be written to {rows.parent}: {error.strerror or error}; "
                "set TMPDIR to a folder on a larger disk"
            ) from error
        pairs, gpus = pool.call("look", config, rows)
        name = config.tracking.experiment or config.name
        experiment = Experiment(config.tracking.uri, name, notes.experiment(config))
        mark = fingerprint(config, data, experiment.uri)
        folder = stack.enter_context(RunFolder.held(config.name, mark))
        folder.keep_rows(rows)
        session = Session(config, data, experiment, folder, pool, pairs, gpus, cluster)
        token = _open.set(session)
        try:
            yield session
        finally:
            _open.reset(token)


def _cluster(search: Search, stack: ExitStack) -> Cluster | None:
    if search.backend != "ray":
        return None
    from pipeline.sweep import cluster  # nothing of it is imported where it is not asked for

    return stack.enter_context(cluster.joined(search))
