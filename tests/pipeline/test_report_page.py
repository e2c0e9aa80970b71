"""The report of a candidate in a browser: its explorer decides as the artifact does, and it can be read."""

from __future__ import annotations

import tomllib
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from browser import opened
from pages import CONTRASTS, UNNAMED, contents, matrices, shown, tied
from playwright.sync_api import Browser, Page
from tables import write_csv
from trained import Exported, export_untrained

from pipeline import metrics
from pipeline.config import Config
from pipeline.data import Dataset, load
from pipeline.gate import Check, Verdict
from pipeline.report.page import build, summary
from pipeline.report.page.explorer import MOST_ROWS
from serving.artifact import Artifact
from serving.client import Policy

HOSTILE = ("poor", "</script><b>fair", "<!--\"'&{{ 1 }}", "best")
TRIAGE = {"actions": ["</td>stop", "go"], "cost": [[0, 3], [0, 2], [2, 0], [3, 0]], "abstain": 0.5}

EXPLORED = """([actions, cost]) => {
  explorer.start({name: "x", actions, cost, abstain: null});
  const number = (id) => Number(document.getElementById(id).dataset.value);
  return {
    realised: number("realised"), error: number("realised-error"), expected: number("expected"),
    always: number("versus-always"),
    counts: [...document.querySelector("#truths tbody").rows].map((row) =>
      [...row.cells].slice(1).map((cell) => Number(cell.textContent.replace("·", "0")))),
  };
}"""
"""Starts from costs, and returns what is shown."""

EMPTIED = """() => document.querySelectorAll("input.cost").forEach((field) => {
  field.value = "";
  field.dispatchEvent(new Event("input", {bubbles: true}));
})"""

KEYSTROKES = """() => [...Array(60)].map(() => {
  const field = document.querySelector("input.cost"), began = performance.now();
  field.value = Math.random();
  field.dispatchEvent(new Event("input", {bubbles: true}));
  return performance.now() - began;
})"""


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    """Chromium."""
    with opened() as found:
        yield found


@pytest.fixture(scope="module")
def given(exported: Exported, config: Config, data: Dataset) -> dict[str, Any]:
    """What the page of the digits is made of."""
    return contents(exported.path, config, data)


@pytest.fixture(scope="module")
def table_given(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """What the page of a table is made of, whose labels, columns and values are anything but harmless."""
    folder, random, rows = tmp_path_factory.mktemp("table"), np.random.default_rng(0), 400
    z = random.normal(size=rows)
    y = np.clip(np.digitize(z + random.normal(0, 0.5, rows), [-0.8, 0, 0.8]), 0, 3)
    columns = {
        "<i>acid</i>": z.round(3).tolist(),
        "a very long name of a column " * 4: [None if k % 9 == 0 else k for k in range(rows)],
        "region": [("<img src=x onerror=alert(1)>", "north", None)[k % 3] for k in range(rows)],
        "y": [HOSTILE[k] for k in y],
    }
    config = Config.model_validate(
        {
            "name": "wine",
            "data": {"source": str(write_csv(folder / "t.csv", columns)), "label": "y", "labels": HOSTILE},
            "split": {"test": 0.4},
            "model": {"backbone": "linear"},
            "decision": {"profile": "triage", "profiles": {"triage": TRIAGE}},
            "gate": {"slices": ["region"]},
        }
    )
    data = load(config)
    failed = Check("slice: region = north", False, "region = 'north' costs 0.2 more", {"difference": 0.2})
    verdict = Verdict(2, 100, 3, (Check("cost", False, "costs <b>more</b>"), failed))
    path = export_untrained(config, data, folder).path
    return contents(path, config, data, verdict=verdict, version=5, champion=2)


@pytest.fixture(scope="module")
def digits_opened(
    browser: Browser, given: dict[str, Any], tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Page]:
    """The page of the digits, opened once for all."""
    with shown(browser, build(**given), tmp_path_factory.mktemp("page")) as page:
        yield page


@pytest.fixture
def digits(digits_opened: Page) -> Page:
    """The page of the digits as it begins."""
    digits_opened.get_by_role("button", name="Reset").click()
    return digits_opened


@pytest.fixture(scope="module")
def table(
    browser: Browser, table_given: dict[str, Any], tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Page]:
    """The page of the table, opened once for all."""
    with shown(browser, build(**table_given), tmp_path_factory.mktemp("page")) as page:
        yield page


def decisions(page: Page, cost: np.ndarray) -> np.ndarray:
    """Return what the explorer decides for each row."""
    return np.array(page.evaluate("(cost) => explorer.decide(cost)", cost.tolist()))


def costs(page: Page) -> np.ndarray:
    """Return the costs as they are edited, NaN where one is none."""
    return np.array(page.evaluate("explorer.state.cost"), float)


def seen(page: Page, name: str) -> float:
    """Return the number behind what is shown."""
    return float(page.locator(f"#{name}").get_attribute("data-value") or "nan")


def test_the_explorer_decides_as_the_artifact_does(
    digits: Page, given: dict[str, Any], exported: Exported
) -> None:
    """For 50 random matrices decisions differ only where the margin is within rounding of nothing."""
    artifact, data = Artifact(exported.path, "cpu"), given["data"]
    rows, y = data.raw(data.parts.test), data.y[data.parts.test]
    shares = np.bincount(data.y[data.parts.train], minlength=data.labels.count)
    for place, cost in enumerate(matrices(50, data.labels.count, seed=8)):
        answer = artifact.run(rows, cost[np.newaxis, np.newaxis].astype(np.float32))
        mine, sure = decisions(digits, cost), answer.margin[:, 0] > 1e-5 * max(1.0, cost.max())
        assert (mine == answer.decision[:, 0])[sure].all()
        assert sure.mean() > 0.5
        if place >= 10:  # two of each kind, shown, are enough
            continue
        found = digits.evaluate(EXPLORED, [[f"a{a}" for a in range(cost.shape[1])], cost.tolist()])
        paid = cost[y, mine]
        assert found["realised"] == pytest.approx(paid.mean())
        assert found["error"] == pytest.approx(paid.std(ddof=1) / np.sqrt(len(y)))
        expected = (answer.probabilities.astype(float) @ cost).min(axis=1)
        assert found["expected"] == pytest.approx(expected.mean(), rel=1e-5)
        assert found["always"] == pytest.approx(cost[y, np.argmin(shares @ cost)].mean())
        counts = metrics.confusion_matrix(y, mine, *cost.shape)
        assert found["counts"] == counts.tolist()


def test_ties_go_to_the_lowest_index(digits: Page, data: Dataset, exported: Exported) -> None:
    """Of actions that cost the same whatever is true both choose the first, abstentions among them."""
    artifact, rows, abstained = Artifact(exported.path, "cpu"), data.raw(data.parts.test), 0
    for cost in tied(10, data.labels.count, seed=3):
        answer = artifact.run(rows, cost[np.newaxis, np.newaxis].astype(np.float32))
        mine, half = decisions(digits, cost), cost.shape[1] // 2
        assert (mine == answer.decision[:, 0]).all()
        assert mine.max() < half
        abstained += (mine == half - 1).sum()
    assert abstained > 0


def test_presets_are_the_profiles_of_the_artifact(digits: Page, given: dict[str, Any]) -> None:
    """Each shows what that profile's decisions cost on test rows; the default one comes first."""
    assert digits.locator("#presets [aria-pressed=true]").inner_text() == "absolute"
    assert digits.locator("#presets button").all_inner_texts() == list(given["manifest"].profiles)
    for name, forecast in given["evaluation"].costs.items():
        digits.get_by_role("button", name=name, exact=True).click()
        assert seen(digits, "realised") == pytest.approx(forecast.realised)
        assert seen(digits, "expected") == pytest.approx(forecast.expected, rel=1e-5)


def test_a_cost_that_is_typed_is_decided_by_at_once(digits: Page, given: dict[str, Any]) -> None:
    """What is no cost is marked and explained, and the last result stays."""
    y = given["data"].y[given["data"].parts.test]
    before = seen(digits, "realised")
    for k in range(10):
        digits.get_by_label(f"cost of 0 where {k} is true").fill(str(0.25 * k))
    after, cost = seen(digits, "realised"), costs(digits)
    assert cost[:, 0].tolist() == [0.25 * k for k in range(10)]
    assert after == pytest.approx(cost[y, decisions(digits, cost)].mean())
    assert after != before
    absolute = np.array(given["manifest"].profiles["absolute"].cost)
    by_default = cost[y, decisions(digits, absolute)].mean()
    assert seen(digits, "versus-default") == pytest.approx(by_default)
    assert digits.locator("#presets [aria-pressed=true]").count() == 0
    for wrong in ("-1", ""):
        digits.get_by_label("cost of 3 where 4 is true").fill(wrong)
        told = digits.locator("#problem").inner_text()
        assert told.startswith("The cost of 3 where 4 is true must be a number from 0 on.")
        assert digits.locator('[aria-invalid="true"]').count() == 1
        assert seen(digits, "realised") == after
        assert digits.get_by_role("button", name="Copy TOML").is_disabled()
    digits.get_by_label("cost of 3 where 4 is true").fill("1")
    assert digits.locator("#problem").is_hidden()
    digits.keyboard.press("Enter")  # goes down a column
    assert digits.evaluate("document.activeElement.ariaLabel") == "cost of 3 where 5 is true"
    digits.get_by_role("button", name="Reset").click()
    assert seen(digits, "realised") == before


def test_abstention_is_one_more_action(digits: Page) -> None:
    """The switch adds it at a cost that a field and a slider change; how often it is chosen is shown."""
    cost = costs(digits)
    digits.locator(".switch").click()
    for price in (0.05, 0.5):
        digits.get_by_label("at a cost of").fill(str(price))
        chosen = decisions(digits, np.hstack([cost, np.full((10, 1), price)]))
        assert seen(digits, "abstained") == pytest.approx((chosen == 10).mean())
    digits.get_by_label("Cost of abstaining, as a slider").fill("0.05")
    assert digits.get_by_label("at a cost of").input_value() == "0.05"
    digits.locator(".switch").click()
    assert digits.locator("#abstained").inner_text() == "–"


def test_the_fields_of_the_abstention_say_what_is_decided_by(digits: Page) -> None:
    """A price that is none stays marked until it is one, or is not asked for; the slider reaches all."""
    switch, price = digits.locator(".switch"), digits.get_by_label("at a cost of")
    slider, problem = digits.get_by_label("Cost of abstaining, as a slider"), digits.locator("#problem")
    digits.get_by_role("button", name="zero_one").click()
    switch.click()
    price.fill("0.3")
    price.fill("")
    switch.click()
    assert problem.is_hidden()
    switch.click()
    assert price.input_value() == "0.3"
    assert digits.evaluate("explorer.state.abstain") == 0.3
    price.fill("")
    digits.get_by_role("button", name="Add an action").click()
    assert price.input_value() == ""
    assert "The cost of abstaining must be a number" in problem.inner_text()
    price.fill("0.25")
    assert problem.is_hidden()
    for typed in ("8", ""):
        digits.get_by_label("cost of 0 where 1 is true").fill(typed)
        assert slider.get_attribute("max") == ("8" if typed else "1")
    slider.fill("0.5")
    assert price.input_value() == "0.5"


def test_an_action_is_added_where_no_cost_is_one(digits: Page) -> None:
    """It costs 1, and the fields that are empty stay marked."""
    digits.evaluate(EMPTIED)
    digits.get_by_role("button", name="Add an action").click()
    assert (costs(digits)[:, -1] == 1).all()
    assert digits.locator('.cost[aria-invalid="true"]').count() == 100


@pytest.mark.slow
def test_actions_are_added_renamed_and_removed(digits: Page, given: dict[str, Any]) -> None:
    """A column more or less is decided on, two of a name are refused, and a rule brings the labels back."""
    columns = digits.locator("#truths thead th")
    digits.get_by_role("button", name="Add an action").click()
    assert columns.count() == 11
    digits.get_by_label("name of action 11").fill("3")
    assert "Two actions are named 3" in digits.locator("#problem").inner_text()
    digits.get_by_label("name of action 11").fill("ask")
    assert columns.last.inner_text() == "ask"
    digits.get_by_label("name of action 1", exact=True).hover()
    digits.get_by_role("button", name="remove action 0").click()
    assert columns.count() == 10
    assert "decides on other actions" in digits.locator("#versus").inner_text()
    digits.get_by_label("too high").fill("3")
    assert (costs(digits) == given["manifest"].profiles["asymmetric"].cost).all()


@pytest.mark.slow
def test_costs_are_copied_as_code(table: Page) -> None:
    """The TOML is a profile of the config and the Python a policy of the client, with the same costs."""
    code = table.locator("#code")
    table.get_by_role("button", name="Reset").click()
    table.get_by_label("cost of go where poor is true").fill("3.5")
    table.get_by_role("button", name="Copy TOML").click()
    table.locator("#copied:not(:empty)").wait_for()
    read = tomllib.loads(code.input_value())["decision"]["profiles"]["mine"]
    assert read == {**TRIAGE, "cost": [[0, 3.5], [0, 2], [2, 0], [3, 0]]}
    decision = {"profiles": {"mine": read}}
    Config.model_validate({"name": "t", "data": {"source": "t.csv"}, "decision": decision})
    table.get_by_role("button", name="Copy Python").click()
    table.wait_for_function("document.querySelector('#code').value.startsWith('Policy')")
    policy = eval(code.input_value(), {"Policy": Policy})
    assert vars(policy) == vars(Policy("mine", read["cost"], read["actions"], abstain_cost=0.5))
    table.get_by_role("button", name="absolute").click()
    table.get_by_role("button", name="Copy TOML").click()
    table.wait_for_function("document.querySelector('#code').value.startsWith('[')")
    assert "actions" not in tomllib.loads(code.input_value())["decision"]["profiles"]["mine"]
    table.get_by_role("button", name="Reset").click()


def test_texts_of_anybody_are_only_texts(table: Page) -> None:
    """Labels, columns, values and sentences that look like HTML are read as they stand."""
    assert table.locator("main img, main i:not([aria-hidden])").count() == 0
    assert "</script><b>fair" in table.locator("#confusion").inner_text()
    assert "Costs <b>more</b>." in table.locator(".summary").inner_text()
    assert "<!--\"'&{{ 1 }}" in table.locator("#grid th").all_inner_texts()
    assert table.evaluate("explorer.state.actions") == ["</td>stop", "go"]
    assert "<img src=x onerror=alert(1)>" in table.locator("#slices").inner_text()
    assert "<i>acid</i>" in table.locator("#wrong").inner_text()


def test_slices_and_the_verdict_are_told(table: Page) -> None:
    """Every label and every value of a column of the gate has a line, with the champion's difference."""
    lines = table.locator("#slices tbody tr").all_inner_texts()
    assert len(lines) == 4 + 3 + 1  # labels, regions and the empty one, the axis
    (north,) = [line for line in lines if "north" in line]
    assert "+0.200" in north
    assert table.locator(".badge").inner_text() == "Not promoted"
    assert "version 2 is the champion" in table.locator(".came").inner_text()
    assert "region = 'north' costs 0.2 more" in table.locator("#gate").inner_text()


def test_it_is_told_which_label_errors_are_of(table: Page, digits: Page) -> None:
    """Where decisions are no labels it is the one of least expected distance."""
    for part in (".figures", "#slices"):
        assert "label of least expected distance" in table.locator(part).inner_text()
        assert "least expected distance" not in digits.locator(part).inner_text()


@pytest.mark.parametrize(
    ("rows", "left_out", "name"), [(0, 0, "champion"), (0, 90, "rows"), (90, 0, "champion")]
)
def test_what_was_not_compared_is_told(rows: int, left_out: int, name: str) -> None:
    """A champion that cannot be loaded, that cannot answer, or that has seen all rows, was not compared."""
    told = summary.checks(Verdict(7, rows, left_out, (Check(name, False, "costs"),)))["told"]
    out = ", 90 left out that it was trained on" if left_out else ""
    assert told == f"It could not be compared with version 7{out}."


def test_many_labels_are_told_without_their_matrices(browser: Browser, tmp_path: Path) -> None:
    """Of a hundred labels confusion and explorer say why they are left out; all else is there."""
    names = [f"{k:03}" for k in range(100)]
    columns = {"x": list(range(1000)), "y": [names[k % 100] for k in range(1000)]}
    data = {"source": str(write_csv(tmp_path / "t.csv", columns)), "label": "y", "labels": names}
    config = Config.model_validate({"name": "many", "data": data, "model": {"backbone": "linear"}})
    found = load(config)
    many = contents(export_untrained(config, found, tmp_path).path, config, found)
    html = build(**many)
    assert len(html) < 5e5
    with shown(browser, html, tmp_path) as page:
        assert "100 labels by 100 actions" in page.locator("#confusion").inner_text()
        assert "too many labels" in page.locator("#explorer").inner_text()
        assert page.locator("#given, #app, #confusion table").count() == 0
        assert page.locator("#slices tbody tr").count() == len(many["tested"].columns[0].slices) + 1
        page.get_by_role("button", name="Switch between light and dark").click()
        assert page.locator("html").get_attribute("data-theme") == "dark"


@pytest.mark.parametrize("which", [pytest.param("digits", marks=pytest.mark.slow), "table"])
def test_it_can_be_read(which: str, request: pytest.FixtureRequest) -> None:
    """Text stands out from its ground by 4.5 to 1, light and dark; headings follow; fields have names."""
    page: Page = request.getfixturevalue(which)
    paper = "getComputedStyle(document.body).backgroundColor"
    papers = []
    for scheme in ("light", "dark"):
        page.emulate_media(color_scheme=scheme)  # type: ignore[arg-type]
        assert page.evaluate(CONTRASTS) == []
        papers.append(page.evaluate(paper))
    toggle = page.get_by_role("button", name="Switch between light and dark")
    toggle.click()
    assert [page.evaluate(paper), *papers[1:]] == papers
    toggle.click()
    assert page.evaluate(paper) == papers[1]
    levels = page.evaluate("[...document.querySelectorAll('h1, h2, h3')].map((h) => +h.tagName[1])")
    assert levels[0] == 1
    assert max(np.diff(levels)) <= 1
    assert page.evaluate(UNNAMED) == []


@pytest.mark.slow
@pytest.mark.parametrize("which", ["digits", "table"])
def test_it_fits_a_narrow_screen(which: str, request: pytest.FixtureRequest) -> None:
    """At 360 pixels nothing is wider than the screen; what is scrolls by itself."""
    page: Page = request.getfixturevalue(which)
    page.set_viewport_size({"width": 360, "height": 740})
    assert page.evaluate("document.documentElement.scrollWidth") == 360
    page.set_viewport_size({"width": 1200, "height": 900})


@pytest.mark.slow
def test_it_works_in_a_frame_that_allows_only_scripts(
    browser: Browser, given: dict[str, Any], tmp_path: Path
) -> None:
    """As MLflow shows it: explorer, toggle and parts need neither storage, clipboard nor navigation."""
    html = build(**given).replace("&", "&amp;").replace('"', "&quot;")
    frame = f'<iframe sandbox="allow-scripts" width=1100 height=800 srcdoc="{html}"></iframe>'
    with shown(browser, frame, tmp_path) as page:
        inside = page.frame_locator("iframe")
        inside.get_by_label("cost of 0 where 1 is true").fill("7")
        assert inside.locator("#presets [aria-pressed=true]").count() == 0
        inside.get_by_role("button", name="Switch between light and dark").click()
        inside.get_by_role("link", name="Trials").click()
        inside.get_by_role("button", name="Copy Python").click()
        inside.locator("#copied:not(:empty)").wait_for()
        assert inside.locator("#code").input_value().startswith("Policy(")


def test_trials_are_sorted_by_any_column(digits: Page) -> None:
    """Pressing a heading sorts by its numbers, once more the other way."""
    first = digits.locator(".sortable tbody tr").first
    assert "exported" in first.inner_text()
    digits.get_by_role("button", name="seconds").click()
    digits.get_by_role("button", name="seconds").click()
    assert "cross_entropy" in first.inner_text()
    assert digits.locator(".sortable th[aria-sort=descending]").inner_text().startswith("seconds")


@pytest.mark.slow
def test_labels_may_lie_on_a_ring(browser: Browser, config: Config, data: Dataset, tmp_path: Path) -> None:
    """Then halves are told, and a rule goes the shorter way round; images are in the page."""
    ring = replace(data.labels, topology=replace(data.labels.topology, period=10.0))
    round_ = replace(data, labels=ring)
    cyclic = config.model_copy(
        update={"decision": config.decision.model_copy(update={"profile": "cyclic"})}
    )
    path = export_untrained(cyclic, round_, tmp_path).path
    with shown(browser, build(**contents(path, cyclic, round_)), tmp_path) as page:
        assert page.locator("#reliability figure").count() == 5
        assert "half of the ring" in page.locator("#reliability").inner_text()
        sizes = page.evaluate("[...document.querySelectorAll('#wrong img')].map((i) => i.naturalWidth)")
        assert sizes == [8] * 15  # an untrained network is wrong about many
        page.locator("#power").select_option("2")
        assert (costs(page) == ring.topology.distances() ** 2).all()


@pytest.mark.slow
def test_of_many_rows_there_is_a_sample(
    browser: Browser, exported: Exported, config: Config, data: Dataset, tmp_path: Path
) -> None:
    """The explorer says so, is the same each time, and answers a keystroke within 16 ms."""
    parts = replace(data.parts, test=np.resize(data.parts.test, MOST_ROWS + 1000))
    many = contents(exported.path, config, replace(data, parts=parts), verdict=None, champion=None)
    html = build(**many)
    assert len(html) < 2e6
    assert html == build(**many)
    with shown(browser, html, tmp_path) as page:
        assert f"sample of {MOST_ROWS:,}" in page.locator("#explorer").inner_text()
        assert page.evaluate("explorer.decide(explorer.state.cost).length") == MOST_ROWS
        assert np.median(page.evaluate(KEYSTROKES)) < 16  # about 4 where nothing else runs
        assert page.locator(".badge").inner_text() == "Not judged"
        assert "has not judged" in page.locator("#gate").inner_text()


def test_slices_have_the_numbers_of_the_metrics(given: dict[str, Any]) -> None:
    """Cost, accuracy and error of each label are what `metrics.by_slice` makes of its rows."""
    data: Dataset = given["data"]
    answered, (column,) = given["tested"].answered, given["tested"].columns
    cost = np.array(answered.profile.cost)
    scores = metrics.by_slice(answered.y, answered.y, answered.probabilities, cost, answered.topology)
    for one, (label, score) in zip(column.slices, scores.items(), strict=True):
        assert one.value == data.labels.names[label]
        told = {"rows": one.rows, "realised_cost": one.cost, "accuracy": one.accuracy, "mae": one.mae}
        assert told == pytest.approx({name: score[name] for name in told})
