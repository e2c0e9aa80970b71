"""What a GPU answers beside what a CPU does, and which GPU and libraries that were."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import numpy as np
import onnxruntime as ort

from serving import gpu
from serving.artifact import Artifact
from serving.errors import DeviceError
from serving.random_rows import Rows
from serving.session import nodes_by_provider

CLOSE = 1e-4
"""How far probabilities may be from the CPU's."""
CLEAR = 1e-5
"""A smaller margin is a tie, which may fall either way."""


@dataclass(frozen=True)
class Compared:
    """A GPU in use.

    Attributes:
        name: Of the GPU.
        versions: Of the driver and of the libraries, as they tell them.
        nodes: How many nodes of the graph each provider ran, by onnxruntime's own profile.
        tf32: Whether products were rounded.
        rows: How many rows both have answered.
        furthest: The largest difference of a probability.
        clear: How many decisions had a margin.
        differ: How many of those were others.
    """

    name: str
    versions: Mapping[str, str]
    nodes: Mapping[str, int]
    tf32: bool
    rows: int
    furthest: float
    clear: int
    differ: int

    @property
    def agrees(self) -> bool:
        """Whether the GPU answers as the CPU does."""
        return self.furthest <= CLOSE and not self.differ

    def __str__(self) -> str:
        return (
            f"of {self.rows} random rows probabilities differ by {self.furthest:.1e} at most, and "
            f"{self.differ} of {self.clear} clear decisions"
        )

    def facts(self) -> dict[str, str]:
        """Return what there is to know, in words."""
        return {
            "name": self.name,
            "versions": ", ".join(f"{name} {version}" for name, version in self.versions.items()),
            "nodes": ", ".join(f"{count} by {provider}" for provider, count in self.nodes.items()),
            "TF32": "on" if self.tf32 else "off",
            "answers": f"{self}; bar {CLOSE:g} and none: {'held' if self.agrees else 'missed'}",
        }

    def warnings(self) -> Iterator[str]:
        """Yield what is worth a warning."""
        if not self.agrees:
            yield f"with --gpu-tf32 the GPU does not answer as the CPU does: {self}"


def compare(artifact: Artifact, settings: gpu.Gpu, rows: Rows) -> Compared:
    """Ask an artifact on a GPU, and the same file on the CPU.

    Raises DeviceError where the answers are others, and nobody has asked for that by TF32.
    """
    on_gpu, on_cpu = artifact.run(rows), Artifact(artifact.path, "cpu").run(rows)
    clear = on_cpu.margin > CLEAR
    compared = Compared(
        gpu.name(),
        {"onnxruntime": ort.__version__, **gpu.libraries()},
        nodes_by_provider(artifact.path, settings, rows),
        settings.tf32,
        len(on_cpu.probabilities),
        float(np.abs(on_gpu.probabilities - on_cpu.probabilities).max()),
        int(clear.sum()),
        int((on_gpu.decision != on_cpu.decision)[clear].sum()),
    )
    if not compared.agrees and not settings.tf32:
        raise DeviceError(
            f"{artifact.path}: the GPU must answer as the CPU does, probabilities within {CLOSE:g} and no "
            f"clear decision otherwise, but {compared}"
        )
    return compared
