"""One artifact, loaded: a path becomes a checked onnxruntime session."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Literal, NamedTuple

import numpy as np
import onnxruntime as ort
from numpy.typing import NDArray

from serving.errors import ArtifactError, DeviceError
from serving.manifest import KEY, Input, Manifest
from serving.seal import check_seal

__all__ = ["Answer", "Artifact", "ArtifactError", "Device", "DeviceError", "open_session"]

Device = Literal["auto", "cpu", "cuda"]

CPU = "CPUExecutionProvider"
CUDA = "CUDAExecutionProvider"
_NVIDIA_DEVICES = ("/dev/nvidiactl", "/dev/dxg")  # Linux, WSL2

MOST_ROWS = 1024
"""Rows of one run: larger ones are hardly faster, and memory must not grow with a batch."""

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

    `manifest` describes it, `provider` is the onnxruntime execution provider in use, `digest` its seal.
    """

    def __init__(self, path: Path | str, device: Device = "auto") -> None:
        """Load and check the file.

        Raises ArtifactError where the file may not be served, and DeviceError where `device` is
        `"cuda"` and onnxruntime cannot use it.
        """
        self.path = Path(path)
        self.digest = check_seal(self.path)
        self._session = open_session(self.path, device)
        self.provider: str = self._session.get_providers()[0]
        described = self._session.get_modelmeta().custom_metadata_map.get(KEY)
        if described is None:
            raise ArtifactError(f"{self.path}: no manifest: metadata_props has no {KEY!r}")
        self.manifest = Manifest.from_json(described, origin=str(self.path))
        cyclic = self.manifest.topology.kind == "cyclic"
        self._outputs = [name for name in Answer._fields if cyclic or name != "resultant"]
        self._check_graph()
        self._probe()

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
        if batch > MOST_ROWS:
            return _whole(
                [self.run(*_part(start, rows, cost, coverage)) for start in range(0, batch, MOST_ROWS)]
            )
        feed = dict(rows)
        if cost is not None:
            feed["cost"] = cost
        if coverage is not None:
            feed["coverage"] = coverage
        return Answer(*self._session.run(self._outputs, feed))

    def _check_graph(self) -> None:
        inputs = {node.name: node for node in self._session.get_inputs()}
        described = [spec.name for spec in self.manifest.inputs]
        if sorted(inputs) != sorted(described):
            raise ArtifactError(
                f"{self.path}: the graph wants inputs {sorted(inputs)}, its manifest names {described}"
            )
        for spec in self.manifest.inputs:
            self._check_tensor("input", inputs[spec.name], _ONNX_TYPE[spec.dtype], ["batch", *spec.shape])
        count = len(self.manifest.labels)
        outputs = {output.name: output for output in self._session.get_outputs()}
        if "probabilities" in outputs and outputs["probabilities"].shape[1:] != [count]:
            raise ArtifactError(
                f"{self.path}: its manifest names {count} labels, "
                f"the graph's probabilities are {outputs['probabilities'].shape}"
            )
        optional = {i.name: i for i in self._session.get_overridable_initializers()}
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
        """Run one row of what was seen in training; also warms the session up."""
        row: dict[str, NDArray[np.generic]] = {s.name: _seen_row(s) for s in self.manifest.inputs}
        try:
            probabilities = self.run(row).probabilities
        except Exception as error:  # onnxruntime raises bare classes of its own for each failure
            raise ArtifactError(f"{self.path}: a first run fails: {str(error).strip()}") from error
        if not (probabilities >= 0).all() or not np.allclose(probabilities.sum(axis=1), 1, atol=1e-4):
            raise ArtifactError(
                f"{self.path}: probabilities of a probe row must be non-negative and sum to 1, "
                f"got {probabilities[0].tolist()}"
            )


def _part(
    start: int,
    rows: Mapping[str, NDArray[np.generic]],
    cost: NDArray[np.float32] | None,
    coverage: NDArray[np.float32] | None,
) -> tuple[dict[str, NDArray[np.generic]], NDArray[np.float32] | None, NDArray[np.float32] | None]:
    """Return `MOST_ROWS` rows from `start` on, with what belongs to them."""
    part = slice(start, start + MOST_ROWS)
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


def open_session(path: Path, device: Device) -> ort.InferenceSession:
    """Return a session of an ONNX file, set up as every artifact's is.

    Raises ArtifactError where onnxruntime cannot load it, DeviceError where it cannot use the device.
    """
    visible = any(Path(node).exists() for node in _NVIDIA_DEVICES)
    if device == "cuda":
        if CUDA not in ort.get_available_providers():
            raise DeviceError(
                "device 'cuda' was asked for, but this onnxruntime has no CUDA provider: "
                "install onnxruntime-gpu, and not onnxruntime beside it"
            )
        if not visible:
            raise DeviceError(
                f"device 'cuda' was asked for, but no NVIDIA device is visible to this process "
                f"(none of {', '.join(_NVIDIA_DEVICES)}); use --device cpu or auto"
            )
    providers: list[str | tuple[str, dict[str, str]]] = [CPU]
    if device == "cuda" or (device == "auto" and visible and CUDA in ort.get_available_providers()):
        ort.preload_dlls()
        providers.insert(0, (CUDA, {"use_tf32": "0"}))
    options = ort.SessionOptions()
    # Small models are fastest on one thread, and spinning would burn a core between requests.
    options.intra_op_num_threads = 1
    options.inter_op_num_threads = 1
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    options.log_severity_level = 3
    try:
        session = ort.InferenceSession(str(path), options, providers=providers)
    except Exception as error:  # onnxruntime raises bare classes of its own for each failure
        raise ArtifactError(f"{path}: onnxruntime cannot load it: {error}") from error
    if device == "cuda" and session.get_providers()[0] != CUDA:
        raise DeviceError(
            f"device 'cuda' was asked for, but onnxruntime fell back to {session.get_providers()[0]}: "
            "its CUDA 13 and cuDNN 9 libraries do not load; install ordinal[serve-gpu]"
        )
    return session
