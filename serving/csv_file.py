"""Tables of separated values, read as training reads them: every cell a text."""

from __future__ import annotations

import codecs
import csv
import gzip
import io
import re
import zlib
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from serving.quote import quoted

ENDINGS = (".csv", ".tsv", ".csv.gz", ".tsv.gz")
"""Of the files' names, in any case of letters. What a file is packed by and parted by, its content says."""

DELIMITERS = ",;\t|"

_GZIP = b"\x1f\x8b"
_SEPARATOR = re.compile(r'"?sep=([\t!#-/:-@\[-`{-~])"?(\r\n|\r|\n|$)', re.IGNORECASE)
_NOT_UTF8 = re.compile("[\udc80-\udcff]")
_UTF = "is {0}, not UTF-8; save it as UTF-8, or give --encoding {1}"
_SIGNATURES = {
    b"PK\x03\x04": "is a ZIP archive, maybe a workbook; save it as CSV",
    b"PAR1": "is a Parquet file, which is not read here; save it as CSV",
    b"ARROW1": "is a Feather file; save it as CSV",
    b"\x89HDF": "is an HDF5 file; save it as CSV",
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
class CsvFile:
    """A table of texts, each row with a field for each name.

    Attributes:
        names: Of the columns, as the first line has them.
        rows: All but that line, and no empty ones.
        delimiter: What parts the fields of a row.
    """

    names: tuple[str, ...]
    rows: tuple[list[str], ...]
    delimiter: str
    _fault: str  # what is to be said of a cell that is no text of the encoding

    def column(self, place: int) -> list[str]:
        """Return the cells of a column.

        Raises ValueError where one is no text of the file's encoding.
        """
        cells = [row[place] for row in self.rows]
        if self._fault and any(map(_NOT_UTF8.search, cells)):
            raise ValueError(self._fault)
        return cells


def read(path: Path, encoding: str) -> CsvFile:
    """Read a file, packed by gzip or not.

    The delimiter is that of `DELIMITERS` that occurs most often in the first line outside quotation marks,
    or the one that a line `sep=;` before it names.

    Raises OSError where the file cannot be read, and ValueError where it holds no table of that encoding.
    """
    content = _unpacked(path)
    for signature, what in _SIGNATURES.items():
        if content.startswith(signature) and not _is_wide(encoding):
            raise ValueError(what)
    text, fault = _decoded(content, encoding)
    if not text.strip():
        raise ValueError("is empty; its first line must name the columns")
    named = _SEPARATOR.match(text)
    delimiter = named[1] if named else _most_frequent(text)
    lines = io.StringIO(text[named.end() :] if named else text, newline="")
    with _long_fields():
        names, *rows = [line for line in csv.reader(lines, delimiter=delimiter) if line] or [[]]
    _check_names(names, encoding, fault)
    _check_rows(rows, names, delimiter)
    if rows and re.search(r"[\r\n]", rows[-1][-1]) and not text.rstrip().endswith('"'):
        raise ValueError(f"row {len(rows) - 1} begins a quotation mark that is never closed")
    return CsvFile(tuple(names), tuple(rows), delimiter, fault)


def decoded(content: bytes, encoding: str) -> str:
    """Return the text that bytes are, without a byte order mark.

    Raises ValueError, naming the line, where they are no text of that encoding.
    """
    try:
        return content.decode(encoding).removeprefix("\ufeff")
    except UnicodeDecodeError as error:
        line = content.count(b"\n", 0, error.start) + 1
        raise ValueError(
            f"line {line} is not {encoding} (byte 0x{error.object[error.start]:02x}); save it as UTF-8, or "
            "give --encoding, such as latin-1"
        ) from error
    except UnicodeError as error:
        raise ValueError(f"is not {encoding}: {error}") from error


def check_encoding(encoding: str) -> None:
    """Raise ValueError where no encoding of texts has that name."""
    try:
        "".encode(encoding)  # which looks for codecs of texts alone, not for base64
    except (LookupError, ValueError) as error:
        raise ValueError(
            "--encoding must name one that Python knows, such as utf-8, latin-1 or cp1252, got "
            f"{quoted(encoding)}"
        ) from error


def _unpacked(path: Path) -> bytes:
    content = path.read_bytes()
    if not content.startswith(_GZIP):
        return content
    try:
        return gzip.decompress(content)
    except (OSError, EOFError, zlib.error) as error:
        raise ValueError(f"cannot be unpacked by gzip to its end: {error}") from error


def _decoded(content: bytes, encoding: str) -> tuple[str, str]:
    """Return a text, and what is to be said of cells that are none.

    As in training, bytes that are no UTF-8 may stand in columns that nobody asks for.
    """
    try:
        return decoded(content, encoding), ""
    except ValueError as error:
        if codecs.lookup(encoding).name != "utf-8":
            raise
        return content.decode("utf-8", "surrogateescape").removeprefix("\ufeff"), str(error)


def _is_wide(encoding: str) -> bool:
    return codecs.lookup(encoding).name.startswith(("utf-16", "utf-32"))


def _most_frequent(text: str) -> str:
    """Return the delimiter that occurs most often in the first line, a comma where none does."""
    outside = re.sub(r'"[^"]*"', "", text[: 2**20].lstrip("\r\n"))
    counts = Counter((outside.splitlines() or [""])[0])
    return max(DELIMITERS, key=lambda delimiter: counts[delimiter])


@contextmanager
def _long_fields() -> Iterator[None]:
    """Let a field be as long as in training; the csv module's own limit is 128 KiB."""
    before = csv.field_size_limit(2**24)
    try:
        yield
    finally:
        csv.field_size_limit(before)


def _check_names(names: list[str], encoding: str, fault: str) -> None:
    first_line = "".join(names)
    if fault and _NOT_UTF8.search(first_line):
        raise ValueError(fault)
    if "\0" in first_line:
        raise ValueError(
            f"its first line holds bytes that are 0, which no {encoding} text does; save it as UTF-8, or "
            "give --encoding, such as utf-16"
        )


def _check_rows(rows: list[list[str]], names: list[str], delimiter: str) -> None:
    for index, row in enumerate(rows):
        if len(row) == len(names):
            continue
        advice = ""
        if any("\n" in field or "\r" in field for field in row):
            advice = "; is a quotation mark never closed?"
        elif len(row) > len(names):
            advice = f"; a field that holds {delimiter!r} itself must stand in quotation marks"
        raise ValueError(
            f"row {index} must have a field for each of {len(names)} columns, it has {len(row)}{advice}"
        )
