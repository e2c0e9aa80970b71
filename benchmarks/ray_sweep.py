"""What a second Ray node brings to a sweep: `make bench-ray`.

The command `ordinal-pipeline retrain` is run as anybody would run it, on 20,000 rows of 20 numbers with
five grades, MLP 64-64, with trials of about fifteen seconds, one thread each: by one worker of this
machine, and on a Ray cluster of two nodes of one CPU each on it. Trials per minute are those of the
whole sweep, from the beginning of the first trial to the end of the last, in MLflow; so nodes pay for what
they import. Rounds take turns; the ratio is the median of those within a round. It needs two cores that
nobody else uses.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from statistics import median

from rich.console import Console
from rich.table import Table

sys.path.append(str(Path(__file__).parent.parent / "tests"))

from ray_cluster import Cluster, cluster
from retraining import Cost, _epochs, project, sweep_seconds

SECONDS = 15.0
BAR = 1.6  # times the trials per minute


def sweep(folder: Path, epochs: int, trials: int, on: Cluster | None) -> float:
    """Run the command once, here or there; return the seconds of its trials."""
    where = ("backend=ray", f"address={on.address}") if on else ("workers=1",)
    changes = (f"trials={trials}", f"epochs={epochs}", *where)
    options = [word for change in changes for word in ("--set", f"search.{change}")]
    kept = {key: value for key, value in os.environ.items() if not key.startswith(("MLFLOW_", "PREFECT_"))}
    began = time.perf_counter()
    with (folder / "log").open("a") as log:
        done = subprocess.run(
            [sys.executable, "-m", "pipeline", "retrain", "model.toml", "--json", *options],
            cwd=folder, env={**kept, "PREFECT_HOME": str(folder.parent / "prefect")},
            text=True, stdout=subprocess.PIPE, stderr=log,
        )  # fmt: skip
    if done.returncode:
        sys.exit((folder / "log").read_text())
    seconds = time.perf_counter() - began
    return sweep_seconds(Cost(seconds, 0.0, {}, done.stdout))


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--rounds", type=int, default=1)
    parser.add_argument("--trials", type=int, default=12)
    parser.add_argument("--seconds", type=float, default=SECONDS, help="of a trial")
    given = parser.parse_args()
    console, rates = Console(), []
    with tempfile.TemporaryDirectory(prefix="ordinal-bench-") as scratch:
        folder = project(Path(scratch) / "run")
        epochs = _epochs(folder, given.seconds)  # which waits for all processes of this one
        with cluster() as nodes:
            for number in range(given.rounds):
                seconds = [sweep(folder, epochs, given.trials, on) for on in (None, nodes)]
                rates.append([60 * given.trials / one for one in seconds])
                console.print(f"round {number + 1}: {seconds[0]:.0f} s here, {seconds[1]:.0f} s on Ray")
    table = Table(title=f"{given.trials} trials, {os.cpu_count()} cores", title_justify="left")
    for heading in ("one worker, trials a minute", "two nodes", f"ratio; bar {BAR:g}"):
        table.add_column(heading, justify="right")
    ratio = median(there / here for here, there in rates)
    one, two = (median(values) for values in zip(*rates, strict=True))
    table.add_row(f"{one:.2f}", f"{two:.2f}", f"{ratio:.2f}", style=None if ratio >= BAR else "red")
    console.print(table)
    sys.exit(0 if ratio >= BAR else 1)


if __name__ == "__main__":
    main()
