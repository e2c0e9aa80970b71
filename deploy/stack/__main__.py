"""The command of `make stack`."""

from __future__ import annotations

import argparse
import contextlib
import logging
import signal
import sys
from collections.abc import Iterator
from pathlib import Path
from types import FrameType
from typing import NoReturn

from deploy.stack.servers import CONFIG, MODEL
from deploy.stack.stack import Stack
from pipeline.errors import InputError, PipelineError

_ABOUT = """PostgreSQL, an S3-compatible store, MLflow, Prefect with a worker, the service and Prometheus as
plain processes of this machine, on loopback, until Ctrl-C. All that they keep is in one folder, and a start
on the same folder goes on with it."""


def main() -> int:
    """Run a stack until it is told to end; return the exit status."""
    parser = argparse.ArgumentParser(prog="python -m deploy.stack", description=_ABOUT)
    parser.add_argument("--folder", type=Path, default=Path(".stack"), help="default: .stack")
    parser.add_argument(
        "--free-ports", action="store_true", help="any ports that are free, instead of the usual ones"
    )
    given = parser.parse_args()
    logging.basicConfig(format="%(levelname)s %(message)s", level=logging.WARNING)
    # A shell lets what it starts in the background ignore it, and Prefect's worker ends by it.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    signal.signal(signal.SIGTERM, _interrupt)
    try:
        with contextlib.suppress(KeyboardInterrupt):
            stack = Stack(given.folder, _say, free_ports=given.free_ports)
            with stack:
                for line in _table(stack, given.folder):
                    _say(line)
                stack.look_after()
        _say("ended; the same command goes on with what is kept")
    except InputError as error:
        _say(f"stack: {error}")
        return 2
    except PipelineError as error:
        _say(f"stack: {error}")
        return 1
    return 0


def _table(stack: Stack, folder: Path) -> Iterator[str]:
    rows = {
        "service": f"{stack.service.address}   gRPC",
        "MLflow": f"{stack.mlflow.address}/#/experiments",
        "Prefect": stack.prefect.address,
        "Prometheus": stack.prometheus.address if stack.prometheus else "not installed",
        "PostgreSQL": f"{stack.database.address}   databases mlflow and prefect; passwords.json",
        "S3": f"{stack.objects.address}   bucket ordinal",
        "logs": str(folder / "logs"),
    }
    yield ""
    for name, where in rows.items():
        yield f"  {name:12}{where}"
    yield ""
    yield "to try, in another terminal:"
    yield f"  . {folder / 'env'}"
    yield f"  .venv/bin/ordinal-pipeline history {MODEL}"
    yield f"  .venv/bin/prefect deployment run 'scheduled retrain/{MODEL}'   ({stack.place.work / CONFIG})"
    yield "  .venv/bin/ordinal-serving bench $ORDINAL_ADDRESS"
    yield "Ctrl-C ends all of it"


def _interrupt(_: int, __: FrameType | None) -> NoReturn:
    signal.signal(signal.SIGTERM, signal.SIG_IGN)  # once is enough
    raise KeyboardInterrupt


def _say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


if __name__ == "__main__":
    sys.exit(main())
