"""Which parameters of a request are read, which are left unread, and which are refused."""

from __future__ import annotations

import math
from collections.abc import Mapping

from serving.entries import neighbour
from serving.errors import InvalidRequest
from serving.quote import listed, quoted
from serving.wire import inference_pb2 as wire

COST_PROFILE = "cost_profile"
COVERAGE = "coverage"
_READ = (COST_PROFILE, COVERAGE)

# What clients of the protocol send of their own accord, and what changes no answer here: there are no
# sequences and no priorities, deadlines are gRPC's, and whether contents are binary is seen.
_UNREAD = frozenset(
    (
        "binary_data",
        "binary_data_output",
        "binary_data_size",
        "content_type",
        "headers",
        "priority",
        "sequence_end",
        "sequence_id",
        "sequence_start",
        "timeout",
    )
)
_UNREAD_PREFIX = "triton_"
_SHARED = "shared_memory_"
_CLASSES = "classification"

_Parameters = Mapping[str, wire.InferParameter]


def asked(parameters: _Parameters) -> tuple[str | None, float | None]:
    """Return the cost profiles, as one text, and the coverage; None where a request leaves them open.

    Raises InvalidRequest, naming the parameter that is wrong.
    """
    profile: str | None = None
    coverage: float | None = None
    for name, value in parameters.items():
        field = field_of(name)
        if name == COST_PROFILE:
            if value.WhichOneof("parameter_choice") != "string_param":
                raise InvalidRequest(field, f"must be a string_param, got {_shown(value)}")
            profile = value.string_param
        elif name == COVERAGE:
            coverage = _coverage(value, field)
        else:
            _check(name, field, _READ)
    return profile, coverage


def field_of(name: str, where: str = "parameters") -> str:
    """Return the path of a parameter."""
    return f"{where}[{quoted(name)}]"


def check_input(parameters: _Parameters, field: str) -> None:
    """Refuse parameters of an input that would change what it means."""
    for name in parameters:
        _check(name, field_of(name, field), ())


def check_output(parameters: _Parameters, field: str) -> None:
    """Refuse parameters of a requested output that would change what it is."""
    for name in parameters:
        if name == _CLASSES:
            raise InvalidRequest(
                field_of(name, field), "outputs come as tensors, not as classes: leave it out"
            )
        _check(name, field_of(name, field), ())


def _check(name: str, field: str, read: tuple[str, ...]) -> None:
    if name.startswith(_SHARED):
        raise InvalidRequest(field, "shared memory is not served: send contents")
    if name in _UNREAD or name.startswith(_UNREAD_PREFIX):
        return
    if name in _READ:
        raise InvalidRequest(field, "belongs to the parameters of the request, and not of a tensor")
    if not read:
        raise InvalidRequest(field, "is no parameter of a tensor; none are read")
    raise InvalidRequest(field, f"must be one of {listed(read)}{neighbour(name, read)}")


def _coverage(value: wire.InferParameter, field: str) -> float:
    kind = value.WhichOneof("parameter_choice")
    number = math.nan
    match kind:
        case "double_param" | "int64_param" | "uint64_param":
            number = getattr(value, kind)
        case "string_param":
            try:
                number = float(value.string_param)
            except ValueError:
                kind = None
        case _:
            kind = None
    if kind is None or not 0 < number < 1:  # NaN fails both comparisons
        raise InvalidRequest(field, f"must be a number between 0 and 1, got {_shown(value)}")
    return number


def _shown(value: wire.InferParameter) -> str:
    kind = value.WhichOneof("parameter_choice")
    if kind is None:
        return "none"
    content = getattr(value, kind)
    return f"{kind} {quoted(content) if isinstance(content, str) else content}"
