"""The parts of a schedule that need no server."""

from __future__ import annotations

import json
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest
from filelock import FileLock
from prefect.settings import PREFECT_API_URL, PREFECT_HOME, temporary_settings
from typer.testing import CliRunner

from pipeline.__main__ import app
from pipeline.errors import InputError, PipelineError
from pipeline.schedule import deployment, held
from pipeline.schedule.server import PrefectServer


@pytest.fixture(autouse=True)
def _folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Work in a folder of its own, where no server is set."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("PREFECT_API_URL", raising=False)


@pytest.mark.parametrize(
    ("cron", "timezone", "sentence"),
    [
        ("61 * * * *", "UTC", "--cron '61 * * * *': must be minute, hour, day of month, month"),
        ("* * * *", "UTC", "such as '0 3 * * *' for each night at three"),
        ("* * * * * *", "UTC", "must be minute, hour, day of month, month and day of week"),
        ("@daily", "UTC", "must be minute, hour, day of month, month and day of week"),
        ("0 0 30 2 *", "UTC", "on a date that exists"),
        ("0 3 * * *", "Europe/Berln", "no such time zone; did you mean 'Europe/Berlin'?"),
        ("0 3 * * *", "Europe", "--timezone 'Europe': no such time zone"),
        ("0 3 * * *", "", "--timezone '': no such time zone"),
    ],
)
def test_a_schedule_that_is_none_is_one_sentence(cron: str, timezone: str, sentence: str) -> None:
    """A wrong cron or time zone is told with an example."""
    with pytest.raises(InputError) as caught:
        deployment.check(cron, timezone)
    assert sentence in str(caught.value)


def test_a_schedule_that_is_one_passes() -> None:
    """Five fields, also by name, in a zone of the machine's own list."""
    deployment.check("*/30 8-17 * * mon-fri", "Europe/Berlin")


@pytest.mark.parametrize(
    "change",
    [
        "notify.webhook=https://x/s3cret",
        "notify={ webhook = 'https://x/s3cret' }",
        "notify.command=['page', 's3cret']",
        "notify.webhook=$s3cret/x",
        "tracking.uri=postgresql://u:s3cret@h/db",
        "tracking.uri=postgresql://u:s3#cret@h/db",
        "tracking.uri=postgresql://u:a/s3cret@h/db",
        "tracking.uri=https://s3cret@h/",
        "tracking={uri='postgresql://u:s3cret@h/db'}",
        "tracking.uri=postgresql://h/db?user=u&password=s3cret",
    ],
)
def test_no_secret_becomes_a_parameter(change: str) -> None:
    """What is changed on the command line is shown by Prefect."""
    done = CliRunner().invoke(app, ["schedule", "model.toml", "--cron", "0 3 * * *", "--set", change])
    assert isinstance(done.exception, InputError)
    assert "Prefect would show the secret in it" in str(done.exception)
    assert "s3cret" not in str(done.exception)


@pytest.mark.parametrize(
    "change",
    [
        "notify.on=['failure']",
        "notify.webhook=$WINE_HOOK",
        "notify.webhook='$WINE_HOOK'",
        "tracking.uri=sqlite:////home/a@b/mlflow.db",
    ],
)
def test_what_is_no_secret_may_be_changed(change: str) -> None:
    """The command goes on, and ends for there is no config."""
    done = CliRunner().invoke(app, ["schedule", "model.toml", "--cron", "0 3 * * *", "--set", change])
    assert "config 'model.toml' cannot be read" in str(done.exception)


def test_one_process_serves_a_schedule(tmp_path: Path) -> None:
    """Another process is refused and told who does; the lock is free when its process is gone."""
    program = (
        "import sys\nfrom pipeline.schedule import held\n"
        "with held.schedule('wine'):\n    print('held', flush=True)\n    sys.stdin.read()"
    )
    with subprocess.Popen(
        [sys.executable, "-c", program],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        cwd=tmp_path,
    ) as other:
        assert other.stdout is not None
        assert other.stdout.readline() == "held\n"
        refused = rf"another process in this folder \(pid {other.pid}, since "
        with pytest.raises(PipelineError, match=refused), held.schedule("wine"):
            pass
        with held.schedule("beer"):
            pass
        other.kill()
        other.wait()
    with held.schedule("wine"):
        pass


def test_a_run_is_told_who_else_runs() -> None:
    """The second run of a model in one folder gets the id of the first."""
    with held.run("wine", "first") as holder:
        assert holder is None
        with held.run("wine", "second") as holder:
            assert holder == "first"
    with held.run("wine", "third") as holder:
        assert holder is None


def test_what_has_begun_is_remembered(tmp_path: Path) -> None:
    """Until it ends; a file that is cut short is as none."""
    begun, one = held.Begun("wine"), uuid4()
    with held.schedule("wine"):
        assert begun.flow_run is None
        begun.begin(one)
        assert held.Begun("wine").flow_run == one
        begun.end()
        assert begun.flow_run is None
        (tmp_path / ".ordinal" / "schedule" / "wine.json").write_text('{"flow', encoding="utf-8")
        assert begun.flow_run is None


def test_a_port_that_something_else_has_is_one_sentence(tmp_path: Path) -> None:
    """Something that listens there and is no Prefect server, or that of another home."""
    with temporary_settings({PREFECT_HOME: tmp_path}):
        for body, sentence in [
            (b"<html>", r"must be free or have our Prefect server, and something else answers there"),
            (b"[1]", r"must be free or have our Prefect server, and something else answers there"),
            (b'{"home": "/elsewhere"}', f"must be free or have the Prefect server of {tmp_path}, and has"),
        ]:
            with (
                _answering(200, body) as port,
                pytest.raises(InputError, match=f"port {port} {sentence}"),
                PrefectServer(port),
            ):
                pass


def test_a_server_that_is_busy_or_away_may_be_there_later(tmp_path: Path) -> None:
    """The command fails with status 1, after which systemd tries again; nothing is started instead."""
    with (
        temporary_settings({PREFECT_HOME: tmp_path}),
        _answering(503, b"") as port,
        pytest.raises(PipelineError, match=f"what is on port {port} does not answer") as busy,
        PrefectServer(port),
    ):
        pass
    with (
        temporary_settings({PREFECT_API_URL: "http://127.0.0.1:9/api"}),
        pytest.raises(PipelineError, match="PREFECT_API_URL is set, and no Prefect server answers") as away,
        PrefectServer(),
    ):
        pass
    assert not isinstance(busy.value, InputError)
    assert not isinstance(away.value, InputError)


def test_an_address_that_is_set_and_is_no_prefect_server_is_wrong() -> None:
    """Such as that of its UI, which lacks /api."""
    with (
        _answering(404, b"") as port,
        temporary_settings({PREFECT_API_URL: f"http://127.0.0.1:{port}"}),
        pytest.raises(InputError, match=r"PREFECT_API_URL must be the API .* \(health answers 404\)"),
        PrefectServer(),
    ):
        pass


def test_a_server_that_cannot_be_started_is_tried_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whatever the system refuses is said, and the next look finds no process."""
    said: list[str] = []
    with temporary_settings({PREFECT_HOME: tmp_path}), socket.create_server(("127.0.0.1", 0)) as free:
        server = PrefectServer(free.getsockname()[1], said.append)
        server._home = tmp_path
    monkeypatch.setattr("pipeline.schedule.server._EVERY", 0.01)
    (tmp_path / f"ordinal-server-{server._port}.log").mkdir()  # which cannot be written
    watcher = threading.Thread(target=server._watch)
    watcher.start()
    end = time.monotonic() + 20
    while len(said) < 4 and time.monotonic() < end:
        time.sleep(0.01)
    server._closed.set()
    watcher.join(20)
    assert said[0] == said[2] == "the Prefect server is gone: it is started again"
    assert "prefect cannot be started: [Errno 21] Is a directory" in said[1]
    assert server._child is None


def test_the_end_does_not_wait_for_another_start(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Another process holds the lock of the start, for minutes maybe."""
    server = PrefectServer(9)
    server._home = tmp_path
    monkeypatch.setattr("pipeline.schedule.server._EVERY", 0.01)
    with FileLock(tmp_path / ".ordinal-server-9.lock"):
        watcher = threading.Thread(target=server._watch)
        watcher.start()
        time.sleep(0.3)  # it has seen that nobody listens, and waits for the lock
        server.__exit__(None, None, None)
        watcher.join(5)
        assert not watcher.is_alive()


@contextmanager
def _answering(status: int, body: bytes) -> Iterator[int]:
    """Something on a port that answers whatever it is asked."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(status)
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, format: str, *args: Any) -> None:
            pass

    other = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=other.serve_forever, args=(0.01,), daemon=True).start()
    try:
        yield other.server_port
    finally:
        other.shutdown()
        other.server_close()


def test_prefect_yaml_deploys_the_flow_that_the_schedule_runs(root: Path) -> None:
    """Its entry point, parameters and limit are those of the code and the page."""
    import yaml

    document = yaml.safe_load((root / "prefect.yaml").read_text(encoding="utf-8"))
    (one,) = document["deployments"]
    assert one["entrypoint"] == "pipeline.schedule.flow.scheduled"
    assert set(one["parameters"]) == {"config", "changes"}
    assert (root / one["parameters"]["config"]).is_file()
    assert one["concurrency_limit"] == {"limit": 1, "collision_strategy": "CANCEL_NEW"}
    assert json.dumps(document["pull"]) == "[]"
