"""A candidate against the champion, both exported: planted forecasts, and what the gate makes of them."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import keras
import numpy as np
import pytest
import trained
from numpy.typing import NDArray
from scipy.stats import norm

from pipeline.config import Config
from pipeline.data import Dataset
from pipeline.data.columns import Column
from pipeline.data.labels import Labels
from pipeline.data.splits import Parts
from pipeline.gate import Check, Unanswered, Verdict, ask, judge
from pipeline.topology import Topology
from serving.artifact import Artifact

Floats = NDArray[np.float64]

LABELS = ("1", "2", "3", "4")
CUTS = np.array([-1.0, 0.0, 1.0])
CONFIG = Config.model_validate({"name": "planted", "data": {"source": "planted.csv", "label": "quality"}})
TEST = 600


def _given(**gate: object) -> Config:
    """Return the config with other keys of the gate."""
    return CONFIG.model_copy(update={"gate": CONFIG.gate.model_copy(update=gate)})


def _forecast(known: Floats, unknown: float) -> Floats:
    """Return P(label) where `known` + N(0, unknown²) is cut into labels: calibrated, `(rows, 4)`."""
    below = norm.cdf((CUTS - known[:, np.newaxis]) / unknown)
    return np.diff(below, axis=1, prepend=0, append=1)


@dataclass(frozen=True)
class Planted:
    """Rows with a label, and forecasts that know how much of it."""

    y: NDArray[np.int64]
    none: Floats  # the base rate
    half: Floats
    other_half: Floats  # as good as `half`, of the other part of what is to be known
    whole: Floats

    @classmethod
    def of(cls, rows: int, seed: int = 0) -> Planted:
        """Draw labels of a sum of three parts: two to be known, one of chance."""
        first, second, chance = np.random.default_rng(seed).normal(0, [[0.9], [0.9], [0.5]], (3, rows))
        rest = np.hypot(0.9, 0.5)
        return cls(
            np.digitize(first + second + chance, CUTS),
            _forecast(np.zeros(rows), np.hypot(0.9, rest)),
            _forecast(first, rest),
            _forecast(second, rest),
            _forecast(first + second, 0.5),
        )


def _data(
    y: NDArray[np.int64], champion: Floats, candidate: Floats, names: Sequence[str] = (), test: int = TEST
) -> Dataset:
    """Return rows whose columns are the log-probabilities of two forecasts, the last `test` for testing."""
    cells = np.log(np.maximum(np.column_stack([champion, candidate]), 1e-30)).astype(np.float32)
    columns = tuple(Column(name) for name in names or [*_names("old"), *_names("new")])
    parts = np.split(np.arange(len(y)), [200, 300, len(y) - test])
    return Dataset(cells, y, Labels(LABELS, Topology.of(range(4))), Parts(*parts), columns)


def _names(block: str) -> list[str]:
    return [f"{block} {label}" for label in LABELS]


def _planted(champion: str, candidate: str, seed: int = 0, test: int = TEST) -> Dataset:
    """Return rows with two of the forecasts of `Planted`."""
    drawn = Planted.of(600 + test, seed)
    return _data(drawn.y, getattr(drawn, champion), getattr(drawn, candidate), test=test)


def _changed(data: Dataset, change: Callable[[Floats], Floats], where: NDArray[np.bool_]) -> Dataset:
    """Return the rows with the candidate's probabilities changed in some of them."""
    cells = data.cells.astype(np.float64)
    cells[where, 4:] = np.log(np.maximum(change(np.exp(cells[where, 4:])), 1e-30))
    return replace(data, cells=cells.astype(np.float32))


def _export(data: Dataset, places: Sequence[int], folder: Path, config: Config = CONFIG) -> Artifact:
    """Export a network that passes four columns of the rows on as its log-probabilities."""
    rows = keras.Input((data.cells.shape[1],))
    log_p = keras.ops.log_softmax(keras.ops.take(rows, np.array(places), axis=1))
    model = keras.Model(rows, keras.layers.Reshape((1, 4))(log_p))
    folder.mkdir()
    return Artifact(trained.write(model, trained.described(config, data), data, folder).path)


@dataclass(frozen=True)
class Pair:
    """The two artifacts of nearly all tests."""

    champion: Artifact
    candidate: Artifact

    def judge(self, data: Dataset, config: Config = CONFIG, **given: object) -> Verdict:
        """Return the verdict on rows of which the champion has seen none."""
        arguments = {
            "champion_version": 3,
            "left_out": np.zeros(len(data.parts.test), bool),
            "slices": {},
            **given,
        }
        return judge(config, data, self.candidate, self.champion, **arguments)  # type: ignore[arg-type]


@pytest.fixture(scope="module")
def pair(tmp_path_factory: pytest.TempPathFactory) -> Pair:
    """A champion that reads the first four columns, and a candidate that reads the others."""
    # The candidate's intervals are those of the less sure forecast, which are wide enough for all others.
    folder, data = tmp_path_factory.mktemp("pair"), _planted("half", "half")
    return Pair(
        _export(data, range(4), folder / "champion"), _export(data, range(4, 8), folder / "candidate")
    )


def _failed(verdict: Verdict) -> list[str]:
    return [check.name for check in verdict.checks if check.passed is False]


def _check(verdict: Verdict, name: str) -> Check:
    (found,) = [check for check in verdict.checks if check.name == name]
    return found


def test_a_candidate_that_knows_more_is_promoted(pair: Pair) -> None:
    """Its decisions cost less than those of the champion, on all rows and on each label."""
    verdict = pair.judge(_planted("half", "whole"))
    assert verdict.passed
    assert (verdict.champion, verdict.rows, verdict.left_out) == (3, TEST, 0)
    assert [check.name for check in verdict.checks] == [
        "cost",
        *(f"slice: quality = {label}" for label in LABELS),
        "calibration",
        "coverage",
    ]
    cost = _check(verdict, "cost")
    assert cost.numbers["upper"] < 0
    assert cost.words in verdict.reasons
    assert cost.words.startswith(f"costs {cost.numbers['candidate']:.3f} a row instead of ")
    assert "under 'absolute': better by 0." in cost.words


def test_costs_are_those_of_the_files_decisions(pair: Pair) -> None:
    """What is compared is cost[true label, decision] of what each file answers, on test rows alone."""
    data = _planted("half", "whole")
    rows, cost = data.parts.test, np.abs(np.subtract.outer(np.arange(4), np.arange(4))).astype(float)
    numbers = _check(pair.judge(data), "cost").numbers
    for artifact, name in ((pair.champion, "champion"), (pair.candidate, "candidate")):
        decision = ask(artifact, data, rows, cost, 0.9).decision
        assert numbers[name] == pytest.approx(cost[data.y[rows], decision].mean())


def test_the_same_again_is_not_promoted(pair: Pair) -> None:
    """A candidate that decides as the champion does is no better, in words and in fact."""
    verdict = pair.judge(_planted("half", "half"))
    assert _failed(verdict) == ["cost"]
    assert f"no better, the cost is the same on each of {TEST} rows" in verdict.reasons[0]


def test_a_candidate_that_is_better_by_noise_is_not_promoted(pair: Pair) -> None:
    """Other mistakes, and fewer of them on these rows: the difference is one of chance."""
    verdict = pair.judge(_planted("half", "other_half", seed=13))
    cost = _check(verdict, "cost")
    assert cost.numbers["difference"] < -0.05
    assert "cost" in _failed(verdict)
    assert "better by 0.0" in cost.words
    assert "it is not shown to be better by more than margin = 0" in cost.words
    assert cost.numbers["differing"] > 100


def test_the_margin_must_be_won_as_well(pair: Pair) -> None:
    """A candidate whose advantage is certain, but smaller than the margin, is not promoted."""
    verdict = pair.judge(_planted("half", "whole"), _given(margin=0.5))
    assert _failed(verdict) == ["cost"]
    assert "by more than margin = 0.5" in verdict.reasons[0]


def test_better_on_average_but_worse_on_one_label_is_not_promoted(pair: Pair) -> None:
    """The label that pays for the others is named, with its costs."""
    data = _planted("half", "whole")
    data = _changed(data, lambda p: p[:, [1, 2, 3, 0]], data.y == 3)
    verdict = pair.judge(data)
    assert "slice: quality = 4" in _failed(verdict)
    assert _check(verdict, "cost").passed
    (reason,) = [words for words in verdict.reasons if words.startswith("label '4' costs ")]
    assert "more a row" in reason
    assert reason.endswith("more than slice_margin = 0.05")


def test_a_small_slice_is_only_told(pair: Pair) -> None:
    """Below `min_slice_rows` nothing fails, however much worse the candidate is."""
    data = _planted("half", "whole")
    data = _changed(data, lambda p: p[:, [3, 2, 1, 0]], data.y == 3)
    rows = int(np.sum(data.y[data.parts.test] == 3))
    verdict = pair.judge(data, _given(min_slice_rows=rows + 1))
    small = _check(verdict, "slice: quality = 4")
    assert small.passed is None
    assert small.numbers["rows"] == rows
    assert f"fewer rows than min_slice_rows = {rows + 1}, so only told" in small.words
    assert "slice: quality = 4" not in _failed(verdict)


def test_every_value_of_a_column_is_a_slice(pair: Pair) -> None:
    """The value on whose rows the candidate is worse is named; a missing one is no value called "empty"."""
    data = _planted("half", "whole")
    regions = np.array(["north", "south", "empty", ""])[np.arange(len(data.y)) % 4]
    data = _changed(data, lambda p: p[:, [3, 2, 1, 0]], regions == "south")
    verdict = pair.judge(data, slices={"region": regions[data.parts.test]})
    names = {check.name for check in verdict.checks}
    assert {"slice: region = north", "slice: region = empty", "slice: region is empty"} <= names
    assert "slice: region = south" in _failed(verdict)
    assert any(words.startswith("region = 'south' costs ") for words in verdict.reasons)
    assert _check(verdict, "slice: region = empty").words.startswith("region = 'empty' costs ")
    assert _check(verdict, "slice: region is empty").words.startswith("an empty region costs ")


def test_better_decisions_with_overconfident_probabilities_are_not_promoted(pair: Pair) -> None:
    """A candidate that costs less but means less of what it says fails by its calibration alone."""
    data = _planted("half", "whole")
    data = _changed(data, lambda p: p**6 / (p**6).sum(axis=1, keepdims=True), np.ones(len(data.y), bool))
    verdict = pair.judge(data)
    assert _check(verdict, "cost").passed
    assert "calibration" in _failed(verdict)
    assert not [name for name in _failed(verdict) if name.startswith("slice")]
    assert "more than calibration_margin = 0.02" in _check(verdict, "calibration").words
    assert "calibration" in _failed(pair.judge(data, left_out=None))


def test_rows_that_the_champion_was_trained_on_are_left_out(pair: Pair) -> None:
    """Rows that the champion has learned by heart count for nothing, and that is told."""
    data = _planted("half", "whole")
    learned = np.arange(TEST) < 400
    cells = data.cells.copy()
    cells[data.parts.test[learned], :4] = np.log(np.eye(4) * 0.99 + 0.0025)[
        data.y[data.parts.test[learned]]
    ]
    data = replace(data, cells=cells)
    assert "cost" in _failed(pair.judge(data))
    verdict = pair.judge(data, left_out=learned)
    assert verdict.passed
    assert (verdict.rows, verdict.left_out) == (200, 400)
    assert _check(verdict, "rows").words.startswith("400 of 600 test rows are left out, since the champion")
    regions = np.array(["north", "south"])[np.arange(TEST) % 2]
    assert (
        _check(
            pair.judge(data, left_out=learned, slices={"region": regions}), "slice: region = north"
        ).numbers["rows"]
        == 100
    )


def test_rows_that_may_have_been_trained_on_are_told(pair: Pair) -> None:
    """Where nobody knows what the champion has seen, all rows count, and the verdict says so."""
    verdict = pair.judge(_planted("half", "whole"), left_out=None)
    assert verdict.passed
    told = _check(verdict, "rows")
    assert told.passed is None
    assert "it is not known which of the 600 test rows" in told.words


def test_where_no_row_is_left_nothing_is_promoted(pair: Pair) -> None:
    """A champion that was trained on every test row cannot be compared with."""
    measured = Check("latency", True, "answers in 3 ms")
    verdict = pair.judge(_planted("half", "whole"), left_out=np.ones(TEST, bool), measured=[measured])
    assert [check.name for check in verdict.checks] == ["rows", "latency"]
    assert verdict.reasons == ["the champion was trained on all 600 test rows: nothing can be compared"]


def test_one_row_proves_nothing(pair: Pair) -> None:
    """A single row that is won has an interval without width, and is not enough."""
    data = _planted("half", "whole", test=1)
    y = data.y.copy()
    y[-1] = 3
    cells = data.cells.copy()
    cells[-1] = np.log(np.concatenate([np.eye(4)[0], np.eye(4)[3]]) + 1e-9)
    verdict = pair.judge(replace(data, y=y, cells=cells))
    cost = _check(verdict, "cost")
    assert (cost.numbers["lower"], cost.numbers["upper"]) == (-3, -3)
    assert _failed(verdict) == ["cost"]
    assert "only 1 of 1 rows cost differently, and fewer than 6 may all be won by chance" in cost.words


def test_the_first_champion_must_beat_the_base_rate(pair: Pair) -> None:
    """Without a champion the constant decision of least cost is the other side; slices are only told."""
    data = _planted("half", "whole")
    verdict = judge(
        CONFIG, data, pair.candidate, None, champion_version=None, left_out=None, slices={}, measured=()
    )
    assert verdict.passed
    assert verdict.champion is None
    assert {check.passed for check in verdict.checks if check.name.startswith("slice")} == {None}
    y = data.y
    train, test = y[data.parts.train], y[data.parts.test]
    best = min(range(4), key=lambda action: np.abs(train - action).mean())
    numbers = _check(verdict, "cost").numbers
    assert numbers["champion"] == pytest.approx(np.abs(test - best).mean())
    assert f"of always {LABELS[best]!r}, the best decision by base rates" in _check(verdict, "cost").words


def test_knowing_nothing_is_no_better_than_the_base_rate(pair: Pair) -> None:
    """A first candidate that forecasts the base rate itself does not become the champion."""
    data = _planted("half", "none")
    verdict = judge(CONFIG, data, pair.candidate, None, champion_version=None, left_out=None, slices={})
    assert _failed(verdict) == ["cost"]


def test_intervals_that_hold_too_few_labels_fail(pair: Pair) -> None:
    """Test rows that are not like the calibration rows are found by their coverage."""
    data = _planted("half", "whole")
    late = np.zeros(len(data.y), bool)
    late[data.parts.test] = True
    turned = _changed(data, lambda p: p[:, [1, 0, 3, 2]], late & (np.arange(len(late)) % 2 == 0))
    assert "coverage" in _failed(pair.judge(turned))
    assert _check(pair.judge(data), "coverage").passed


def test_a_coverage_that_calibration_rows_cannot_reach_is_only_told(pair: Pair) -> None:
    """Intervals hold every label then, which says nothing about them."""
    decision = CONFIG.decision.model_copy(update={"coverage": 0.999})
    verdict = pair.judge(_planted("half", "whole"), CONFIG.model_copy(update={"decision": decision}))
    told = _check(verdict, "coverage")
    assert told.passed is None
    assert "300 calibration rows are too few for a coverage of 99.9 %, 999 are needed" in told.words


def test_both_decide_under_the_candidates_costs(pair: Pair) -> None:
    """A new profile of the config, with actions of its own, is what both decide and pay by."""
    actions = {"actions": ["page", "wait"], "cost": [[3, 0], [1, 0], [0, 2], [0, 9]], "abstain": 0.5}
    config = Config.model_validate(
        {
            "name": "planted",
            "data": {"source": "planted.csv"},
            "decision": {"profile": "triage", "profiles": {"triage": actions}},
        }
    )
    verdict = pair.judge(_planted("half", "whole"), config)
    assert "under 'triage'" in _check(verdict, "cost").words
    assert _check(verdict, "slice: label = 1").numbers["rows"] > 50


def test_a_champion_of_fewer_columns_in_another_order_is_asked_by_name(pair: Pair, tmp_path: Path) -> None:
    """What the champion takes is picked by the names of its features."""
    data = _planted("half", "whole")
    order = [3, 1, 0, 2]
    few = replace(data, cells=data.cells[:, order], columns=tuple(data.columns[place] for place in order))
    champion = _export(few, [2, 1, 3, 0], tmp_path / "few")
    assert pair.judge(data) == Pair(champion, pair.candidate).judge(data)


def _refusing(pair: Pair, data: Dataset, champion: Artifact, reason: str) -> None:
    """Assert that the champion cannot be compared, which is told in one failed check."""
    verdict = Pair(champion, pair.candidate).judge(data, measured=[Check("latency", True, "quick")])
    assert [check.name for check in verdict.checks] == ["champion", "latency"]
    (words,) = verdict.reasons
    assert reason in words
    assert "`ordinal-pipeline promote planted VERSION --why TEXT` promotes by hand" in words


def test_a_champion_that_cannot_answer_is_a_check_that_fails(pair: Pair, tmp_path: Path) -> None:
    """Other labels, a column that is gone, texts for numbers, gaps, images: one sentence, no traceback."""
    data = _planted("half", "whole")
    renamed = replace(data, labels=Labels(("1", "2", "3", "5"), data.labels.topology))
    other = _export(renamed, range(4), tmp_path / "labels")
    _refusing(
        pair, data, other, "its labels are ['1', '2', '3', '5'], these rows have ['1', '2', '3', '4']"
    )

    # The candidate's columns alone are what is left of the rows.
    names = [*_names("older"), *_names("new")]
    older = replace(data, columns=tuple(Column(name) for name in names))
    gone = _export(older, range(4), tmp_path / "gone")
    _refusing(pair, data, gone, "it needs the column 'older 1', which these rows lack")

    texts = replace(
        data,
        cells=np.column_stack([data.cells, np.arange(len(data.y)) % 2]).astype(np.float32),
        columns=(*data.columns, Column("region", ("north", "south"))),
    )
    numbers = replace(texts, columns=(*data.columns, Column("region")))
    as_text = _export(texts, range(4), tmp_path / "texts")
    _refusing(pair, numbers, as_text, "takes column 'region' as texts, and these rows hold numbers")
    lacking = "it needs the column 'region', which these rows lack"
    _refusing(pair, data, as_text, lacking)
    assert Pair(as_text, pair.candidate).judge(texts).passed

    gaps = data.cells.copy()
    gaps[data.parts.test[:2], 0] = np.nan
    _refusing(pair, replace(data, cells=gaps), pair.champion, "no numbers for 2 of 600 rows")


def test_a_candidate_that_cannot_answer_its_own_rows_is_an_error(pair: Pair) -> None:
    """That is a fault, and not a reason to keep the champion."""
    data = _planted("half", "whole")
    renamed = replace(data, labels=Labels(("1", "2", "3", "5"), data.labels.topology))
    with pytest.raises(Unanswered, match="its labels are"):
        pair.judge(renamed)


def test_arrays_of_other_rows_are_refused(pair: Pair) -> None:
    """What is said of rows must be said of each test row."""
    data = _planted("half", "whole")
    with pytest.raises(
        ValueError, match=r"left_out must have one entry for each of 600 test rows, got \(5,\)"
    ):
        pair.judge(data, left_out=np.zeros(5, bool))
    with pytest.raises(ValueError, match="region must have one entry"):
        pair.judge(data, slices={"region": np.array(["north"])})


def test_a_verdict_is_the_same_again(pair: Pair) -> None:
    """The same rows and files give the same numbers, and the digest tells verdicts apart."""
    data = _planted("half", "other_half")
    once, again = pair.judge(data), pair.judge(data)
    assert once == again
    assert once.digest == again.digest != pair.judge(_planted("half", "whole")).digest
    assert json.loads(once.json())["passed"] is False


def test_a_verdict_is_a_page(pair: Pair) -> None:
    """What came of it, what was compared, and each check with its mark."""
    data = _planted("half", "whole")
    page = pair.judge(data, measured=[Check("a|b", None, "<p> `x`\nand\\or")]).markdown("wine, version 4")
    assert page.startswith("# wine, version 4\n\n**May become the champion.**\n")
    assert "Compared with version 3 on 600 test rows.\n" in page
    assert "\n| ✓ | cost | costs 0." in page
    assert "\n| – | a\\|b | \\<p> \\`x\\` and\\\\or |\n" in page
    page = pair.judge(_planted("half", "half"), left_out=np.arange(TEST) < 100).markdown("wine")
    assert "**Not promoted:** cost.\n" in page
    assert "Compared with version 3 on 500 test rows, 100 left out.\n" in page
    assert "\n| ✗ | cost | costs 0." in page
