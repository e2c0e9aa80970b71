"""A CSV or Parquet table becomes rows: numbers, categories, and what other columns say of a row.

It is read twice, batch by batch: what a column of texts holds is known only after its last row.
"""

from __future__ import annotations

from collections.abc import Container, Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from pipeline.config import Config
from pipeline.data import checks, kinds, moments, parquet_file
from pipeline.data.columns import Column, number
from pipeline.data.parquet_file import ParquetFile
from pipeline.data.plan import File, Plan, plan
from pipeline.data.rows import Roles, Rows
from pipeline.data.schema import NUMBERS, WEIGHTS, check
from pipeline.data.slices import EMPTY, Slices, coded, refuse_many
from pipeline.data.storage import room
from pipeline.data.text_file import TextFile
from pipeline.errors import InputError

Batch = dict[int, pa.Array]
"""Some rows: the cells of each column by its place, as the file has them."""


def read(path: Path, config: Config) -> Rows:
    """Read a table by its file ending.

    Raises InputError, naming row and column, where it is not what the config says.
    """
    parquet = path.suffix.lower() == ".parquet"
    file: File = ParquetFile.open(path) if parquet else TextFile.open(path, config.data.encoding)
    roles = plan(file, config)
    table = _Table(file, roles, kinds.Missing(config.data.missing))
    held = table.held(set(config.data.categorical))
    if not held.rows:
        raise InputError(f"{path}: names its columns and has no rows")
    return _Reading(table, held, config).rows()


@dataclass(frozen=True)
class _Held:
    """What the first reading has found: which places hold numbers, how many rows there are, and notes."""

    numbers: set[int]
    rows: int
    notes: tuple[str, ...]


@dataclass(frozen=True)
class _Table:
    """A file, the roles of its columns, and the texts that stand for a missing value."""

    file: File
    plan: Plan
    missing: kinds.Missing

    def batches(self) -> Iterator[tuple[int, Batch]]:
        """Yield the number of rows before each batch, and the batch."""
        start = 0
        for arrays in self.file.batches(self.plan.places):
            cells = dict(zip(self.plan.places, arrays, strict=True))
            yield start, cells
            start += len(arrays[0])

    def held(self, categorical: set[str]) -> _Held:
        """Read it for the first time; `categorical` columns are categories whatever they hold."""
        names, types, plan = self.file.names, self.file.types, self.plan
        named = {place for place in plan.features if names[place] in categorical}
        wanted = {*plan.features, plan.time, plan.weight} - named
        seen = {
            place: kinds.Seen(names[place])
            for place in plan.places
            if place in wanted and types[place] == "text"
        }
        rows = 0
        for start, batch in self.batches():
            rows = start + len(batch[plan.label])
            for place, column in seen.items():
                column.add(batch[place], self.missing, start)
        if plan.weight in seen:
            seen[plan.weight].refuse_texts("data.weight")
        numbers = {place for place in plan.places if types[place] in ("number", "moment")} - named
        for place, column in seen.items():
            dates = place == plan.time and "text" in column.first
            if not dates and column.is_number(self.file.delimiter):
                numbers.add(place)
        words = [column for place, column in seen.items() if place not in numbers and place != plan.time]
        notes = (
            *checks.decimal_commas([column for place, column in seen.items() if place in numbers]),
            *checks.mixed(words),
        )
        return _Held(numbers, rows, notes)


@dataclass
class _Texts:
    """The texts of a column of categories, each with a number, in the order in which they come."""

    place: dict[str, int] = field(default_factory=dict)
    missing: set[str] = field(default_factory=set)  # those that stood for a missing value, blanks and all

    def indices(self, texts: pa.Array, missing: Container[str] = ()) -> NDArray[np.float64]:
        """Return the numbers of some cells, NaN of null and of texts that are `missing` but for blanks."""
        encoded = texts.dictionary_encode()
        found = encoded.dictionary.to_pylist()
        absent = {text for text in found if text.strip() in missing}
        self.missing |= absent
        known = [
            np.nan if text in absent else self.place.setdefault(text, len(self.place)) for text in found
        ]
        own = np.array([*known, np.nan])
        return np.asarray(own[encoded.indices.fill_null(len(known)).to_numpy(zero_copy_only=False)])


class _Reading:
    """The second reading: cells are filled in batch by batch."""

    def __init__(self, table: _Table, held: _Held, config: Config) -> None:
        numbers, rows = held.numbers, held.rows
        self.table, self.numbers, self.config = table, numbers, config
        self.notes = held.notes
        self.plan, names = table.plan, table.file.names
        self.names = names
        self.categories = {place: _Texts() for place in self.plan.features if place not in numbers}
        self.numeric = [place for place in self.plan.features if place in numbers]
        self.at = {place: index for index, place in enumerate(self.plan.features)}
        self.label, self.label_texts = np.empty(rows, np.int64), _Texts()
        self.cells = room(rows, len(self.plan.features))
        self.group: list[str] = []
        self.part: list[str] = []
        self.shared: dict[str, str] = {}  # texts of groups and parts, each once
        self.time = np.empty(rows) if self.plan.time is not None else None
        self.weight = np.empty(rows, np.float32) if self.plan.weight is not None else None
        self.slices = {place: (np.empty(rows, np.uint8), _Texts()) for place in self.plan.slices}

    def rows(self) -> Rows:
        """Return them all."""
        for start, batch in self.table.batches():
            self._fill(start, batch)
        dates = self.plan.time is not None and (
            self.plan.time not in self.numbers or self.table.file.types[self.plan.time] == "moment"
        )
        roles = Roles(
            group=self.group or None,
            time=self.time,
            dates=dates,
            part=self.part or None,
            weight=self.weight,
        )
        columns = [
            Column(
                self.names[place], tuple(self.categories[place].place) if place in self.categories else None
            )
            for place in self.plan.features
        ]
        missing = {text for category in self.categories.values() for text in category.missing}
        rows = Rows(
            self.cells,
            self.label,
            tuple(self.label_texts.place),
            tuple(columns),
            self.config.data.label,
            roles,
            (*self.plan.notes, *self.notes, *checks.padded(columns)),
            tuple(dict.fromkeys((*self.config.data.missing, *sorted(missing - {""})))),
            {
                self.names[place]: Slices(codes, (EMPTY, *texts.place))
                for place, (codes, texts) in self.slices.items()
            },
        )
        return _whole_labels(rows, self.config.data.labels)

    def _fill(self, start: int, batch: Batch) -> None:
        some = slice(start, start + len(batch[self.plan.label]))
        for place, category in self.categories.items():
            texts = parquet_file.as_texts(batch[place])
            self.cells[some, self.at[place]] = category.indices(texts, self.table.missing.texts)
        if self.numeric:
            numbers = np.stack([self._numbers(batch[place]) for place in self.numeric], axis=1)
            check(NUMBERS, numbers, [self.names[place] for place in self.numeric], start)
            self.cells[some, [self.at[place] for place in self.numeric]] = numbers + 0.0  # -0.0 becomes 0.0
        if self.plan.weight is not None and self.weight is not None:
            weights = self._numbers(batch[self.plan.weight])
            check(WEIGHTS, weights[:, np.newaxis], [self.config.data.weight], start)
            self.weight[some] = weights
        self._fill_roles(some, batch)

    def _fill_roles(self, some: slice, batch: Batch) -> None:
        labels = self._texts(batch[self.plan.label], but=self.config.data.labels)
        self.label[some] = np.nan_to_num(self.label_texts.indices(labels), nan=-1)
        if self.plan.group is not None:
            self.group += self._all(batch[self.plan.group], "data.group", some.start)
        if self.plan.part is not None:
            self.part += self._all(batch[self.plan.part], "split.column", some.start)
        for place, (codes, texts) in self.slices.items():
            indices = texts.indices(self._texts(batch[place]))
            refuse_many(self.names[place], len(texts.place))
            codes[some] = coded(indices)
        if self.plan.time is not None and self.time is not None:
            cells = batch[self.plan.time]
            if self.plan.time in self.numbers:
                times = self._numbers(cells)
            else:
                name = self.names[self.plan.time]
                dates = self._texts(cells)
                self._refuse_empty(dates.is_null(), "data.time", some.start)
                times = moments.seconds(dates, name, some.start)
            self._refuse_empty(pa.array(np.isnan(times)), "data.time", some.start)
            self.time[some] = times

    def _numbers(self, cells: pa.Array) -> NDArray[np.float64]:
        """Return cells of a column of numbers, NaN where there is none."""
        if pa.types.is_string(cells.type):
            numbers = self.table.missing.all_numbers(cells)
            if numbers is not None:
                return numbers
            cells = kinds.as_numbers(self.table.missing.present(cells))
        else:
            cells = parquet_file.as_numbers(cells)
        return np.asarray(cells.to_numpy(zero_copy_only=False), np.float64)

    def _texts(self, cells: pa.Array, but: tuple[str, ...] = ()) -> pa.Array:
        """Return cells as texts, null where they stand for a missing value, `but` for these."""
        texts = parquet_file.as_texts(cells)
        empty = self.table.missing.present(texts).is_null()
        if but:
            empty = pc.and_(empty, pc.invert(pc.is_in(texts, pa.array(but))))
        return pc.if_else(empty, pa.scalar(None, pa.string()), texts)

    def _all(self, cells: pa.Array, key: str, start: int) -> list[str]:
        texts = self._texts(cells)
        self._refuse_empty(texts.is_null(), key, start)
        encoded = texts.dictionary_encode()
        own = [self.shared.setdefault(text, text) for text in encoded.dictionary.to_pylist()]
        return [own[place] for place in encoded.indices.to_pylist()]

    def _refuse_empty(self, empty: pa.Array, key: str, start: int) -> None:
        first = pc.index(empty, True).as_py()
        if first >= 0:
            raise InputError(f"{key}: its column must not be empty, row {start + first + 1} is")


def _whole_labels(rows: Rows, given: tuple[str, ...]) -> Rows:
    """Return rows whose labels 5.0 are called 5, unless the config has them as they are."""
    if all(text in given for text in rows.label_texts):
        return rows
    numbers = [number(text) for text in rows.label_texts]
    if None in numbers:
        return rows
    names = [
        str(int(held)) if held is not None and held.is_integer() else text.strip()
        for held, text in zip(numbers, rows.label_texts, strict=True)
    ]
    texts = tuple(dict.fromkeys(names))
    place = np.array([*(texts.index(name) for name in names), -1])
    return replace(rows, labels=place[rows.labels], label_texts=texts)
