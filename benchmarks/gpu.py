"""What a GPU brings to training and to serving, and whether it answers what a CPU does: `make bench-gpu`.

Training: `train.fit` of an MLP and of a cnn on each device, in processes of their own that take turns. Each
epoch is validated; what the first one takes beyond the others is the set-up: building, tracing, compiling.
Serving: one artifact on one thread of the CPU and on the GPU, beside bare sessions of onnxruntime on the
same file, and what each setting of the GPU brings. Figures are medians over rounds.

TensorFlow wants the libraries of CUDA 12, onnxruntime those of CUDA 13, so that a GPU takes two
environments: with the extra `train-gpu` run `--only training --keep FOLDER`, then with `serve-gpu`
`--only serving FOLDER/*.onnx`. What cannot run says why, and the rest runs.
"""

from __future__ import annotations

import argparse
import contextlib
import functools
import importlib.metadata
import itertools
import multiprocessing
import os
import subprocess
import tempfile
from collections.abc import Mapping
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING, Any

import gpu_serving
import numpy as np
from rich.console import Console

# TensorFlow takes a GPU's memory for its process: only processes of their own import it, see `process`.
if TYPE_CHECKING:
    from pipeline.config import Config
    from pipeline.data import Dataset

CASES: dict[str, dict[str, Any]] = {
    "mlp": {"backbone": "mlp", "hidden": [64, 64]},
    "cnn": {"backbone": "cnn", "hidden": [32, 64]},
}
SHAPES = {"mlp": (20_000, 20), "cnn": (10_000, 28, 28, 1)}
CLASSES, BATCH = 5, 256
PRECISIONS = ("float32", "mixed")
HIDDEN = {"CPU": "-1", "GPU": None}  # CUDA_VISIBLE_DEVICES of the processes


# --- training: what runs in a process that sees one device ----------------------------------------------


def begin(visible: str | None) -> None:
    """Settle what CUDA shows before TensorFlow is imported."""
    if visible is not None:
        os.environ["CUDA_VISIBLE_DEVICES"] = visible


def gpus() -> int:
    """Return how many GPUs TensorFlow sees."""
    from pipeline import environment

    environment.import_tensorflow()
    return environment.take_devices(0, 0)


@functools.cache
def data(case: str) -> tuple[Config, Dataset]:
    """Return rows whose labels depend on their numbers, and what trains on them."""
    from pipeline.config import Config
    from pipeline.data import load

    random = np.random.default_rng(0)
    x = random.normal(size=SHAPES[case]).astype(np.float32)
    score = x.reshape(len(x), -1)[:, :5].sum(axis=1) + random.logistic(size=len(x))
    y = np.digitize(score, np.quantile(score, np.linspace(0, 1, CLASSES + 1)[1:-1]))
    if case == "cnn":  # grey noise, and a brighter patch where the label says
        for image, label in zip(x, y, strict=True):
            image[4 * label + 2 : 4 * label + 8, 8:20] += 1
        x = np.clip(40 * x + 100, 0, 255).astype(np.uint8)
    with tempfile.TemporaryDirectory() as scratch:
        source = Path(scratch, "rows.npz")
        np.savez(source, x=x, y=y)
        config = Config.model_validate(
            {
                "name": case,
                "data": {"source": str(source)},
                "model": CASES[case],
                "search": {"trials": 1, "batch_size": BATCH},
            }
        )
        return config, load(config)


class Enough(Exception):
    """There are epochs enough."""


def epochs(case: str, precision: str, seconds: float) -> tuple[list[float], int]:
    """Return when each epoch of a training was done, and the steps of one; ends after so many seconds."""
    from pipeline import losses, train

    config, rows = data(case)
    model = config.model.model_copy(update={"precision": precision})
    search = config.search.model_copy(update={"epochs": 100_000, "patience": 100_000})
    loss = losses.build("cross_entropy", {}, rows.labels.topology)
    done: list[float] = []

    def told(progress: train.Progress) -> None:
        done.append(progress.seconds)
        if len(done) > 3 and done[-1] - done[0] > seconds:
            raise Enough

    with contextlib.suppress(Enough):
        train.fit(rows, loss, search.heads[0], model, search, 0, told=told)
    return done, -(-len(rows.parts.train) // BATCH)


def export(case: str, path: Path) -> None:
    """Train for some epochs, and write the artifact, uncalibrated."""
    from pipeline import ensemble, losses, train
    from pipeline.calibration import Distortion, Scaling
    from pipeline.conformal import Conformal
    from pipeline.export import describe, graph
    from pipeline.sweep import planning

    config, rows = data(case)
    trial = planning.plan(config, rows)[0]
    search = config.search.model_copy(update={"epochs": 5})
    loss = losses.build("cross_entropy", {}, rows.labels.topology)
    network = train.fit(rows, loss, trial.head, config.model, search, trial.seed).model
    model = ensemble.assemble([ensemble.Member(network, 1, trial.seed)], Scaling.none(CLASSES))
    held_out = rows.parts.calibration
    p = np.exp(ensemble.answer(model, rows.features[held_out])).mean(axis=1)
    conformal = Conformal.fit(p, rows.y[held_out], rows.labels.topology, config.decision.interval)
    described = describe.member(config, rows, trial, "0" * 32, Distortion())
    graph.export(model, conformal, describe.describe(config, rows, [described]), path)


# --- training: what asks them ---------------------------------------------------------------------------


def process(device: str) -> ProcessPoolExecutor:
    """Return one process that sees the device."""
    spawn = multiprocessing.get_context("spawn")
    return ProcessPoolExecutor(1, mp_context=spawn, initializer=begin, initargs=(HIDDEN[device],))


def training(rounds: int, seconds: float, console: Console) -> None:
    """Measure `train.fit` on each device that there is, and print steps a second."""
    with process("CPU") as cpu, process("GPU") as gpu:
        try:
            cpu.submit(gpus).result()
            seen = gpu.submit(gpus).result()
        except ImportError as error:
            console.print(f"training: not run: {gpu_serving.line(error)}\n")
            return
        if not seen:
            console.print("training on a GPU: not run: TensorFlow sees none")
        devices = {"CPU": cpu, "GPU": gpu} if seen else {"CPU": cpu}
        table = gpu_serving.table(
            f"Training, batches of {BATCH}", "steps/s", "times the CPU's", "set-up, s"
        )
        for case, precision in itertools.product(CASES, PRECISIONS):
            found = steps(devices, case, precision, rounds, seconds)
            for device, (speed, set_up) in found.items():
                times = speed / found["CPU"][0]
                table.add_row(
                    f"{case}, {precision}, {device}", f"{speed:.3g}", f"{times:.2f}", f"{set_up:.1f}"
                )
    console.print(table)
    if seen:
        console.print("on the GPU TensorFlow multiplies float32 matrices in TF32, as is its default\n")


def steps(
    devices: Mapping[str, ProcessPoolExecutor], case: str, precision: str, rounds: int, seconds: float
) -> dict[str, tuple[float, float]]:
    """Return of each device its steps a second and the seconds of the set-up, medians over rounds."""
    taken: dict[str, list[tuple[float, float]]] = {device: [] for device in devices}
    for _ in range(1 + rounds):  # the first does what is done once in a process
        for device, there in devices.items():
            done, a_round = there.submit(epochs, case, precision, seconds).result()
            epoch = float(np.median(np.diff(done)))
            taken[device].append((a_round / epoch, done[0] - epoch))
    return {device: tuple(np.median(each[1:], axis=0)) for device, each in taken.items()}


# --- serving: the artifacts -----------------------------------------------------------------------------


def made(folder: Path, console: Console) -> list[Path]:
    """Return an artifact of each case, made on the CPU; none where TensorFlow is not installed."""
    folder.mkdir(parents=True, exist_ok=True)
    paths = [folder / f"{case}.onnx" for case in CASES]
    with process("CPU") as cpu:
        try:
            cpu.submit(gpus).result()
            for case, path in zip(CASES, paths, strict=True):
                cpu.submit(export, case, path).result()
        except ImportError as error:
            console.print(
                f"serving: not run: no artifact was given, and none can be made: {gpu_serving.line(error)}"
            )
            return []
    return paths


# --- what is printed ------------------------------------------------------------------------------------


def hardware() -> str:
    """Return the names of processor and GPU, and the versions of what computes on them."""
    lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    names = [line.split(":")[1].strip() for line in lines if line.startswith("model name")]
    processor = f"{names[0] if names else 'unknown processor'}, {len(os.sched_getaffinity(0))} cores"
    asked = ["nvidia-smi", "--query-gpu=name,driver_version", "--format=csv,noheader"]
    try:
        answer = subprocess.run(asked, capture_output=True, text=True, check=True).stdout.strip()
        gpu = "; ".join(answer.replace(", ", ", driver ").splitlines())
    except (OSError, subprocess.CalledProcessError):
        gpu = "no GPU"
    versions = []
    for package in ("tensorflow", "keras", "onnxruntime-gpu"):
        with contextlib.suppress(importlib.metadata.PackageNotFoundError):
            versions.append(f"{package} {importlib.metadata.version(package)}")
    return f"{processor}; {gpu}; {', '.join(versions)}"


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("artifacts", type=Path, nargs="*", help="to serve; default: made by training")
    parser.add_argument("--only", choices=["training", "serving"], help="default: both")
    parser.add_argument("--keep", type=Path, metavar="FOLDER", help="keep the artifacts that are made")
    parser.add_argument("--rounds", type=int, default=5, help="of training")
    parser.add_argument("--seconds", type=float, default=3.0, help="of each measurement")
    given = parser.parse_args()
    console = Console(width=110, highlight=False, soft_wrap=True)
    console.print(hardware() + "\n")
    if given.only != "serving":
        training(given.rounds, given.seconds, console)
    with tempfile.TemporaryDirectory() as scratch:
        paths = given.artifacts
        if not paths and (given.only != "training" or given.keep):
            paths = made(given.keep or Path(scratch), console)
        if given.only != "training":
            gpu_serving.serving(paths, given.seconds, console)


if __name__ == "__main__":
    main()
