"""Pictures of trials, slices and intervals: everything is within them, whatever names are like."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

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
        "intervals": pictures.intervals(coverages, 100, 50, LONG),
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


def test_the_band_is_the_binomial_one_where_calibration_rows_are_many() -> None:
    """Of 1,000 rows at 0.9, 95 % of samples lie within 0.881 and 0.918; few calibration rows widen it."""
    assert band(0.9, 1000, 10**7) == pytest.approx((0.881, 0.918), abs=0.0015)
    wide, narrow = band(0.9, 1000, 100), band(0.9, 1000, 10**7)
    assert wide is not None
    assert narrow is not None
    assert wide[0] < narrow[0] < narrow[1] < wide[1]
    assert band(0.99, 1000, 50) is None
