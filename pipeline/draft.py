"""A first config for rows that somebody brings: looks at them, and guesses what can be guessed."""

from __future__ import annotations

import csv
import io
import json
import os
import re
import shlex
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from pathlib import Path

import numpy as np
from pydantic import ValidationError

from pipeline import orders
from pipeline.config import BUILT_IN, MISSING, Config
from pipeline.data import checks, sources
from pipeline.data.columns import Column
from pipeline.data.parquet_file import ParquetFile
from pipeline.data.plan import File
from pipeline.data.rows import Rows
from pipeline.data.sources import TABLES
from pipeline.data.text_file import TextFile
from pipeline.errors import InputError, choice

MOST_LABELS = 50


@dataclass(frozen=True)
class Draft:
    """What is known of a model before anybody has written its config.

    Attributes:
        name: Of the model.
        source: As the config will have it.
        rows: How many.
        label: The column of the label; empty where the source is no table.
        found: The labels that occur, and how often each does.
        order: What is known of their order; None where somebody must say.
        drop: Columns that nothing can be learned from, and why.
        encoding: Of a text file.
        lists: Further keys of [data] that somebody gave.
    """

    name: str
    source: str
    rows: int
    label: str
    found: dict[str, int]
    order: orders.Order | None
    drop: dict[str, str]
    encoding: str = "utf-8"
    lists: Mapping[str, Sequence[str]] = field(default_factory=dict)

    def with_order(self, text: str) -> Draft:
        """Return the draft with the labels in the order that somebody gave, with commas between.

        A label that holds a comma stands in quotation marks, as in a CSV file. Blanks around it may be left
        out.

        Raises InputError where they are not the labels that occur.
        """
        known = {label.strip(): label for label in self.found} | {label: label for label in self.found}
        lines = csv.reader(io.StringIO(text, newline=""), skipinitialspace=True)
        given = [name.strip() for line in lines for name in line]
        labels = [known.get(name, name) for name in given]
        for label in labels:
            if label not in self.found:
                raise choice("--labels", "label is called", label, self.found)
        missing = [label for label in self.found if label not in labels]
        if missing or len(set(labels)) != len(labels):
            raise InputError(
                f"--labels must name each label once; they are {', '.join(self.found)}, "
                f"got {', '.join(labels)}"
            )
        return replace(self, order=orders.Order(tuple(labels), False, "as you gave it"))

    def toml(self) -> str:
        """Return the config, commented.

        Raises InputError where the order of the labels is not known.
        """
        if self.order is None:
            raise InputError(
                f"nothing says in which order the labels {', '.join(map(repr, self.found))} are: "
                f"put these in theirs, lowest first, as in --labels {shlex.quote(_with_commas(self.found))}"
            )
        labels = ", ".join(_text(name) for name in self.order.names)
        profile = "cyclic" if self.order.cyclic else "absolute"
        lines = [
            f"# {self.rows:,} rows of {_remark(self.source)}. docs/configuration.md has every key.",
            f"name = {_text(self.name)}  # of the registered model: models:/{self.name}@champion",
            "",
            "[data]",
            f"source = {_text(self.source)}",
            *([f"encoding = {_text(self.encoding)}"] if self.encoding != "utf-8" else []),
            *([f"label = {_text(self.label)}"] if self.label else []),
            f"labels = [{labels}]  # lowest first: {_remark(self.order.reason)}",
            *(['topology = "cyclic"  # the last label is next to the first'] if self.order.cyclic else []),
            *(f"{key} = [{', '.join(map(_text, texts))}]" for key, texts in self.lists.items()),
            *self._drop(),
            "",
            "[search]",
            'losses = ["cross_entropy", "rps"]  # without and with the order; docs/losses.md has them all',
            "trials = 4                         # each loss with two seeds",
            "",
            "[decision]",
            f'profile = "{profile}"  # a mistake costs its distance in steps',
        ]
        return "\n".join(lines) + "\n"

    def write(self, path: Path) -> None:
        """Write the config; raises InputError where it cannot be written, or a file is there."""
        beside = replace(self, source=_seen_from(path.parent, self.source))
        text = beside.toml()
        try:
            with path.open("x", encoding="utf-8") as file:
                file.write(text)
        except FileExistsError as error:
            raise InputError(f"{path} is there already; give another --output, or remove it") from error
        except OSError as error:
            raise InputError(f"{path} cannot be written: {error.strerror}") from error

    def _drop(self) -> list[str]:
        if not self.drop:
            return ["# drop = []  # columns that are not known before the label is, or that name rows"]
        reasons = "; ".join(f"{column}: {reason}" for column, reason in self.drop.items())
        return [f"drop = [{', '.join(map(_text, self.drop))}]  # {_remark(reasons)}"]


def draft(
    source: str,
    label: str = "",
    encoding: str = "utf-8",
    missing: Sequence[str] = (),
    categorical: Sequence[str] = (),
) -> Draft:
    """Look at a source, and guess.

    Args:
        source: A file, a folder, or a name that is built in.
        label: The column of the label; guessed by its name, or else the last one.
        encoding: Of a text file.
        missing: Texts that stand for a missing value, beside the usual ones.
        categorical: Columns of numbers that are names of something.

    Raises InputError where the source cannot be read, or has no labels to be learned.
    """
    _text(source)  # which refuses what no config can name
    given = {"encoding": encoding, "missing": [*MISSING, *missing], "categorical": list(categorical)}
    _config(source, given)
    drop: dict[str, str] = {}
    if source not in BUILT_IN and source.lower().endswith(TABLES):
        path = Path(source)
        file: File = (
            ParquetFile.open(path) if path.suffix.lower() == ".parquet" else TextFile.open(path, encoding)
        )
        named = [name for name in file.names if name]
        if not named:
            raise InputError(f"{path}: none of its columns has a name")
        label = label or orders.label_column(named) or named[-1]
        if isinstance(file, ParquetFile):
            drop = {
                name: f"of type {declared}"
                for name, kind, declared in zip(file.names, file.types, file.declared, strict=True)
                if kind in ("moment", "other") and name != label
            }
    elif label:
        raise InputError(f"--label names a column of a .csv or .parquet table, which {source!r} is not")
    rows = sources.read(_config(source, {**given, "label": label, "drop": list(drop)}))
    counts = np.bincount(rows.labels[rows.labels >= 0], minlength=len(rows.label_texts))
    found = dict(zip(rows.label_texts, counts.tolist(), strict=True))
    _check_labels(source, label, found, rows)
    drop |= {column: why for column, why in _to_drop(rows).items() if column not in categorical}
    stem = Path(source).name.split(".")[0]
    name = re.sub(r"[^A-Za-z0-9_-]+", "-", stem).strip("-_")[:100] or "model"
    order = orders.guess(rows.label_texts)
    more = {"missing": given["missing"]} if missing else {}
    more |= {"categorical": given["categorical"]} if categorical else {}
    return Draft(name, source, len(rows.labels), label, found, order, drop, encoding, more)


def _config(source: str, data: Mapping[str, object]) -> Config:
    try:
        return Config.model_validate({"name": "draft", "data": {"source": source, **data}})
    except ValidationError as error:
        first = error.errors()[0]
        raise InputError(f"{first['loc'][-1]}: {first['msg'].removeprefix('Value error, ')}") from error


def _seen_from(folder: Path, source: str) -> str:
    """Return a source as a config in that folder names it."""
    if source in BUILT_IN or Path(source).is_absolute():
        return source
    beside = os.path.relpath(source, folder)
    return f"./{beside}" if beside in BUILT_IN else beside


def _check_labels(source: str, label: str, found: dict[str, int], rows: Rows) -> None:
    where = f"column {label!r} of {source}" if label else source
    empty = np.flatnonzero(rows.labels < 0)
    if len(found) < 2:
        raise InputError(
            f"{where} has {len(found)} label; there must be at least two; is --label another column?"
        )
    if len(found) > MOST_LABELS:
        raise InputError(
            f"{where} has {len(found)} different values, such as {', '.join(map(repr, list(found)[:3]))}: "
            "cut it into grades first, or give another column by --label"
        )
    if len(empty):
        others = f", and so have {len(empty) - 1} more" if len(empty) > 1 else ""
        raise InputError(
            f"{where} has no label in row {empty[0] + 1}{others}; leave out rows whose label is not known, "
            "or give another column by --label"
        )


def _to_drop(rows: Rows) -> dict[str, str]:
    """Return the columns that say nothing or name rows, with the reason."""
    found = {}
    for place, column in enumerate(rows.columns):
        own = rows.cells[:, place]
        empty = np.isnan(own)
        if empty.all() or (own == own[0]).all():
            found[column.name] = "always the same"
        elif column.texts is not None and checks.names_rows(int(np.count_nonzero(~empty)), column):
            found[column.name] = "dates; data.time would split by it" if _dates(column) else "names rows"
    return found


def _dates(column: Column) -> bool:
    """Return whether texts are dates; the first twenty tell."""
    try:
        return all(datetime.fromisoformat(text) for text in (column.texts or ())[:20])
    except ValueError:
        return False


def _text(text: str) -> str:
    """Return a text as TOML has it."""
    try:
        text.encode()
    except UnicodeEncodeError as error:
        raise InputError(f"{text!r} is no Unicode text, which a config is made of; rename it") from error
    return json.dumps(text, ensure_ascii=False).replace("\x7f", "\\u007f")  # which JSON leaves as it is


def _remark(text: str) -> str:
    """Return a text as it may stand behind a `#`."""
    return re.sub(r"[\x00-\x1f\x7f\ud800-\udfff]+", " ", text)


def _with_commas(labels: Iterable[str]) -> str:
    line = io.StringIO()
    csv.writer(line, lineterminator="").writerow(labels)
    return line.getvalue()
