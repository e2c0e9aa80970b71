"""Whether two answers to the same rows agree, as far as sums of float32 numbers can (NumPy)."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from pipeline.errors import ExportError
from pipeline.topology import Topology
from serving.artifact import Answer

TOLERANCE = 1e-5
"""Largest difference, relative to the size of the numbers that an output is made of; see `compare`."""


def compare(
    expected: Answer,
    actual: Answer,
    topology: Topology,
    names: tuple[str, str] = ("Keras", "the exported graph"),
) -> float:
    """Return the largest relative difference of two answers to the same rows.

    Sums and differences of float32 numbers are as exact as the largest of those numbers: expected
    costs and margins are compared relative to the largest expected cost of their policy, expected values
    relative to the largest label value, probabilities, uncertainties and resultant lengths as they are.
    A margin that is smaller than `TOLERANCE` by the same measure is a tie, which may fall either way. A
    mean on a ring is compared along the arc, relative to the period and the less strictly the shorter its
    resultant. Intervals are not compared, since what is a tie of theirs an answer does not tell.

    Args:
        expected: The answer to agree with.
        actual: The other one.
        topology: Of the labels.
        names: Who gave the one and the other, for messages.

    Raises:
        ExportError: Where an output differs by more than `TOLERANCE`, or has another shape.
    """
    ours_is, theirs_is = names
    costs = np.maximum(np.abs(expected.expected_cost).max(axis=2), np.finfo(np.float32).tiny)  # (batch, P)
    sizes: dict[str, NDArray[np.float32] | np.float32] = {
        "probabilities": np.float32(1),
        "expected_value": np.float32(max(map(abs, topology.values)) or 1),
        "expected_cost": costs[..., np.newaxis],
        "margin": costs,
        "uncertainty": np.float32(1),
    }
    if expected.resultant is not None:
        sizes["resultant"] = np.float32(1)
    worst = 0.0
    for name, size in sizes.items():
        ours, theirs = getattr(expected, name), getattr(actual, name)
        if ours.shape != theirs.shape:
            raise ExportError(f"{name}: {ours_is} gives shape {ours.shape}, {theirs_is} {theirs.shape}")
        apart = np.abs(ours - theirs)
        if name == "expected_value" and expected.resultant is not None and topology.period is not None:
            apart = np.minimum(apart, topology.period - apart) * expected.resultant
            size = np.float32(topology.period)
        difference = float(np.max(apart / size))
        if not difference <= TOLERANCE:
            raise ExportError(
                f"{name}: {theirs_is} differs from {ours_is} by {difference:.2g}, allowed is {TOLERANCE:g}"
            )
        worst = max(worst, difference)
    clear = expected.margin > TOLERANCE * costs
    differing = int(np.sum(expected.decision[clear] != actual.decision[clear]))
    if differing:
        raise ExportError(f"decision: {differing} of {clear.sum()} clear decisions differ from {ours_is}'")
    return worst
