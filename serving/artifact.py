"""One artifact, loaded: a path becomes a checked onnxruntime session."""

from __future__ import annotations

import functools
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
import onnxruntime as ort
from numpy.typing import NDArray

from serving.engine import Place
from serving.errors import ArtifactError, DeviceError
from serving.gpu import NO_LIMITS, Gpu
from serving.manifest import KEY, Input, Manifest
from serving.seal import check_seal
from serving.session import CPU, CUDA, Device, open_session
from serving.timing import Timing, measure

__all__ = ["CPU", "CUDA", "Answer", "Artifact", "ArtifactError", "Device", "DeviceError", "open_session"]

_ONNX_TYPE = {"float32": "tensor(float)", "uint8": "tensor(uint8)", "string": "tensor(string)"}


class Answer(NamedTuple):
    """What the graph says about a batch; fields are named as its outputs."""

    probabilities: NDArray[np.float32]  # (batch, K)
    expected_value: NDArray[np.float32]  # (batch,)
    expected_cost: NDArray[np.float32]  # (batch, P, A)
    decision: NDArray[np.int64]  # (batch, P)
    margin: NDArray[np.float32]  # (batch, P)
    interval: NDArray[np.int64]  # (batch, 2)
    uncertainty: NDArray[np.float32]  # (batch, 2)
    resultant: NDArray[np.float32] | None = None  # (batch,), of cyclic labels

    def of(self, rows: slice) -> Answer:
        """Return the answer to some of the rows."""
        return Answer(
            self.probabilities[rows],
            self.expected_value[rows],
            self.expected_cost[rows],
            self.decision[rows],
            self.margin[rows],
            self.interval[rows],
            self.uncertainty[rows],
            None if self.resultant is None else self.resultant[rows],
        )


_OUTPUT_TYPE = {
    "probabilities": "tensor(float)",
    "expected_value": "tensor(float)",
    "expected_cost": "tensor(float)",
    "decision": "tensor(int64)",
    "margin": "tensor(float)",
    "interval": "tensor(int64)",
    "uncertainty": "tensor(float)",
    "resultant": "tensor(float)",
}


class Artifact:
    """A sealed ONNX file that may be served, on a device.

    `manifest` describes it, `digest` is its seal, `cost` `(1, 1, K, A)` and `coverage` `(1,)` are its
    defaults, and `timing` is known once it is warm.
    """

    def __init__(self, path: Path | str, device: Device = "auto", gpu: Gpu = NO_LIMITS) -> None:
        """Load and check the file.

        With `device="auto"`, where there is a GPU that can be used, it takes what is faster.

        Raises ArtifactError where the file may not be served, and DeviceError where `device` is
        `"cuda"` and onnxruntime cannot use it, or not in the way that `gpu` says.
        """
        self.path = Path(path)
        self.digest = check_seal(self.path)
        place = Place(self.path, device, gpu)
        session = place.session()
        described = session.get_modelmeta().custom_metadata_map.get(KEY)
        if described is None:
            raise ArtifactError(f"{self.path}: no manifest: metadata_props has no {KEY!r}")
        self.manifest = Manifest.from_json(described, origin=str(self.path))
        cyclic = self.manifest.topology.kind == "cyclic"
        self._outputs = [name for name in Answer._fields if cyclic or name != "resultant"]
        self.cost = np.array([[self.manifest.profiles[self.manifest.default_profile].cost]], np.float32)
        self.coverage = np.array([self.manifest.interval.coverage], np.float32)
        self.timing: Timing | None = None
        self.strikes = 0.0  # runs that took far longer than `timing` says, lately
        self._check_graph(session)
        numbers = sum(math.prod(spec.shape) for spec in self.manifest.inputs) * self.manifest.passes
        self._engine = place.engine(session, self._outputs, numbers)
        del session
        self._probe()
        self._engine = place.settled(self._engine, self._outputs, numbers, self.seen)
        self._run, self._most_rows = self._engine.run, self._engine.most_rows  # each request asks for them

    @property
    def provider(self) -> str:
        """The execution provider of onnxruntime in use."""
        return self._engine.provider

    @property
    def choice(self) -> str:
        """Why it is on this device, where there was a choice; else nothing."""
        return self._engine.choice

    def warm(self, most_rows: int) -> Timing:
        """Run the sizes of batches that will come, on what was seen in training; return and keep `timing`.

        Raises ArtifactError where a run fails.
        """
        most_rows = min(most_rows, self._most_rows)
        try:
            if self._engine.graphs:
                self._engine.graphs.record(most_rows, self.seen)
            self.timing = measure(lambda rows: functools.partial(self.run, self.seen(rows)), most_rows)
        except Exception as error:  # onnxruntime raises bare classes of its own for each failure
            raise ArtifactError(f"{self.path}: a run to warm up fails: {str(error).strip()}") from error
        return self.timing

    def run(
        self,
        rows: Mapping[str, NDArray[np.generic]],
        cost: NDArray[np.float32] | None = None,
        coverage: NDArray[np.float32] | None = None,
    ) -> Answer:
        """Answer a batch; a large one by several runs, so that memory does not grow with it.

        Args:
            rows: An array for each of `manifest.inputs`: shape `(batch, *shape)`, its dtype; of a string
                objects, each a `str`, since onnxruntime makes a text of anything else.
            cost: `(1 or batch, P, K, A)`, `cost[policy, true label, action]`; a policy with fewer actions
                is padded with `manifest.PADDING`. Left out, the default profile decides.
            coverage: `(1 or batch,)`, of the interval, in (0, 1). Left out, `manifest.interval.coverage`.
        """
        batch = len(next(iter(rows.values())))
        if batch > self._most_rows:
            parts = _parts(batch, self._most_rows)
            answers = [self.run(*_part(part, rows, cost, coverage)) for part in parts]
            again = len(parts) * len(answers[0].decision) - batch
            return _whole([*answers[:-1], answers[-1].of(slice(again, None))])
        feed = dict(rows)
        # The graph has its own defaults, which need not be copied for each run.
        if cost is not None and cost is not self.cost:
            feed["cost"] = cost
        if coverage is not None and coverage is not self.coverage:
            feed["coverage"] = coverage
        return Answer(*self._run(self._outputs, feed))

    def _check_graph(self, session: ort.InferenceSession) -> None:
        inputs = {node.name: node for node in session.get_inputs()}
        described = [spec.name for spec in self.manifest.inputs]
        if sorted(inputs) != sorted(described):
            raise ArtifactError(
                f"{self.path}: the graph wants inputs {sorted(inputs)}, its manifest names {described}"
            )
        for spec in self.manifest.inputs:
            self._check_tensor("input", inputs[spec.name], _ONNX_TYPE[spec.dtype], ["batch", *spec.shape])
        count = len(self.manifest.labels)
        outputs = {output.name: output for output in session.get_outputs()}
        if "probabilities" in outputs and outputs["probabilities"].shape[1:] != [count]:
            raise ArtifactError(
                f"{self.path}: its manifest names {count} labels, "
                f"the graph's probabilities are {outputs['probabilities'].shape}"
            )
        optional = {i.name: i for i in session.get_overridable_initializers()}
        optional_shapes: dict[str, list[int | str]] = {
            "cost": ["cost_rows", "policies", count, "actions"],
            "coverage": ["coverage_rows"],
        }
        for name, shape in optional_shapes.items():
            if name not in optional:
                raise ArtifactError(f"{self.path}: the graph has no optional input {name!r}")
            self._check_tensor("input", optional[name], "tensor(float)", shape)
        shapes: dict[str, list[int | str]] = {
            "probabilities": ["batch", count],
            "expected_value": ["batch"],
            "expected_cost": ["batch", "policies", "actions"],
            "decision": ["batch", "policies"],
            "margin": ["batch", "policies"],
            "interval": ["batch", 2],
            "uncertainty": ["batch", 2],
            "resultant": ["batch"],
        }
        for name in self._outputs:
            if name not in outputs:
                raise ArtifactError(f"{self.path}: the graph has no output {name!r}")
            self._check_tensor("output", outputs[name], _OUTPUT_TYPE[name], shapes[name])

    def _check_tensor(self, role: str, node: ort.NodeArg, type_: str, shape: Sequence[int | str]) -> None:
        if node.type != type_ or list(node.shape) != list(shape):
            wanted = f"{type_} {list(shape)}"
            raise ArtifactError(
                f"{self.path}: {role} {node.name!r} is {node.type} {list(node.shape)}, must be {wanted}"
            )

    def _probe(self) -> None:
        """Run one row of what was seen in training."""
        try:
            probabilities = self._engine.run(self._outputs, self.seen(1))[0]
        except Exception as error:  # onnxruntime raises bare classes of its own for each failure
            raise ArtifactError(f"{self.path}: a first run fails: {str(error).strip()}") from error
        if not (probabilities >= 0).all() or not np.allclose(probabilities.sum(axis=1), 1, atol=1e-4):
            raise ArtifactError(
                f"{self.path}: probabilities of a probe row must be non-negative and sum to 1, "
                f"got {probabilities[0].tolist()}"
            )

    def seen(self, rows: int) -> dict[str, NDArray[np.generic]]:
        """Return rows such as were seen in training, all alike."""
        return {spec.name: np.repeat(_seen_row(spec), rows, axis=0) for spec in self.manifest.inputs}


def _parts(batch: int, most: int) -> list[slice]:
    """Return parts of one size, for a GPU plans convolutions anew for another; the last two may overlap."""
    size = math.ceil(batch / math.ceil(batch / most))
    starts = [min(start, batch - size) for start in range(0, batch, size)]
    return [slice(start, start + size) for start in starts]


def _part(
    part: slice,
    rows: Mapping[str, NDArray[np.generic]],
    cost: NDArray[np.float32] | None,
    coverage: NDArray[np.float32] | None,
) -> tuple[dict[str, NDArray[np.generic]], NDArray[np.float32] | None, NDArray[np.float32] | None]:
    """Return some of the rows, with what belongs to them."""
    return (
        {name: array[part] for name, array in rows.items()},
        cost if cost is None or len(cost) == 1 else cost[part],
        coverage if coverage is None or len(coverage) == 1 else coverage[part],
    )


def _whole(parts: Sequence[Answer]) -> Answer:
    outputs = zip(*parts, strict=True)
    return Answer(*(None if each[0] is None else np.concatenate(each) for each in outputs))  # type: ignore[arg-type]


def _seen_row(spec: Input) -> NDArray[np.generic]:
    """Return `(1, *shape)`: the middle of the ranges, or the first category of each feature."""
    if spec.dtype == "string":
        return np.array([[categories[0] for categories in spec.categories]], np.object_)
    middle = np.array([(low + high) / 2 for low, high in spec.ranges])
    return np.broadcast_to(middle, spec.shape).astype(spec.dtype)[np.newaxis]


def _ms(seconds: Sequence[float]) -> str:
    return " and ".join(f"{1000 * each:.2f} ms" for each in seconds)
