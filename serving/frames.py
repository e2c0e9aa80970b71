"""Data frames of polars, pandas and pyarrow become columns by name.

None of these libraries is needed here: whoever has a frame has imported its library already.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

Columns = Mapping[str, "NDArray[Any] | list[str | None]"]
"""Numbers, NaN where one is missing, or texts, None where one is missing."""


def columns_of(rows: object) -> Columns | None:
    """Return the columns of a frame; None of what is no frame.

    Raises:
        TypeError: A column of something else than numbers, booleans or texts, or a frame that is lazy.
        ValueError: Two columns of one name.
    """
    for kind in type(rows).__mro__:
        read = _READ.get((kind.__module__.partition(".")[0], kind.__name__))
        if read is not None:
            return read(rows)
    return None


def _polars(frame: Any) -> Columns:
    import polars as pl

    def column(series: Any) -> NDArray[Any] | list[str | None]:
        kind = series.dtype
        if kind.is_integer() or kind.is_float() or kind == pl.Boolean:
            numbers: NDArray[np.float32] = series.cast(pl.Float32).to_numpy()
            return numbers
        if kind in (pl.String, pl.Categorical, pl.Enum):
            texts: list[str | None] = series.cast(pl.String).to_list()
            return texts
        raise _refused(series.name, kind)

    return {series.name: column(series) for series in frame.iter_columns()}


def _lazy(frame: Any) -> Columns:
    raise TypeError(f"rows must be here, a {type(frame).__name__} is still to be computed: collect() it")


def _pandas(frame: Any) -> Columns:
    def column(name: str, series: Any) -> NDArray[Any] | list[str | None]:
        if series.dtype.kind in "fiub":
            numbers: NDArray[np.float64] = series.to_numpy("float64", na_value=np.nan)
            return numbers
        texts: list[Any] = series.to_numpy(object, na_value=None).tolist()
        if series.dtype.kind != "O" or not all(one is None or isinstance(one, str) for one in texts):
            raise _refused(name, series.dtype)
        return texts

    return {name: column(name, series) for name, series in _unique(frame.items())}


def _arrow(table: Any) -> Columns:
    from pyarrow import types

    def column(name: str, chunks: Any) -> NDArray[Any] | list[str | None]:
        coded = types.is_dictionary(chunks.type)
        kind = chunks.type.value_type if coded else chunks.type
        if types.is_string(kind) or types.is_large_string(kind) or types.is_string_view(kind):
            texts: list[str | None] = chunks.to_pylist()  # to_numpy gives gaps of a dictionary a text
            return texts
        if (types.is_integer(kind) or types.is_floating(kind)) and not coded:
            numbers: NDArray[Any] = chunks.to_numpy(zero_copy_only=False)
            return numbers
        if types.is_boolean(kind) and not coded:
            return np.array(chunks.to_pylist(), np.float32)  # None is NaN
        raise _refused(name, chunks.type)

    pairs = zip(table.column_names, table.columns, strict=True)
    return {name: column(name, chunks) for name, chunks in _unique(pairs)}


def _unique(pairs: Iterable[tuple[str, Any]]) -> Iterable[tuple[str, Any]]:
    seen = set()
    for name, column in pairs:
        if not isinstance(name, str):
            raise TypeError(f"columns must be named by texts, as features are, got {name!r}")
        if name in seen:
            raise ValueError(f"columns must have different names, got {name!r} twice")
        seen.add(name)
        yield name, column


def _refused(name: str, kind: object) -> TypeError:
    return TypeError(
        f"column {name!r} must hold numbers, booleans or texts, got {kind}; cast it, or leave it out where "
        "the model has no such feature"
    )


_READ: dict[tuple[str, str], Callable[[Any], Columns]] = {
    ("polars", "DataFrame"): _polars,
    ("polars", "LazyFrame"): _lazy,
    ("pandas", "DataFrame"): _pandas,
    ("pyarrow", "Table"): _arrow,
    ("pyarrow", "RecordBatch"): _arrow,
}
