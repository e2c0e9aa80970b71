"""What the client returns: plain frozen data, with NumPy arrays."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from serving.wire import ordinal_pb2 as wire

if TYPE_CHECKING:
    import polars

_SHOWN = 5
_SHOWN_DECISIONS = 3


@dataclass(frozen=True, eq=False)
class Decision:
    """What one policy decides, row by row.

    Attributes:
        policy: Its name.
        actions: A names.
        action: `(rows,)`, int32 index into `actions` of the lowest expected cost.
        expected_cost: `(rows,)`, of that action, in the unit of the costs.
        margin: `(rows,)`, expected cost of the runner-up minus that of the decision.
        action_costs: `(rows, A)`, expected cost of every action, where it was asked for.
    """

    policy: str
    actions: tuple[str, ...]
    action: NDArray[np.int32]
    expected_cost: NDArray[np.float32]
    margin: NDArray[np.float32]
    action_costs: NDArray[np.float32] | None = None

    @property
    def chosen(self) -> list[str]:
        """The name of each row's action."""
        return [self.actions[index] for index in self.action]

    def __repr__(self) -> str:
        if not self.action.size:
            return f"Decision({self.policy!r}: costs of {len(self.actions)} actions)"
        rows = ", ".join(
            f"{name} (cost {cost:.4g}, margin {margin:.4g})"
            for name, cost, margin in zip(
                self.chosen[:_SHOWN], self.expected_cost, self.margin, strict=False
            )
        )
        return f"Decision({self.policy!r}: {rows}{_more(len(self.action))})"


@dataclass(frozen=True, eq=False)
class Interval:
    """A contiguous set of labels for each row, which holds the true one with the wanted coverage.

    Attributes:
        coverage: What was wanted.
        lower: `(rows,)`, index of the first label; of cyclic labels it comes after `upper` where the set
            leads from the last label on to the first, and (0, K−1) stands for all of them.
        upper: `(rows,)`, index of the last label, which belongs to the set.
        labels: K names, in their order.
    """

    coverage: float
    lower: NDArray[np.int32]
    upper: NDArray[np.int32]
    labels: tuple[str, ...]

    @property
    def ends(self) -> list[tuple[str, str]]:
        """The names of each row's first and last label."""
        return [
            (self.labels[lower], self.labels[upper])
            for lower, upper in zip(self.lower, self.upper, strict=True)
        ]

    def __repr__(self) -> str:
        rows = ", ".join(f"{lower} … {upper}" for lower, upper in self.ends[:_SHOWN])
        return f"Interval({self.coverage:g}: {rows}{_more(len(self.lower))})"


@dataclass(frozen=True, eq=False)
class Uncertainty:
    """Parts of the mean variance of the events "label ≤ k", each 0 … ¼; of all arcs on a ring.

    Attributes:
        aleatoric: `(rows,)`, what the model expects of chance.
        epistemic: `(rows,)`, what its passes or members disagree about; 0 of a single pass.
    """

    aleatoric: NDArray[np.float32]
    epistemic: NDArray[np.float32]

    def __repr__(self) -> str:
        rows = ", ".join(
            f"{aleatoric:.3f} + {epistemic:.3f}"
            for aleatoric, epistemic in zip(self.aleatoric[:_SHOWN], self.epistemic[:_SHOWN], strict=True)
        )
        return f"Uncertainty({rows}{_more(len(self.aleatoric))})"


@dataclass(frozen=True, eq=False)
class Prediction:
    """The service's answer to rows; arrays that were left out of the request's `outputs` are empty.

    Attributes:
        probabilities: `(rows, K)`; not negative, each row sums to 1.
        expected_value: `(rows,)`, Σ value · probability; of cyclic labels the circular mean.
        decisions: By the name of their policy, in the order asked.
        labels: K names, in their order.
        model: Name of the model that answered.
        version: Its version, as a number; `"0"` for a file that no registry knows.
        provider: The onnxruntime execution provider that ran.
        request_id: As it was sent.
        rows: How many there are.
        interval: None where it was left out.
        uncertainty: None where it was left out.
        resultant: `(rows,)`, of cyclic labels: from 0, where there is no mean direction, to 1.
    """

    probabilities: NDArray[np.float32]
    expected_value: NDArray[np.float32]
    decisions: dict[str, Decision]
    labels: tuple[str, ...]
    model: str
    version: str
    provider: str
    request_id: str
    rows: int
    interval: Interval | None = None
    uncertainty: Uncertainty | None = None
    resultant: NDArray[np.float32] | None = None

    @property
    def most_probable(self) -> list[str]:
        """The name of each row's most probable label."""
        return [self.labels[index] for index in self.probabilities.argmax(axis=1)]

    def to_polars(self) -> polars.DataFrame:
        """Return a frame with a row for each row; of all that came back, none of what was left out.

        Columns are `p_LABEL` for each label, `expected_value`, `resultant`; for each policy
        `decision_POLICY`, `expected_cost_POLICY`, `margin_POLICY`, and `action_costs_POLICY` with a number
        for each action; `lower`, `upper`; `aleatoric`, `epistemic`. Actions and labels are names, as
        categories (polars.Enum) in their order.

        Raises ImportError where polars is not installed: it comes with `ordinal[polars]`.
        """
        from serving.answer_frame import answer_frame

        return answer_frame(self)

    def __len__(self) -> int:
        return self.rows

    def __repr__(self) -> str:
        rows = ", ".join(
            f"{label} {probability:.3f}"
            for label, probability in zip(
                self.most_probable[:_SHOWN], self.probabilities.max(axis=1), strict=False
            )
        )
        shown = f"{rows}{_more(len(self))}" if rows else "no probabilities"
        decisions = list(self.decisions.values())
        parts = [*decisions[:_SHOWN_DECISIONS], self.interval, self.uncertainty]
        others = "".join(f", {part!r}" for part in parts if part is not None)
        if len(decisions) > _SHOWN_DECISIONS:
            others += f", … {len(decisions) - _SHOWN_DECISIONS} more decisions"
        return f"Prediction({self.model} version {self.version}, {len(self)} rows: {shown}{others})"


def prediction(message: wire.PredictResponse) -> Prediction:
    """Read the reply to a `Predict`."""
    labels = tuple(message.labels)
    return Prediction(
        probabilities=_floats(message.probabilities).reshape(-1, len(labels)),
        expected_value=_floats(message.expected_value),
        resultant=_floats(message.resultant) if message.resultant else None,
        decisions={one.policy: _decision(one) for one in message.decisions},
        labels=labels,
        interval=_interval(message.interval, labels) if message.HasField("interval") else None,
        uncertainty=_uncertainty(message.uncertainty) if message.HasField("uncertainty") else None,
        model=message.model,
        version=message.version,
        provider=message.provider,
        request_id=message.request_id,
        rows=message.rows,
    )


def _decision(message: wire.Decision) -> Decision:
    costs = _floats(message.action_costs)
    return Decision(
        policy=message.policy,
        actions=tuple(message.actions),
        action=_indices(message.action),
        expected_cost=_floats(message.expected_cost),
        margin=_floats(message.margin),
        action_costs=costs.reshape(-1, len(message.actions)) if costs.size else None,
    )


def _interval(message: wire.Interval, labels: tuple[str, ...]) -> Interval:
    return Interval(message.coverage, _indices(message.lower), _indices(message.upper), labels)


def _uncertainty(message: wire.Uncertainty) -> Uncertainty:
    return Uncertainty(_floats(message.aleatoric), _floats(message.epistemic))


def _floats(field: Any) -> NDArray[np.float32]:
    return np.fromiter(field, np.float32, len(field))


def _indices(field: Any) -> NDArray[np.int32]:
    return np.fromiter(field, np.int32, len(field))


def _more(rows: int) -> str:
    return f", … {rows - _SHOWN} more" if rows > _SHOWN else ""
