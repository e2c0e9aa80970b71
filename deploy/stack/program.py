"""A program that is no Python module, as `pipeline.child` starts modules.

`python -m deploy.stack.program [--user USER] [--signal NAME] PROGRAM ARGUMENTS`
"""

from __future__ import annotations

import argparse
import contextlib
import pwd
import signal
import subprocess
import sys
from types import FrameType


def main() -> int:
    """Run it, hand SIGTERM on as the signal that it takes for an order to end, and return its status."""
    parser = argparse.ArgumentParser(prog="python -m deploy.stack.program")
    parser.add_argument("--user", help="whose rights it gets; by default ours")
    parser.add_argument("--signal", default="SIGTERM", help="what it gets where we get SIGTERM")
    parser.add_argument("command", nargs=argparse.REMAINDER)
    given = parser.parse_args()
    group = pwd.getpwnam(given.user).pw_gid if given.user else None  # nobody's is nogroup
    user = {"user": given.user, "group": group, "extra_groups": []} if given.user else {}
    # Before it is there, so that an order to end is not lost in between.
    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM})
    process = subprocess.Popen(given.command, stdin=subprocess.DEVNULL, **user)

    def end(_: int, __: FrameType | None) -> None:
        with contextlib.suppress(ProcessLookupError):
            process.send_signal(signal.Signals[given.signal])

    signal.signal(signal.SIGTERM, end)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGTERM})
    return process.wait()


if __name__ == "__main__":
    sys.exit(main())
