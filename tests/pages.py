"""Reports of candidates: pages and what they are made of, without a sweep."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
from browser import faultless
from playwright.sync_api import Browser, Page

from pipeline.config import Config, Named
from pipeline.data import Dataset
from pipeline.evaluate import evaluate
from pipeline.gate import Check, Verdict
from pipeline.report.tested import Tested
from pipeline.scores import default_profile, score
from pipeline.sweep import Pair, Trial
from pipeline.sweep.tried import Calibration, Tried
from serving.artifact import Artifact

CONTRASTS = """() => {
  const pixel = document.createElement("canvas").getContext("2d", {willReadFrequently: true});
  const rgba = (colour) => {
    pixel.clearRect(0, 0, 1, 1);
    pixel.fillStyle = colour;
    pixel.fillRect(0, 0, 1, 1);
    return [...pixel.getImageData(0, 0, 1, 1).data];
  };
  const light = ([r, g, b]) => [r, g, b].map((c) => c / 255)
    .map((c) => (c <= 0.04045 ? c / 12.92 : ((c + 0.055) / 1.055) ** 2.4))
    .reduce((sum, c, i) => sum + c * [0.2126, 0.7152, 0.0722][i], 0);
  const behind = (node) => {
    for (let at = node; at; at = at.parentElement) {
      const colour = rgba(getComputedStyle(at).backgroundColor);
      if (colour[3] > 250) return colour;
    }
    return [255, 255, 255];
  };
  const found = [];
  for (const node of document.querySelectorAll("body *:not(script)")) {
    const text = [...node.childNodes].some((child) => child.nodeType === 3 && child.data.trim());
    const field = node.matches("input[type=number], input[type=text]");
    if (!text && !field) continue;
    if (!node.checkVisibility({opacityProperty: true}) || node.closest("[disabled]")) continue;
    const style = getComputedStyle(node);
    const ink = light(rgba(node.closest("svg") ? style.fill : style.color)), paper = light(behind(node));
    const contrast = (Math.max(ink, paper) + 0.05) / (Math.min(ink, paper) + 0.05);
    if (contrast < 4.5) found.push([contrast, node.tagName, node.textContent || node.value]);
  }
  return found;
}"""
"""Every text whose contrast to what is behind it is below 4.5, by the definition of WCAG 2."""

UNNAMED = """() => [...document.querySelectorAll("input, select, textarea, button, svg[role], .scroll")]
  .filter((one) => !one.labels?.length && !one.ariaLabel && !one.innerText && !one.alt
    && !one.getAttribute("aria-labelledby"))
  .map((one) => one.outerHTML)"""
"""Every field, picture and region that has no name."""

PASSED = Verdict(2, 100, 0, (Check("cost", True, "costs 0.1 a row instead of 0.2", {"champion": 0.2}),))


def tried(config: Config, data: Dataset, calibration: Calibration, names: Sequence[str]) -> list[Tried]:
    """Return a trial of each loss, all with the same probabilities, each dearer than the one before."""
    found = []
    for number, name in enumerate(names):
        scores = score(calibration.after, default_profile(config, data), data)
        scores["realised_cost"] += 0.01 * number
        trial = Trial(number, Pair(Named(name=name), Named(name="softmax")), 0)
        found.append(Tried(trial, scores, 1.5 + number, {}, 0, calibration, Path(), {}, None))
    return found


def contents(
    path: Path, config: Config, data: Dataset, verdict: Verdict | None = PASSED, **changes: Any
) -> dict[str, Any]:
    """Return what `build` takes for an artifact, uncalibrated."""
    artifact = Artifact(path, "cpu")
    p = artifact.run(data.raw(data.parts.validation)).probabilities.astype(float)
    blunt = np.sqrt(p) / np.sqrt(p).sum(axis=1, keepdims=True)
    calibration = Calibration("temperature", 0.5, blunt, p)
    trials = tried(config, data, calibration, ("rps", "cross_entropy"))
    evaluation = evaluate(artifact, data)
    given = {
        "manifest": artifact.manifest,
        "tested": Tested.of(artifact, evaluation, data, config, verdict),
        "evaluation": evaluation,
        "data": data,
        "tried": trials,
        "chosen": trials[:1],
        "calibration": calibration,
        "verdict": verdict,
        "version": 3,
        "champion": 3,
    }
    return {**given, **changes}


@contextmanager
def shown(
    browser: Browser, html: str, folder: Path, *, width: int = 1200, scheme: Any = "light"
) -> Iterator[Page]:
    """Open a page from its file; fails where it raises an error or asks for anything else."""
    path = folder / "report.html"
    path.write_text(html, encoding="utf-8")
    asked: list[str] = []
    context = browser.new_context(viewport={"width": width, "height": 900}, color_scheme=scheme)
    page = context.new_page()
    page.on("request", lambda request: asked.append(request.url))
    try:
        with faultless(page):
            page.goto(path.as_uri())
            yield page
    finally:
        context.close()
    assert [url for url in asked if not url.startswith("data:")] == [path.as_uri()]


def matrices(count: int, labels: int, seed: int) -> Iterator[np.ndarray]:
    """Yield cost matrices `(K, A)` of all kinds: asymmetric, of few and many actions, ties, abstention."""
    random = np.random.default_rng(seed)
    way = np.subtract.outer(np.arange(labels), np.arange(labels))
    for number in range(count):
        actions = int(random.integers(2, 2 * labels))
        match number % 5:
            case 0:
                yield random.exponential(2, (labels, actions))
            case 1:
                yield np.where(way < 0, *random.uniform(0.1, 5, 2)) * np.abs(way) ** random.uniform(0.3, 2)
            case 2:
                price = np.full((labels, 1), random.uniform(0.05, 1))
                yield np.hstack([random.uniform(0, 4, (labels, actions)), price])
            case 3:
                yield random.integers(0, 3, (labels, actions)).astype(float)  # many ties
            case _:
                yield np.hstack([np.abs(way), np.full((labels, 1), random.uniform(0.05, 1))])


def tied(count: int, labels: int, seed: int) -> Iterator[np.ndarray]:
    """Yield cost matrices whose second half is the first one once more; its last action abstains."""
    random = np.random.default_rng(seed)
    for _ in range(count):
        cost = random.exponential(2, (labels, int(random.integers(1, labels))))
        once = np.hstack([cost, np.full((labels, 1), random.uniform(0.05, 1))])
        yield np.hstack([once, once])
