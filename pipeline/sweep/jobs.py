"""What the processes of `workers` do. They are forked from one that has imported this, and TensorFlow."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path

from pipeline import environment

environment.import_tensorflow(use=False)  # what has used it may not be forked

import joblib  # noqa: E402 - TensorFlow first, by the one who keeps it quiet
import tensorflow as tf  # noqa: E402

from pipeline import trials  # noqa: E402
from pipeline.config import Config  # noqa: E402
from pipeline.data import Dataset  # noqa: E402
from pipeline.errors import Died, Pruned  # noqa: E402
from pipeline.export import champion  # noqa: E402
from pipeline.sweep import planning  # noqa: E402
from pipeline.sweep.trial import Pair, Trial  # noqa: E402
from pipeline.sweep.tried import COST, Begun, Calibration, Reached, Tried  # noqa: E402
from pipeline.sweep.workers import Tell  # noqa: E402
from pipeline.train import Progress, replicas  # noqa: E402

LOOKS = 20
"""How often in a training of as many epochs as are allowed somebody looks how it goes."""


def look(_: Tell, config: Config, data: Path) -> tuple[list[Pair], int]:
    """Return the pairs of loss and head, and how many GPUs there are.

    Raises InputError as `planning.pairs` does, and where there are too few GPUs.
    """
    if config.search.backend == "processes":  # else GPUs of this machine matter to nobody
        replicas.check(config.search.replicas)
    return planning.pairs(config, _rows(data)), len(tf.config.list_physical_devices("GPU"))


def train(tell: Tell, trial: Trial, config: Config, data: Path, network: Path, backup: Path) -> Tried:
    """Do one trial, see `trials.run`; tells `Begun` and `Reached`, and ends where it is told to.

    Raises Pruned then, Diverged where the training did, and Died where memory was not enough.
    """
    return train_on(tell, trial, config, _rows(data), network, backup)


def train_on(tell: Tell, trial: Trial, config: Config, rows: Dataset, network: Path, backup: Path) -> Tried:
    """Do as `train` does, with the rows themselves."""
    every = max(1, config.search.epochs // LOOKS)

    def told(progress: Progress) -> None:
        if progress.epoch % every == 0 and not tell(
            Reached(progress.epoch, progress.curves[f"val_{COST}"][-1])
        ):
            raise Pruned(f"pruned after {progress.epoch} epochs")

    tell(Begun(trials.parameters(trial, config, rows)))
    try:
        return trials.run(trial, config, rows, network, told=told, backup=backup)
    except (MemoryError, tf.errors.ResourceExhaustedError) as error:
        reason = str(error).partition("\n")[0]
        raise Died(f"too little memory, fewer search.workers may help: {reason}") from error


def export(
    tell: Tell, chosen: list[Tried], config: Config, data: Path, path: Path, backups: Path
) -> tuple[Calibration, float]:
    """Write the artifact, see `champion.export`; tells what somebody should know as sentences."""

    def say(text: str) -> None:
        tell(text)

    with _exact():
        return champion.export(chosen, config, _rows(data), path, say, backups)


@contextmanager
def _exact() -> Iterator[None]:
    """Multiply float32 as such: a GPU rounds to TF32 by default, and the file would differ from Keras."""
    before = tf.config.experimental.tensor_float_32_execution_enabled()
    tf.config.experimental.enable_tensor_float_32_execution(False)
    try:
        yield
    finally:
        tf.config.experimental.enable_tensor_float_32_execution(before)


@cache
def _rows(path: Path) -> Dataset:
    """Return a data set that `joblib` has written, its arrays mapped from there."""
    rows: Dataset = joblib.load(path, mmap_mode="r")
    return rows
