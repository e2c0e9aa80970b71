"""Columns of dates become numbers."""

from __future__ import annotations

from datetime import UTC, datetime

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from pipeline.errors import InputError


def seconds(texts: pa.Array, name: str, start: int) -> NDArray[np.float64]:
    """Return dates as seconds since 1970, in UTC where they name no zone.

    Args:
        texts: As in ISO 8601, such as 2026-01-31 or 2026-01-31T10:00:00+02:00.
        name: Of the column, for messages.
        start: The number of rows before these.

    Raises InputError where a text is no date.
    """
    encoded = texts.dictionary_encode()
    found = []
    for place, text in enumerate(encoded.dictionary.to_pylist()):
        try:
            moment = datetime.fromisoformat(text.strip())
        except ValueError as error:
            row = start + int(np.argmax(encoded.indices.to_numpy(zero_copy_only=False) == place)) + 1
            raise InputError(
                f"column {name!r}: a time is a number or a date such as 2026-01-31, "
                f"got {text!r} (row {row})"
            ) from error
        found.append((moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp())
    return np.asarray(np.array(found)[encoded.indices.to_numpy(zero_copy_only=False)])
