"""What the oracle says to rows, what Keras, ONNX and gRPC have said to them, and whether they agree."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import oracle
from numpy.typing import NDArray

from pipeline.conformal import Conformal
from pipeline.topology import Topology
from serving.answers import Prediction
from serving.artifact import Answer
from serving.manifest import PADDING
from serving.requests import Output

Floats = NDArray[np.float64]
TOLERANCE = 1e-5
ALL: tuple[Output, ...] = (
    "uncertainty",
    "interval",
    "action_costs",
    "decision",
    "expected_value",
    "probabilities",
)
"""Every output, in another order than the service gives them."""
Costs = Mapping[str, NDArray[np.float32]]
"""Policies by name, each `(K, A)`, or `(rows, K, A)` with a matrix for each row."""
Ends = tuple[int, int]


@dataclass(frozen=True)
class Decided:
    """What one policy makes of rows."""

    action: NDArray[np.integer]  # (rows,)
    margin: NDArray[np.floating]  # (rows,)
    costs: NDArray[np.floating]  # (rows, A)

    def of(self, rows: slice) -> Decided:
        """Return that of some of the rows."""
        return Decided(self.action[rows], self.margin[rows], self.costs[rows])


@dataclass(frozen=True)
class Said:
    """An answer, by whatever way it came."""

    probabilities: NDArray[np.floating]  # (rows, K)
    value: NDArray[np.floating]  # (rows,)
    resultant: NDArray[np.floating] | None  # (rows,)
    uncertainty: NDArray[np.floating]  # (rows, 2)
    interval: NDArray[np.integer]  # (rows, 2)
    decisions: Mapping[str, Decided]

    def of(self, rows: slice) -> Said:
        """Return that to some of the rows."""
        return Said(
            self.probabilities[rows],
            self.value[rows],
            None if self.resultant is None else self.resultant[rows],
            self.uncertainty[rows],
            self.interval[rows],
            {name: one.of(rows) for name, one in self.decisions.items()},
        )


@dataclass(frozen=True)
class Wanted:
    """The oracle's answer to rows; of an interval those that rounding may choose between, None for any."""

    topology: Topology
    probabilities: Floats
    value: Floats
    resultant: Floats
    uncertainty: Floats
    interval: Sequence[set[Ends] | None]
    decisions: Mapping[str, Decided]
    largest: Mapping[str, float]  # cost of each policy

    def of(self, rows: slice) -> Wanted:
        """Return that to some of the rows."""
        return Wanted(
            self.topology,
            self.probabilities[rows],
            self.value[rows],
            self.resultant[rows],
            self.uncertainty[rows],
            self.interval[rows],
            {name: one.of(rows) for name, one in self.decisions.items()},
            self.largest,
        )


def wanted(
    passes: Floats, topology: Topology, conformal: Conformal, costs: Costs, coverage: float | Floats
) -> Wanted:
    """Ask the oracle.

    Args:
        passes: `(rows, S, K)`, probabilities of each pass.
        topology: Of the labels.
        conformal: The kind of interval, and the calibration scores.
        costs: Of each policy.
        coverage: Of the intervals; `(rows,)` where each row has its own.
    """
    rows = [[p.tolist() for p in row] for row in passes]
    means = [oracle.mean(row) for row in rows]
    ring, values = topology.period is not None, topology.values
    if topology.period is None:
        value = [(oracle.expected_value(p, values), 1.0) for p in means]
    else:
        value = [oracle.circular_mean(p, values, topology.period) for p in means]
    levels = np.broadcast_to(np.asarray(coverage, np.float32), len(means)).tolist()
    return Wanted(
        topology,
        np.array(means),
        np.array([v for v, _ in value]),
        np.array([r for _, r in value]),
        np.array([oracle.uncertainty(row, ring) for row in rows]),
        [interval(p, topology, conformal, level) for p, level in zip(means, levels, strict=True)],
        {name: _decided(means, cost) for name, cost in costs.items()},
        {name: float(cost.max()) for name, cost in costs.items()},
    )


def _decided(means: list[list[float]], cost: NDArray[np.float32]) -> Decided:
    by_row = np.broadcast_to(cost, (len(means), *cost.shape[-2:])).astype(np.float64).tolist()
    made = [oracle.decision(p, one) for p, one in zip(means, by_row, strict=True)]
    costs = [oracle.expected_costs(p, one) for p, one in zip(means, by_row, strict=True)]
    return Decided(np.array([a for a, _ in made]), np.array([m for _, m in made]), np.array(costs))


def scores(p: Sequence[float], topology: Topology, conformal: Conformal) -> list[float]:
    """Return how far an interval must grow to hold each label."""
    if conformal.kind == "greedy":
        return oracle.greedy_scores(p, topology.period is not None)
    if topology.period is None:
        return oracle.central_scores(p)
    return oracle.unrolled_scores(p, topology.values, topology.period)


def settled(p: Sequence[float], topology: Topology, conformal: Conformal) -> bool:
    """Return whether rounding cannot cut a ring elsewhere, nor take another neighbour first."""
    if conformal.kind == "greedy":
        return oracle.closest_choice(p, topology.period is not None) > TOLERANCE
    if topology.period is None:
        return True
    return oracle.distance_from_cut(p, topology.values, topology.period) > TOLERANCE


def interval(
    p: Sequence[float], topology: Topology, conformal: Conformal, coverage: float
) -> set[Ends] | None:
    """Return the ends that an interval may have, or None where a score is as near as a tie to τ.

    There are two where (n + 1)·coverage is a whole number but for rounding, as 0.8 is none of float32. At
    τ = 1 an interval holds all labels, and the only label whose score is 0 is always inside: neither is a
    tie.
    """
    calibration = conformal.calibration.tolist()
    whole = (len(calibration) + 1) * coverage
    found: set[Ends] = set()
    rounding = 0 if whole.is_integer() else TOLERANCE
    for rank in {math.ceil(whole - rounding), math.ceil(whole + rounding)}:
        tau = oracle.threshold(calibration, max(rank - 0.5, 0.5) / (len(calibration) + 1))
        if tau == 1:
            found.add((0, len(p) - 1))
            continue
        of_labels = scores(p, topology, conformal)
        near = [score for score in of_labels if abs(score - tau) <= TOLERANCE]
        if near not in ([], [0.0]) or not settled(p, topology, conformal):
            return None
        found.add(oracle.interval(of_labels, tau, topology.period is not None))
    return found


def stacked(costs: Costs) -> NDArray[np.float32]:
    """Return all policies as the graph takes them, `(1 or rows, P, K, A)`, the shorter ones padded."""
    by_row = [cost if cost.ndim == 3 else cost[np.newaxis] for cost in costs.values()]
    rows, most = max(map(len, by_row)), max(cost.shape[2] for cost in by_row)
    whole = np.full((rows, len(by_row), by_row[0].shape[1], most), PADDING, np.float32)
    for place, cost in enumerate(by_row):
        whole[:, place, :, : cost.shape[2]] = cost
    return whole


def of_graph(answer: Answer, costs: Costs) -> Said:
    """Read what Keras or the ONNX file have said under `stacked` costs."""
    return Said(
        answer.probabilities,
        answer.expected_value,
        answer.resultant,
        answer.uncertainty,
        answer.interval,
        {
            name: Decided(
                answer.decision[:, place],
                answer.margin[:, place],
                answer.expected_cost[:, place, : cost.shape[-1]],
            )
            for place, (name, cost) in enumerate(costs.items())
        },
    )


def of_reply(reply: Prediction) -> Said:
    """Read a reply with all outputs; what it repeats must be the same to the last bit."""
    assert reply.interval is not None
    assert reply.uncertainty is not None
    decisions = {}
    for name, one in reply.decisions.items():
        assert one.action_costs is not None
        np.testing.assert_array_equal(
            one.expected_cost, one.action_costs[np.arange(len(reply)), one.action]
        )
        decisions[name] = Decided(one.action, one.margin, one.action_costs)
    return Said(
        reply.probabilities,
        reply.expected_value,
        reply.resultant,
        np.stack([reply.uncertainty.aleatoric, reply.uncertainty.epistemic], axis=1),
        np.stack([reply.interval.lower, reply.interval.upper], axis=1),
        decisions,
    )


def check(said: Said, wanted: Wanted) -> None:
    """Hold an answer against the oracle's.

    Probabilities, uncertainty and resultant within 1e-5; values relative to the largest one, a mean on a
    ring along the arc, relative to the period and the less strictly the shorter its resultant; costs and
    margins relative to the policy's largest cost. Decisions must be equal where the margin exceeds 1e-5,
    else as cheap as that; intervals where no score is as near to τ.
    """
    near = {"atol": TOLERANCE, "rtol": 0.0}
    np.testing.assert_allclose(said.probabilities, wanted.probabilities, **near)
    np.testing.assert_allclose(said.uncertainty, wanted.uncertainty, **near)
    period = wanted.topology.period
    apart = np.abs(said.value - wanted.value)
    if period is None:
        assert said.resultant is None
        assert (apart <= TOLERANCE * max(map(abs, wanted.topology.values))).all()
    else:
        np.testing.assert_allclose(said.resultant, wanted.resultant, **near)
        apart = np.minimum(apart % period, -apart % period)
        assert (apart * wanted.resultant <= TOLERANCE * period).all()
    for name, made in said.decisions.items():
        right, largest = wanted.decisions[name], wanted.largest[name]
        np.testing.assert_allclose(made.costs, right.costs, rtol=0, atol=TOLERANCE * largest, err_msg=name)
        np.testing.assert_allclose(
            made.margin, right.margin, rtol=0, atol=TOLERANCE * largest, err_msg=name
        )
        clear = right.margin > TOLERANCE
        np.testing.assert_array_equal(made.action[clear], right.action[clear], err_msg=name)
        chosen = right.costs[np.arange(len(made.action)), made.action]
        assert (chosen - right.costs.min(axis=1) <= TOLERANCE).all(), name
    for row, (ends, allowed) in enumerate(zip(said.interval.tolist(), wanted.interval, strict=True)):
        assert allowed is None or tuple(ends) in allowed, f"row {row}: {ends}, wanted {allowed}"
