"""The graph's answers become messages."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import chain, islice

import numpy as np

from serving.artifact import Answer
from serving.encoding import ONE_BYTE, Field, nested_heads, packed
from serving.errors import InvalidRequest
from serving.orders import Refusal
from serving.policies import Rule
from serving.repository import Served
from serving.rows import WIRE_DTYPES
from serving.wire import ordinal_pb2 as wire

_TOPOLOGIES = {"linear": wire.LINEAR, "cyclic": wire.CYCLIC}
_OUTPUTS = [number for name, number in wire.Output.items() if name != "OUTPUT_UNSPECIFIED"]
_DEFAULT = frozenset(_OUTPUTS) - {wire.ACTION_COSTS}
_MOST_KEPT = 1024  # numbers of rows for which a model keeps what lies between the numbers of a reply


_REQUEST_ID, _ROWS, _PROBABILITIES, _EXPECTED_VALUE, _RESULTANT, _DECISIONS, _INTERVAL, _UNCERTAINTY = (
    Field(wire.PredictResponse, name)
    for name in (
        *("request_id", "rows", "probabilities", "expected_value"),
        *("resultant", "decisions", "interval", "uncertainty"),
    )
)
_ACTION, _EXPECTED_COST, _MARGIN, _ACTION_COSTS = (
    Field(wire.Decision, name) for name in ("action", "expected_cost", "margin", "action_costs")
)
_COVERAGE, _LOWER, _UPPER = (Field(wire.Interval, name) for name in ("coverage", "lower", "upper"))
_ALEATORIC, _EPISTEMIC = (Field(wire.Uncertainty, name) for name in ("aleatoric", "epistemic"))


def outputs_of(request: wire.PredictRequest) -> frozenset[int]:
    """Return the outputs that a request asks for; all but the cost of every action where it names none.

    Raises InvalidRequest where one is no output.
    """
    if not request.outputs:
        return _DEFAULT
    if len(request.outputs) > len(_OUTPUTS):
        raise InvalidRequest(
            "outputs", f"there are {len(_OUTPUTS)} to ask for, once each, got {len(request.outputs)}"
        )
    for index, number in enumerate(request.outputs):
        if number not in _OUTPUTS:
            names = ", ".join(wire.Output.Name(known) for known in _OUTPUTS)
            came = wire.Output.Name(number) if number in wire.Output.values() else f"number {number}"
            raise InvalidRequest(f"outputs[{index}]", f"must be one of {names}, got {came}")
    return frozenset(request.outputs)


def prediction(
    request: wire.PredictRequest,
    served: Served,
    rules: Sequence[Rule],
    outputs: frozenset[int],
    answer: Answer,
) -> bytes:
    """Return the graph's answer to a request as the bytes of a `PredictResponse`."""
    contents = _contents(rules, outputs, answer)
    rows = len(answer.probabilities)
    # Most requests leave all to the model: what lies between their numbers is the same for as many rows.
    usual = outputs is _DEFAULT and not request.policies and not request.HasField("coverage")
    heads = served.heads.get(rows) if usual else None
    if heads is None:
        manifest = served.artifact.manifest
        asked = request.coverage if request.HasField("coverage") else manifest.interval.coverage
        cyclic = answer.resultant is not None
        heads = _heads(rules, outputs, asked, [len(content) for content in contents], cyclic)
        of_one_size = max(len(manifest.labels), len(rules[0].actions)) <= ONE_BYTE
        if usual and of_one_size and len(served.heads) < _MOST_KEPT:
            served.heads[rows] = heads
    fields = [served.heading, _ROWS.integer(rows)]
    if request.request_id:
        fields.append(_REQUEST_ID.nested(request.request_id.encode()))
    fields.extend(chain.from_iterable(zip(heads, contents, strict=True)))
    return b"".join(fields)


def _contents(rules: Sequence[Rule], outputs: frozenset[int], answer: Answer) -> list[bytes]:
    """Return the numbers of a reply, field by field."""
    contents: list[bytes] = []
    labels = answer.probabilities.shape[1]
    if wire.PROBABILITIES in outputs:
        contents.append(answer.probabilities.tobytes())
    if wire.EXPECTED_VALUE in outputs:
        contents.append(answer.expected_value.tobytes())
        if answer.resultant is not None:
            contents.append(answer.resultant.tobytes())
    for index, rule in enumerate(rules):
        costs = answer.expected_cost[:, index]
        if wire.DECISION in outputs:
            action = answer.decision[:, index]
            contents.append(packed(action, len(rule.actions)))
            contents.append(costs[np.arange(len(action)), action].tobytes())
            contents.append(answer.margin[:, index].tobytes())
        if wire.ACTION_COSTS in outputs:
            contents.append(costs[:, : len(rule.actions)].tobytes())
    if wire.INTERVAL in outputs:
        if labels <= ONE_BYTE:
            ends = packed(answer.interval, labels)
            contents += (ends[::2], ends[1::2])
        else:
            contents += (packed(ends, labels) for ends in answer.interval.T)
    if wire.UNCERTAINTY in outputs:
        parts = answer.uncertainty.T.tobytes()  # all of the one, then all of the other
        half = len(parts) // 2
        contents += (parts[:half], parts[half:])
    return contents


def _heads(
    rules: Sequence[Rule], outputs: frozenset[int], coverage: float, sizes: Sequence[int], cyclic: bool
) -> list[bytes]:
    """Return what comes before each of the contents, which are of such sizes."""
    heads: list[bytes] = []
    left = iter(sizes)
    if wire.PROBABILITIES in outputs:
        heads.append(_PROBABILITIES.head(next(left)))
    if wire.EXPECTED_VALUE in outputs:
        heads.append(_EXPECTED_VALUE.head(next(left)))
        if cyclic:
            heads.append(_RESULTANT.head(next(left)))
    decided = (_ACTION, _EXPECTED_COST, _MARGIN) if wire.DECISION in outputs else ()
    costed = (_ACTION_COSTS,) if wire.ACTION_COSTS in outputs else ()
    if decided or costed:
        for rule in rules:
            fields = (*decided, *costed)
            heads += nested_heads(_DECISIONS, rule.heading, fields, list(islice(left, len(fields))))
    if wire.INTERVAL in outputs:
        asked = _COVERAGE.double(coverage)
        heads += nested_heads(_INTERVAL, asked, (_LOWER, _UPPER), list(islice(left, 2)))
    if wire.UNCERTAINTY in outputs:
        heads += nested_heads(_UNCERTAINTY, b"", (_ALEATORIC, _EPISTEMIC), list(islice(left, 2)))
    return heads


def description(served: Served, refused: Sequence[Refusal]) -> wire.Model:
    """Return a served version's manifest as a message, and what of its name could not be served."""
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
                dtype=WIRE_DTYPES[spec.dtype],
                shape=spec.shape,
                features=spec.features,
                missing=spec.missing,
                missing_texts=spec.missing_texts,
                categories=[wire.Categories(names=names) for names in spec.categories],
                unknown_allowed=spec.unknown_allowed,
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
        coverage=manifest.interval.coverage,
        refused=[wire.Refusal(version=one.version, reason=one.reason, since=one.since) for one in refused],
    )
