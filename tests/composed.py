"""compose.yaml where there is no engine: what it says, and its services as plain processes of this machine.

A service's command, environment and files are those of compose.yaml; names of hosts become loopback, ports
free ones, mounted files those of the repository, and volumes folders.
"""

from __future__ import annotations

import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import yaml

from pipeline import web

ROOT = Path(__file__).parent.parent
PORTS = {"postgres": 5432, "s3": 8333, "mlflow": 5000, "prefect": 4200, "worker": 8080, "serve": 50051}
METRICS = 9090
IMAGES = {"s3": ["weed"], "serve": ["ordinal-serving"], "prometheus": ["prometheus"]}
"""Entry points that are the image's own."""
PROGRAMS = sorted(path.parent for path in Path("/usr/lib/postgresql").glob("*/bin/initdb"))


def read(path: Path = ROOT / "compose.yaml") -> dict[str, Any]:
    """Return a compose file with its variables at their defaults."""
    text = re.sub(r"\$\{[A-Z_]+:-([^}]*)\}", r"\1", path.read_text(encoding="utf-8"))
    return dict(yaml.safe_load(text))


def make_secrets(folder: Path) -> Path:
    """Run secrets.sh in a folder of its own, and return where the secrets are."""
    shutil.copy(ROOT / "deploy" / "compose" / "secrets.sh", folder)
    subprocess.run([folder / "secrets.sh"], check=True, stdout=subprocess.DEVNULL)
    return folder / "secrets"


@contextmanager
def postgres(port: int) -> Iterator[dict[str, str]]:
    """Run a PostgreSQL of its own, and yield what its administrator's psql has to be told.

    Its server refuses to run as root, and its user cannot enter pytest's folders.
    """
    folder = Path(tempfile.mkdtemp(prefix="ordinal-pg-"))
    user = ["setpriv", "--reuid=postgres", "--regid=postgres", "--clear-groups"] if os.getuid() == 0 else []
    if user:
        shutil.chown(folder, "postgres", "postgres")
    # What compose.yaml gives to initdb, as a word each.
    options = read()["services"]["postgres"]["environment"]["POSTGRES_INITDB_ARGS"].split()
    bin_ = PROGRAMS[-1]
    data = folder / "data"
    subprocess.run(
        [*user, bin_ / "initdb", "-D", data, "-U", "postgres", "--auth-local=trust", "--no-sync", *options],
        check=True,
        cwd=folder,
        stdout=subprocess.DEVNULL,
    )
    with (folder / "log").open("wb") as log:
        server = subprocess.Popen(
            [*user, bin_ / "postgres", "-D", data, "-k", folder, "-h", "127.0.0.1", "-p", str(port), "-F"],
            cwd=folder,
            stdout=log,
            stderr=log,
        )
    try:
        environment = {"PGHOST": str(folder), "PGPORT": str(port), "PATH": f"{bin_}:{os.environ['PATH']}"}
        ready = [bin_ / "pg_isready", "-q", "-h", "127.0.0.1", "-p", str(port)]
        wait(
            lambda: subprocess.run(ready, check=False).returncode == 0,
            60,
            lambda: (folder / "log").read_text(),
        )
        yield environment
    finally:
        server.send_signal(signal.SIGINT)
        server.wait(60)
        shutil.rmtree(folder)


def wait(there: Callable[[], bool], seconds: float, log: Callable[[], str]) -> None:
    """Return once it is there; fails with the log where it takes too long."""
    end = time.monotonic() + seconds
    while not there():
        assert time.monotonic() < end, log()
        time.sleep(0.2)


class Stack:
    """Services of compose.yaml as processes, in a folder of their own."""

    def __init__(self, folder: Path) -> None:
        """Choose free ports, and make secrets."""
        self.folder = folder
        self.secrets = make_secrets(folder)
        *ports, self.metrics = web.unused(len(PORTS) + 1)
        self.ports = dict(zip(PORTS, ports, strict=True))
        self._services = read()["services"]
        self._processes: list[tuple[str, subprocess.Popen[bytes]]] = []

    def here(self, name: str, text: str) -> str:
        """Return a text of a service as it is right on this machine."""
        places = {"/run/secrets": self.secrets}
        places |= dict.fromkeys(self._services[name].get("tmpfs", ()), self.folder_of(name))
        for mount in self._services[name].get("volumes", ()):
            source, target = mount.split(":")[:2]
            places[target] = ROOT / source if source.startswith("./") else self.folder_of(source)
        known = "|".join(re.escape(place) for place in sorted(places, key=len, reverse=True))
        text = re.sub(rf"(?<![\w/])({known})(?![\w.])", lambda found: str(places[found[1]]), text)
        text = text.replace("0.0.0.0", "127.0.0.1")
        for service, port in {**PORTS, "metrics": METRICS}.items():
            text = re.sub(rf"(?<=[@/]){service}:{port}\b", f"127.0.0.1:{self._port(service)}", text)
            text = re.sub(rf"\b{port}\b", str(self._port(service)), text)
        return text

    def command(self, name: str) -> list[str]:
        """Return what the service runs."""
        service = self._services[name]
        words = [*service.get("entrypoint", IMAGES.get(name, ())), *service.get("command", ())]
        return [self.here(name, word) for word in words]

    def environment(self, name: str) -> dict[str, str]:
        """Return its environment: nothing of this process but what finds programs."""
        told = {
            key: self.here(name, value)
            for key, value in self._services[name].get("environment", {}).items()
        }
        path = f"{Path(sys.executable).parent}:{os.environ['PATH']}"
        return {"PATH": path, "HOME": str(self.folder_of(name)), "DO_NOT_TRACK": "true", **told}

    def probe(self, name: str) -> Callable[[], bool]:
        """Return the health check of a service, which says whether it is healthy."""
        asked = [self.here(name, part) for part in self._services[name]["healthcheck"]["test"][1:]]
        environment = self.environment(name)
        return lambda: (
            subprocess.run(asked, env=environment, check=False, capture_output=True, timeout=60).returncode
            == 0
        )

    def run(self, name: str, *more: str, where: Path | None = None, **environment: str) -> str:
        """Run a service that ends, and return what it said; fails where it does."""
        done = subprocess.run(
            [*self.command(name), *more],
            cwd=where or self.folder_of(name),
            env={**self.environment(name), **environment},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=600,
            check=False,
        )
        assert done.returncode == 0, done.stdout
        return done.stdout

    def start(self, name: str, *more: str, seconds: float = 300, **environment: str) -> int:
        """Start a service that goes on, and return its process once it is healthy."""
        path = self.folder / f"{name}.log"
        with path.open("wb") as log:
            # Prefect's worker ends by SIGINT, which a shell lets what it starts in the background ignore.
            process = subprocess.Popen(
                ["env", "--default-signal=INT", *self.command(name), *more],
                cwd=self.folder_of(name),
                env={**self.environment(name), **environment},
                stdout=log,
                stderr=log,
            )
        self._processes.append((name, process))
        healthy = self.probe(name)

        def there() -> bool:
            assert process.poll() is None, path.read_text(encoding="utf-8")
            return healthy()

        wait(there, seconds, lambda: path.read_text(encoding="utf-8"))
        return process.pid

    def start_objects(self) -> int:
        """Start the object store; its inner ports have to be free ones here."""
        inner = [f"-{part}.port" for part in ("master", "volume", "filer")]
        inner += [f"-{part}.port.grpc" for part in ("master", "volume", "filer", "s3")]
        free = zip(inner, web.unused(len(inner)), strict=True)
        return self.start("s3", *(f"{option}={port}" for option, port in free))

    def close(self) -> None:
        """End what was started, the last first; fails where one of them does not end in order."""
        late = []
        while self._processes:
            name, process = self._processes.pop()
            # SeaweedFS takes a quarter of a minute to end, and nothing of it is looked at any more.
            process.send_signal(signal.SIGKILL if name == "s3" else signal.SIGTERM)
            try:
                process.wait(60)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
                late.append(name)
        assert not late, f"not ended 60 s after SIGTERM: {', '.join(late)}"

    def _port(self, service: str) -> int:
        return self.metrics if service == "metrics" else self.ports[service]

    def folder_of(self, name: str) -> Path:
        """Return the folder of a service, or of a volume."""
        folder = self.folder / f"of-{name}"
        folder.mkdir(exist_ok=True)
        return folder
