"""What is drawn stays within its picture."""

from __future__ import annotations

import numpy as np
import pytest
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from pipeline.data.labels import Labels
from pipeline.metrics import CostForecast
from pipeline.report import figures, reliability
from pipeline.topology import Topology

DRAWN = (
    "cdw_ce(alpha=2.317), hidden=[64, 64], dropout=0.3014, learning_rate=0.001234, seed 0, "
    "validation, absolute cost"
)
TITLES = {
    "short": "rps, seed 0",
    "drawn": DRAWN,
    "one long word": "n" * 100,
    "very long": f"{DRAWN}, {DRAWN}",
}


def _all(title: str) -> dict[str, Figure]:
    random = np.random.default_rng(0)
    p = random.dirichlet(np.ones(4), 200)
    y = random.integers(0, 4, 200)
    labels = Labels(("1", "2", "3", "4"), Topology.of(range(4)))
    numbers = np.linspace(0.1, 1, 10)
    forecast = CostForecast(0.5, 0.5, 0.1, 10 * np.ones(10, int), numbers, numbers, 0.1 * numbers)
    return {
        "confusion": figures.confusion(10 * np.eye(4, dtype=int), labels.names, labels.names, title),
        "curves": figures.curves({"loss": [2.0, 1.0], "val_loss": [2.0, 1.5]}, 1, title),
        "reliability": reliability.picture(y, p, p, labels, title),
        "costs": figures.costs({"absolute": forecast}, title),
    }


@pytest.mark.parametrize("title", TITLES.values(), ids=TITLES)
def test_titles_are_seen_as_a_whole(title: str) -> None:
    """Each word of a title is within the picture, and neither over a panel nor under the legend."""
    for name, figure in _all(title).items():
        renderer = FigureCanvasAgg(figure).get_renderer()
        head = figure.get_suptitle()
        assert head.replace("\n", " ").replace(" ", "") == title.replace(" ", ""), name
        (text,) = [one for one in figure.texts if one.get_text() == head]
        box = text.get_window_extent(renderer)
        assert box.x0 >= 0, name
        assert box.x1 <= figure.bbox.x1, name
        assert box.y1 <= figure.bbox.y1, name
        beside = [axes.get_tightbbox(renderer) for axes in figure.axes]
        beside += [legend.get_window_extent(renderer) for legend in figure.legends]
        assert not any(box.overlaps(other) for other in beside if other), name
