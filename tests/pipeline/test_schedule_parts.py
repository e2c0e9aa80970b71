"""The parts of a schedule that need no server."""

from __future__ import annotations

import json
import subprocess
import sys
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from uuid import uuid4

import pytest
from prefect.settings import PREFECT_API_URL, PREFECT_HOME, temporary_settings
from typer.testing import CliRunner

from pipeline.__main__ import app
from pipeline.errors import InputError, PipelineError
from pipeline.schedule import deployment, flow_runs, held
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
        "tracking.uri=postgresql://u:s3cret@h/db",
    ],
)
def test_no_secret_becomes_a_parameter(change: str) -> None:
    """What is changed on the command line is shown by Prefect."""
    done = CliRunner().invoke(app, ["schedule", "model.toml", "--cron", "0 3 * * *", "--set", change])
    assert isinstance(done.exception, InputError)
    assert "Prefect would show the secret in it" in str(done.exception)
    assert "s3cret" not in str(done.exception)


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
    """Something that listens there and is no Prefect server."""
    other = ThreadingHTTPServer(("127.0.0.1", 0), BaseHTTPRequestHandler)
    threading.Thread(target=other.serve_forever, args=(0.01,), daemon=True).start()
    port = other.server_port
    try:
        with (
            temporary_settings({PREFECT_HOME: tmp_path}),
            pytest.raises(InputError, match=f"port {port} must be free or have our Prefect server"),
            PrefectServer(port),
        ):
            pass
    finally:
        other.shutdown()
        other.server_close()


def test_a_server_that_is_set_and_does_not_answer_is_one_sentence() -> None:
    """Nothing is started in its place."""
    url = "http://127.0.0.1:9/api"
    with (
        temporary_settings({PREFECT_API_URL: url}),
        pytest.raises(InputError, match="PREFECT_API_URL is set, and no Prefect server answers there"),
        PrefectServer(),
    ):
        pass


def test_the_key_of_the_verdicts_is_one_that_prefect_takes() -> None:
    """Small letters, digits and dashes."""
    assert flow_runs.verdicts_key("Wine_Quality-2") == "verdicts-wine-quality-2"


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
