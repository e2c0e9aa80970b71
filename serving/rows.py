"""Messages to arrays and back; pure, and strict about what it lets in."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from serving import policies
from serving.artifact import Answer
from serving.errors import InvalidRequest
from serving.manifest import Input
from serving.policies import Rule
from serving.quote import listed
from serving.repository import Served
from serving.wire import ordinal_pb2 as wire

_DTYPES: dict[str, np.dtype[np.generic]] = {"float32": np.dtype("<f4"), "uint8": np.dtype("u1")}
_WIRE_DTYPES = {"float32": wire.FLOAT32, "uint8": wire.UINT8}
_TOPOLOGIES = {"linear": wire.LINEAR, "cyclic": wire.CYCLIC}


def rows_of(request: wire.PredictRequest, inputs: Sequence[Input]) -> dict[str, NDArray[np.generic]]:
    """Return the rows of a request as the graph wants them: `(rows, *shape)` for each input.

    Raises InvalidRequest, naming the field that is wrong, what must hold, and what came.
    """
    if request.WhichOneof("rows") is None:
        raise InvalidRequest("tensor", "a request must have rows, it has none")
    if len(inputs) != 1:
        names = listed([spec.name for spec in inputs])
        raise InvalidRequest("tensor", f"a model of several inputs, {names}, cannot be fed by one tensor")
    (spec,) = inputs
    tensor = request.tensor
    _check_dtype(tensor, spec)
    shape = _checked_shape(tensor, spec)
    rows = _elements(tensor, shape, spec).reshape(shape)
    if spec.dtype == "float32":
        _check_numbers(rows, spec)
    return {spec.name: rows}


def prediction(
    request: wire.PredictRequest, served: Served, rules: Sequence[Rule], answer: Answer
) -> wire.PredictResponse:
    """Return the graph's answer as a message."""
    return wire.PredictResponse(
        request_id=request.request_id,
        model=served.name,
        version=served.version,
        rows=len(answer.probabilities),
        labels=served.artifact.manifest.labels,
        # From a list of Python floats the message is filled five times as fast as from an array.
        probabilities=answer.probabilities.ravel().tolist(),
        expected_value=answer.expected_value.tolist(),
        resultant=() if answer.resultant is None else answer.resultant.tolist(),
        decisions=policies.decisions(rules, answer),
        provider=served.artifact.provider,
    )


def description(served: Served) -> wire.Model:
    """Return a served version's manifest as a message."""
    manifest = served.artifact.manifest
    return wire.Model(
        name=served.name,
        version=served.version,
        aliases=served.aliases,
        labels=manifest.labels,
        values=manifest.values,
        topology=_TOPOLOGIES[manifest.topology.kind],
        period=manifest.topology.period or 0.0,
        inputs=[
            wire.Input(
                name=spec.name,
                dtype=_WIRE_DTYPES[spec.dtype],
                shape=spec.shape,
                features=spec.features,
                missing_allowed=spec.missing_allowed,
            )
            for spec in manifest.inputs
        ],
        profiles=[
            wire.Profile(
                name=rule.name,
                cost=wire.CostMatrix(actions=rule.actions, cost=rule.cost.ravel().tolist()),
            )
            for rule in served.profiles.values()
        ],
        default_profile=manifest.default_profile,
        loss=manifest.best.loss.name,
        head=manifest.best.head.name,
        proper=manifest.best.proper,
        run_id=manifest.best.run_id,
        digest=served.artifact.digest,
        provider=served.artifact.provider,
        manifest=manifest.to_json(),
    )


def _check_dtype(tensor: wire.Tensor, spec: Input) -> None:
    wanted = _WIRE_DTYPES[spec.dtype]
    if tensor.dtype != wanted:
        known = wire.DataType.values()
        came = wire.DataType.Name(tensor.dtype) if tensor.dtype in known else f"number {tensor.dtype}"
        raise InvalidRequest("tensor.dtype", f"must be {wire.DataType.Name(wanted)}, got {came}")


def _checked_shape(tensor: wire.Tensor, spec: Input) -> tuple[int, ...]:
    shape = tuple(tensor.shape)
    wanted = ", ".join(str(size) for size in ("rows", *spec.shape))
    if len(shape) != 1 + len(spec.shape) or shape[1:] != spec.shape:
        raise InvalidRequest("tensor.shape", f"must be [{wanted}], got {listed(shape)}")
    if shape[0] < 1:
        raise InvalidRequest("tensor.shape[0]", f"there must be at least one row, got {shape[0]}")
    return shape


def _elements(tensor: wire.Tensor, shape: tuple[int, ...], spec: Input) -> NDArray[np.generic]:
    """Return the elements in one dimension; sizes are compared before anything is allocated."""
    size = math.prod(shape)
    if tensor.values:
        if tensor.data:
            raise InvalidRequest("tensor.values", "exactly one of data and values must be there, not both")
        if spec.dtype != "float32":
            raise InvalidRequest("tensor.values", f"only FLOAT32 has values; send {spec.dtype} as data")
        if len(tensor.values) != size:
            raise InvalidRequest(
                "tensor.values",
                f"shape {list(shape)} needs {size} elements, got {len(tensor.values)}",
            )
        return np.fromiter(tensor.values, np.float32, size)
    if not tensor.data:
        raise InvalidRequest("tensor.data", "exactly one of data and values must be there, both are empty")
    dtype = _DTYPES[spec.dtype]
    if len(tensor.data) != size * dtype.itemsize:
        raise InvalidRequest(
            "tensor.data",
            f"shape {list(shape)} of {spec.dtype} needs {size * dtype.itemsize} bytes, "
            f"got {len(tensor.data)}",
        )
    return np.frombuffer(tensor.data, dtype)


def _check_numbers(rows: NDArray[np.generic], spec: Input) -> None:
    bad = np.isinf(rows) if spec.missing_allowed else ~np.isfinite(rows)
    if not bad.any():
        return
    row, *position = (int(place) for place in np.unravel_index(np.argmax(bad), bad.shape))
    place = f"feature {spec.features[position[0]]!r}" if spec.features else f"position {position}"
    allowed = "a finite number, or NaN where a value is missing" if spec.missing_allowed else "finite"
    raise InvalidRequest(
        "tensor", f"every element must be {allowed}; got {rows[(row, *position)]} at row {row}, {place}"
    )
