"""What a caller has, arrays, columns, frames and policies, becomes a request."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, get_args

import numpy as np
from numpy.typing import ArrayLike, NDArray

from serving.frames import columns_of
from serving.quote import listed
from serving.wire import ordinal_pb2 as wire

Rows = Any
"""An array, or what NumPy makes one of; a mapping of names to columns; a data frame."""
Output = Literal["probabilities", "expected_value", "decision", "action_costs", "interval", "uncertainty"]
"""What a prediction may hold; `action_costs` comes only where it is asked for."""


@dataclass(frozen=True, eq=False)
class Policy:
    """What to decide by: costs of the caller's own, or a profile of the model's, maybe with an abstention.

    Attributes:
        name: Returned with the decision; unique in a request.
        cost: `(K, A)`, `cost[true label, action]`, or `(rows, K, A)` with a matrix for each row; finite,
            not negative. Left out where `profile` is given.
        actions: A names, an abstention not counted; left out, the actions are the labels and A = K.
        profile: Name of a cost profile of the model.
        abstain_cost: Adds a last action, "abstain", that costs this whatever the true label is.
    """

    name: str
    cost: ArrayLike | None = None
    actions: Sequence[str] = ()
    profile: str = ""
    abstain_cost: float | None = None

    def message(self) -> wire.Policy:
        """The policy as it is sent; raises ValueError where `cost` does not fit `actions` or `profile`."""
        if (self.cost is None) != bool(self.profile):
            raise ValueError(f"policy {self.name!r}: exactly one of cost and profile must be given")
        if self.cost is None:
            if self.actions:
                raise ValueError(f"policy {self.name!r}: a profile has actions of its own")
            rule: dict[str, Any] = {"profile": self.profile}
        else:
            cost = np.asarray(self.cost, np.float32)
            if cost.ndim not in (2, 3) or (self.actions and cost.shape[-1] != len(self.actions)):
                columns = f"{len(self.actions)}, one column for each action" if self.actions else "actions"
                raise ValueError(
                    f"policy {self.name!r}: cost must be (labels, {columns}), or as much for each row, "
                    f"got shape {cost.shape}"
                )
            rule = {"cost": wire.CostMatrix(actions=self.actions, cost=cost.ravel().tolist())}
        return wire.Policy(name=self.name, abstain_cost=self.abstain_cost, **rule)

    def __repr__(self) -> str:
        if self.cost is None:
            rule = f"profile {self.profile!r}"
        else:
            cost = np.asarray(self.cost)
            size = " × ".join(map(str, cost.shape))
            rule = f"cost {size}, {cost.min():g} … {cost.max():g}" if cost.size else f"cost {size}"
        actions = f", actions {listed(self.actions)}" if self.actions else ""
        abstain = "" if self.abstain_cost is None else f", abstain {self.abstain_cost:g}"
        return f"Policy({self.name!r}: {rule}{actions}{abstain})"


def prediction_request(
    rows: Rows,
    model: str,
    version: str,
    policies: Sequence[str | Policy],
    coverage: float | None,
    outputs: Sequence[Output],
    request_id: str,
) -> wire.PredictRequest:
    """Return the message; arguments, TypeError and ValueError as those of `Client.predict`."""
    for name, several in (("policies", policies), ("outputs", outputs)):
        if isinstance(several, str):
            raise TypeError(f"{name} must be a list, such as [{several!r}], got {several!r}")
    columns: Mapping[str, Any] | None = rows if isinstance(rows, Mapping) else columns_of(rows)
    return wire.PredictRequest(
        model=model,
        version=version,
        request_id=request_id,
        **({"tensor": _tensor(rows)} if columns is None else {"table": _table(columns)}),
        policies=[wire.Policy(profile=one) if isinstance(one, str) else one.message() for one in policies],
        coverage=coverage,
        outputs=[_output(one) for one in outputs],
    )


def _output(name: Output) -> str:
    if name not in get_args(Output):
        raise ValueError(f"output {name!r} must be one of {', '.join(get_args(Output))}")
    return name.upper()


def _tensor(rows: Any) -> wire.Tensor:
    array = np.asarray(rows)
    if array.dtype.kind == "f":
        array = _float32(array)
    elif array.dtype != np.uint8:
        raise TypeError(
            f"rows must be float32 or uint8, as the model's input is, got {array.dtype}; "
            "convert them, as with rows.astype(np.float32)"
        )
    dtype = wire.UINT8 if array.dtype == np.uint8 else wire.FLOAT32
    return wire.Tensor(dtype=dtype, shape=array.shape, data=array.tobytes())


def _table(columns: Mapping[str, ArrayLike]) -> wire.Table:
    return wire.Table(columns=[_column(name, entries) for name, entries in columns.items()])


def _column(name: str, entries: ArrayLike) -> wire.Column:
    if isinstance(entries, list | tuple) and any(issubclass(kind, str) for kind in set(map(type, entries))):
        # NumPy would make a text of a NaN beside texts, and make all as long as the longest.
        entries = np.array(entries, np.object_)
    array = np.asarray(entries)
    if array.ndim != 1:
        raise ValueError(f"column {name!r} must have one dimension, got shape {array.shape}")
    if array.dtype.kind in "fiub":
        return wire.Column(name=name, floats=_float32(array).tolist())
    return _objects(name, array.tolist())


def _objects(name: str, entries: list[Any]) -> wire.Column:
    """Return a column of numbers or texts, in which None is a missing value; of None alone, of texts."""
    given = [entry for entry in entries if entry is not None]
    if given and all(map(_is_number, given)):
        try:
            numbers = np.array([np.nan if entry is None else entry for entry in entries], np.float64)
        except OverflowError as error:
            raise ValueError(f"column {name!r} must hold numbers that a float can hold: {error}") from error
        return wire.Column(name=name, floats=_float32(numbers).tolist())
    texts = ["" if entry is None or _is_nan(entry) else entry for entry in entries]
    for row, text in enumerate(texts):
        if not isinstance(text, str):
            beside = " beside texts" if any(isinstance(one, str) for one in given) else ""
            raise TypeError(
                f"column {name!r} must hold numbers or texts, and None where a value is missing; "
                f"got {type(text).__name__}{beside} at row {row}"
            )
    return wire.Column(name=name, strings=texts)


def _is_number(entry: object) -> bool:
    return isinstance(entry, (bool, int, float, np.bool_, np.integer, np.floating))


def _is_nan(entry: object) -> bool:
    return isinstance(entry, (float, np.floating)) and bool(np.isnan(entry))


def _float32(array: NDArray[Any]) -> NDArray[np.float32]:
    """Return it little-endian, as the wire has it."""
    with np.errstate(over="ignore"):  # what overflows becomes infinite, which the service refuses
        return array.astype("<f4")
