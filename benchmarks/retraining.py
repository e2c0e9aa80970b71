"""What a retraining costs beside the trainings themselves: `make bench-retraining`.

The command `ordinal-pipeline retrain` is run as anybody would run it, in folders of its own, on 20,000 rows
of 20 numbers with five grades, MLP 64-64. One thread a worker. Processor time is that of every process that
the command starts, told apart by what they are.

Three tables. What a run costs whatever it trains: one trial of one epoch. What trials cost beyond their
training: by how much the processor time of the command grows from 6 to 12 trials of about ten seconds, and
that of the same trainings in a bare loop, without MLflow, Prefect, calibration or pictures. What a second
worker brings. Rounds take turns; figures are medians, ratios those within a round.
"""

from __future__ import annotations

import argparse
import ctypes
import json
import os
import subprocess
import sys
import tempfile
import threading
import time
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import median

import numpy as np
from rich.console import Console
from rich.table import Table

ROWS, FEATURES, GRADES = 20_000, 20, 5
FEW, MANY = 6, 12  # trials
SECONDS = 10.0  # of a trial
FIXED, GROWTH, SECOND = 45.0, 1.05, 0.65
"""Bars: seconds of processor time of a run, growth against the bare loop, wall time of two workers."""

CONFIG = """
name = "bench"
[data]
source = "rows.npz"
[model]
hidden = [64, 64]
[search]
losses = ["rps"]
patience = 100000
pruning = "none"
threads = 1
"""

BARE = """
import sys
from pathlib import Path
from pipeline import environment
environment.import_tensorflow()
environment.take_devices(0, 1)
from pipeline import train
from pipeline.config import load_config
from pipeline.data import load
from pipeline.sweep import planning
config = load_config(Path("model.toml"), tuple(sys.argv[1:]))
data = load(config)
for trial in planning.plan(config, data):
    loss = planning.build_loss(trial.loss, config, data)
    train.fit(data, loss, trial.head, config.model, config.search, trial.seed)
"""

_TICKS = os.sysconf("SC_CLK_TCK")
_SUBREAPER = 36  # prctl: what a descendant leaves behind is ours to wait for


@dataclass(frozen=True)
class Cost:
    """Of one command.

    Attributes:
        seconds: By the clock.
        processor: Seconds of processor time, of all its processes.
        parts: The same by what the processes are, as far as they were seen.
        out: What it wrote to its standard output.
    """

    seconds: float
    processor: float
    parts: dict[str, float]
    out: str


def run(folder: Path, *command: str) -> Cost:
    """Run a Python command in a folder, and wait for all that it leaves behind."""
    kept = {key: value for key, value in os.environ.items() if not key.startswith(("MLFLOW_", "PREFECT_"))}
    environment = {**kept, "PREFECT_HOME": str(folder.parent / "prefect")}
    seen: dict[int, tuple[str, float]] = {}
    ended = threading.Event()
    before, began = _children(), time.perf_counter()
    process = subprocess.Popen(
        [sys.executable, *command], cwd=folder, env=environment, text=True,
        stdout=subprocess.PIPE, stderr=(folder / "log").open("a"),
    )  # fmt: skip
    watcher = threading.Thread(target=_watch, args=(process.pid, seen, ended))
    watcher.start()
    out, _ = process.communicate()
    seconds = time.perf_counter() - began
    while True:
        try:
            os.wait()
        except ChildProcessError:
            break
    ended.set()
    watcher.join()
    if process.returncode:
        sys.exit((folder / "log").read_text())
    parts: dict[str, float] = defaultdict(float)
    for name, used in seen.values():
        parts[name] += used
    total = _children() - before
    parts["not seen: too short"] = max(0.0, total - sum(parts.values()))
    return Cost(seconds, total, dict(parts), out)


def _children() -> float:
    times = os.times()
    return times.children_user + times.children_system


def _watch(root: int, seen: dict[int, tuple[str, float]], ended: threading.Event) -> None:
    """Note what every process below `root` is and has used, some times a second."""
    while not ended.wait(0.1):
        parents: dict[int, int] = {}
        for path in Path("/proc").glob("[0-9]*"):
            try:
                fields = (path / "stat").read_text().rpartition(")")[2].split()
                words = (path / "cmdline").read_text().replace("\0", " ")
            except (FileNotFoundError, ProcessLookupError):
                continue
            pid, parents[int(path.name)] = int(path.name), int(fields[1])
            seen_before = pid in seen
            if seen_before or pid == root or parents[pid] in seen or parents[pid] == root:
                used = (int(fields[11]) + int(fields[12])) / _TICKS
                # One that has ended and was not waited for yet has no words any more.
                name = _name(pid == root, words, seen.get(parents[pid], ("", 0.0))[0])
                seen[pid] = (name if words else seen.get(pid, (name, 0.0))[0], used)


def _name(is_root: bool, words: str, parent: str) -> str:
    if is_root:
        return "the command: rows, MLflow, Optuna, pictures, gate"
    if "forkserver" in words:
        return (
            "trainings and export" if parent.startswith(("TensorFlow", "train")) else "TensorFlow's import"
        )
    if "uvicorn" in words or "prefect" in words:
        return "Prefect's server"
    if "serving" in words:
        return "the candidate served"
    return "others"


def project(folder: Path) -> Path:
    """Make a folder with rows and a config."""
    folder.mkdir()
    random = np.random.default_rng(0)
    x = random.normal(size=(ROWS, FEATURES)).astype(np.float32)
    score = x[:, :5].sum(axis=1) + x[:, 5] * x[:, 6] + random.logistic(size=ROWS)
    y = np.digitize(score, np.quantile(score, np.linspace(0, 1, GRADES + 1)[1:-1]))
    np.savez(folder / "rows.npz", x=x, y=y)
    (folder / "model.toml").write_text(CONFIG, encoding="utf-8")
    return folder


def retrain(folder: Path, trials: int, epochs: int, workers: int = 1) -> Cost:
    """Run the command once."""
    changes = (f"search.trials={trials}", f"search.epochs={epochs}", f"search.workers={workers}")
    options = [word for change in changes for word in ("--set", change)]
    return run(folder, "-m", "pipeline", "retrain", "model.toml", "--json", *options)


def bare(folder: Path, trials: int, epochs: int) -> Cost:
    """Run the same trainings in a loop."""
    return run(folder, "-c", BARE, f"search.trials={trials}", f"search.epochs={epochs}")


def sweep_seconds(cost: Cost) -> float:
    """Return how long all trials of a run took by the clock."""
    from mlflow.tracking import MlflowClient

    result = json.loads(cost.out)
    runs = MlflowClient(result["tracking_uri"]).search_runs(
        [result["experiment_id"]], f"tags.`mlflow.parentRunId` = '{result['run_id']}'"
    )
    return (max(one.info.end_time for one in runs) - min(one.info.start_time for one in runs)) / 1000


def main() -> None:
    """Print the three tables."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--seconds", type=float, default=SECONDS, help="of a trial")
    given = parser.parse_args()
    ctypes.CDLL(None, use_errno=True).prctl(_SUBREAPER, 1, 0, 0, 0)
    console = Console()
    with tempfile.TemporaryDirectory(prefix="ordinal-bench-") as scratch:
        folder = project(Path(scratch) / "run")
        first = retrain(folder, 1, 1)
        console.print(
            f"the first run, which makes both databases: {first.processor:.1f} s of processor time\n"
        )
        epochs = _epochs(folder, given.seconds)
        fixed = [retrain(folder, 1, 1) for _ in range(given.rounds)]
        console.print(_parts(fixed), "")
        growth, ratios, alone, whole = [], [], [], []
        for number in range(given.rounds):
            loops = [bare(folder, trials, epochs) for trials in (FEW, MANY)]
            runs = [retrain(folder, trials, epochs) for trials in (FEW, MANY)]
            two = retrain(folder, MANY, epochs, workers=2)
            ours, theirs = (b.processor - a.processor for a, b in (runs, loops))
            growth.append((ours, theirs))
            ratios.append(ours / theirs)
            alone.append((sweep_seconds(two), sweep_seconds(runs[1])))
            whole.append((two.seconds, runs[1].seconds))
            console.print(
                f"round {number + 1}: {ours:.1f} s against {theirs:.1f} s, {ratios[-1]:.3f}; "
                f"two workers {alone[-1][0]:.0f} s, one {alone[-1][1]:.0f} s"
            )
        console.print("", _growth(growth, ratios), "", _second(alone, whole))
        met = (
            median(cost.processor for cost in fixed) <= FIXED,
            median(ratios) <= GROWTH,
            median(a / b for a, b in whole) <= SECOND,
        )
        sys.exit(0 if all(met) else 1)


def _epochs(folder: Path, seconds: float) -> int:
    """Return how many epochs take so many seconds of processor time."""
    short, long = (bare(folder, 1, epochs).processor for epochs in (5, 45))
    return max(1, round(seconds / (long - short) * 40))


def _parts(costs: Sequence[Cost]) -> Table:
    table = Table(title="A run of one trial of one epoch", title_justify="left")
    for heading in ("part", "processor time, s", "by the clock, s"):
        table.add_column(heading, justify="left" if heading == "part" else "right")
    for name in sorted({name for cost in costs for name in cost.parts}):
        table.add_row(name, f"{median(cost.parts.get(name, 0.0) for cost in costs):.1f}")
    total, clock = (
        median(values) for values in zip(*((c.processor, c.seconds) for c in costs), strict=True)
    )
    table.add_row(f"all; bar {FIXED:g}", f"{total:.1f}", f"{clock:.1f}", style=_style(total <= FIXED))
    return table


def _growth(growth: Sequence[tuple[float, float]], ratios: Sequence[float]) -> Table:
    table = Table(title=f"From {FEW} to {MANY} trials", title_justify="left")
    for heading in ("retrain, processor s", "bare loop, processor s", f"ratio; bar {GROWTH:g}"):
        table.add_column(heading, justify="right")
    ours, theirs = (median(values) for values in zip(*growth, strict=True))
    ratio = median(ratios)
    table.add_row(f"{ours:.1f}", f"{theirs:.1f}", f"{ratio:.3f}", style=_style(ratio <= GROWTH))
    return table


def _second(alone: Sequence[tuple[float, float]], whole: Sequence[tuple[float, float]]) -> Table:
    table = Table(title=f"Two workers, {MANY} trials, {os.cpu_count()} cores", title_justify="left")
    for heading in ("by the clock", "two workers, s", "one worker, s", f"ratio; bar {SECOND:g}"):
        table.add_column(heading, justify="left" if heading == "by the clock" else "right")
    for name, pairs in (("all trials", alone), ("the whole command", whole)):
        two, one = (median(values) for values in zip(*pairs, strict=True))
        ratio = median(a / b for a, b in pairs)
        table.add_row(name, f"{two:.1f}", f"{one:.1f}", f"{ratio:.2f}", style=_style(ratio <= SECOND))
    return table


def _style(good: bool) -> str | None:
    return None if good else "red"


if __name__ == "__main__":
    main()
