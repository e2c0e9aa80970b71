"""What a measurement shows: times, bars, and how far it is."""

import asyncio
import io
import re

import numpy as np
import pytest

from serving.bench.live import Live
from serving.bench.load import OK, Record, closed_loop
from serving.bench.picture import duration, histogram, over_time


@pytest.mark.parametrize(
    ("seconds", "told"),
    [
        (0.0, "0.00 µs"),
        (1.234e-6, "1.23 µs"),
        (99.94e-6, "99.9 µs"),
        (99.96e-6, "100 µs"),
        (0.0345, "34.5 ms"),
        (9.994, "9.99 s"),
        (120.4, "120 s"),
        (float("nan"), "–"),
    ],
)
def test_durations_have_three_digits(seconds, told):
    """In the unit that suits them."""
    assert duration(seconds) == told


def test_the_histogram_counts_every_latency():
    """Classes follow each other, their counts add up, and the longest bar is that of the most."""
    latency = np.exp(np.random.default_rng(0).normal(-6, 2, 5000))
    lines = histogram(latency)
    assert 3 < len(lines) <= 14
    counts = [int(re.match(r" *\S+ \S+ … +\S+ \S+ +([\d,]+)", line)[1].replace(",", "")) for line in lines]
    assert sum(counts) == 5000
    bars = [line.count("█") for line in lines]
    assert max(bars) == bars[counts.index(max(counts))] == 40
    assert histogram(np.full(7, 0.0021)) == [f" 2.00 ms …  3.00 ms         7  {40 * '█'}"]


def test_the_line_over_time_shows_when_it_was_slow():
    """The highest of each moment; moments without a request are blank."""
    intended = np.array([0.0, 0.3, 0.31, 0.9])
    bars, top = over_time(intended, np.array([1.0, 2.0, 8.0, 4.0]), 1.0, width=10)
    assert (bars, top) == ("▁  █     ▄", 8.0)


class Terminal(io.StringIO):
    """Standard error of somebody who watches."""

    def isatty(self):
        """A terminal."""
        return True


def test_a_terminal_shows_how_far_a_load_is(monkeypatch):
    """A line that is written over, and is gone in the end; a pipe gets nothing."""

    async def watched(record):
        async with Live().watching("40 requests/s", 0.7, record):
            await closed_loop(send, 2, 0.7, record=record)

    async def send(number):
        await asyncio.sleep(0.05)
        return "ABORTED" if number % 2 else OK

    terminal = Terminal()
    monkeypatch.setattr("sys.stderr", terminal)
    asyncio.run(watched(Record()))
    lines = terminal.getvalue().split("\r\x1b[K")
    assert lines[1].startswith("40 requests/s: 0 s of about 0.7 s")
    assert re.fullmatch(
        r"40 requests/s: \d s of about 0\.7 s, \d+ answered, 2 under way, \d+ failed, p99 [\d.]+ ms",
        lines[2],
    )
    assert lines[-1] == ""
    pipe = io.StringIO()
    monkeypatch.setattr("sys.stderr", pipe)
    asyncio.run(watched(Record()))
    assert pipe.getvalue() == ""
