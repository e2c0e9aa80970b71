"""A data set: checked rows, labels as indices, the parts, and a fingerprint of it all."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from pipeline.config import Config
from pipeline.data import checks, gaps, slices, sources, splits, times
from pipeline.data import labels as ordered
from pipeline.data.columns import Column, content, text_indices
from pipeline.data.encoding import Encoding
from pipeline.data.slices import Slices
from pipeline.data.statistics import Statistics
from pipeline.data.storage import room
from pipeline.errors import InputError
from serving.manifest import Input

_CHUNK = 2**16  # rows


@dataclass(frozen=True)
class Dataset:
    """Rows that may be learned from.

    Attributes:
        cells: Raw rows: pixels `(rows, height, width, channels)`, or of a table `(rows, columns)` numbers
            and indices of texts, NaN where a cell is empty. Maybe a file on disk.
        y: `(rows,)`, index of the label, 0 … K−1.
        labels: In their order.
        parts: Which rows serve what.
        columns: Of a table; none of images.
        weights: `(rows,)`, what a row counts for in training; None where all count alike.
        missing_texts: That stand for a missing value.
        unknown_allowed: Whether categories may be asked about that training has not seen.
        notes: What somebody should know of these rows: one sentence each.
        slices: By the name of their column, what the gate looks at one by one.
    """

    cells: NDArray[np.generic]
    y: NDArray[np.int64]
    labels: ordered.Labels
    parts: splits.Parts
    columns: tuple[Column, ...] = ()
    weights: NDArray[np.float32] | None = None
    missing_texts: tuple[str, ...] = ()
    unknown_allowed: bool = True
    notes: tuple[str, ...] = ()
    slices: Mapping[str, Slices] = field(default_factory=dict)

    @cached_property
    def encoding(self) -> Encoding | None:
        """How the network takes a table, as training rows say; None for images."""
        return Encoding.fit(self.cells, self.parts.train, self.columns) if self.columns else None

    @cached_property
    def statistics(self) -> Statistics | None:
        """What the numbers of a table are in training rows; None for images."""
        if self.encoding is None:
            return None
        return Statistics.of(self.cells, self.parts.train, self.encoding.numbers)

    @cached_property
    def gaps(self) -> NDArray[np.int64]:
        """How many rows of each column are empty, `(columns,)`, whatever they serve; none of images."""
        return gaps.anywhere(self.cells) if self.columns else np.zeros(0, np.int64)

    @cached_property
    def training_gaps(self) -> NDArray[np.int64]:
        """How many of them are for training."""
        found = np.zeros(len(self.columns), np.int64)
        if self.encoding is not None and self.statistics is not None:
            found[list(self.encoding.numbers)] = self.statistics.empty
            found[list(self.encoding.categories)] = [one.empty for one in self.encoding.categories.values()]
        return found

    @cached_property
    def features(self) -> NDArray[np.generic]:
        """Rows as the network takes them: images, or `(rows, F + C)`, numbers, then codes of categories."""
        if self.encoding is None or not self.encoding.categories:
            return self.cells
        width = len(self.encoding.numbers) + len(self.encoding.categories)
        encoded = room(len(self.cells), width)
        for start in range(0, len(encoded), _CHUNK):
            some = slice(start, start + _CHUNK)
            encoded[some] = self.encoding.encode(self.cells[some], self.columns)  # type: ignore[arg-type]
        return encoded

    def raw(self, rows: NDArray[np.int64]) -> dict[str, NDArray[np.generic]]:
        """Return some rows as the artifact takes them: an array for each of `inputs`."""
        cells = self.cells[rows]
        if self.encoding is None:
            return {"image": cells}
        found: dict[str, NDArray[np.generic]] = {}
        if self.encoding.numbers:
            found["numeric"] = np.ascontiguousarray(cells[:, self.encoding.numbers])
        if self.encoding.categories:
            texts = np.empty((len(cells), len(self.encoding.categories)), object)
            for position, place in enumerate(self.encoding.categories):
                known = self.columns[place].texts or ()
                texts[:, position] = np.array([*known, ""], object)[
                    text_indices(cells[:, place], len(known))
                ]
            found["categorical"] = texts
        return found

    def slice_values(self, name: str, rows: NDArray[np.int64]) -> NDArray[np.str_]:
        """Return what a column of `gate.slices` holds in some rows, `(rows,)`: "" of a gap."""
        return self.slices[name].values(rows)

    @cached_property
    def inputs(self) -> tuple[Input, ...]:
        """The graph's inputs: names, types, and what was seen in training."""
        if self.encoding is None or self.statistics is None:
            seen = self.cells[self.parts.train]
            return (
                Input(
                    name="image",
                    dtype="uint8" if seen.dtype == np.uint8 else "float32",
                    shape=seen.shape[1:],
                    ranges=((float(seen.min()), float(seen.max())),),
                ),
            )
        found = []
        if self.encoding.numbers:
            names = np.array([self.columns[place].name for place in self.encoding.numbers], object)
            found.append(
                Input(
                    name="numeric",
                    dtype="float32",
                    shape=(len(names),),
                    features=tuple(names),
                    ranges=tuple(
                        zip(self.statistics.low.tolist(), self.statistics.high.tolist(), strict=True)
                    ),
                    missing=tuple(names[self.gaps[list(self.encoding.numbers)] > 0]),
                    missing_texts=self.missing_texts,
                )
            )
        categories = self.encoding.categories.values()
        if categories:
            found.append(
                Input(
                    name="categorical",
                    dtype="string",
                    shape=(len(categories),),
                    features=tuple(one.name for one in categories),
                    ranges=(),
                    categories=tuple(one.categories for one in categories),
                    missing=tuple(
                        self.columns[place].name for place in self.encoding.categories if self.gaps[place]
                    ),
                    missing_texts=self.missing_texts,
                    unknown_allowed=self.unknown_allowed,
                )
            )
        return tuple(found)

    @cached_property
    def fingerprint(self) -> str:
        """SHA-256 of rows, labels, split and slices: the same wherever the same is learned."""
        digest = hashlib.sha256()
        shape = (self.cells.shape, str(self.cells.dtype), self.labels)
        digest.update(repr(shape if not self.columns else (*shape, self.columns)).encode())
        for start in range(0, len(self.cells), _CHUNK):
            digest.update(np.ascontiguousarray(self.cells[start : start + _CHUNK]).tobytes())
        digest.update(self.y.tobytes())
        if self.weights is not None:
            digest.update(self.weights.tobytes())
        for rows in vars(self.parts).values():
            digest.update(rows.tobytes() + b"|")
        for name, sliced in sorted(self.slices.items()):
            digest.update(repr((name, sliced.texts)).encode() + sliced.codes.tobytes())
        return digest.hexdigest()

    def refitting(self) -> Dataset:
        """Return the same rows, of which those for validation are for training as well."""
        train = np.sort(np.concatenate([self.parts.train, self.parts.validation]))
        return replace(self, parts=replace(self.parts, train=train))


def load(config: Config) -> Dataset:
    """Read, check and split the data of a config.

    Raises InputError with one sentence that says what is wrong and in which row.
    """
    rows = sources.read(config)
    labels, y = ordered.order(rows, config.data)
    sliced = slices.of(config.gate.slices, rows.cells, rows.columns, rows.slices, config.data.source)
    held = rows.cells if rows.content is None else rows.content
    if rows.columns:
        held = content(rows.cells, rows.columns)  # type: ignore[arg-type]
    parts = splits.part(held, config.split, rows.roles)
    absent = np.setdiff1d(np.arange(labels.count), y[parts.train])
    if len(absent):
        raise InputError(
            f"{len(absent)} of {labels.count} labels have no training row, "
            f"such as {labels.names[absent[0]]!r}; every label must occur"
        )
    _check_weights(rows.roles.weight, y, labels, parts.train)
    by_time = times.note(rows.roles, config.split)
    found = checks.notes(held, rows.cells, rows.columns, y, labels, parts)
    data = Dataset(
        rows.cells,
        y,
        labels,
        parts,
        rows.columns,
        rows.roles.weight,
        rows.missing_texts,
        config.data.unknown == "accept",
        (*rows.notes, *([by_time] if by_time else []), *found),
        sliced,
    )
    unlearned = gaps.note(data.columns, data.gaps, data.training_gaps)
    return replace(data, notes=(*data.notes, unlearned)) if unlearned else data


def _check_weights(
    weights: NDArray[np.float32] | None,
    y: NDArray[np.int64],
    labels: ordered.Labels,
    train: NDArray[np.int64],
) -> None:
    """Raise InputError where the training rows of a label count for nothing at all."""
    if weights is None:
        return
    sums = np.bincount(y[train], weights[train], minlength=labels.count)
    for label in np.flatnonzero(~(sums > 0)):
        raise InputError(
            f"data.weight: all training rows of label {labels.names[label]!r} have the weight 0; "
            "some must count for more"
        )
