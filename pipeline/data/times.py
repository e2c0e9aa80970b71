"""Splitting by time: where validation, calibration and test begin."""

from __future__ import annotations

from datetime import UTC, date, datetime

import numpy as np
from numpy.typing import NDArray

from pipeline.config import Split
from pipeline.data.rows import Roles
from pipeline.errors import InputError


def cuts(roles: Roles, config: Split) -> NDArray[np.float64]:
    """Return the times at which validation, calibration and test begin.

    Those of the config; else those that leave the configured share of rows to each part, of which rows with
    the same time stay together.

    Raises InputError where the config's are not rising, or are dates where times are numbers, and where too
    few times differ for the shares.
    """
    assert roles.time is not None
    if config.cuts:
        given = np.array([_time(cut, roles.dates) for cut in config.cuts])
        if not (np.diff(given) > 0).all():
            raise InputError(
                f"split.cuts must rise: validation, then calibration, then test; got {list(config.cuts)}"
            )
        return given
    shares = np.cumsum([config.test, config.calibration, config.validation])[::-1]
    ordered = np.sort(roles.time)
    begin = np.rint(len(ordered) * (1 - shares)).astype(int)
    found = np.asarray(ordered[np.minimum(begin, len(ordered) - 1)])
    if not (np.diff(found, prepend=ordered[0]) > 0).all():
        raise InputError(
            f"data.time: the shares of the split leave a part without rows, since {len(ordered)} rows have "
            f"{len(np.unique(ordered))} different times, and rows of one time stay together; "
            "give larger shares, or split.cuts"
        )
    return found


def note(roles: Roles, config: Split) -> str | None:
    """Return how to keep rows where they are when data grows; None where they stay anyway."""
    if roles.time is None or config.cuts:
        return None
    found = [_written(time, roles.dates) for time in cuts(roles, config)]
    return (
        "split by time: rows change sides as later ones come; to keep them where they are, give "
        f"split.cuts = [{', '.join(found)}]"
    )


def _time(cut: str | float | date, dates: bool) -> float:
    if isinstance(cut, str):
        try:
            cut = datetime.fromisoformat(cut)
        except ValueError as error:
            raise InputError(f"split.cuts: {cut!r} is no date such as 2026-01-31") from error
    if isinstance(cut, date) != dates:
        raise InputError(
            f"split.cuts must be {'dates' if dates else 'numbers'}, as the column data.time is; got {cut}"
        )
    if isinstance(cut, date):
        moment = cut if isinstance(cut, datetime) else datetime(cut.year, cut.month, cut.day)
        return (moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp()
    return float(cut)


def _written(time: float, dates: bool) -> str:
    if not dates:
        return f"{time:g}" if float(f"{time:g}") == time else repr(float(time))
    moment = datetime.fromtimestamp(time, UTC).replace(tzinfo=None)
    return moment.date().isoformat() if moment == datetime(*moment.timetuple()[:3]) else moment.isoformat()
