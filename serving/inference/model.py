"""What requests about a served version have in common, made ready once."""

from __future__ import annotations

import json
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from serving.entries import neighbour
from serving.errors import InvalidRequest
from serving.inference.parameters import check_output
from serving.inference.tensors import Spec
from serving.manifest import Input
from serving.policies import Rule, stacked_cost
from serving.quote import listed, quoted
from serving.repository import Served
from serving.wire import inference_pb2 as wire

DATATYPES = {"float32": "FP32", "uint8": "UINT8", "string": "BYTES"}
COST, COVERAGE = "cost", "coverage"
_DECIDED = frozenset(("expected_cost", "decision", "margin"))


class Model:
    """One served version, as tensors.

    `specs` are the inputs by name, those that a request may leave out last; `outputs` the names and shapes
    without rows of what comes back, -1 where a request chooses the size.
    """

    def __init__(self, served: Served) -> None:
        # What `served` is made of, and not itself: it is the weak key under which this is kept.
        manifest = served.artifact.manifest
        self.artifact = served.artifact
        self.inputs = served.inputs
        self.profiles = served.profiles
        self.labels = len(manifest.labels)
        self.specs = {spec.name: spec for spec in (*map(_spec, manifest.inputs), *_options(self.labels))}
        self.outputs: dict[str, tuple[int, ...]] = {
            "probabilities": (self.labels,),
            "expected_value": (),
            "expected_cost": (-1, -1),
            "decision": (-1,),
            "margin": (-1,),
            "interval": (2,),
            "uncertainty": (2,),
        }
        if manifest.topology.kind == "cyclic":
            self.outputs["resultant"] = ()
        self._all = tuple(self.outputs)
        self.default = (served.profiles[manifest.default_profile],)
        self.default_cost = served.cost
        self.default_coverage = served.coverage
        self._costs = {name: stacked_cost([rule]) for name, rule in served.profiles.items()}
        self._costs[manifest.default_profile] = served.cost  # `batching` shares runs by this very object
        self._heading = _message(
            served.name,
            served.version,
            {"provider": served.artifact.provider, "labels": json.dumps(manifest.labels)},
        )
        self._decided = {name: _decided((rule,)) for name, rule in served.profiles.items()}

    def wanted(self, request: wire.ModelInferRequest) -> tuple[str, ...]:
        """Return the outputs that a request asks for, in its order; all where it names none.

        Raises InvalidRequest where one is no output of this model, or comes twice.
        """
        if not request.outputs:
            return self._all
        found: dict[str, None] = {}
        for index, output in enumerate(request.outputs):
            name, field = output.name, f"outputs[{index}].name"
            if name not in self.outputs:
                raise InvalidRequest(
                    field,
                    f"must be one of {listed(self._all)}, got {quoted(name)}{neighbour(name, self._all)}",
                )
            if name in found:
                raise InvalidRequest(field, f"names must differ, {quoted(name)} comes twice")
            if output.parameters:
                check_output(output.parameters, f"outputs[{index}].parameters")
            found[name] = None
        return tuple(found)

    def cost(self, rules: Sequence[Rule]) -> NDArray[np.float32]:
        """Return the costs of profiles, `(1, P, K, A)`; of one profile always the same object."""
        return self._costs[rules[0].name] if len(rules) == 1 else stacked_cost(rules)

    def heading(self, outputs: Sequence[str], rules: Sequence[Rule] | None) -> bytes:
        """Return the bytes of what every reply with these outputs has, decided by these rules."""
        if rules is None or _DECIDED.isdisjoint(outputs):
            return self._heading
        return self._heading + (self._decided[rules[0].name] if len(rules) == 1 else _decided(rules))


def _spec(described: Input) -> Spec:
    sizes = ("rows", *map(str, described.shape))
    return Spec(described.name, DATATYPES[described.dtype], described.shape, sizes)


def _options(labels: int) -> tuple[Spec, Spec]:
    sizes = ("1 or rows", "policies", str(labels), "actions")
    return (
        Spec(COST, "FP32", (None, labels, None), sizes, optional=True),
        Spec(COVERAGE, "FP32", (), sizes[:1], optional=True),
    )


def _decided(rules: Sequence[Rule]) -> bytes:
    """Return the parameters of a reply that say what its decisions are by."""
    return _message(
        "",
        "",
        {
            "policies": json.dumps([rule.name for rule in rules]),
            "actions": json.dumps([rule.actions for rule in rules]),
        },
    )


def _message(name: str, version: str, parameters: dict[str, str]) -> bytes:
    reply = wire.ModelInferResponse(
        model_name=name,
        model_version=version,
        parameters={key: wire.InferParameter(string_param=text) for key, text in parameters.items()},
    )
    return reply.SerializeToString(deterministic=True)
