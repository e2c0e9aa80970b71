"""Tables of separated values, batch by batch: every cell a text."""

from __future__ import annotations

import codecs
import csv
import gzip
import io
import re
import sys
import zlib
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from functools import cached_property
from io import BufferedReader
from pathlib import Path

import pyarrow as pa
from pyarrow import csv as arrow

from pipeline.data.aside import Aside, Uneven
from pipeline.data.columns import number
from pipeline.data.parquet_file import CellType
from pipeline.errors import InputError

DELIMITERS = ",;\t|"
# Excel's first line
_NAMED_DELIMITER = re.compile(r'"?sep=([\t!#-/:-@\[-`{-~])"?(?:\r\n|\r|\n|$)', re.IGNORECASE)
_BLOCK = 2**24  # bytes; no row may be longer
_SMALL = 2**21  # where memory is short, since Arrow reads 32 blocks ahead
_SHOWN = 60  # characters of a row, in messages
_GZIP = b"\x1f\x8b"
_UTF = "is {0}, not UTF-8; save it as UTF-8, or give {{encoding}} = '{1}'"
_SIGNATURES = {
    b"PK\x03\x04": "is a ZIP archive, maybe a workbook; save it as CSV",
    b"PAR1": "is a Parquet file; name it .parquet",
    b"ARROW1": "is a Feather file; save it as Parquet or CSV",
    b"\x89HDF": "is an HDF5 file; save it as CSV or Parquet",
    b"\xd0\xcf\x11\xe0": "is an old Excel workbook; save it as CSV",
    b"BZh": "is compressed by bzip2; unpack it, or compress it by gzip",
    b"\xfd7zXZ": "is compressed by xz; unpack it, or compress it by gzip",
    b"\x28\xb5\x2f\xfd": "is compressed by Zstandard; unpack it, or compress it by gzip",
    codecs.BOM_UTF32_LE: _UTF.format("UTF-32", "utf-32"),  # begins as UTF-16 does
    codecs.BOM_UTF32_BE: _UTF.format("UTF-32", "utf-32"),
    codecs.BOM_UTF16_LE: _UTF.format("UTF-16", "utf-16"),
    codecs.BOM_UTF16_BE: _UTF.format("UTF-16", "utf-16"),
}


@dataclass(frozen=True)
class TextFile:
    """A table of texts, whose first line names the columns; `delimiter` parts the fields of a row.

    A line `sep=;` before it, as Excel has it, names the delimiter.
    """

    path: Path
    headers: tuple[str, ...]  # as they stand there
    delimiter: str
    encoding: str
    packed: bool  # by gzip, whatever the file is called
    lines_before: int = 0  # the one that names the columns
    setting: str = "data.encoding"

    @classmethod
    def open(cls, path: Path, encoding: str, setting: str = "data.encoding") -> TextFile:
        """Look at the header; `setting` is what gives the encoding, for messages.

        Raises InputError where the file is empty, is no text of that encoding, or cannot be read.
        """
        try:
            with path.open("rb") as plain:
                packed = plain.read(len(_GZIP)) == _GZIP
            with _opened(path, packed) as file:
                start = file.read(_BLOCK)
        except (OSError, EOFError, zlib.error) as error:
            reason = getattr(error, "strerror", None) or error
            raise InputError(f"data.source {str(path)!r} cannot be read: {reason}") from error
        wide = codecs.lookup(encoding).name.startswith(("utf-16", "utf-32"))
        for signature, what in _SIGNATURES.items():
            if start.startswith(signature) and not wide:
                raise InputError(f"{path}: {what.format(encoding=setting)}")
        text = codecs.getincrementaldecoder(encoding)("replace").decode(start).removeprefix("\ufeff")
        named = _NAMED_DELIMITER.match(text)
        text = text[named.end() :] if named else text
        if not text.strip():
            raise InputError(f"{path}: is empty; its first line must name the columns")
        delimiter = named[1] if named else _delimiter(text)
        lines = csv.reader(io.StringIO(text, newline=""), delimiter=delimiter, strict=True)
        try:
            headers = next(line for line in lines if line)
        except csv.Error as error:
            raise InputError(
                f"{path}: its first line names no columns ({error}); is a quotation mark never closed?"
            ) from error
        found = cls(path, tuple(headers), delimiter, encoding, packed, int(named is not None), setting)
        found._refuse_what_is_no_text()
        found._refuse_a_row()
        return found

    @cached_property
    def types(self) -> tuple[CellType, ...]:
        """Every column is one of texts."""
        return tuple("text" for _ in self.headers)

    @cached_property
    def names(self) -> tuple[str, ...]:
        """Names of the columns, without the blanks around them."""
        return tuple(header.strip() for header in self.headers)

    def batches(self, places: Sequence[int], aside: Aside | None = None) -> Iterator[list[pa.Array]]:
        """Yield some columns, by their places, some thousands of rows at a time.

        Raises InputError for a row of another number of fields than the header, and for bytes that are no
        text, naming the row. Given `aside`, such rows go there, and such bytes become `aside.MARK`.
        """
        uneven: list[arrow.InvalidRow] = []
        block = _BLOCK if aside is None else _SMALL

        def refuse(row: arrow.InvalidRow) -> str:
            if aside is None:
                uneven.append(row)
                return "error"
            aside.add(Uneven(self._number(row), row.text, sys.intern("".join(self._uneven(row)))))
            return "skip"

        texts = {self.headers[place]: pa.string() for place in places}
        # Read too, since a quotation mark that is never closed takes the rest of the file into it.
        end = self.headers[-1]
        texts.setdefault(end, pa.binary())
        rows, last = 0, b""
        try:
            with (
                self._stream(aside) as stream,
                arrow.open_csv(
                    stream,
                    # On threads the number of an uneven row would not be known.
                    arrow.ReadOptions(
                        block_size=block,
                        use_threads=False,
                        encoding=self.encoding if aside is None else "utf8",
                        skip_rows=self.lines_before,
                    ),
                    arrow.ParseOptions(
                        delimiter=self.delimiter, newlines_in_values=True, invalid_row_handler=refuse
                    ),
                    arrow.ConvertOptions(
                        strings_can_be_null=False, column_types=texts, include_columns=list(texts)
                    ),
                ) as reader,
            ):
                for batch in reader:
                    if aside is not None and not len(batch):
                        yield [batch.column(self.headers[place]) for place in places]
                    if len(batch):
                        rows, last = rows + len(batch), batch.column(end)[-1:].cast(pa.binary())[0].as_py()
                        yield [batch.column(self.headers[place]) for place in places]
        except (pa.ArrowException, UnicodeDecodeError) as error:
            if "Empty CSV file" not in str(error):  # Arrow's word for a header without a line's end
                raise InputError(f"{self.path}: {self._reason(error, uneven, block)}") from error
        except (OSError, EOFError, zlib.error) as error:
            raise InputError(f"{self.path}: cannot be read to its end: {error}") from error
        if aside is not None and aside.last is not None:
            rows += aside.count
            if aside.last.row == rows:  # the file ends in it; a quotation mark too many is not closed
                last = aside.last.text.encode() if aside.last.text.count('"') % 2 else b""
        if re.search(rb"[\r\n]", last) and not self._ends_with_a_quote():
            raise InputError(f"{self.path}: row {rows} begins a quotation mark that is never closed")

    def _refuse_what_is_no_text(self) -> None:
        header = "".join(self.headers)
        where = self._where_no_text() if "\ufffd" in header else None
        if where:
            raise InputError(f"{self.path}: {where}")
        if "\0" in header:
            raise InputError(
                f"{self.path}: its first line holds bytes that are 0, which no {self.encoding} text does; "
                f"save it as UTF-8, or give {self.setting}, such as 'utf-16'"
            )

    def _refuse_a_row(self) -> None:
        """Raise InputError where the columns have numbers for names, but for those that are counted."""
        numbers = [number(name) for name in self.names if name]
        counted = len(numbers) > 2 and any(
            numbers == list(range(first, first + len(numbers))) for first in (0, 1)
        )
        if numbers and None not in numbers and not counted:
            line = self.delimiter.join(self.headers)
            raise InputError(
                f"{self.path}: its first line looks like a row: {line[:_SHOWN]!r}; "
                "the first line must name the columns"
            )

    def _reason(self, error: Exception, uneven: Sequence[arrow.InvalidRow], block: int) -> str:
        """Say what Arrow found wrong."""
        if uneven:
            row = uneven[0]
            text = row.text if len(row.text) <= _SHOWN else f"{row.text[:_SHOWN]}…"
            what, advice = self._uneven(row)
            return f"row {self._number(row)} {what}: {text!r}{advice}"
        message = str(error)
        if "UTF8" in message or isinstance(error, UnicodeDecodeError):
            return self._where_no_text() or f"is not {self.encoding}"
        if "straddles" in message:
            return f"a row is longer than {block / 2**20:g} MiB; is a quotation mark never closed?"
        return " ".join(message.split())

    def _number(self, row: arrow.InvalidRow) -> int:
        return int(row.number) - 1 - self.lines_before

    def _uneven(self, row: arrow.InvalidRow) -> tuple[str, str]:
        """Return what is wrong with a row, and what may have led to it."""
        fields = f"{row.actual_columns} field{'s' if row.actual_columns > 1 else ''}"
        advice = ""
        if row.text.count('"') % 2:
            advice = "; is a quotation mark never closed?"
        elif row.actual_columns > row.expected_columns:
            advice = f"; a field that holds {self.delimiter!r} itself must stand in quotation marks"
        return f"has {fields}, and the header names {row.expected_columns} columns", advice

    def _stream(self, aside: Aside | None) -> AbstractContextManager[pa.NativeFile]:
        if aside is not None:
            return aside.stream(self.path, self.packed, self.encoding)
        stream: AbstractContextManager[pa.NativeFile] = pa.input_stream(
            str(self.path), compression="gzip" if self.packed else None
        )
        return stream

    def _where_no_text(self) -> str | None:
        """Say which line is no text of the encoding, if one is not."""
        decoder = codecs.getincrementaldecoder(self.encoding)()
        with _opened(self.path, self.packed) as file:
            for number, line in enumerate(file, 1):
                try:
                    decoder.decode(line)
                except UnicodeDecodeError as error:
                    return (
                        f"line {number} is not {self.encoding} (byte 0x{error.object[error.start]:02x}); "
                        f"save it as UTF-8, or give {self.setting}, such as 'latin-1'"
                    )
        return None

    def _ends_with_a_quote(self) -> bool:
        end = b""
        with _opened(self.path, self.packed) as file:
            while block := file.read(_BLOCK):
                end = block
        return end.decode(self.encoding, "replace").rstrip().endswith('"')


def _opened(path: Path, packed: bool) -> gzip.GzipFile | BufferedReader:
    return gzip.open(path) if packed else path.open("rb")


def _delimiter(text: str) -> str:
    """Return the delimiter that occurs most often in the first line, a comma where none does.

    Those between quotation marks do not count.
    """
    outside = re.sub(r'"[^"]*"', "", text[: 2**20].lstrip("\r\n"))
    counts = Counter((outside.splitlines() or [""])[0])
    return max(DELIMITERS, key=lambda delimiter: counts[delimiter])
