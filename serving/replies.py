"""The graph's answers become messages."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from google.protobuf.message import Message
from numpy.typing import NDArray

from serving.artifact import Answer
from serving.errors import InvalidRequest
from serving.policies import Rule
from serving.repository import Served
from serving.rows import WIRE_DTYPES
from serving.wire import ordinal_pb2 as wire

_TOPOLOGIES = {"linear": wire.LINEAR, "cyclic": wire.CYCLIC}
_OUTPUTS = [number for name, number in wire.Output.items() if name != "OUTPUT_UNSPECIFIED"]
_DEFAULT = frozenset(_OUTPUTS) - {wire.ACTION_COSTS}
_PACKED = 2  # the wire type of a field with a length, in the low three bits of its tag


def outputs_of(request: wire.PredictRequest) -> frozenset[int]:
    """Return the outputs that a request asks for; all but the cost of every action where it names none.

    Raises InvalidRequest where one is no output.
    """
    if len(request.outputs) > len(_OUTPUTS):
        raise InvalidRequest(
            "outputs", f"there are {len(_OUTPUTS)} to ask for, once each, got {len(request.outputs)}"
        )
    for index, number in enumerate(request.outputs):
        if number not in _OUTPUTS:
            names = ", ".join(wire.Output.Name(known) for known in _OUTPUTS)
            came = wire.Output.Name(number) if number in wire.Output.values() else f"number {number}"
            raise InvalidRequest(f"outputs[{index}]", f"must be one of {names}, got {came}")
    return frozenset(request.outputs) or _DEFAULT


def prediction(
    request: wire.PredictRequest,
    served: Served,
    rules: Sequence[Rule],
    outputs: frozenset[int],
    answer: Answer,
) -> wire.PredictResponse:
    """Return the graph's answer to a request as a message."""
    manifest = served.artifact.manifest
    reply = wire.PredictResponse(
        request_id=request.request_id,
        model=served.name,
        version=served.version,
        rows=len(answer.probabilities),
        labels=manifest.labels,
        provider=served.artifact.provider,
    )
    if wire.PROBABILITIES in outputs:
        _fill(reply, "probabilities", answer.probabilities)
    if wire.EXPECTED_VALUE in outputs:
        _fill(reply, "expected_value", answer.expected_value)
        if answer.resultant is not None:
            _fill(reply, "resultant", answer.resultant)
    if outputs & {wire.DECISION, wire.ACTION_COSTS}:
        for index, rule in enumerate(rules):
            _decide(reply.decisions.add(), index, rule, outputs, answer)
    if wire.INTERVAL in outputs:
        asked = request.coverage if request.HasField("coverage") else manifest.interval.coverage
        reply.interval.coverage = asked
        reply.interval.lower.extend(answer.interval[:, 0].tolist())
        reply.interval.upper.extend(answer.interval[:, 1].tolist())
    if wire.UNCERTAINTY in outputs:
        _fill(reply.uncertainty, "aleatoric", answer.uncertainty[:, 0])
        _fill(reply.uncertainty, "epistemic", answer.uncertainty[:, 1])
    return reply


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
    )


def _decide(
    decision: wire.Decision, index: int, rule: Rule, outputs: frozenset[int], answer: Answer
) -> None:
    """Fill in what one policy, the `index`-th of the run, has decided."""
    decision.policy = rule.name
    decision.actions.extend(rule.actions)
    costs, action = answer.expected_cost[:, index], answer.decision[:, index]
    if wire.DECISION in outputs:
        decision.action.extend(action.tolist())
        _fill(decision, "expected_cost", costs[np.arange(len(action)), action])
        _fill(decision, "margin", answer.margin[:, index])
    if wire.ACTION_COSTS in outputs:
        _fill(decision, "action_costs", costs[:, : len(rule.actions)])


def _fill(message: Message, name: str, floats: NDArray[np.float32]) -> None:
    """Fill a `repeated float` field as it lies on the wire; by elements it takes 100 times longer."""
    tag = message.DESCRIPTOR.fields_by_name[name].number << 3 | _PACKED
    content = floats.astype("<f4").tobytes()
    message.MergeFromString(_varint(tag) + _varint(len(content)) + content)


def _varint(number: int) -> bytes:
    """Return a number in seven bits a byte, the lowest first, as protobuf writes it."""
    groups = bytearray()
    while number > 0x7F:
        groups.append(number & 0x7F | 0x80)
        number >>= 7
    groups.append(number)
    return bytes(groups)
