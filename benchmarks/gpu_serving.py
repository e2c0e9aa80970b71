"""What a GPU brings to serving, by artifact and by setting, beside bare sessions of onnxruntime."""

from __future__ import annotations

import subprocess
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime as ort
from numpy.typing import NDArray
from rich.console import Console
from rich.table import Table

from serving import compared, gpu
from serving.artifact import CPU, CUDA, Answer, Artifact, ArtifactError, DeviceError
from serving.gpu import Gpu
from serving.random_rows import random_rows
from serving.session import nodes_by_provider

BATCHES = (1, 64, 512, 4096, 65_536)
NUMBERS = 2**22  # of a run: a core would take seconds for more
MOST = 512  # rows of a run of several requests, as the service has it
WARM_UP = 5  # runs, in which the GPU chooses its algorithms and takes its memory
CHANGES = 100  # runs whose number of rows changes
EXACT = {"use_tf32": "0"}  # beside onnxruntime's own settings
LIMITS = (2048, 512, 256, 128, 64)  # MB
Rows = Mapping[str, NDArray[np.generic]]
Run = Callable[[Rows], object]


def bare(path: Path, *providers: Any) -> ort.InferenceSession:
    """Return a session with onnxruntime's own settings, a thread for each core."""
    options = ort.SessionOptions()
    options.log_severity_level = 3
    return ort.InferenceSession(str(path), options, providers=[*providers])


def on_gpu(path: Path, **settings: Any) -> Artifact:
    """Return an artifact on the GPU, warm as the service has it."""
    artifact = Artifact(path, "cuda", Gpu(**settings))
    artifact.warm(MOST)
    return artifact


def rows_of(artifact: Artifact, count: int) -> Rows:
    """Return random rows such as a model was trained on."""
    return random_rows(artifact.manifest, count, np.random.default_rng(1))


def rows_a_second(runs: Mapping[str, Run], rows: Rows, seconds: float) -> dict[str, float]:
    """Return the median of each, which take turns for about so many seconds each, at least nine times."""
    batch = len(next(iter(rows.values())))
    slowest = max(np.median([_timed(run, rows) for _ in range(WARM_UP)]) for run in runs.values())
    rounds = int(np.clip(seconds / slowest, 9, 1000))
    taken = [[_timed(run, rows) for run in runs.values()] for _ in range(rounds)]
    return dict(zip(runs, batch / np.median(taken, axis=0), strict=True))


def _timed(run: Run, rows: Rows) -> float:
    started = time.perf_counter()
    run(rows)
    return time.perf_counter() - started


def speed(path: Path, runs: Mapping[str, Run], cpu: Artifact, seconds: float, console: Console) -> None:
    """Print rows a second, of runs of one size each."""
    row = sum(array.size for array in rows_of(cpu, 1).values())
    batches = [batch for batch in BATCHES if batch * row <= NUMBERS]
    found = [rows_a_second(runs, rows_of(cpu, batch), seconds) for batch in batches]
    shown = table(f"Serving {path.stem}, thousand rows/s", *(f"{batch:,} rows" for batch in batches))
    for name in runs:
        shown.add_row(name, *(f"{one[name] / 1000:.1f}" for one in found))
    console.print(shown)


def padded(run: Run, size: Callable[[int], int]) -> Run:
    """Return a run that fills its rows up to a size first."""

    def padding(rows: Rows) -> object:
        batch = len(next(iter(rows.values())))
        return run({name: _filled(array, size(batch)) for name, array in rows.items()})

    return padding


def _filled(array: NDArray[np.generic], size: int) -> NDArray[np.generic]:
    return np.concatenate([array, np.repeat(array[:1], size - len(array), axis=0)])


def changing(path: Path, runs: Mapping[str, Run], cpu: Artifact, console: Console) -> None:
    """Print how long a run takes where each has another number of rows than the one before."""
    shown = table(f"{path.stem}, sizes that change: ms a run", "1 … 32 rows", "1 … 512 rows", "slowest")
    rows = rows_of(cpu, MOST)
    for name, run in runs.items():
        means, slowest = [], 0.0
        for most in (32, MOST):
            sizes = np.random.default_rng(most).integers(1, most + 1, CHANGES)
            taken = [_timed(run, {key: array[:size] for key, array in rows.items()}) for size in sizes]
            means.append(1000 * float(np.mean(taken[WARM_UP:])))
            slowest = max(slowest, 1000 * max(taken[WARM_UP:]))
        shown.add_row(name, *(f"{mean:.2f}" for mean in means), f"{slowest:.1f}")
    console.print(shown)


def loading(path: Path, settings: Mapping[str, Gpu], console: Console) -> None:
    """Print what loading and warming takes, and memory of the GPU."""
    shown = table(f"{path.stem}, loaded and warm", "load, ms", "warm, ms", "GPU memory, MiB", "rows a run")
    for name, one in settings.items():
        before, began = memory(), time.perf_counter()
        try:
            artifact = Artifact(path, "cuda", one)
            loaded = time.perf_counter()
            artifact.warm(MOST)
            warm = time.perf_counter()
            artifact.run(rows_of(artifact, 4096))
        except (ArtifactError, DeviceError) as error:
            shown.add_row(name, line(error)[-60:])
            continue
        took = (f"{1000 * seconds:.0f}" for seconds in (loaded - began, warm - loaded))
        shown.add_row(name, *took, f"{memory() - before:.0f}", f"{artifact._most_rows}")
        del artifact
    console.print(shown)


def memory() -> float:
    """Return MiB of the GPU that are in use by anybody."""
    asked = ["nvidia-smi", "--query-gpu=memory.used", "--format=csv,noheader,nounits"]
    return float(subprocess.run(asked, capture_output=True, text=True, check=True).stdout.split()[0])


def bound(session: ort.InferenceSession, outputs: Sequence[str]) -> Run:
    """Return a run whose rows are copied to the GPU first, and its answers back afterwards."""

    def run(rows: Rows) -> object:
        binding = session.io_binding()
        for name, array in rows.items():
            binding.bind_ortvalue_input(name, ort.OrtValue.ortvalue_from_numpy(array, "cuda", 0))
        for name in outputs:
            binding.bind_output(name, "cuda", 0)
        session.run_with_iobinding(binding)
        return binding.copy_outputs_to_cpu()

    return run


def parity(path: Path, cpu: Artifact, others: Mapping[str, Artifact], console: Console) -> None:
    """Print how far the GPU's answers are from the CPU's: with the default costs, and with others sent."""
    rows = rows_of(cpu, 4096)
    random = np.random.default_rng(2)
    count = len(cpu.manifest.labels)
    cost = random.uniform(0, 5, (1, 3, count, count)).astype(np.float32)
    sent = {"cost": cost, "coverage": np.array([0.8], np.float32)}
    nodes = nodes_by_provider(path, Gpu(), rows)
    ran = ", ".join(f"{ran} by {name}" for name, ran in nodes.items())
    console.print(f"{path.stem}: nodes of the graph run: {ran}")
    for costs, more in (("default costs", {}), ("3 policies sent", sent)):
        wanted = cpu.run(rows, **more)
        for name, artifact in others.items():
            console.print(f"  {costs}, {name}: {_compared(wanted, artifact.run(rows, **more))}")
    few = {name: array[:100] for name, array in rows.items()}  # which graphs answer
    for name, artifact in others.items():
        console.print(f"  100 rows, {name}: {_compared(cpu.run(few), artifact.run(few))}")
    console.print()


def _compared(wanted: Answer, got: Answer) -> str:
    clear = wanted.margin > compared.CLEAR
    far = float(np.abs(got.probabilities - wanted.probabilities).max())
    differ = int((got.decision != wanted.decision)[clear].sum())
    kept = "held" if far <= compared.CLOSE and not differ else "MISSED"
    return (
        f"probabilities differ by {far:.1e} at most, {differ} of {clear.sum()} clear decisions differ; "
        f"bar {compared.CLOSE:g} and none: {kept}"
    )


def serving(paths: list[Path], seconds: float, console: Console) -> None:
    """Measure each artifact on each device that onnxruntime can use."""
    for path in paths:
        cpu = Artifact(path, "cpu")
        every = bare(path, CPU)
        runs: dict[str, Run] = {
            "artifact, cpu": cpu.run,
            "bare, cpu, all cores": lambda rows, every=every: every.run(None, rows),
        }
        try:
            exact = on_gpu(path)
        except DeviceError as error:
            console.print(f"serving {path.stem} on a GPU: not run: {line(error)}")
            speed(path, runs, cpu, seconds, console)
            continue
        _on_gpu(path, runs, cpu, exact, seconds, console)


def _on_gpu(
    path: Path, runs: dict[str, Run], cpu: Artifact, exact: Artifact, seconds: float, console: Console
) -> None:
    versions = ", ".join(f"{name} {version}" for name, version in gpu.libraries().items())
    console.print(f"{path.stem} on {gpu.name()}; {versions}")
    alone = bare(path, (CUDA, EXACT), CPU)
    ours = bare(path, (CUDA, Gpu().options()), CPU)
    artifacts = {"as it is": exact, "TF32": on_gpu(path, tf32=True)}
    try:
        artifacts["graphs"] = on_gpu(path, graphs=True)
    except DeviceError as error:
        console.print(f"graphs of {path.stem}: {line(error)}")
    runs |= {f"artifact, cuda, {name}": one.run for name, one in artifacts.items()}
    runs["bare, cuda"] = lambda rows: alone.run(None, rows)
    runs["bare, cuda, bound"] = bound(ours, [one.name for one in ours.get_outputs()])
    speed(path, runs, cpu, seconds, console)
    searched = {
        f"artifact, cuda, {search}": on_gpu(path, conv_search=search).run
        for search in ("heuristic", "exhaustive", "default")
    }
    if "graphs" in artifacts:
        searched["artifact, cuda, graphs"] = artifacts["graphs"].run
    searched["artifact, cpu"] = cpu.run
    searched["bare, cuda"] = runs["bare, cuda"]
    searched["heuristic, filled up to a power of two"] = padded(
        exact.run, lambda batch: 1 << (batch - 1).bit_length()
    )
    searched["heuristic, all filled up to 512"] = padded(exact.run, lambda _: MOST)
    changing(path, searched, cpu, console)
    settings = {"heuristic": Gpu(), "exhaustive": Gpu(conv_search="exhaustive"), "graphs": Gpu(graphs=True)}
    settings |= {f"memory {limit} MB": Gpu(memory=limit) for limit in LIMITS}
    settings["graphs, memory 512 MB"] = Gpu(memory=512, graphs=True)
    loading(path, settings, console)
    parity(path, cpu, artifacts, console)


def table(title: str, *headings: str) -> Table:
    """Return a table without rows."""
    shown = Table(title=title, title_justify="left")
    shown.add_column("")
    for heading in headings:
        shown.add_column(heading, justify="right")
    return shown


def line(error: BaseException) -> str:
    """Return the first line of what an error says."""
    return str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
