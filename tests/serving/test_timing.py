"""What is measured when a model is loaded."""

import time

import pytest

from serving.artifact import Artifact
from serving.timing import Timing, measure


@pytest.mark.parametrize(
    ("first", "further", "pays"),
    [(1e-3, 0.0, True), (1e-3, 0.7e-3, True), (1e-3, 0.8e-3, False), (1e-3, 1e-3, False)],
)
def test_many_together_pay_where_they_take_less(first, further, pays):
    """Thirty-two rows in a run must take less than 0.8 of thirty-two runs."""
    assert Timing(first, further).pays_together is pays


def test_a_run_takes_as_long_as_its_rows():
    """In proportion, from what the first one takes."""
    assert Timing(1e-3, 1e-5).seconds(1) == 1e-3
    assert Timing(1e-3, 1e-5).seconds(101) == pytest.approx(2e-3)


@pytest.mark.parametrize(
    ("first", "further", "rows"),
    [(100e-6, 1e-6, 651), (750e-6, 1e-6, 1), (751e-6, 0.0, 0), (100e-6, 0.0, 650_000_001)],
)
def test_a_run_is_done_at_once_up_to_so_many_rows(first, further, rows):
    """Those that take three quarters of a millisecond, and none where one row takes longer."""
    assert Timing(first, further).at_once == pytest.approx(rows, abs=1)
    assert (Timing(first, further).at_once == 0) == (rows == 0)


def asleep(first, further, sizes):
    """Prepare runs that sleep, and note their sizes."""

    def prepare(rows):
        def run():
            sizes.append(rows)
            time.sleep(first + further * (rows - 1))

        return run

    return prepare


def test_it_measures_and_warms_every_size():
    """Sizes of 1, 32 and the most rows, the first run of each not counted."""
    sizes = []
    timing = measure(asleep(2e-3, 5e-5, sizes), 512)
    assert list(dict.fromkeys(sizes)) == [1, 32, 512]
    assert 2e-3 <= timing.first < 20e-3
    assert 4e-5 < timing.further < 20e-5


def test_a_slow_model_does_not_hold_the_start():
    """What takes long is not run with many rows."""
    sizes = []
    timing = measure(asleep(0.1, 0.1, sizes), 512)
    assert set(sizes) == {1}
    assert timing.further == timing.first
    assert not timing.pays_together


def test_an_artifact_knows_its_timing_once_it_is_warm(cars):
    """With any inputs, categories too."""
    artifact = Artifact(cars.path, "cpu")
    assert artifact.timing is None
    timing = artifact.warm(64)
    assert artifact.timing is timing
    assert 0 < timing.first < 0.1
