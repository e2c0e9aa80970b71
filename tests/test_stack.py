"""`make stack`: every part as a process, from a run of Prefect's worker to answers of the service."""

from __future__ import annotations

import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import browser
import httpx
import pytest
import stacks
from playwright.sync_api import expect
from scheduled import Prefect

from deploy.stack import left
from deploy.stack.servers import MODEL
from pipeline.tracking import links, registry
from pipeline.tracking.runs import Experiment

pytestmark = pytest.mark.slow

WAIT = 60_000  # ms
ROOT = Path(__file__).parent.parent


class Running:
    """`make stack` as a process, its log read as it comes."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        command = [sys.executable, "-m", "deploy.stack", "--folder", str(folder), "--free-ports"]
        self.process = subprocess.Popen(
            command, cwd=ROOT, stderr=subprocess.PIPE, text=True, env=stacks.kept_environment()
        )
        self.lines: list[str] = []
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()
        stacks.wait_until(lambda: "Ctrl-C ends" in self.log or self.process.poll() is not None, 400)
        assert "Ctrl-C ends" in self.log, self.log
        there = stacks.environment(folder)
        self.mlflow, self.service = there["MLFLOW_TRACKING_URI"], there["ORDINAL_ADDRESS"]
        self.prefect = Prefect(int(there["PREFECT_API_URL"].split(":")[2].removesuffix("/api")))
        self.environment = there
        self.run = ""  # that the worker was given

    @property
    def log(self) -> str:
        """What it has said so far."""
        return "".join(self.lines)

    def address(self, name: str) -> str:
        """Return what its table says of a part."""
        (line,) = [line for line in self.lines if line.startswith(f"  {name} ")]
        return line.split()[1]

    def end(self, number: signal.Signals) -> int:
        """Send a signal; return the exit status."""
        self.process.send_signal(number)
        status = self.process.wait(120)
        self._reader.join(10)
        assert self.process.stderr is not None
        self.process.stderr.close()
        return status

    def _read(self) -> None:
        assert self.process.stderr is not None
        self.lines.extend(iter(self.process.stderr.readline, ""))


@pytest.fixture(scope="module")
def stack() -> Iterator[Running]:
    """A stack whose worker makes a second version; it ends on SIGTERM, and leaves nothing."""
    with stacks.folder() as folder:
        running = Running(folder)
        try:
            (deployment,) = running.prefect.post("deployments/filter", {})
            changes = {"changes": list(stacks.BETTER)}
            parameters = {"parameters": {**deployment["parameters"], **changes}}
            order = f"deployments/{deployment['id']}/create_flow_run"
            running.run = running.prefect.post(order, parameters)["id"]
            yield running
        finally:
            if running.process.poll() is None:
                assert running.end(signal.SIGTERM) == 0, running.log
                assert left.found(folder) == {}


@pytest.fixture
def second(stack: Running) -> int:
    """The version that the worker's run has made."""
    state = {"type": ""}

    def ended() -> bool:
        answer = httpx.get(f"{stack.prefect.url}/flow_runs/{stack.run}", timeout=60)
        state.update(answer.json()["state"])
        return state["type"] not in ("SCHEDULED", "PENDING", "RUNNING")

    stacks.wait_until(ended, 400)
    assert state["type"] == "COMPLETED", state
    assert state["message"].startswith(f"{MODEL} version 2 "), state
    return 2


def test_a_run_of_the_worker_reaches_registry_and_service(
    second: int, stack: Running, tmp_path: Path
) -> None:
    """Its candidate beats the champion, artifacts are whole, and the service has loaded it by itself."""
    assert stacks.assert_in_order(stack.mlflow, tmp_path) == second
    with stacks.Asking(stack.service) as asking:
        stacks.wait_until(lambda: second in asking.answers, 60)
        stacks.wait_until(lambda: asking.count > 30, 60)
    asking.assert_right(stack.mlflow, tmp_path)


@pytest.mark.usefixtures("second")
def test_a_promotion_and_a_rollback_by_hand_reach_the_service(stack: Running, tmp_path: Path) -> None:
    """Each within the service's next look, with answers of the version that is champion then."""
    for words, version in ((("promote", MODEL, "1"), 1), (("rollback", MODEL), 2)):
        command = [sys.executable, "-m", "pipeline", *words, "--why", "the test says so"]
        done = subprocess.run(
            command,
            cwd=tmp_path,
            env={**stacks.kept_environment(), "PYTHONPATH": str(ROOT), **stack.environment},
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 0, done.stderr
        assert registry.champion(stack.mlflow, MODEL) == version
        with stacks.Asking(stack.service) as asking:
            stacks.wait_until(lambda version=version: version in asking.answers, 60)
            stacks.wait_until(lambda asking=asking: asking.count > 20, 60)
        asking.assert_right(stack.mlflow, tmp_path)
    assert stacks.assert_in_order(stack.mlflow, tmp_path) == 2


def test_prometheus_sees_the_service(stack: Running) -> None:
    """It is up, and its requests are counted under the rules' name of the job."""
    address = stack.address("Prometheus")
    if not address.startswith("http"):
        pytest.skip("no Prometheus: make prometheus installs it where it may")

    def value(query: str) -> float:
        answer = httpx.get(f"{address}/api/v1/query", params={"query": query}, timeout=10).json()
        return sum(float(one["value"][1]) for one in answer["data"]["result"])

    with stacks.Asking(stack.service):
        stacks.wait_until(lambda: value('up{job="ordinal"}') == 1, 60)
        stacks.wait_until(lambda: value('ordinal_requests_total{job="ordinal"}') > 0, 60)


def test_mlflow_shows_experiment_run_and_version(second: int, stack: Running) -> None:
    """In Chromium: the page of a version, its report out of the object store, the experiment's runs."""
    with browser.opened() as chromium:
        page = chromium.new_page(viewport={"width": 1600, "height": 1000})
        page.set_default_timeout(WAIT)
        page.goto(f"{stack.mlflow}/#/models/{MODEL}/versions/{second}")
        expect(page.get_by_text("The gate lets it pass").first).to_be_visible(timeout=WAIT)
        with page.expect_popup() as tab:
            page.get_by_role("link", name="Report", exact=True).first.click()
        report = tab.value.frame_locator("iframe").first
        expect(report.get_by_role("heading", name=f"{MODEL} version {second}")).to_be_visible(timeout=WAIT)
        experiment = Experiment.find(stack.mlflow, MODEL)
        assert experiment is not None
        page.goto(f"{stack.mlflow}/{links.experiment(experiment.id)}")
        expect(page.get_by_role("link", name=f"retrain {MODEL}", exact=True).first).to_be_visible(
            timeout=WAIT
        )


def test_a_stack_that_was_killed_is_gone_on_with(stack: Running, second: int, tmp_path: Path) -> None:
    """After SIGKILL its servers end too; the next start has champion, history and service as they were."""
    assert stack.end(signal.SIGKILL) == -signal.SIGKILL
    stacks.wait_until(lambda: left.found(stack.folder) == {}, 60)
    again = Running(stack.folder)
    try:
        assert "no champion yet" not in again.log
        assert stacks.assert_in_order(again.mlflow, tmp_path) == second
        with stacks.Asking(again.service) as asking:
            stacks.wait_until(lambda: asking.count > 20, 60)
        asking.assert_right(again.mlflow, tmp_path)
        assert list(asking.answers) == [second]
    finally:
        assert again.end(signal.SIGTERM) == 0, again.log
    assert left.found(stack.folder) == {}
