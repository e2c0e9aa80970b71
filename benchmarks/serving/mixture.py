"""Requests of all kinds and sizes, as many callers of one service send them, and what is right as a reply.

Each is either method, one row or up to a thousand, a tensor, a table, or the Open Inference Protocol, with
the default costs or with the caller's own.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import messages
import numpy as np
from numpy.typing import NDArray

from serving.artifact import Artifact
from serving.bench.answers import Expected
from serving.bench.inference_speech import SPEECH as INFER
from serving.bench.ordinal_speech import SPEECH as PREDICT
from serving.bench.speech import Speech
from serving.random_rows import random_rows
from serving.wire import ordinal_pb2 as wire

SIZES = ((1, 0.62), (4, 0.12), (16, 0.1), (64, 0.08), (256, 0.05), (700, 0.02), (1024, 0.01))
"""Rows of a request, and how many of the requests have so many."""

EACH = 12  # different requests of a size and kind
_STREAMED = 0.25  # of the requests of ordinal.v1


@dataclass(eq=False)
class Kind:
    """One request that is sent again and again; `check` says what is wrong with a reply, if anything."""

    name: str
    method: str
    stream: bool
    request: bytes
    weight: float
    check: Callable[[bytes], str]
    right: set[bytes] = field(default_factory=set)

    def wrong(self, reply: bytes) -> str:
        """Return what is wrong with a reply; one that was right is not looked at again."""
        if reply in self.right:
            return ""
        fault = self.check(reply)
        if not fault and len(self.right) < EACH:  # runs that are shared differ in their last bits
            self.right.add(reply)
        return fault


def kinds(artifacts: Sequence[Artifact], seed: int = 0) -> list[Kind]:
    """Return requests of all kinds for these artifacts."""
    random = np.random.default_rng(seed)
    found: list[Kind] = []
    for artifact in artifacts:
        for rows, weight in SIZES:
            each = weight / EACH / len(artifacts)
            for number in range(EACH):
                found += _alike(artifact, rows, each, number, random)
    return found


def _alike(
    artifact: Artifact, rows: int, weight: float, number: int, random: np.random.Generator
) -> list[Kind]:
    """Return a request for the same rows in each way to ask."""
    manifest = artifact.manifest
    given = random_rows(manifest, rows, random)
    name = f"{manifest.name}, {rows} rows"

    def made(what: str, speech: Speech, stream: bool, request: bytes, share: float) -> Kind:
        expected = Expected(artifact, [given], speech)
        method = messages.PREDICT_STREAM if stream else speech.method
        return Kind(
            f"{name}, {what} {number}",
            method,
            stream,
            request,
            weight * share,
            lambda reply: expected.wrong(0, reply),
        )

    tensor = PREDICT.request(manifest, given, manifest.name, "")
    table = _table(manifest.name, given["numeric"], manifest.inputs[0].features)
    raw = INFER.request(manifest, given, manifest.name, "")
    own = _own_costs(tensor, len(manifest.labels), random)
    return [
        made("tensor", PREDICT, False, tensor, 0.45 * (1 - _STREAMED)),
        made("tensor on a stream", PREDICT, True, tensor, 0.45 * _STREAMED),
        made("table", PREDICT, False, table, 0.15),
        made("Open Inference", INFER, False, raw, 0.25),
        Kind(
            f"{name}, own costs {number}",
            messages.PREDICT,
            False,
            own,
            weight * 0.15,
            lambda reply: _decided_right(reply, own),
        ),
    ]


def _table(model: str, numeric: NDArray[np.generic], features: Sequence[str]) -> bytes:
    columns = [
        wire.Column(name=name, floats=column.tolist())
        for name, column in zip(features, numeric.T, strict=True)
    ]
    return wire.PredictRequest(model=model, table=wire.Table(columns=columns)).SerializeToString()


def _own_costs(tensor: bytes, labels: int, random: np.random.Generator) -> bytes:
    """Return the request with two policies of the caller's own."""
    request = wire.PredictRequest.FromString(tensor)
    for name, actions in (("own", 2), ("three", 3)):
        cost = random.uniform(0, 9, labels * actions).astype(np.float32)
        matrix = wire.CostMatrix(actions=[f"do {action}" for action in range(actions)], cost=cost.tolist())
        request.policies.add(name=name, cost=matrix)
    request.request_id = f"{random.integers(2**32):08x}"
    return request.SerializeToString()


def _decided_right(reply: bytes, request: bytes) -> str:
    """Return what is wrong with decisions: each must cost least by the reply's own probabilities."""
    asked, answer = wire.PredictRequest.FromString(request), wire.PredictResponse.FromString(reply)
    if answer.request_id != asked.request_id or len(answer.decisions) != len(asked.policies):
        return f"decisions {len(answer.decisions)} of request {answer.request_id!r}"
    p = np.array(answer.probabilities, np.float64).reshape(answer.rows, -1)
    if not np.allclose(p.sum(axis=1), 1, atol=1e-4):
        return "probabilities do not sum to 1"
    for policy, decision in zip(asked.policies, answer.decisions, strict=True):
        costs = p @ np.array(policy.cost.cost).reshape(p.shape[1], -1)  # (rows, actions)
        chosen = costs[np.arange(len(p)), list(decision.action)]
        if not (
            np.allclose(chosen, costs.min(axis=1), atol=1e-4)
            and np.allclose(chosen, decision.expected_cost, atol=1e-4)
        ):
            return f"policy {policy.name!r} does not cost least"
    return ""
