"""From the experiment to the champion to its report, in the UIs that `ordinal-pipeline ui` opens."""

from __future__ import annotations

import re
import signal
from collections.abc import Iterator
from pathlib import Path

import browser
import pytest
from commands import Command, started, write_project
from playwright.sync_api import Locator, Page, expect

from pipeline import web

pytestmark = pytest.mark.slow

WAIT = 60_000  # ms; both are single pages that load megabytes of their own


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder in which one retraining has found a champion."""
    folder = tmp_path_factory.mktemp("seen")
    write_project(folder)
    with started(folder, "retrain", "model.toml") as retrain:
        assert retrain.finish()[0] == 0, retrain.log
        assert "grades version 1 is the champion" in retrain.log, retrain.log
    return folder


@pytest.fixture(scope="module")
def uis(folder: Path) -> Iterator[Command]:
    """Both UIs on that folder's stores."""
    mlflow, prefect = web.unused(2)
    ports = ("--port", str(mlflow), "--prefect-port", str(prefect))
    with started(folder, "ui", "model.toml", "--no-browser", *ports) as command:
        command.wait_for("Ctrl-C ends both")
        yield command
        command.process.send_signal(signal.SIGINT)
        assert command.finish(60) == (0, "")


@pytest.fixture(scope="module")
def page() -> Iterator[Page]:
    """A page of a browser."""
    with browser.opened() as chromium:
        page = chromium.new_page(viewport={"width": 1600, "height": 1000})
        page.set_default_timeout(WAIT)
        yield page


def _address(uis: Command, name: str) -> str:
    found = re.search(rf"^{name} +(\S+)$", uis.log, re.MULTILINE)
    assert found is not None, uis.log
    return found[1]


def _opened_by(page: Page, link: Locator) -> Page:
    """The page that a link of a description leads to, in a tab of its own."""
    with page.expect_popup() as tab:
        link.click()
    tab.value.set_default_timeout(WAIT)
    return tab.value


def test_the_experiment_leads_to_the_champion_and_that_to_its_report(uis: Command, page: Page) -> None:
    """By clicks alone, and the explorer works where MLflow shows the page."""
    page.goto(_address(uis, "MLflow"))
    expect(page.get_by_text("Retrainings of grades").first).to_be_visible(timeout=WAIT)
    expect(page.get_by_role("link", name="retrain grades", exact=True)).to_be_visible(timeout=WAIT)
    expect(page.get_by_text("rows.csv").first).to_be_visible(timeout=WAIT)  # the data set
    model = _opened_by(page, page.locator("a[href^='#/models/grades?']").first)
    expect(model.get_by_text("@ champion").first).to_be_visible(timeout=WAIT)
    model.locator("a[href*='/models/grades/versions/1']").first.click()
    expect(model.get_by_text("The gate lets it pass").first).to_be_visible(timeout=WAIT)
    shown = _opened_by(model, model.get_by_role("link", name="Report", exact=True).first)
    report = shown.frame_locator("iframe").first
    expect(report.get_by_role("heading", name="grades version 1")).to_be_visible(timeout=WAIT)
    expect(report.get_by_role("heading", name="Decision explorer")).to_be_visible(timeout=WAIT)


def test_the_run_is_described_and_whole(uis: Command, page: Page) -> None:
    """The run's page has its verdict, its data set, its trials, and parameters."""
    page.goto(_address(uis, "MLflow"))
    page.get_by_role("link", name="retrain grades", exact=True).click()
    expect(page.get_by_text("is the champion").first).to_be_visible(timeout=WAIT)
    for text in ("decision.profile", "search.losses", "test/realised_cost", "rows.csv"):
        expect(page.get_by_text(text).first).to_be_attached(timeout=WAIT)
    page.get_by_role("link", name="rps, seed 0").first.click()
    expect(page.get_by_text("A trial of").first).to_be_visible(timeout=WAIT)


def test_prefect_shows_the_run_and_its_verdict(uis: Command, page: Page) -> None:
    """Its run and the gate's verdict as an artifact are in Prefect's UI."""
    prefect = _address(uis, "Prefect")
    page.goto(f"{prefect}/artifacts")
    expect(page.get_by_text("verdict").first).to_be_visible(timeout=WAIT)
    page.goto(f"{prefect}/runs")
    expect(page.get_by_text("grades").first).to_be_visible(timeout=WAIT)
