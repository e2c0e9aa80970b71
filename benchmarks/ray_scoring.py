"""What a Ray cluster brings to scoring a file: `make bench-ray`.

The command `ordinal-pipeline score` is run as anybody would run it, on Parquet files of 20 numbers and
an id: on one core and on all cores of this machine, and on Ray nodes of one CPU each on it, one and two.
Once with the MLP 64-64 of benchmarks/decision.py, and once with 200 passes of it (MC dropout), which is
slow. Ways take turns; figures are medians over rounds. Seconds are those of scoring, in the command's
summary; nodes start their processes in them, and the whole command takes some more.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from collections import defaultdict
from pathlib import Path
from statistics import median

from rich.console import Console
from rich.table import Table

sys.path.append(str(Path(__file__).parent.parent / "tests"))

from ray_cluster import cluster
from scoring import ROOT, write_rows

CASES = {"MLP 64-64": (1, 2_000_000, 2**16), "200 passes of it": (200, 1_000_000, 2**12)}
"""Passes, rows, and rows of a part: enough parts for all."""
GONE = 30  # seconds after which Ray has noticed that a node is gone, and nothing more is asked of it


def export(folder: Path, passes: int) -> Path:
    """Return an artifact, made in a process of its own."""
    made = (
        "import decision, pathlib; "
        f"print(decision.export(pathlib.Path({str(folder)!r}), passes={passes})[0])"
    )
    done = subprocess.run(
        [sys.executable, "-c", made],
        env={**os.environ, "PYTHONPATH": os.pathsep.join(map(str, (ROOT, ROOT / "benchmarks")))},
        capture_output=True,
        text=True,
        check=True,
    )
    return Path(done.stdout.splitlines()[-1])


def scored(model: Path, rows: Path, part: int, cores: set[int], *more: str) -> tuple[float, float]:
    """Run the command once; return the seconds of scoring, and of all."""
    began = time.perf_counter()
    done = subprocess.run(
        [
            sys.executable, "-m", "pipeline", "score", str(model), str(rows),
            str(rows.with_name("out.parquet")), f"--batch-rows={part}", "--keep=id", "--json",
            "--overwrite", *more,
        ],
        cwd=ROOT, capture_output=True, text=True, preexec_fn=lambda: os.sched_setaffinity(0, cores),
    )  # fmt: skip
    if done.returncode:
        sys.exit(done.stderr)
    return json.loads(done.stdout)["seconds"], time.perf_counter() - began


def main() -> None:
    """Print the tables."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--rounds", type=int, default=3)
    given = parser.parse_args()
    console = Console(width=100)
    cores = os.sched_getaffinity(0)
    with tempfile.TemporaryDirectory(prefix="ordinal-bench-") as scratch, cluster() as nodes:
        for name, (passes, many, part) in CASES.items():
            folder = Path(scratch)
            rows = folder / "rows.parquet"
            write_rows(rows, many)
            model = export(folder, passes)
            taken = defaultdict(list)
            for _ in range(given.rounds):
                ray = f"--ray={nodes.address}"
                taken["here, one core"].append(scored(model, rows, part, {min(cores)}))
                taken[f"here, {len(cores)} cores"].append(scored(model, rows, part, cores))
                taken["two nodes"].append(scored(model, rows, part, cores, ray))
                nodes.nodes[-1].kill()
                time.sleep(GONE)
                taken["one node"].append(scored(model, rows, part, cores, ray))
                nodes.add()
            table = Table(title=f"{name}: {many:,} rows, {part:,} a part", title_justify="left")
            table.add_column("")
            for heading in ("seconds", "of the whole command", "rows/s", "times one core here"):
                table.add_column(heading, justify="right")
            slowest = median(one for one, _ in taken["here, one core"])
            for way, both in taken.items():
                seconds, whole = (median(values) for values in zip(*both, strict=True))
                table.add_row(
                    way,
                    f"{seconds:.1f}",
                    f"{whole:.1f}",
                    f"{many / seconds:,.0f}",
                    f"{slowest / seconds:.2f}",
                )
            console.print(table)
            console.print(f"load {os.getloadavg()[0]:.1f}")


if __name__ == "__main__":
    main()
