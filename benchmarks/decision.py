"""What a decision costs beside the network that it rests on: `make bench`.

One MLP 64-64 over 20 numbers, K = 10, on one core of the CPU: exported bare (rows to probabilities), and
as artifacts that decide. Each of these takes turns with the bare network in one process, so that the
machine's mood does not count; a figure is the median over rounds, a ratio the median of the ratios within a
round. Then requests of one row that wait together: each by its own run, and all by one.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from pipeline import environment

environment.import_tensorflow()

import keras  # noqa: E402
import numpy as np  # noqa: E402
import tensorflow as tf  # noqa: E402
import tf2onnx  # noqa: E402
from numpy.typing import NDArray  # noqa: E402
from rich.console import Console  # noqa: E402
from rich.progress import track  # noqa: E402
from rich.table import Table  # noqa: E402

from pipeline import ensemble, models  # noqa: E402
from pipeline.calibration import Distortion, Scaling  # noqa: E402
from pipeline.config import Config  # noqa: E402
from pipeline.conformal import Conformal  # noqa: E402
from pipeline.data import load  # noqa: E402
from pipeline.export import describe, graph  # noqa: E402
from pipeline.sweep import planning  # noqa: E402
from serving.artifact import Artifact, open_session  # noqa: E402
from serving.batching import Question, joined, parted  # noqa: E402

FEATURES, CLASSES, ROWS = 20, 10, 1000
BATCHES = (1, 32, 512)
WAITING = 32
WARM_UP = 20
BARS = {1: ("µs more", 40.0), 512: ("times", 2.2)}
Run = Callable[[], object]
KINDS = {
    "artifact": {},
    "artifact, not calibrated": {"scaling": "none"},
    "artifact, greedy intervals": {"interval": "greedy"},
    "artifact, ring": {"topology": "cyclic"},
    "artifact, 20 passes": {"passes": 20},
}


def export(
    folder: Path,
    scaling: str = "temperature",
    interval: str = "central",
    topology: str = "linear",
    passes: int = 1,
) -> tuple[Path, keras.Model]:
    """Return the artifact of the network, untrained, and the network itself."""
    random = np.random.default_rng(0)
    source = folder / "rows.npz"
    np.savez(source, x=random.normal(size=(ROWS, FEATURES)).astype(np.float32), y=np.arange(ROWS) % CLASSES)
    config = Config.model_validate(
        {
            "name": "bench",
            "data": {"source": str(source), "topology": topology},
            "model": {"hidden": [64, 64], "passes": passes},
            "search": {"trials": 1},
            "decision": {"interval": interval},
        }
    )
    data = load(config)
    trial = planning.plan(config, data)[0]
    keras.utils.set_random_seed(0)
    network = models.build(config.model, data, trial.head)
    calibrated = Scaling.none(CLASSES)
    if scaling == "temperature":
        calibrated = Scaling("temperature", np.full(CLASSES, 0.8), np.zeros(CLASSES))
    model = ensemble.assemble([ensemble.Member(network, passes, 0)], calibrated)
    rows = data.parts.calibration
    p = np.exp(ensemble.answer(model, data.features[rows])).mean(axis=1)
    conformal = Conformal.fit(p, data.y[rows], data.labels.topology, config.decision.interval)
    manifest = describe.describe(
        config, data, [describe.member(config, data, trial, "0" * 32, Distortion())]
    )
    path = folder / f"{scaling}-{interval}-{topology}-{passes}.onnx"
    graph.export(model, conformal, manifest, path)
    return path, network


def export_bare(network: keras.Model, path: Path) -> Path:
    """Write the network alone: rows to probabilities."""

    @tf.function(  # type: ignore[untyped-decorator]
        input_signature=[tf.TensorSpec([None, FEATURES], tf.float32, name="numeric")], autograph=False
    )
    def answer(rows: tf.Tensor) -> dict[str, tf.Tensor]:
        return {"probabilities": tf.nn.softmax(network(rows, training=False))}

    model, _ = tf2onnx.convert.from_function(
        answer, input_signature=answer.input_signature, opset=graph.OPSET
    )
    path.write_bytes(model.SerializeToString())
    return path


def contenders(folder: Path, batch: int) -> dict[str, Run]:
    """Return what is timed on `batch` rows, the bare network first."""
    made = {name: export(folder, **changes) for name, changes in KINDS.items()}  # type: ignore[arg-type]
    artifacts = {name: Artifact(path, "cpu") for name, (path, _) in made.items()}
    bare = open_session(export_bare(made["artifact"][1], folder / "bare.onnx"), "cpu")
    random = np.random.default_rng(1)
    rows = {"numeric": random.normal(size=(batch, FEATURES)).astype(np.float32)}

    def costs(rows: int, policies: int) -> NDArray[np.float32]:
        return random.uniform(0, 5, (rows, policies, CLASSES, CLASSES)).astype(np.float32)

    decides = artifacts["artifact"]
    sent = {
        "artifact, cost and coverage sent": (costs(1, 1), np.array([0.8], np.float32)),
        "artifact, 3 policies": (costs(1, 3), None),
        "artifact, a cost matrix for each row": (costs(batch, 1), None),
    }
    return {
        "bare network": lambda: bare.run(None, rows),
        **{name: (lambda one=one: one.run(rows)) for name, one in artifacts.items()},
        **{name: (lambda asked=asked: decides.run(rows, *asked)) for name, asked in sent.items()},
    }


def waiting(path: Path) -> dict[str, Run]:
    """Return two ways to answer requests of one row with the model's costs, and with costs of their own."""
    artifact = Artifact(path, "cpu")
    random = np.random.default_rng(2)
    coverage = np.array([0.9], np.float32)
    shared = random.uniform(0, 5, (1, 1, CLASSES, CLASSES)).astype(np.float32)

    def questions(*, own: bool) -> list[Question]:
        return [
            Question(
                artifact,
                {"numeric": random.normal(size=(1, FEATURES)).astype(np.float32)},
                random.uniform(0, 5, shared.shape).astype(np.float32) if own else shared,
                coverage,
            )
            for _ in range(WAITING)
        ]

    def together(asked: list[Question]) -> object:
        one = joined(asked)
        return list(parted(artifact.run(one.rows, one.cost, one.coverage), [len(each) for each in asked]))

    same, own = questions(own=False), questions(own=True)
    return {
        "each by its own run": lambda: [artifact.run(one.rows, one.cost, one.coverage) for one in same],
        "one run, the same costs": lambda: together(same),
        "one run, costs of their own": lambda: together(own),
    }


def measured(runs: dict[str, Run], rounds: int, console: Console) -> dict[str, tuple[float, float, float]]:
    """Return of each run its µs, how many more than those of the first, and how many times as many.

    Each takes turns with the first one alone: more models in one round would find their code and
    weights gone from the processor's caches.
    """
    (base, first), *others = runs.items()
    figures = {}
    for name, run in track(others, "measuring", console=console, transient=True):
        times = np.array([(timed(first), timed(run)) for _ in range(WARM_UP + rounds)])[WARM_UP:]
        alone, own = times.T
        figures.setdefault(base, (float(np.median(alone)), 0.0, 1.0))
        figures[name] = (
            float(np.median(own)),
            float(np.median(own - alone)),
            float(np.median(own / alone)),
        )
    return figures


def timed(run: Run) -> float:
    """Return the µs of one run."""
    started = time.perf_counter()
    run()
    return 1e6 * (time.perf_counter() - started)


def show(title: str, figures: dict[str, tuple[float, float, float]], console: Console) -> None:
    """Print one table."""
    table = Table(title=title, title_justify="left")
    table.add_column("")
    for heading in ("µs", "µs more", "times"):
        table.add_column(heading, justify="right")
    for name, (microseconds, more, ratio) in figures.items():
        table.add_row(name, f"{microseconds:.0f}", f"{more:.0f}", f"{ratio:.2f}")
    console.print(table)


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=1000, help="of batches of 1; fewer of larger ones")
    given = parser.parse_args()
    console = Console(width=100)
    with tempfile.TemporaryDirectory() as scratch:
        for batch in BATCHES:
            rounds = max(100, given.rounds // (1 + batch // 100))
            figures = measured(contenders(Path(scratch), batch), rounds, console)
            show(f"{batch} rows, one policy unless it says otherwise", figures, console)
            if batch in BARS:
                what, bar = BARS[batch]
                _, more, ratio = figures["artifact"]
                reached = more if what == "µs more" else ratio
                console.print(f"bar: at most {bar:g} {what}; the artifact has {reached:.2f}\n")
        path, _ = export(Path(scratch))
        show(f"{WAITING} requests of one row", measured(waiting(path), given.rounds // 3, console), console)


if __name__ == "__main__":
    main()
