"""What a user trusts by: reliability, calibration line and cost forecast, and how they are shown."""

from __future__ import annotations

import io
import math
import statistics
from fractions import Fraction

import numpy as np
import pytest
import strategies
from hypothesis import assume, given
from hypothesis import strategies as st
from matplotlib.collections import LineCollection
from matplotlib.figure import Figure
from numpy.typing import NDArray

from pipeline import metrics
from pipeline.data import Labels
from pipeline.evaluate import Coverage, Evaluation
from pipeline.metrics import CostForecast
from pipeline.report import figures, reliability, tables
from pipeline.topology import Topology
from serving.manifest import Calibration, Quality

Floats = NDArray[np.float64]
Indices = NDArray[np.int64]
WINDS = Labels(("north", "east", "south", "west"), Topology.of(range(4), period=4))
GRADES = Labels(("poor", "fair", "good", "best"), Topology.of(range(4)))


def _labels(data: st.DataObject, rows: int, classes: int) -> Indices:
    return np.array(data.draw(st.lists(st.integers(0, classes - 1), min_size=rows, max_size=rows)))


def _calibrated(seed: int, rows: int, classes: int = 5) -> tuple[Floats, Indices]:
    """Probabilities, and labels drawn from them."""
    random = np.random.default_rng(seed)
    p = random.dirichlet(np.ones(classes), rows)
    return p, (random.random((rows, 1)) > np.cumsum(p, axis=1)[:, :-1]).sum(axis=1)


def _too_sure(p: Floats) -> Floats:
    return p**2 / (p**2).sum(axis=1, keepdims=True)


# Reliability.


def _bin(chance: float) -> int:
    """The bin that holds a chance: closed on the side of the nearer end, and the middle one on neither."""
    exact = Fraction(chance).limit_denominator(10**6)
    for b in range(15):
        low, high = Fraction(b, 15), Fraction(b + 1, 15)
        if b < 7 and (low < exact <= high or exact == 0):
            return b
        if b == 7 and low < exact < high:
            return b
        if b > 7 and (low <= exact < high or exact == 1):
            return 14 if exact == 1 else b
    raise AssertionError(chance)


def _slow_reliability(
    y: list[int], rows: list[list[float]], event: list[int]
) -> list[tuple[int, float, float]]:
    """Rows, mean chance and share that happened of each bin, one row at a time."""
    chances: list[list[float]] = [[] for _ in range(15)]
    happened: list[list[bool]] = [[] for _ in range(15)]
    for label, p in zip(y, rows, strict=True):
        chance = math.fsum(p[k] for k in event)
        chances[_bin(chance)].append(chance)
        happened[_bin(chance)].append(label in event)
    return [
        (len(c), math.fsum(c) / len(c), sum(h) / len(h)) if c else (0, math.nan, math.nan)
        for c, h in zip(chances, happened, strict=True)
    ]


@given(strategies.simplex_rows(most=8), st.data())
def test_reliability_equals_the_slow_loop(p: Floats, data: st.DataObject) -> None:
    """Rows, forecast and frequency of each bin of each threshold, and of each arc of a ring."""
    rows, k = p.shape
    y = _labels(data, rows, k)
    for period in (None, k):
        topology = Topology.of(range(k), period)
        curves = metrics.threshold_reliability(y, p, topology)
        sets = topology.sets().T
        assert len(curves) == len(sets)
        for curve, inside in zip(curves, sets, strict=True):
            event = np.flatnonzero(inside).tolist()
            wanted = _slow_reliability(y.tolist(), p.tolist(), event)
            assert curve.rows.tolist() == [count for count, _, _ in wanted]
            assert curve.forecast == pytest.approx([said for _, said, _ in wanted], nan_ok=True)
            assert curve.frequency == pytest.approx([share for _, _, share in wanted], nan_ok=True)


@given(strategies.simplex_rows(most=8), st.data())
def test_the_gap_of_reliability_is_the_calibration_error(p: Floats, data: st.DataObject) -> None:
    """Weighted by rows, |forecast − frequency| sums to each threshold's ECE."""
    rows, k = p.shape
    y = _labels(data, rows, k)
    for period in (None, k):
        topology = Topology.of(range(k), period)
        gaps = [
            np.nansum(curve.rows * np.abs(curve.forecast - curve.frequency)) / rows
            for curve in metrics.threshold_reliability(y, p, topology)
        ]
        errors = metrics.threshold_calibration_errors(y, p, topology)
        np.testing.assert_allclose(gaps, errors, atol=1e-12)


def test_calibrated_probabilities_are_reliable() -> None:
    """In every bin with some rows what was said happens as often; what was said too surely does not."""
    p, y = _calibrated(0, rows=20_000)
    line = Topology.of(range(5))

    def farthest(said: Floats) -> float:
        """The largest gap, in standard errors of a share."""
        return max(
            abs(curve.forecast[b] - curve.frequency[b])
            / math.sqrt(curve.forecast[b] * (1 - curve.forecast[b]) / curve.rows[b])
            for curve in metrics.threshold_reliability(y, said, line)
            for b in np.flatnonzero(curve.rows > 100)
        )

    assert farthest(p) < 4
    assert farthest(_too_sure(p)) > 10


# The calibration line.


@given(strategies.simplex_rows(most=8), st.data())
def test_the_calibration_line_is_numpys(p: Floats, data: st.DataObject) -> None:
    """Least squares of the label's value over the expected value, for values with unequal steps."""
    rows, k = p.shape
    y = _labels(data, rows, k)
    values = np.array(data.draw(strategies.label_values(k)))
    expected = p @ values
    assume(np.ptp(expected) > 1e-2)
    wanted = np.polyfit(expected, values[y], 1)
    line = metrics.calibration_line(y, p, Topology.of(values.tolist()))
    assert line == pytest.approx(tuple(wanted), rel=1e-6, abs=1e-6)


def test_calibrated_probabilities_lie_on_the_diagonal() -> None:
    """Over 200 draws of labels the mean slope is 1 and the mean intercept 0, within 3 standard errors."""
    topology = Topology.of([0, 1, 3, 4, 10])
    drawn = [_calibrated(seed, rows=300) for seed in range(200)]
    lines = np.array([metrics.calibration_line(y, p, topology) for p, y in drawn])
    error = lines.std(axis=0, ddof=1) / math.sqrt(len(lines))
    assert error[0] < 0.02
    assert (np.abs(lines.mean(axis=0) - [1, 0]) < 3 * error).all()
    sure = np.array([metrics.calibration_line(y, _too_sure(p), topology)[0] for p, y in drawn])
    assert sure.mean() < 0.9  # what goes too far apart


@pytest.mark.parametrize(
    "p",
    [
        [[0.1, 0.2, 0.7], [0.1, 0.2, 0.7], [0.1, 0.2, 0.7]],
        [[0.5, 0.0, 0.5], [0.0, 1.0, 0.0], [0.25, 0.5, 0.25]],  # other rows, the same expected value
        [[0.4, 0.3, 0.3], [0.3, 0.5, 0.2], [0.2, 0.7, 0.1]],  # the same but for rounding
        [[0.1, 0.2, 0.7]],
    ],
    ids=["equal rows", "equal means", "equal but for rounding", "one row"],
)
def test_no_line_leads_through_equal_expected_values(p: list[list[float]]) -> None:
    """Slope and intercept are NaN where no row is expected to differ from another."""
    y = np.array([0, 1, 2])[: len(p)]
    line = metrics.calibration_line(y, np.array(p), Topology.of(range(3)))
    assert line == pytest.approx((math.nan, math.nan), nan_ok=True)


# The cost forecast.


def _standard_error(values: list[float]) -> float:
    return statistics.stdev(values) / math.sqrt(len(values)) if len(values) > 1 else math.nan


def _slow_forecast(
    y: list[int], rows: list[list[float]], decision: list[int], cost: list[list[float]], groups: int
) -> CostForecast:
    """The forecast, row by row; the first groups get the rows that are left over."""
    count = len(y)
    thought = [
        math.fsum(q * of_label[a] for q, of_label in zip(p, cost, strict=True))
        for p, a in zip(rows, decision, strict=True)
    ]
    paid = [cost[i][a] for i, a in zip(y, decision, strict=True)]
    order = sorted(range(count), key=lambda row: thought[row])
    parts, begin = [], 0
    for group in range(min(groups, count)):
        size = count // groups + (group < count % groups)
        parts.append(order[begin : begin + size])
        begin += size
    surprise = [cost_ - hope for cost_, hope in zip(paid, thought, strict=True)]
    return CostForecast(
        statistics.fmean(thought),
        statistics.fmean(paid),
        _standard_error(surprise),
        np.array([len(part) for part in parts]),
        np.array([statistics.fmean(thought[row] for row in part) for part in parts]),
        np.array([statistics.fmean(paid[row] for row in part) for part in parts]),
        np.array([_standard_error([surprise[row] for row in part]) for part in parts]),
    )


@st.composite
def _decided(draw: st.DrawFn) -> tuple[Indices, Floats, Indices, Floats]:
    """Labels, probabilities, decisions and whole costs, whose products are exact and tie truly."""
    k, actions, rows = draw(st.integers(2, 5)), draw(st.integers(1, 4)), draw(st.integers(1, 25))
    p = np.concatenate([draw(strategies.dyadic_rows(k)) for _ in range(rows)])
    y = np.array(draw(st.lists(st.integers(0, k - 1), min_size=rows, max_size=rows)))
    decision = np.array(draw(st.lists(st.integers(0, actions - 1), min_size=rows, max_size=rows)))
    return y, p, decision, draw(strategies.cost_matrices(k, actions, whole=True))


@given(_decided(), st.integers(1, 12))
def test_the_cost_forecast_equals_the_slow_loop(
    decided: tuple[Indices, Floats, Indices, Floats], groups: int
) -> None:
    """All rows and each group: expected, realised, and the standard error of their difference."""
    y, p, decision, cost = decided
    forecast = metrics.cost_forecast(y, p, decision, cost, groups)
    wanted = _slow_forecast(y.tolist(), p.tolist(), decision.tolist(), cost.tolist(), groups)
    for name, mine, its in zip(CostForecast._fields, forecast, wanted, strict=True):
        assert mine == pytest.approx(its, rel=1e-9, abs=1e-9, nan_ok=True), name


@given(_decided(), st.integers(1, 12))
def test_groups_part_the_rows_and_rise(
    decided: tuple[Indices, Floats, Indices, Floats], groups: int
) -> None:
    """Of about equal size, the cheaper first, no more than there are rows; their means make the total."""
    y, p, decision, cost = decided
    forecast = metrics.cost_forecast(y, p, decision, cost, groups)
    assert forecast.group_rows.sum() == len(y)
    assert len(forecast.group_rows) == min(groups, len(y))
    assert np.ptp(forecast.group_rows) <= 1
    assert (np.diff(forecast.group_expected) >= 0).all()
    weights = forecast.group_rows / len(y)
    assert weights @ forecast.group_expected == pytest.approx(forecast.expected)
    assert weights @ forecast.group_realised == pytest.approx(forecast.realised)


@given(_decided())
def test_the_totals_are_the_metrics(decided: tuple[Indices, Floats, Indices, Floats]) -> None:
    """Expected and realised cost under their own names are the same numbers, also in float32."""
    y, p, decision, cost = decided
    for precision in (p, p.astype(np.float32)):
        forecast = metrics.cost_forecast(y, precision, decision, cost)
        assert forecast.expected == pytest.approx(metrics.expected_cost(p, decision, cost))
        assert forecast.realised == pytest.approx(metrics.realised_cost(y, decision, cost))


COST = np.abs(np.arange(5)[:, np.newaxis] - np.arange(5)) * np.where(np.tri(5) > 0, 1.0, 3.0)


def _forecast(p: Floats, y: Indices) -> CostForecast:
    return metrics.cost_forecast(y, p, np.argmin(p @ COST, axis=1), COST)


@pytest.mark.parametrize("seed", range(10))
def test_the_forecast_of_calibrated_probabilities_comes_true(seed: int) -> None:
    """Within 3 standard errors; overconfident ones are found out by far more."""
    p, y = _calibrated(seed, rows=2000)
    forecast = _forecast(p, y)
    assert abs(forecast.realised - forecast.expected) < 3 * forecast.standard_error
    apart = np.abs(forecast.group_realised - forecast.group_expected) / forecast.group_standard_error
    assert apart.max() < 4  # the largest of ten
    assert np.ptp(forecast.group_expected) > 10 * forecast.standard_error
    sure = _forecast(_too_sure(p), y)
    assert sure.realised - sure.expected > 6 * sure.standard_error


def test_the_standard_error_is_what_it_says() -> None:
    """Over 400 draws realised − expected strays by about as much as each draw says, and not to one side."""
    forecasts = [_forecast(*_calibrated(seed, rows=200)) for seed in range(400)]
    differences = np.array([forecast.realised - forecast.expected for forecast in forecasts])
    said = np.array([forecast.standard_error for forecast in forecasts])
    assert differences.std() == pytest.approx(said.mean(), rel=0.12)
    assert abs(differences.mean()) < 3 * said.mean() / math.sqrt(400)


def test_an_index_of_no_label_is_refused() -> None:
    """None counts from the end, in none of the three."""
    p, y = np.array([[0.5, 0.5]]), np.array([-1])
    line = Topology.of(range(2))
    for metric in (metrics.threshold_reliability, metrics.calibration_line):
        with pytest.raises(ValueError, match=r"y must be from 0 to 1, got -1 \(row 0\)"):
            metric(y, p, line)
    with pytest.raises(ValueError, match=r"y must be from 0 to 1, got -1 \(row 0\)"):
        metrics.cost_forecast(y, p, np.array([0]), 1 - np.eye(2))
    with pytest.raises(ValueError, match=r"decision must be from 0 to 1, got 2 \(row 0\)"):
        metrics.cost_forecast(np.array([0]), p, np.array([2]), 1 - np.eye(2))


# How it is shown.


def _panels(figure: Figure) -> list[str]:
    """The titles of the panels that are seen, once it has been drawn."""
    figure.savefig(io.BytesIO())
    return [axes.get_title(loc="left") for axes in figure.axes if axes.get_visible()]


def test_events_on_a_line_are_those_of_the_thresholds() -> None:
    """All labels but the last."""
    assert reliability.events(GRADES) == ["≤ poor", "≤ fair", "≤ good"]


def test_events_on_a_ring_are_its_arcs() -> None:
    """From the first label to the last of each arc that leaves out the first label of all."""
    assert reliability.events(WINDS) == [
        "east", "east … south", "east … west", "south", "south … west", "west",
    ]  # fmt: skip


@given(st.integers(3, 12), st.booleans())
def test_each_event_has_a_name_of_its_own(classes: int, ring: bool) -> None:
    """As many names as sets, none twice."""
    labels = Labels(
        tuple(f"label {k}" for k in range(classes)), Topology.of(range(classes), classes if ring else None)
    )
    names = reliability.events(labels)
    assert len(set(names)) == len(names) == labels.topology.sets().shape[1]


@pytest.mark.parametrize("labels", [GRADES, WINDS], ids=["line", "ring"])
def test_rows_of_the_reliability_table_add_up(labels: Labels) -> None:
    """No bin is empty, and those of each event, before and after, hold every row once."""
    after, y = _calibrated(0, rows=100, classes=4)
    before = _too_sure(after)
    rows = reliability.rows(y, before, after, labels)
    assert all(row["rows"] > 0 for row in rows)
    assert all(0 <= row[share] <= 1 for row in rows for share in ("forecast", "frequency"))
    sets = labels.topology.sets().T
    for name, inside in zip(reliability.events(labels), sets, strict=True):
        for when, p in (("before", before), ("after", after)):
            own = [row for row in rows if (row["event"], row["calibration"]) == (name, when)]
            assert sum(row["rows"] for row in own) == 100
            assert len({_bin(row["forecast"]) for row in own}) == len(own)
            said = sum(row["rows"] * row["forecast"] for row in own) / 100
            came = sum(row["rows"] * row["frequency"] for row in own) / 100
            assert said == pytest.approx((p @ inside).mean())
            assert came == pytest.approx(inside[y].mean())
    assert {row["event"] for row in rows} == set(reliability.events(labels))


def _events(figure: Figure) -> list[str]:
    """Titles of the panels of a reliability picture; numbers beside them are smaller."""
    return [text.get_text() for text in figure.axes[0].texts if text.get_fontsize() == 9]


def test_the_picture_has_a_panel_for_each_threshold() -> None:
    """Titled by the event, with both curves in each, also where a name looks like mathematics."""
    labels = Labels(("$^$", "_2", "3", "4"), Topology.of(range(4)))
    p, y = _calibrated(0, rows=200, classes=4)
    figure = reliability.picture(y, _too_sure(p), p, labels, "validation, $^$")
    assert _events(figure) == ["≤ $^$", "≤ _2", "≤ 3"]
    drawn = [one for one in figure.axes[0].collections if isinstance(one, LineCollection)]
    frames, _, before, after = (one.get_segments() for one in drawn)
    curves = metrics.threshold_reliability(y, p, labels.topology)
    assert len(frames) == len(before) == len(after) == len(curves) == 3
    for frame, first, second, curve in zip(frames, before, after, curves, strict=True):
        _, corner, right = np.asarray(frame)
        assert np.asarray(first).tolist() != np.asarray(second).tolist()
        x, y_ = ((np.asarray(second) - corner) / (right - corner)[0]).T
        np.testing.assert_allclose(x, curve.forecast[curve.rows > 0])
        np.testing.assert_allclose(y_, curve.frequency[curve.rows > 0], atol=1e-12)


def test_two_labels_have_one_panel() -> None:
    """The least that there can be."""
    labels = Labels(("no", "yes"), Topology.of(range(2)))
    p, y = _calibrated(0, rows=50, classes=2)
    assert _events(reliability.picture(y, p, p, labels, "validation")) == ["≤ no"]


def test_a_hundred_labels_have_twelve_events() -> None:
    """Evenly chosen from the first threshold to the last."""
    labels = Labels(tuple(map(str, range(100))), Topology.of(range(100)))
    p, y = _calibrated(0, rows=50, classes=100)
    titles = _events(reliability.picture(y, p, p, labels, "validation"))
    assert len(titles) == 12
    assert (titles[0], titles[-1]) == ("≤ 0", "≤ 98")
    steps = np.diff([int(title.removeprefix("≤ ")) for title in titles])
    assert set(steps.tolist()) <= {8, 9, 10}


@pytest.mark.parametrize("classes", [4, 7, 10, 40])
def test_the_picture_of_a_ring_shows_half_arcs_alone(classes: int) -> None:
    """Each panel's event holds half of the labels, of an odd number the smaller half."""
    labels = Labels(tuple(map(str, range(classes))), Topology.of(range(classes), period=classes))
    p, y = _calibrated(0, rows=50, classes=classes)
    titles = _events(reliability.picture(y, p, p, labels, "validation"))
    assert 1 < len(titles) <= 12
    assert len(set(titles)) == len(titles)
    for title in titles:
        first, last = map(int, title.split(" … "))
        assert last - first + 1 == classes // 2


def _shown(forecast: CostForecast) -> Figure:
    return figures.costs({"absolute": forecast, "zero_one": forecast}, "test")


def test_the_picture_of_costs_shows_each_group() -> None:
    """A panel for each profile, with expected over realised cost of ten groups, all within its limits."""
    forecast = _forecast(*_calibrated(0, rows=500))
    figure = _shown(forecast)
    titles = _panels(figure)
    words = f"expected {forecast.expected:.3f}, realised {forecast.realised:.3f}"
    assert titles == [f"absolute\n{words}", f"zero_one\n{words}"]
    for axes in figure.axes[:2]:
        points = axes.containers[0].lines[0]
        np.testing.assert_allclose(points.get_xdata(), forecast.group_expected)
        np.testing.assert_allclose(points.get_ydata(), forecast.group_realised)
        for low, high in (axes.get_xlim(), axes.get_ylim()):
            assert low <= min(forecast.group_expected.min(), forecast.group_realised.min())
            assert high >= max(forecast.group_expected.max(), forecast.group_realised.max())


@pytest.mark.parametrize("rows", [1, 5, 100])
def test_costs_that_are_all_0_can_be_shown(rows: int) -> None:
    """Of decisions that are sure and right, also of a single row, which has no standard error."""
    y = np.arange(rows) % 5
    forecast = metrics.cost_forecast(y, np.eye(5)[y], y, COST)
    assert forecast.expected == forecast.realised == 0
    figure = _shown(forecast)
    assert len(_panels(figure)) == 2
    assert all(np.isfinite(axes.get_xlim()).all() for axes in figure.axes)


# Tables.


def _tables(markdown: str) -> list[list[list[str]]]:
    """The cells of each row of each table, its rule checked and left out."""
    found = []
    for block in markdown.split("\n\n"):
        rows = [line for line in block.strip().split("\n") if line.startswith("|")]
        if not rows:
            assert "|" not in block
            continue
        assert rows == block.strip().split("\n"), "a table needs an empty line before it and after it"
        assert all(row.endswith("|") for row in rows)
        cells = [[cell.strip() for cell in row[1:-1].split("|")] for row in rows]
        assert {len(row) for row in cells} == {len(cells[0])}
        assert all(set(cell) <= set(":-") and "---" in cell for cell in cells[1])
        assert all(cell for row in cells for cell in row)
        found.append([cells[0], *cells[2:]])
    return found


BEFORE = Quality(nll=1.5, rps=0.25, ece=0.125, threshold_ece=0.0625)
AFTER = Quality(nll=1.25, rps=0.2, ece=0.01, threshold_ece=0.005)
CALIBRATIONS = {
    "Neither temperature nor vector scaling helped": Calibration(rows=40, before=BEFORE, after=BEFORE),
    "Temperature 2.000, fitted on 40 rows": Calibration(
        method="temperature", slopes=(0.5,) * 4, offsets=(0.0,) * 4, rows=40, before=BEFORE, after=AFTER
    ),
    "Vector scaling, a slope and an offset for each label, fitted on 40 rows": Calibration(
        method="vector", slopes=(0.5, 1, 1, 2), offsets=(1.0, -1, 0, 0), rows=40, before=BEFORE, after=AFTER
    ),
}


def _evaluation(rows: int = 500, abstained: dict[str, float] | None = None) -> Evaluation:
    p, y = _calibrated(0, rows)
    costs = {"absolute": _forecast(p, y), "zero_one": _forecast(_too_sure(p), y)}
    levels = [Coverage(0.5, 0.56, 1.5), Coverage(0.9, 0.9125, 3.25)]
    return Evaluation({}, np.zeros((5, 5), np.int64), [], costs, abstained or {}, levels)


@pytest.mark.parametrize("words", CALIBRATIONS)
def test_the_page_on_trust_has_three_tables(words: str) -> None:
    """How it was calibrated in words, and before and after, costs and intervals in numbers."""
    evaluation = _evaluation()
    page = tables.trust(CALIBRATIONS[words], evaluation)
    assert words in page
    quality, costs, intervals = _tables(page)
    after = CALIBRATIONS[words].after
    assert after is not None
    assert quality[1:] == [
        ["before", "1.5000", "0.2500", "0.1250", "0.0625"],
        ["after", *(f"{number:.4f}" for number in (after.nll, after.rps, after.ece, after.threshold_ece))],
    ]
    assert costs[0][1:] == ["expected", "realised", "realised − expected", "standard error"]
    for (name, forecast), row in zip(evaluation.costs.items(), costs[1:], strict=True):
        assert row[0] == name
        numbers = [float(cell) for cell in row[1:]]
        assert numbers == pytest.approx(
            [
                forecast.expected,
                forecast.realised,
                forecast.realised - forecast.expected,
                forecast.standard_error,
            ],
            abs=6e-5,
        )
        assert row[3][0] in "+-"
    assert intervals[1:] == [["50 %", "56.0 %", "1.50"], ["90 %", "91.2 %", "3.25"]]
    for heading in ("### Calibration", "### Expected and realised cost", "### Intervals"):
        assert page.count(f"{heading}\n\n") == 1


def test_a_page_on_trust_without_scores_leaves_their_table_out() -> None:
    """Of an artifact that was never calibrated, and of a single test row, which has no standard error."""
    costs, intervals = _tables(tables.trust(Calibration(), _evaluation(rows=1)))
    assert [row[-1] for row in costs[1:]] == ["nan", "nan"]
    assert len(intervals) == 3


def test_a_page_on_trust_says_how_often_the_model_abstains() -> None:
    """A sentence for each profile that has an abstention, and none where there is no such profile."""
    page = tables.trust(Calibration(), _evaluation(abstained={"triage": 0.125}))
    assert "\n\nUnder `triage` the decision is to abstain on 12.5 % of test rows.\n\n" in page
    assert len(_tables(page)) == 2
    assert "abstain" not in tables.trust(Calibration(), _evaluation())


def _trial(title: str, cost: float, chosen: bool) -> tuple[str, dict[str, float], float, bool]:
    names = ("expected_cost", "accuracy", "mae", "qwk", "rps", "nll", "ece", "brier")
    return title, {"realised_cost": cost, **dict.fromkeys(names, 0.5)}, 12.34, chosen


def test_trials_are_compared_the_cheapest_first() -> None:
    """One row each with a number under every name, and the one that was exported in bold."""
    page = tables.comparison(
        [_trial("rps", 0.75, False), _trial("sord(alpha=2)", 0.25, True), _trial("brier", 0.875, False)]
    )
    (table,) = _tables(page)
    assert table[0][:2] == ["trial", "realised cost"]
    assert table[1] == ["**sord(alpha=2)**", "0.2500", *["0.5000"] * 7, "12.3"]
    assert [row[0] for row in table[1:]] == ["**sord(alpha=2)**", "rps", "brier"]
    assert "the trial in bold was exported" in page


def test_an_ensemble_is_several_trials_in_bold() -> None:
    """The sentence below the table says that they answer together."""
    page = tables.comparison([_trial("rps", 0.75, True), _trial("brier", 0.25, True)])
    (table,) = _tables(page)
    assert [row[0] for row in table[1:]] == ["**brier**", "**rps**"]
    assert "those in bold were exported as one" in page


def test_cost_rows_are_the_forecasts() -> None:
    """A row for each profile, and the difference beside its standard error."""
    forecasts = _evaluation().costs
    for (name, forecast), row in zip(forecasts.items(), tables.cost_rows(forecasts), strict=True):
        assert row == {
            "profile": name,
            "expected": forecast.expected,
            "realised": forecast.realised,
            "difference": pytest.approx(forecast.realised - forecast.expected),
            "standard_error": forecast.standard_error,
        }
