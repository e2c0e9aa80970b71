"""Which column of a table has which role."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from itertools import pairwise

from pipeline.config import Config
from pipeline.data.columns import number
from pipeline.data.parquet_file import ParquetFile
from pipeline.data.text_file import TextFile
from pipeline.errors import InputError, nearest

File = TextFile | ParquetFile


@dataclass(frozen=True)
class Plan:
    """Places of columns in a file.

    `features` in the file's order; of the others None where there is no such column. `slices` are those of
    `gate.slices` that are no features.
    """

    features: tuple[int, ...]
    label: int
    group: int | None
    time: int | None
    weight: int | None
    part: int | None
    slices: tuple[int, ...] = ()
    notes: tuple[str, ...] = ()

    @property
    def places(self) -> tuple[int, ...]:
        """All columns that are read, each once."""
        others = (self.label, self.group, self.time, self.weight, self.part)
        named = (place for place in others if place is not None)
        return tuple(dict.fromkeys((*self.features, *named, *self.slices)))


def plan(file: File, config: Config) -> Plan:
    """Return where what the config names is.

    Raises InputError where a column is not there, comes twice, or cannot be what it should be.
    """
    at = _places(file)
    data = config.data

    def find(key: str, name: str) -> int | None:
        if not name:
            return None
        if name not in at:
            first_line = ", by its first line" if isinstance(file, TextFile) else ""
            raise InputError(
                f"{key}: {file.path} has no column {name!r}{nearest(name, at)} "
                f"(its columns{first_line}: {_listed(list(at))})"
            )
        return at[name]

    label = find("data.label", data.label)
    if label is None:
        raise InputError(
            f"data.label is missing: it names the column of {file.path} that holds the label, "
            f"one of {_listed(list(at))}"
        )
    dropped = {find("data.drop", name) for name in data.drop}
    group, time = find("data.group", data.group), find("data.time", data.time)
    weight, part = find("data.weight", data.weight), find("split.column", config.split.column)
    if data.features:
        features = sorted(
            place for name in data.features if (place := find("data.features", name)) is not None
        )
    else:
        other = {label, group, time, weight, part, *dropped}
        features = [place for place in at.values() if place not in other]
    if not features:
        raise InputError(
            f"{file.path} has no columns to learn from beside those of other roles: {_listed(list(at))}"
        )
    categorical = {find("data.categorical", name) for name in data.categorical}
    if part is not None:
        for key, others in (
            ("data.features", set(features)),
            ("data.label", {label}),
            ("data.weight", {weight}),
            ("data.drop", dropped),
            ("data.categorical", categorical),
        ):
            if part in others:
                raise InputError(f"column {file.names[part]!r} cannot be both {key} and split.column")
    sliced = {find("gate.slices", name): name for name in config.gate.slices}
    if label in sliced:
        raise InputError(f"gate.slices: {sliced[label]!r} is the label, and each label is a slice already")
    unlearned = tuple(place for place in sliced if place is not None and place not in features)
    found = Plan(tuple(features), label, group, time, weight, part, unlearned, _notes(file))
    if isinstance(file, ParquetFile):
        _refuse_types(file, found)
    return found


def _refuse_types(file: ParquetFile, plan: Plan) -> None:
    """Raise InputError where a column has a type that its role cannot do with."""
    for place in plan.places:
        kind = file.types[place]
        what = f"column {file.names[place]!r} is of type {file.declared[place]}, which"
        if place in plan.features and kind in ("moment", "other"):
            raise InputError(
                f"{what} nothing can be learned from as it is; name it in data.drop"
                + (", or as data.time to split rows by it" if kind == "moment" else "")
            )
        if kind == "other" or (place == plan.weight and kind == "moment"):
            wanted = "numbers" if place == plan.weight else "numbers, texts or dates"
            raise InputError(f"{what} its role does not allow; it must be of {wanted}")


def _places(file: File) -> dict[str, int]:
    """Return the place of each column that has a name."""
    twice = [name for name, count in Counter(file.names).items() if count > 1 and name]
    if twice:
        raise InputError(
            f"{file.path}: column {twice[0]!r} comes twice; every column needs a name of its own"
        )
    found = {name: place for place, name in enumerate(file.names) if name}
    if not found:
        raise InputError(f"{file.path}: none of its columns has a name")
    return found


def _notes(file: File) -> tuple[str, ...]:
    found = []
    unnamed = [str(place + 1) for place, name in enumerate(file.names) if not name]
    if unnamed:
        which = (
            f"column {unnamed[0]} has no name and is"
            if len(unnamed) == 1
            else f"columns {', '.join(unnamed)} have no name and are"
        )
        found.append(f"{which} left out")
    named = [name for name in file.names if name]
    numbers = [held for name in named if (held := number(name)) is not None]
    falls = any(first >= second for first, second in pairwise(numbers))  # unlike wavelengths and counts
    if isinstance(file, TextFile) and 2 * len(numbers) > len(named) and falls:
        found.append(
            f"columns are called {_listed(named, 5)}, which looks like a row; the first line must name them"
        )
    return tuple(found)


def _listed(names: list[str], most: int = 12) -> str:
    more = f" and {len(names) - most} more" if len(names) > most else ""
    shown = [name if len(name) <= 60 else f"{name[:60]}…" for name in names[:most]]
    return ", ".join(map(repr, shown)) + more
