"""Does what a page says, as somebody would who types it: `python tests/walk.py PAGE FOLDER`.

Blocks of shell commands and of Python run in their order in FOLDER, each as its fence says:

    ```sh                        to its end, which must be good
    ```sh until="SERVING on"     until it prints that; it is ended, by Ctrl-C, when the page is
    ```python                    to its end
    ```toml                      is put at the end of the only config that there is

Lines of `make` are left out: they are the page's own set-up. Any other fence with a language is an error.
"""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

_BLOCK = re.compile(r"^```(?P<kind>\w+) *(?P<more>.*)\n(?P<text>[\s\S]*?)^```$", re.MULTILINE)
_UNTIL = re.compile(r'until="([^"]+)"')
_SECONDS = 300.0


def walk(page: Path, folder: Path) -> None:
    """Run all blocks of a page; ends with AssertionError where one does not do as it should."""
    with ExitStack() as stack:
        for block in _BLOCK.finditer(page.read_text(encoding="utf-8")):
            text, more = block["text"], block["more"]
            until = _UNTIL.fullmatch(more)
            assert until or not more, f"nobody knows what {more} says of a block"
            print(f"--- {block['kind']} {more}\n{text}", flush=True)
            match block["kind"]:
                case "python":
                    _run(["python", "-c", text], folder)
                case "toml":
                    (config,) = folder.glob("*.toml")
                    config.write_text(config.read_text(encoding="utf-8") + text, encoding="utf-8")
                case "sh" if until:
                    stack.enter_context(_running(text, until[1], folder))
                case "sh":
                    folder = _shell(re.sub(r"^make .*$", "", text, flags=re.MULTILINE), folder)
                case kind:
                    raise AssertionError(f"nobody knows what to do with a block of {kind}")


def _shell(text: str, folder: Path) -> Path:
    """Run commands; return the folder that they end in."""
    with tempfile.NamedTemporaryFile("r") as ended:
        _run(["bash", "-euo", "pipefail", "-c", f"{text}\npwd > {ended.name}"], folder)
        return Path(ended.read().strip())


def _run(command: list[str], folder: Path) -> None:
    began = time.monotonic()
    # Without a terminal, as in any script; what it prints stands in the test's own output.
    status = subprocess.run(
        command, cwd=folder, stdin=subprocess.DEVNULL, timeout=_SECONDS, check=False
    ).returncode
    print(f"--- status {status} after {time.monotonic() - began:.1f} s", flush=True)
    assert status == 0


@contextmanager
def _running(text: str, until: str, folder: Path) -> Iterator[None]:
    with tempfile.NamedTemporaryFile("r", suffix=".log") as log, Path(log.name).open("w") as out:
        process = subprocess.Popen(
            ["bash", "-euo", "pipefail", "-c", f"exec {text}"],
            cwd=folder,
            stdin=subprocess.DEVNULL,
            stdout=out,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
        try:
            end = time.monotonic() + _SECONDS
            while until not in Path(log.name).read_text(encoding="utf-8"):
                assert process.poll() is None, Path(log.name).read_text(encoding="utf-8")
                assert time.monotonic() < end, Path(log.name).read_text(encoding="utf-8")
                time.sleep(0.1)
            yield
            process.send_signal(signal.SIGINT)
            status = process.wait(60)
            print(f"--- {text.strip()} printed:\n{log.read()}--- status {status}", flush=True)
            assert status in (0, 128 + signal.SIGINT)
        finally:
            if process.poll() is None:
                os.killpg(process.pid, signal.SIGKILL)
                process.wait()


if __name__ == "__main__":
    walk(Path(sys.argv[1]), Path(sys.argv[2]))
