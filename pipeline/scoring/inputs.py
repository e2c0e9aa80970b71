"""The rows of a file, block by block of fixed rows, so that a block is the same in every run."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from pipeline.data import aside
from pipeline.data.aside import Aside, Uneven
from pipeline.data.parquet_file import ParquetFile
from pipeline.data.text_file import TextFile
from pipeline.errors import InputError, nearest

_ROWS, _CELLS = 2**16, 2**22  # of a block, at most
_TEXT_ROWS, _TEXT_CELLS = 2**14, 2**20  # where every cell is a text
_NO_TEXTS = pa.array([], pa.string())


@dataclass(frozen=True, eq=False)
class Block:
    """Successive rows of a file.

    Attributes:
        columns: By name, without the uneven rows.
        numbers: Of their rows, counted from 1.
        uneven: Those that have too many or too few fields.
        share: Of the file, what was read by then.
    """

    columns: dict[str, pa.Array]
    numbers: NDArray[np.int64]
    uneven: tuple[Uneven, ...]
    share: float


@dataclass(frozen=True)
class Source:
    """A file, and where its columns are.

    Attributes:
        file: As it was opened.
        at: The place of each column that is read, by the name that it is asked for.
        kept: Those of them that are copied.
    """

    file: TextFile | ParquetFile
    at: dict[str, int]
    kept: tuple[str, ...]

    @property
    def path(self) -> Path:
        """Of the file."""
        return self.file.path

    @property
    def commas(self) -> bool:
        """Whether a text may have a comma for the decimal point, as it may where none parts the fields."""
        return self.file.delimiter != ","

    @property
    def rows(self) -> int:
        """How many rows a block has that leaves room for some more of them in memory."""
        text = isinstance(self.file, TextFile)
        rows, cells = (_TEXT_ROWS, _TEXT_CELLS) if text else (_ROWS, _CELLS)
        return max(1, min(rows, cells // len(self.at)))

    def share(self, rows: int) -> float:
        """Return which share of the file its first rows are; 0 where that is not known."""
        return rows / max(1, self.file.rows) if isinstance(self.file, ParquetFile) else 0.0

    def none(self) -> dict[str, pa.Array]:
        """Return columns without a row."""
        if isinstance(self.file, TextFile):
            return dict.fromkeys(self.at, _NO_TEXTS)
        return {name: self.file.no_cells(place) for name, place in self.at.items()}

    def blocks(self, rows: int, start: int = 0) -> Iterator[Block]:
        """Yield blocks of so many rows, the last one of fewer, from row `start` on: a multiple of `rows`.

        Raises InputError where the file cannot be read to its end.
        """
        pieces = _Pieces(list(self.at), start)
        for numbers, arrays, uneven, share in self._read(start):
            pieces.add(numbers, arrays, uneven)
            while pieces.last >= start + rows:
                yield pieces.cut(start + rows, share)
                start += rows
        if pieces.last > start:
            yield pieces.cut(pieces.last, 1.0)

    def _read(
        self, start: int
    ) -> Iterator[tuple[NDArray[np.int64], Sequence[pa.Array], list[Uneven], float]]:
        """Yield numbers of rows, their columns, uneven rows since those before, and how much was read."""
        places = list(self.at.values())
        if isinstance(self.file, ParquetFile):
            for arrays in self.file.batches(places, start):
                numbers = np.arange(start + 1, start + 1 + len(arrays[0]))
                start += len(numbers)
                yield numbers, [_marked(one) for one in arrays], [], self.share(start)
            return
        found, last = Aside(), 0
        for arrays in self.file.batches(places, found):
            numbers = _next(last, len(arrays[0]), [one.row for one in found.rows])
            last = int(numbers[-1]) if len(numbers) else last
            new = 0
            for one in found.rows:  # of rows further on it is not known yet which are even
                if one.row > last + 1:
                    break
                last, new = max(last, one.row), new + 1
            yield numbers, arrays, found.rows[:new], found.share
            del found.rows[:new]
        yield np.empty(0, np.int64), [], found.rows, 1.0


def _next(last: int, many: int, uneven: list[int]) -> NDArray[np.int64]:
    """Return the numbers of so many rows after the last one, of which some are uneven."""
    if not uneven:
        return np.arange(last + 1, last + 1 + many)
    candidates = np.arange(last + 1, last + 1 + many + len(uneven))
    return candidates[~np.isin(candidates, uneven)][:many]


@dataclass
class _Pieces:
    """Rows that were read and belong to no block yet."""

    names: list[str]
    start: int  # rows before these
    numbers: list[NDArray[np.int64]] = field(default_factory=list)
    arrays: list[Sequence[pa.Array]] = field(default_factory=list)
    uneven: list[Uneven] = field(default_factory=list)
    last: int = 0  # the number of the last row

    def add(self, numbers: NDArray[np.int64], arrays: Sequence[pa.Array], uneven: list[Uneven]) -> None:
        self.uneven += [one for one in uneven if one.row > self.start]
        self.last = max([self.last, *numbers[-1:].tolist(), *(one.row for one in uneven[-1:])])
        done = int(np.searchsorted(numbers, self.start, side="right"))
        if done < len(numbers):
            self.numbers.append(numbers[done:])
            self.arrays.append([one[done:] for one in arrays])

    def cut(self, end: int, share: float) -> Block:
        """Take the rows up to a number, and leave the others."""
        columns: list[list[pa.Array]] = [[] for _ in self.names]
        taken: list[NDArray[np.int64]] = [np.empty(0, np.int64)]
        while self.numbers and self.numbers[0][0] <= end:
            numbers, arrays = self.numbers.pop(0), self.arrays.pop(0)
            many = int(np.searchsorted(numbers, end, side="right"))
            taken.append(numbers[:many])
            for column, one in zip(columns, arrays, strict=True):
                column.append(one[:many])
            if many < len(numbers):
                self.numbers.insert(0, numbers[many:])
                self.arrays.insert(0, [one[many:] for one in arrays])
        uneven = tuple(one for one in self.uneven if one.row <= end)
        self.uneven = self.uneven[len(uneven) :]
        self.start = end
        whole = {
            name: column[0] if len(column) == 1 else pa.concat_arrays(column or [_NO_TEXTS])
            for name, column in zip(self.names, columns, strict=True)
        }
        return Block(whole, np.concatenate(taken), uneven, share)


def open_source(path: Path, features: Sequence[str], keep: Sequence[str] | None, encoding: str) -> Source:
    """Look at a file, and find its columns; `keep` names those that are copied, None stands for all.

    Raises InputError where it cannot be read, or where a column is not there, comes twice, or is of a type
    that no feature can have.
    """
    file: TextFile | ParquetFile
    if path.suffix.lower() == ".parquet":
        file = ParquetFile.open(path)
    else:
        file = TextFile.open(path, encoding, setting="--encoding")
    # A name with blanks of its own is found as it is.
    headers = file.headers if isinstance(file, TextFile) else file.names
    wanted = {*features, *(keep or ())}
    names = [header if header in wanted else name for header, name in zip(headers, file.names, strict=True)]
    kept = tuple(dict.fromkeys(name for name in names if name) if keep is None else dict.fromkeys(keep))
    at = {}
    for name in dict.fromkeys((*features, *kept)):
        if name not in names:
            role = "a feature of the model" if name in features else "which --keep names"
            raise InputError(
                f"{path} has no column {name!r}, {role}{nearest(name, names)} "
                f"(its columns: {_listed(names)})"
            )
        if Counter(names)[name] > 1:
            raise InputError(f"{path}: column {name!r} comes twice; a column that is read must come once")
        at[name] = names.index(name)
    source = Source(file, at, kept)
    if isinstance(file, ParquetFile):
        _refuse_types(file, source, features)
    return source


def _refuse_types(file: ParquetFile, source: Source, features: Sequence[str]) -> None:
    for name in features:
        place = source.at[name]
        if file.types[place] not in ("number", "text"):
            raise InputError(
                f"{file.path}: column {name!r} must be of numbers or texts, it is of type "
                f"{file.declared[place]}"
            )


def _marked(cells: pa.Array) -> pa.Array:
    """Return texts with marks where they are none, which Parquet does not look at."""
    if pa.types.is_string(cells.type):
        try:
            cells.validate(full=True)
        except pa.ArrowInvalid:
            found = (
                None if one is None else aside.marked(one) for one in cells.view(pa.binary()).to_pylist()
            )
            return pa.array(found, pa.string())
    return cells


def _listed(names: Sequence[str], most: int = 12) -> str:
    shown = [repr(name if len(name) <= 60 else f"{name[:60]}…") for name in names if name]
    return ", ".join(shown[:most]) + (f" and {len(shown) - most} more" if len(shown) > most else "")
