"""How onnxruntime uses a GPU, and which GPU and libraries there are."""

from __future__ import annotations

import ctypes
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

ConvSearch = Literal["heuristic", "exhaustive", "default"]

_DRIVER = Path("/proc/driver/nvidia/version")


@dataclass(frozen=True)
class Gpu:
    """How a GPU is used.

    Attributes:
        memory: MB that onnxruntime may hold for a model; 0: as much as it wants. Its libraries take some
            hundred more for themselves.
        conv_search: How cuDNN chooses an algorithm for a convolution. It chooses anew whenever the number
            of rows changes, which takes 4 ms by rules, and 20 by trying all.
        tf32: Whether products are rounded to 10 bits, which Hopper's matrix units hardly do any faster for
            networks of this size.
        graphs: Whether runs are recorded as CUDA graphs, see `serving.graphs`.
    """

    memory: int = 0
    conv_search: ConvSearch = "heuristic"
    tf32: bool = False
    graphs: bool = False

    def options(self) -> dict[str, str]:
        """Return the options of onnxruntime's CUDA provider."""
        options = {
            "use_tf32": str(int(self.tf32)),
            "cudnn_conv_algo_search": self.conv_search.upper(),
            "enable_cuda_graph": str(int(self.graphs)),
        }
        if self.memory:
            # Else the arena doubles what it takes, and a limit is reached with half of it in use.
            options |= {
                "gpu_mem_limit": str(self.memory * 2**20),
                "arena_extend_strategy": "kSameAsRequested",
            }
        return options


NO_LIMITS = Gpu()
"""What holds where nothing is said."""


def name() -> str:
    """Return the name of the GPU that CUDA counts first, or why there is none."""
    try:
        driver = ctypes.CDLL("libcuda.so.1")
    except OSError as error:
        return f"unknown: {error}"
    device, text = ctypes.c_int(), ctypes.create_string_buffer(256)
    status: int = (
        driver.cuInit(0)
        or driver.cuDeviceGet(ctypes.byref(device), 0)
        or driver.cuDeviceGetName(text, len(text), device)
    )
    if status:
        return f"unknown: CUDA's driver says {status}"
    return text.value.decode(errors="replace")


def libraries() -> dict[str, str]:
    """Return the versions of the driver and of the libraries in use, by what they say of themselves."""
    found: dict[str, Callable[[], str]] = {"driver": _driver, "CUDA": _runtime, "cuDNN": _cudnn}
    versions = {}
    for library, version in found.items():
        try:
            versions[library] = version()
        except (OSError, AttributeError, IndexError) as error:
            versions[library] = f"unknown: {error}"
    return versions


def _driver() -> str:
    first = _DRIVER.read_text(encoding="utf-8", errors="replace").splitlines()[0]
    return next((word for word in first.split() if word[:1].isdecimal()), first)


def _runtime() -> str:
    number = ctypes.c_int()
    ctypes.CDLL("libcudart.so.13").cudaRuntimeGetVersion(ctypes.byref(number))
    return f"{number.value // 1000}.{number.value % 1000 // 10}"


def _cudnn() -> str:
    asked = ctypes.CDLL("libcudnn.so.9").cudnnGetVersion
    asked.restype = ctypes.c_size_t
    number = asked()
    return f"{number // 10000}.{number // 100 % 100}.{number % 100}"
