"""Makes docs/report-light.png and docs/report-dark.png: the report of a model that is trained for them.

Run as `.venv/bin/python docs/screenshots.py`, where there is Chromium; with the font Inter (Debian:
fonts-inter) the pictures are as they are here.
"""

from __future__ import annotations

import shutil
import tempfile
from pathlib import Path
from typing import Literal

from pipeline import environment

environment.prepare()

import numpy as np  # noqa: E402 - after the environment of TensorFlow is set
from playwright.sync_api import Page, sync_playwright  # noqa: E402

from pipeline import evaluate, gate, infra_validation, trials  # noqa: E402
from pipeline.config import Config, load_config  # noqa: E402
from pipeline.data import Dataset, load  # noqa: E402
from pipeline.export import champion  # noqa: E402
from pipeline.report.page import build  # noqa: E402
from pipeline.report.tested import Tested  # noqa: E402
from pipeline.sweep import planning  # noqa: E402
from pipeline.sweep.tried import Calibration, Tried  # noqa: E402
from serving.artifact import Artifact  # noqa: E402

HERE = Path(__file__).parent
WIDTH = 1200
Scheme = Literal["light", "dark"]


def candidate(config: Config, data: Dataset, folder: Path) -> tuple[list[Tried], Calibration, Artifact]:
    """Train the trials of a config, the best first, and export the best."""
    folder.mkdir()
    plan = planning.plan(config, data)
    tried = [trials.run(trial, config, data, folder / f"{trial.number}.keras") for trial in plan]
    tried.sort(key=lambda one: one.metrics["realised_cost"])
    calibration, _ = champion.export(tried[:1], config, data, folder / "model.onnx", print)
    return tried, calibration, Artifact(folder / "model.onnx", "cpu")


def report(folder: Path) -> str:
    """Return the report of examples/digits-triage.toml, against a champion that learned more briefly."""
    config = load_config(HERE.parent / "examples" / "digits-triage.toml")
    data = load(config)
    config = config.model_copy(update={"search": config.search.model_copy(update={"epochs": 60})})
    brief = config.search.model_copy(update={"epochs": 5, "trials": 1})
    *_, other = candidate(config.model_copy(update={"search": brief}), data, folder / "champion")
    tried, calibration, artifact = candidate(config, data, folder / "candidate")
    asked = data.raw(data.parts.test[:200])
    verdict = gate.judge(
        config,
        data,
        artifact,
        other,
        champion_version=2,
        left_out=np.zeros(len(data.parts.test), bool),
        slices={},
        measured=infra_validation.validate(
            artifact.path, asked, config.gate.latency_ms, name=config.name, version=3
        ),
    )
    evaluation = evaluate.evaluate(artifact, data)
    return build(
        manifest=artifact.manifest,
        tested=Tested.of(artifact, evaluation, data, config, verdict),
        evaluation=evaluation,
        data=data,
        tried=tried,
        chosen=tried[:1],
        calibration=calibration,
        verdict=verdict,
        version=3,
        champion=3 if verdict.passed else 2,
    )


def take(page: Page, scheme: Scheme) -> None:
    """Write the picture of the page from its head to the end of the explorer."""
    page.emulate_media(color_scheme=scheme)
    height = page.evaluate("document.querySelector('#explorer').getBoundingClientRect().bottom + scrollY")
    clip = {"x": 0, "y": 0, "width": WIDTH, "height": height}
    page.screenshot(path=HERE / f"report-{scheme}.png", full_page=True, clip=clip)  # type: ignore[arg-type]


def main() -> None:
    """Train, build, and take both pictures."""
    with tempfile.TemporaryDirectory() as scratch, sync_playwright() as playwright:
        path = Path(scratch) / "report.html"
        path.write_text(report(Path(scratch)), encoding="utf-8")
        browser = playwright.chromium.launch(
            executable_path=shutil.which("chromium"), args=["--no-sandbox"]
        )
        page = browser.new_page(viewport={"width": WIDTH, "height": 900})
        page.goto(path.as_uri())
        take(page, "light")
        take(page, "dark")
        browser.close()


if __name__ == "__main__":
    main()
