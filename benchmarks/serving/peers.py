"""Requests per CPU-second of other servers on the same ONNX file, beside the service's own.

Each peer has a virtual environment of its own, made here from its `requirements.txt`, and serves the file
by onnxruntime on one thread, as its manual tells to: once as it comes, and once set up for this work.
"""

from __future__ import annotations

import contextlib
import hashlib
import shutil
import socket
import subprocess
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

import messages
import model
import processes
import rounds
import tables
from asking import Generator
from generator import Outcome
from messages import Asked
from processes import Server
from rounds import Contender, Spread

from serving.artifact import open_session

HERE = Path(__file__).parent / "peers"
AT_ONCE = 8
BAR = 1.2


@dataclass(frozen=True)
class Peer:
    """A server in an environment, in one of the ways that it may be set up."""

    name: str
    how: str  # what was set, for the reader
    folder: str
    command: tuple[str, ...]  # {bin}, {here}, {port}: of the environment, of its files, where to listen
    env: Mapping[str, str] = field(default_factory=dict)
    python: str = sys.executable
    http: bool = False


_MLSERVER = {
    "MLSERVER_HOST": "127.0.0.1",
    "MLSERVER_GRPC_PORT": "{port}",
    "MLSERVER_HTTP_PORT": "{port1}",
    "MLSERVER_METRICS_PORT": "{port2}",
}
_TUNED = {"MLSERVER_PARALLEL_WORKERS": "0", "MLSERVER_DEBUG": "false"}
_START = ("{bin}/mlserver", "start", "{here}")
_SERVE = ("{bin}/python", "{here}/serve.py", "{port}")
_DEBIAN = "/usr/bin/python3.11"  # with whose library the stub of Triton's Python backend is linked

PEERS = (
    Peer("MLServer 1.7.1", "as it comes", "mlserver", _START, _MLSERVER),
    Peer("MLServer 1.7.1", "no parallel workers, no debug", "mlserver", _START, {**_MLSERVER, **_TUNED}),
    Peer("KServe SDK 0.21.0", "as it comes", "kserve", (*_SERVE, "plain")),
    Peer("KServe SDK 0.21.0", "uvloop, no line a request", "kserve", (*_SERVE, "tuned")),
    Peer(
        "Triton 2.51, Python backend",
        "no batching, as it comes",
        "triton",
        (*_SERVE, "plain"),
        python=_DEBIAN,
    ),
    Peer("Triton 2.51, Python backend", "dynamic batching", "triton", (*_SERVE, "batched"), python=_DEBIAN),
    Peer("mosec 0.9.8, HTTP", "as it comes", "mosec", (*_SERVE, "plain"), http=True),
    Peer("mosec 0.9.8, HTTP", "dynamic batching, 1 ms", "mosec", (*_SERVE, "batched"), http=True),
)
OURS, UNBATCHED = "the service", "the service, --batch off"


def environment(peer: Peer, folder: Path) -> Path:
    """Return the environment of a peer, made where `requirements.txt` asks for another one."""
    wanted = (HERE / peer.folder / "requirements.txt").read_bytes() + peer.python.encode()
    state = hashlib.sha256(wanted).hexdigest()
    path = folder / peer.folder
    stamp = path / ".made"
    if stamp.exists() and stamp.read_text() == state:
        return path
    rounds.progress(f"making the environment of {peer.name}")
    if not Path(peer.python).exists():
        raise RuntimeError(f"needs {peer.python}, which is not here")
    shutil.rmtree(path, ignore_errors=True)
    uv = str(Path(sys.executable).with_name("uv"))
    requirements = str(HERE / peer.folder / "requirements.txt")
    _done([uv, "venv", "--quiet", "--python", peer.python, str(path)])
    _done([uv, "pip", "install", "--quiet", "--python", str(path / "bin" / "python"), "-r", requirements])
    stamp.write_text(state)
    return path


def _done(command: list[str]) -> None:
    """Run a command, and tell what it said where it failed."""
    done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode:
        raise RuntimeError(f"{' '.join(command[:3])} failed: {done.stderr.strip()}")


@contextlib.contextmanager
def answering(
    peer: Peer, folder: Path, artifact: Path, asked: Asked, generator: Generator
) -> Iterator[Contender]:
    """Run a peer until the context ends; its answers are checked before it is handed out."""
    place = {
        "bin": str(environment(peer, folder) / "bin"),
        "here": str(HERE / peer.folder),
        **dict(zip(("port", "port1", "port2"), map(str, _free_ports()), strict=True)),
    }
    address = f"127.0.0.1:{place['port']}"
    method, kind = ("/inference", "http") if peer.http else (messages.MODEL_INFER, "unary")

    def contender(server: Server, **load: object) -> Contender:
        return rounds.contender(server, method, asked, kind=kind, **load)

    def ready() -> bool:
        return generator.answers(contender(Server(address, 0), count=1).load)

    rounds.progress(f"starting {peer.name}, {peer.how}")
    with processes.started(
        [part.format_map(place) for part in peer.command],
        address=address,
        ready=ready,
        env={
            "MODEL": str(artifact),
            "PYTHONPATH": str(HERE),
            **{name: value.format_map(place) for name, value in peer.env.items()},
        },
    ) as server:
        contender(server, count=1).turn(generator)
        yield contender(server, count=1, at_once=AT_ONCE)


def _free_ports() -> tuple[int, int, int]:
    """Return three ports in a row that nobody listens on."""
    while True:
        with contextlib.ExitStack() as held, contextlib.suppress(OSError):  # one of the three is taken
            first = held.enter_context(socket.create_server(("127.0.0.1", 0))).getsockname()[1]
            for port in (first + 1, first + 2):
                held.enter_context(socket.create_server(("127.0.0.1", port)))
            return first, first + 1, first + 2


def measure(
    artifact: Path, folder: Path, generator: Generator, count: int, many: int
) -> tuple[dict[str, Spread], dict[str, str]]:
    """Return µs of CPU a request of each that runs here, and why the others do not."""
    rows = model.rows(1)
    local = messages.expected(open_session(artifact, "cpu"), rows)
    infer, raw = messages.infer("bench", rows, local), messages.raw(rows, local)
    found: dict[str, Contender] = {}
    missing: dict[str, str] = {}
    with contextlib.ExitStack() as running:
        for name, options in ((OURS, ()), (UNBATCHED, ("--batch", "off"))):
            server = running.enter_context(processes.service(artifact, *options))
            found[name] = rounds.contender(server, messages.MODEL_INFER, infer, count=1, at_once=AT_ONCE)
        for peer in PEERS:
            asked = raw if peer.http else infer
            name = f"{peer.name}: {peer.how}"
            try:
                found[name] = running.enter_context(answering(peer, folder, artifact, asked, generator))
            except RuntimeError as error:
                missing[name] = str(error)
        turns = {
            name: lambda one=one: one.with_load(count=count, warm=count // 10).turn(generator)
            for name, one in found.items()
        }
        outcomes: dict[str, list[Outcome]] = rounds.taking_turns(turns, many)
    return {name: rounds.of_all(each) for name, each in outcomes.items()}, missing


def show(costs: Mapping[str, Spread], missing: Mapping[str, str], count: int, many: int) -> None:
    """Print the table."""
    ours = costs[OURS]
    lines = []
    for name, cost in costs.items():
        times = cost.over(ours)
        bar = ""
        if not name.startswith((OURS, "mosec")):
            bar = tables.held(times.median, BAR, most=False)
        lines.append((name, cost.text(), f"{1e6 / cost.median:.0f}", times.text(2), bar))
    lines += [(name, "does not run here", "", "", "") for name in missing]
    tables.show(
        "Open Inference beside other servers, 1 row",
        ("", "µs of CPU a request", "requests per CPU-second", "the service has times as many", "bar"),
        lines,
        (
            f"CPU of all processes of a server; medians of {many} rounds of {count} requests, {AT_ONCE} "
            "under way at a time, in which all took turns on one core. Raw contents, all outputs; every "
            "peer runs the same file with the same options of onnxruntime.",
            *(f"{name} does not run here: {why}" for name, why in missing.items()),
        ),
    )


def main(artifact: Path, folder: Path, generator: Generator, *, quick: bool) -> None:
    """Measure and print."""
    count, many = (300, 3) if quick else (2000, 5)
    costs, missing = measure(artifact, folder, generator, count, many)
    show(costs, missing, count, many)
