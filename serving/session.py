"""What runs an artifact: a session of onnxruntime, on a device."""

from __future__ import annotations

import json
import logging
import re
import tempfile
import threading
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

import numpy as np
import onnxruntime as ort
from numpy.typing import NDArray

from serving.errors import ArtifactError, DeviceError
from serving.gpu import NO_LIMITS, Gpu

Device = Literal["auto", "cpu", "cuda"]
Feed = Mapping[str, NDArray[np.generic]]

CPU = "CPUExecutionProvider"
CUDA = "CUDAExecutionProvider"
_NVIDIA_DEVICES = ("/dev/nvidiactl", "/dev/dxg")  # Linux, WSL2
_ERRORS, _NOTHING = 3, 4  # what onnxruntime writes to standard error

logger = logging.getLogger(__name__)


def open_session(path: Path, device: Device, gpu: Gpu = NO_LIMITS) -> ort.InferenceSession:
    """Return a session of an ONNX file, set up as every artifact's is.

    Where `device` is `"auto"` it is on the GPU if there is one that can be used.

    Raises ArtifactError where onnxruntime cannot load it, DeviceError where it cannot use the device.
    """
    trouble = "" if device == "cpu" else without_cuda()
    if device == "cuda" and trouble:
        raise DeviceError(f"device 'cuda' was asked for, but {trouble}")
    if device == "cpu" or trouble:
        return _made(path, [CPU])
    ort.preload_dlls()
    ort.set_default_logger_severity(_ERRORS)  # cuDNN's plans are told at each change of a batch
    try:
        # A refusal to record is told by the error alone.
        session = _made(path, [(CUDA, gpu.options()), CPU], _NOTHING if gpu.graphs else _ERRORS)
    except ArtifactError as error:
        session = _made(path, [CPU])  # or the file is to blame, which this tells
        if gpu.graphs and "graph capture" in str(error):
            raise DeviceError(
                f"{path}: --gpu-graphs needs a model that runs on the GPU alone, and parts of this one run "
                "on the CPU, as texts always do, and rings; leave --gpu-graphs out"
            ) from error
        why = _short(str(error).removeprefix(f"{path}: onnxruntime cannot load it: "))
    else:
        if session.get_providers()[0] == CUDA:
            return session
        why = "its CUDA 13 and cuDNN 9 libraries do not load; install ordinal[serve-gpu]"
    if device == "cuda":
        raise DeviceError(f"device 'cuda' was asked for, but onnxruntime cannot use it: {why}")
    logger.warning("%s runs on the CPU, since onnxruntime cannot use the GPU: %s", path, why)
    return session


def _short(text: str) -> str:
    """Return what CUDA says, without the places in onnxruntime's code where it does."""
    found = re.findall(r"\b\w+ failure \d+: [^;]+", text)
    return found[-1].strip() if found else " ".join(text.split())[:300]


def without_cuda() -> str:
    """Return why no GPU can be asked for; nothing where one can."""
    if CUDA not in ort.get_available_providers():
        return (
            "this onnxruntime has no CUDA provider: install onnxruntime-gpu, and not onnxruntime beside it"
        )
    if not any(Path(node).exists() for node in _NVIDIA_DEVICES):
        return (
            f"no NVIDIA device is visible to this process (none of {', '.join(_NVIDIA_DEVICES)}); "
            "use --device cpu or auto"
        )
    return ""


def _made(
    path: Path, providers: Sequence[str | tuple[str, dict[str, str]]], told: int = _ERRORS
) -> ort.InferenceSession:
    try:
        # Falling back, also in the middle of runs, is onnxruntime's habit: nobody would know.
        return ort.InferenceSession(str(path), _options(told), providers=[*providers], enable_fallback=0)
    except Exception as error:  # onnxruntime raises bare classes of its own for each failure
        raise ArtifactError(f"{path}: onnxruntime cannot load it: {error}") from error


def _options(told: int = _ERRORS) -> ort.SessionOptions:
    options = ort.SessionOptions()
    # Small models are fastest on one thread, and spinning would burn a core between requests.
    options.intra_op_num_threads = 1
    options.inter_op_num_threads = 1
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    options.log_severity_level = told
    return options


class OneAtATime:
    """Runs one after the other, of a session whose memory is limited: several at once need more."""

    def __init__(self, session: ort.InferenceSession) -> None:
        self._session = session
        self._turn = threading.Lock()

    def run(self, outputs: Sequence[str], feed: Feed) -> Sequence[Any]:
        """Do a run when those before are done."""
        with self._turn:
            answers: Sequence[Any] = self._session.run(outputs, feed)
            return answers


def fits(session: ort.InferenceSession, outputs: Sequence[str], feed: Feed) -> bool:
    """Do a run; return whether the GPU's memory was enough."""
    try:
        session.run(outputs, feed, ordinary(_NOTHING))
    except Exception as error:  # onnxruntime raises bare classes of its own for each failure
        # What its arena says, and what CUDA does.
        if "vailable memory of" in str(error) or "out of memory" in str(error):
            return False
        raise
    return True


def ordinary(told: int = _ERRORS) -> ort.RunOptions:
    """Return the options of a run that no CUDA graph is made of."""
    options = ort.RunOptions()
    options.log_severity_level = told
    options.add_run_config_entry("gpu_graph_id", "-1")
    return options


def nodes_by_provider(path: Path, gpu: Gpu, feed: Feed) -> dict[str, int]:
    """Return how many nodes of the graph each provider runs on a GPU, by onnxruntime's own profile."""
    with tempfile.TemporaryDirectory() as folder:
        options = _options()
        options.enable_profiling = True
        options.profile_file_prefix = str(Path(folder, "profile"))
        session = ort.InferenceSession(
            str(path),
            options,
            providers=[(CUDA, gpu.options() | {"enable_cuda_graph": "0"}), CPU],
            enable_fallback=0,
        )
        session.run(None, feed)
        events = json.loads(Path(session.end_profiling()).read_text(encoding="utf-8"))
    ran = Counter(event["args"]["provider"] for event in events if event["name"].endswith("_kernel_time"))
    return dict(ran.most_common())
