"""Networks that answer together: the passes of all of them, undone and scaled, as one network."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import keras
import numpy as np
from numpy.typing import NDArray

from pipeline.calibration import Distortion, Scale, Scaling, Undo
from pipeline.dropout import freeze
from pipeline.errors import Diverged

CHUNK = 4096  # rows


@dataclass(frozen=True)
class Member:
    """A trained network, how often it answers, and what is undone of what training did to it."""

    model: keras.Model  # rows → (batch, K) log-probabilities
    passes: int = 1
    seed: int = 0  # of the masks
    undone: Distortion = field(default_factory=Distortion)


def assemble(members: Sequence[Member], scaling: Scaling) -> keras.Model:
    """Return the network that gives the calibrated log-probabilities of every pass of every member.

    Rows → each member's network, with its dropout frozen → what training distorted undone → all passes side
    by side → one scaling for all. Probabilities are to be averaged after that: scaling the mean would
    break the split of its variance (`uncertainty`).

    Args:
        members: One or more, with inputs of one kind.
        scaling: Of the K labels.

    Returns:
        Rows to `(batch, S, K)`, S the sum of the members' passes.
    """
    first = members[0].model.inputs[0]
    rows = keras.Input(batch_shape=first.shape, dtype=first.dtype, name=first.name)
    answers = []
    for number, member in enumerate(members):
        frozen = freeze(member.model, member.passes, member.seed)
        frozen.name = f"member_{number}"
        log_p = frozen(rows)
        if member.undone.parts:
            log_p = Undo(**vars(member.undone), dtype="float32", name=f"undone_{number}")(log_p)
        answers.append(log_p)
    log_p = answers[0] if len(answers) == 1 else keras.layers.Concatenate(axis=1, name="passes")(answers)
    if scaling.method != "none":
        log_p = Scale(scaling.slopes, scaling.offsets, dtype="float32", name="calibration")(log_p)
    return keras.Model(rows, log_p, name="ensemble")


def answer(model: keras.Model, features: NDArray[np.generic]) -> NDArray[np.float32]:
    """Return the log-probabilities of raw rows, some thousands at a time.

    Args:
        model: Rows to `(batch, K)`, or to `(batch, S, K)`.
        features: `(rows, …)`.

    Raises:
        Diverged: One is not a number, or no probability at all.
    """
    chunks = np.array_split(features, max(1, -(-len(features) // CHUNK)))
    log_p: NDArray[np.float32] = np.concatenate([model(chunk, training=False).numpy() for chunk in chunks])
    if not np.isfinite(np.exp(log_p)).all():
        raise Diverged("the network's answers are not finite; a smaller learning_rate may help")
    return log_p
