"""A module as a process that ends with the one that started it: `python -m pipeline.tied MODULE ARGUMENTS`.

Its standard input is a pipe of which nobody else has the other end. The kernel closes that whatever the
process that started it died of, SIGKILL too. Linux could signal the death of a parent as well
(PR_SET_PDEATHSIG), but of the thread that forked, and only after a fork that threads make unsafe.
Where it leads a group of processes, those that it has started end with it.
"""

from __future__ import annotations

import os
import runpy
import signal
import sys
import threading


def _end_with_input() -> None:
    while os.read(0, 1):  # and not sys.stdin, whose lock would be taken when Python winds down
        pass
    if os.getpgrp() == os.getpid():
        os.killpg(os.getpgrp(), signal.SIGKILL)
    os._exit(1)


def main() -> None:
    """Run a module as `python -m` does, for as long as standard input is open."""
    threading.Thread(target=_end_with_input, daemon=True).start()
    del sys.argv[0]
    runpy.run_module(sys.argv[0], run_name="__main__", alter_sys=True)


if __name__ == "__main__":
    main()
