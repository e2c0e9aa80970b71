"""Runs as CUDA graphs: recorded once for each power of two of rows, and then launched as one.

A run of a small network on a GPU is mostly the time of launching some forty kernels one by one, and cuDNN
plans its convolutions anew whenever the number of rows changes. A recorded graph has neither; it wants the
same shapes at the same addresses, so that rows are filled up to the next power of two.

While one thread records a graph, CUDA fails whatever other threads of the process ask of the GPU, and the
recording with it; and onnxruntime keeps graphs by thread. So one thread does all that a process has to do
on the GPU.
"""

from __future__ import annotations

import functools
import weakref
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any, ParamSpec, TypeVar

import numpy as np
import onnxruntime as ort
from numpy.typing import NDArray

from serving.session import Feed, ordinary

P = ParamSpec("P")
T = TypeVar("T")


@functools.cache
def _thread() -> ThreadPoolExecutor:
    return ThreadPoolExecutor(1, thread_name_prefix="gpu")


def on_its_thread(function: Callable[P, T], *arguments: P.args, **named: P.kwargs) -> T:
    """Return what a function returns on the thread that asks the GPU."""
    return _thread().submit(function, *arguments, **named).result()


@dataclass(frozen=True, eq=False)
class _Recorded:
    """A graph for so many rows, and where these and its answers lie."""

    options: ort.RunOptions
    binding: ort.IOBinding
    rows: Mapping[str, NDArray[np.generic]]  # (size, …), as they are put together here
    inputs: Mapping[str, ort.OrtValue]  # the same on the GPU
    outputs: Sequence[ort.OrtValue]


class _Held:
    """What has memory of the GPU, which is to be given back on the same thread."""

    def __init__(self, session: ort.InferenceSession) -> None:
        self.session = session
        self.by_size: dict[int, _Recorded] = {}

    def let_go(self) -> None:
        self.by_size.clear()
        del self.session


class Graphs:
    """A session that was opened with `Gpu.graphs`, and its graphs."""

    def __init__(self, session: ort.InferenceSession, outputs: Sequence[str]) -> None:
        """Take over the session, of which nobody else may keep a reference."""
        self._held = _Held(session)
        self._outputs = tuple(outputs)
        self._ordinary = ordinary()
        self._most = 0
        gone = weakref.finalize(self, _thread().submit, self._held.let_go)
        gone.atexit = False  # type: ignore[misc]  # a property, which typeshed has as a field

    def record(self, most_rows: int, seen: Callable[[int], Feed]) -> None:
        """Record graphs for any number of rows up to so many; `seen(rows)` returns some to run."""
        size = 1
        while size < 2 * most_rows:
            # Once: onnxruntime would replay the one that it has under this number, on memory given back.
            if size not in self._held.by_size:
                on_its_thread(self._record, size, seen(size))
                self._most = size
            size *= 2

    def run(self, outputs: Sequence[str], feed: Feed) -> Sequence[Any]:
        """Do a run; by a graph where there is one for so many rows, and no costs or coverage are sent."""
        return on_its_thread(self._run, outputs, feed)

    def _run(self, outputs: Sequence[str], feed: Feed) -> Sequence[Any]:
        batch = len(next(iter(feed.values())))
        if batch > self._most or "cost" in feed or "coverage" in feed:
            answers: Sequence[Any] = self._held.session.run(outputs, feed, self._ordinary)
            return answers
        recorded = self._held.by_size[1 << (batch - 1).bit_length()]
        for name, rows in recorded.rows.items():
            rows[:batch] = feed[name]  # what is behind them is answered, and nobody gets that
            recorded.inputs[name].update_inplace(rows)
        self._held.session.run_with_iobinding(recorded.binding, recorded.options)
        return [output.numpy()[:batch] for output in recorded.outputs]

    def _record(self, size: int, rows: Feed) -> None:
        options = ort.RunOptions()
        options.add_run_config_entry("gpu_graph_id", str(size))
        inputs = {name: ort.OrtValue.ortvalue_from_numpy(array, "cuda", 0) for name, array in rows.items()}
        answers = self._held.session.run(self._outputs, rows, self._ordinary)
        nothing = [np.zeros_like(answer) for answer in answers]
        outputs = [ort.OrtValue.ortvalue_from_numpy(array, "cuda", 0) for array in nothing]
        binding = self._held.session.io_binding()
        for name, value in inputs.items():
            binding.bind_ortvalue_input(name, value)
        for name, value in zip(self._outputs, outputs, strict=True):
            binding.bind_ortvalue_output(name, value)
        self._held.session.run_with_iobinding(binding, options)  # this records it
        for value, array in zip(outputs, nothing, strict=True):
            value.update_inplace(array)
        self._held.session.run_with_iobinding(binding, options)
        if not all(
            np.allclose(one, two.numpy(), atol=1e-4) for one, two in zip(answers, outputs, strict=True)
        ):
            raise RuntimeError(
                f"its CUDA graph for {size} rows answers otherwise than the run it is made of"
            )
        kept = {name: np.array(array) for name, array in rows.items()}
        self._held.by_size[size] = _Recorded(options, binding, kept, inputs, outputs)
