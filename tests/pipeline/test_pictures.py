"""Pictures of trials, slices and intervals: everything is within them, whatever names are like."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pytest
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from scipy import stats

from pipeline.config import Named
from pipeline.evaluate import Coverage
from pipeline.gate import Check
from pipeline.report import pictures
from pipeline.report.bands import band
from pipeline.report.slices import Column, Slice
from pipeline.sweep import Pair, Trial
from pipeline.sweep.tried import Calibration, Tried

LONG = "a name with $math and more letters than there is room for " * 3


def _tried(number: int, name: str, cost: float) -> Tried:
    trial = Trial(number, Pair(Named(name=name), Named(name="softmax")), number)
    none = Calibration("none", 1.0, np.zeros((0, 2)), np.zeros((0, 2)))
    return Tried(trial, {"realised_cost": cost}, 1.0, {}, 0, none, Path(), {}, None)


def _all() -> dict[str, Figure]:
    tried = [_tried(0, "rps", 0.2), _tried(1, "rps", 0.25), _tried(2, LONG, 0.3)]
    failed = Check("slice: y = 3", False, "costs more")
    own = [Slice("", 1, 0.2, float("nan"), 1.0, 0.0), Slice(LONG, 30, 0.4, 0.1, 0.5, 1.0, failed)]
    coverages = [Coverage(0.5, 0.4, 1.0), Coverage(0.9, 0.95, 2.0), Coverage(0.99, 1.0, 4.0)]
    return {
        "trials": pictures.trials(tried, tried[:1], LONG),
        "slices": pictures.slices([Column("y", own)], 0.3, LONG),
        "intervals": pictures.intervals(coverages, [band(one.wanted, 100, 50) for one in coverages], LONG),
    }


@pytest.mark.parametrize("name", ["trials", "slices", "intervals"])
def test_everything_is_within_the_picture(name: str) -> None:
    """Names of lanes, the axis and the title are neither cut off nor over one another."""
    figure = _all()[name]
    renderer = FigureCanvasAgg(figure).get_renderer()
    (axes,) = figure.axes
    box = axes.get_tightbbox(renderer)
    (title,) = [text.get_window_extent(renderer) for text in figure.texts]
    assert box.x0 >= 0
    assert box.y0 >= 0
    assert box.x1 <= figure.bbox.x1
    assert box.y1 <= title.y0


def _lanes(figure: Figure) -> list[str]:
    axes: Axes
    (axes,) = figure.axes
    return [label.get_text() for label in axes.get_yticklabels()]


def test_of_many_slices_the_failed_and_the_dearest_are_shown() -> None:
    """Sixty have room; the title says how many more there are."""
    failed = Check("slice: y = 3", False, "costs more")
    own = [Slice(str(k), 9, float(k), 0.1, 0.5, 1.0, failed if k == 3 else None) for k in range(70)]
    figure = pictures.slices([Column("y", own)], 0.3, "slices")
    assert _lanes(figure) == ["y 3", *(f"y {k}" for k in range(69, 10, -1))]
    assert figure.texts[0].get_text() == "slices (and 10 more)"
    assert _lanes(pictures.slices([Column("y", own[:60])], 0.3, "slices")) == [f"y {k}" for k in range(60)]


def test_of_many_trials_the_cheapest_are_shown() -> None:
    """Sixty lines have room; the title says how many more there are."""
    tried = [_tried(k, f"loss{k}", float(70 - k)) for k in range(70)]
    figure = pictures.trials(tried, tried[-1:], "trials")
    assert _lanes(figure)[0].startswith("loss69")
    assert len(_lanes(figure)) == 60
    assert figure.texts[0].get_text() == "trials (and 10 more)"


@pytest.mark.parametrize(("wanted", "rows", "made_by"), [(0.5, 7, 1), (0.9, 328, 278), (0.99, 3000, 99)])
def test_the_band_is_the_middle_of_the_distribution(wanted: float, rows: int, made_by: int) -> None:
    """Its ends are the quantiles of BetaBinomial(n, r, m + 1 − r)."""
    rank = math.ceil((made_by + 1) * wanted)
    ends = stats.betabinom.ppf([0.025, 0.975], rows, rank, made_by + 1 - rank)
    assert band(wanted, rows, made_by) == tuple(ends / rows)


def test_the_band_is_the_binomial_one_where_calibration_rows_are_many() -> None:
    """Of 1,000 rows at 0.9, 95 % of samples lie within 0.881 and 0.918; few calibration rows widen it."""
    assert band(0.9, 1000, 10**7) == pytest.approx((0.881, 0.918), abs=0.0015)
    wide, narrow = band(0.9, 1000, 100), band(0.9, 1000, 10**7)
    assert wide is not None
    assert narrow is not None
    assert wide[0] < narrow[0] < narrow[1] < wide[1]
    assert band(0.99, 1000, 50) is None
