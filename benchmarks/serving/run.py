"""What the service costs, and how it behaves, beside others: `make bench-serving`.

All tables in one run, on two cores: one for the server that is measured, the other for who asks. `--quick`
is for trying out whether all of it runs; its figures say little.
"""

from __future__ import annotations

import argparse
import datetime
import os
import platform
import subprocess
import sys
import time
from importlib import metadata
from pathlib import Path

import cost
import exported
import footprint
import peers
import rounds
import tail
import telemetry
from asking import Generator

HERE = Path(__file__).parent
KEPT = HERE.parent.parent / ".bench" / "serving"
"""Where environments of peers and the exported artifact are kept from run to run."""
COSTS = {"cost": cost, "telemetry": telemetry, "tail": tail, "footprint": footprint}
OPERATIONS = ("reload", "overload", "restart")
TABLES = (*COSTS, "peers", *OPERATIONS)


def main() -> int:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("tables", nargs="*", metavar="TABLE", help=f"of {', '.join(TABLES)}; none: all")
    parser.add_argument("--quick", action="store_true", help="few and short rounds")
    parser.add_argument("--model", type=Path, help="measure with this artifact of 20 numbers, named bench")
    given = parser.parse_args()
    unknown = sorted(set(given.tables) - set(TABLES))
    if unknown:
        parser.error(f"tables are {', '.join(TABLES)}, got {', '.join(unknown)}")
    asked, started = given.tables or TABLES, time.monotonic()
    path, what = (given.model.resolve(), "given") if given.model else exported.bench_model(KEPT)
    print(f"{_machine()}\n\nThe model: {what}.", flush=True)
    with Generator() as generator:
        for name, table in COSTS.items():
            if name in asked:
                table.main(path, generator, quick=given.quick)
        if "peers" in asked:
            peers.main(path, KEPT, generator, quick=given.quick)
    failed = [name for name in OPERATIONS if name in asked and not _operation(name, given.quick)]
    print(f"\n{(time.monotonic() - started) / 60:.0f} minutes in all.")
    if failed:
        print(f"ended with an error: {', '.join(failed)}", file=sys.stderr)
    return 1 if failed else 0


def _operation(name: str, quick: bool) -> bool:
    """Run a table that takes the service through an operation, and return whether it came to its end."""
    rounds.progress("")
    command = [sys.executable, str(HERE / f"{name}.py"), *(["--quick"] if quick else [])]
    return subprocess.run(command).returncode == 0


def _machine() -> str:
    """Return what the figures were measured on."""
    processor = next(
        (
            line.partition(":")[2].strip()
            for line in Path("/proc/cpuinfo").read_text().splitlines()
            if line.startswith("model name")
        ),
        platform.machine(),
    )
    versions = ", ".join(
        f"{name} {metadata.version(name)}" for name in ("grpcio", "onnxruntime-gpu", "uvloop", "protobuf")
    )
    return (
        f"{datetime.date.today()}, {len(os.sched_getaffinity(0))} cores of {processor}, load before "
        f"{os.getloadavg()[0]:.1f}; Python {platform.python_version()}, {versions}"
    )


if __name__ == "__main__":
    sys.exit(main())
