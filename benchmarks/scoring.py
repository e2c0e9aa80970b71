"""What scoring a file costs beside a bare loop of onnxruntime: `make bench-scoring`.

The MLP 64-64 of benchmarks/decision.py as an artifact, K = 10, on a Parquet file of 2,000,000 rows of 20
numbers and an id. A bare loop reads batches with pyarrow, makes an array of each, runs the artifact with
all its outputs, and drops them: on one thread as the service does, and on all cores as onnxruntime does by
itself. Another one writes them, the same columns, with pyarrow. All take turns in one process with `score`,
which also keeps parts for a restart and looks at every cell; a figure is the median over rounds, a ratio
the median of the ratios within a round. Memory is that of the command as a process of its own.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import onnxruntime as ort
import pyarrow as pa
from numpy.typing import NDArray
from pyarrow import parquet
from rich.console import Console
from rich.progress import track
from rich.table import Table

from pipeline.scoring import inputs, run
from pipeline.scoring.parts import held
from pipeline.scoring.progress import Watch
from pipeline.scoring.scorer import Question, Scorer
from serving.artifact import Artifact, open_session

ROOT = Path(__file__).parent.parent
ROWS, FEATURES, BATCH = 2_000_000, 20, 2**16
BAR, MOST = 0.8, 600  # times the rows a second of the bare loop; MB
Run = Callable[[], object]


def write_rows(path: Path, rows: int) -> None:
    """Write a Parquet file, some rows at a time."""
    random = np.random.default_rng(0)
    names = [f"x{place}" for place in range(FEATURES)]
    schema = pa.schema([("id", pa.int64()), *((name, pa.float32()) for name in names)])
    with parquet.ParquetWriter(path, schema) as file:
        for start in range(0, rows, BATCH):
            many = min(BATCH, rows - start)
            numbers = random.normal(size=(FEATURES, many)).astype(np.float32)
            file.write_batch(pa.record_batch([np.arange(start, start + many), *numbers], schema=schema))


def export(folder: Path) -> Path:
    """Return the artifact, made in a process of its own: TensorFlow would count as memory."""
    made = f"import decision, pathlib; print(decision.export(pathlib.Path({str(folder)!r}))[0])"
    done = subprocess.run(
        [sys.executable, "-c", made],
        env={**os.environ, "PYTHONPATH": os.pathsep.join(map(str, (ROOT, ROOT / "benchmarks")))},
        capture_output=True,
        text=True,
        check=True,
    )
    return Path(done.stdout.splitlines()[-1])


def batches(
    rows: Path, session: ort.InferenceSession, step: int
) -> Iterator[tuple[NDArray[np.int64], list[NDArray[np.generic]]]]:
    """Yield the ids of some rows, and all outputs."""
    names = [f"x{place}" for place in range(FEATURES)]
    for batch in parquet.ParquetFile(rows).iter_batches(step, columns=["id", *names]):
        numbers = np.stack([batch.column(name).to_numpy() for name in names], axis=1)
        yield batch.column("id"), session.run(None, {"numeric": numbers})


def bare(rows: Path, session: ort.InferenceSession, step: int) -> None:
    """Run the artifact over all rows, and drop what it says."""
    for _ in batches(rows, session, step):
        pass


def bare_and_written(rows: Path, session: ort.InferenceSession, artifact: Artifact, out: Path) -> None:
    """Run the artifact over all rows, and write the columns that `score` writes, in pyarrow's own way."""
    labels = pa.array(artifact.manifest.labels)
    names = [one.name for one in session.get_outputs()]
    file, row = None, 0
    for ids, outputs in batches(rows, session, BATCH):
        found = dict(zip(names, outputs, strict=True))
        decision, cost = found["decision"][:, 0], found["expected_cost"][:, 0]
        table = {
            "row": np.arange(row, row + len(ids)),
            "id": ids,
            **{f"p_{label}": found["probabilities"][:, k] for k, label in enumerate(labels)},
            "expected_value": found["expected_value"],
            "decision": labels.take(pa.array(decision)),
            "expected_cost": np.take_along_axis(cost, decision[:, np.newaxis], axis=1)[:, 0],
            "margin": found["margin"][:, 0],
            "lower": labels.take(pa.array(found["interval"][:, 0])),
            "upper": labels.take(pa.array(found["interval"][:, 1])),
            "aleatoric": found["uncertainty"][:, 0],
            "epistemic": found["uncertainty"][:, 1],
        }
        batch = pa.RecordBatch.from_pydict({name: pa.array(column) for name, column in table.items()})
        file = file or parquet.ParquetWriter(out, batch.schema)
        file.write_batch(batch)
        row += len(ids)
    if file:
        file.close()


def ours(rows: Path, artifact: Artifact, out: Path) -> None:
    """Score the rows as the command does."""
    features = Scorer(artifact, Question()).features
    source = inputs.open_source(rows, features, ("id",), "utf-8")
    question = Question(kept=source.kept)
    plan = run.plan(source, question, artifact.digest, artifact.provider, source.rows, "utf-8")
    job = run.Job(source, Scorer(artifact, question), out, source.rows)
    with held(out) as parts, Watch("") as watch:
        parts.begin(plan)
        run.score(job, parts, plan, watch)


def peak(model: Path, rows: Path, out: Path) -> tuple[float, float]:
    """Return the most memory, in MB, and the seconds of the whole command."""
    command = [sys.executable, "-m", "pipeline", "score", str(model), str(rows), str(out), "--keep", "id"]
    # A process begins with the peak of the one that it was forked from: a small one stands between.
    between = (
        "import resource, subprocess, sys; subprocess.run(sys.argv[1:], check=True); "
        "print(resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss)"
    )
    began = time.perf_counter()
    done = subprocess.run(
        [sys.executable, "-c", between, *command], cwd=ROOT, capture_output=True, text=True, check=True
    )
    return int(done.stdout) / 1000, time.perf_counter() - began


def timed(run: Run) -> float:
    """Return the seconds of one run."""
    started = time.perf_counter()
    run()
    return time.perf_counter() - started


def main() -> None:
    """Measure and print; end with status 1 where a figure misses its bar."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--rows", type=int, default=ROWS)
    given = parser.parse_args()
    console = Console(width=100)
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        rows, out, written = folder / "rows.parquet", folder / "scored.parquet", folder / "bare.parquet"
        write_rows(rows, given.rows)
        model = export(folder)
        artifact, one, all_cores = (
            Artifact(model, "cpu"),
            open_session(model, "cpu"),
            _as_onnxruntime_does(model),
        )
        loops: dict[str, Run] = {
            "bare loop, one thread": lambda: bare(rows, one, BATCH),
            "bare loop, all cores": lambda: bare(rows, all_cores, BATCH),
            "bare loop, all cores, written": lambda: bare_and_written(rows, all_cores, artifact, written),
            "score": lambda: ours(rows, artifact, out),
        }
        taken = np.array(
            [
                [timed(loop) for loop in loops.values()]
                for _ in track(range(given.rounds), "measuring", console=console, transient=True)
            ]
        )
        out.unlink()
        memory, seconds = peak(model, rows, out)
    table = Table(title=f"{given.rows:,} rows of {FEATURES} numbers", title_justify="left")
    table.add_column("")
    for heading in ("seconds", "rows/s", "rows/s of score, times"):
        table.add_column(heading, justify="right")
    ratios = np.median(taken / taken[:, -1:], axis=0)
    for name, median, ratio in zip(loops, np.median(taken, axis=0), ratios, strict=True):
        table.add_row(name, f"{median:.2f}", f"{given.rows / median:,.0f}", f"{ratio:.2f}")
    console.print(table)
    console.print(f"bar: at least {BAR:g} times the rows/s of each bare loop")
    console.print(
        f"as a process: {memory:.0f} MB at most (bar: below {MOST}), {seconds:.1f} s with its start"
    )
    missed = [f"{ratio:.2f} times {name}" for name, ratio in zip(loops, ratios, strict=True) if ratio < BAR]
    if memory >= MOST:
        missed.append(f"{memory:.0f} MB")
    if missed:
        sys.exit(f"score misses its bar: {'; '.join(missed)}")
    console.print("score keeps its bars")


def _as_onnxruntime_does(model: Path) -> ort.InferenceSession:
    options = ort.SessionOptions()
    options.log_severity_level = 3
    return ort.InferenceSession(str(model), options, providers=["CPUExecutionProvider"])


if __name__ == "__main__":
    main()
