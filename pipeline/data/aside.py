"""Rows of a text file that are set aside, where training would refuse the file."""

from __future__ import annotations

import codecs
import gzip
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import pyarrow as pa

MARK = "\ufdd0"
"""In place of bytes that are no text; Unicode keeps it for such uses, and no text holds it."""

_ERRORS = "ordinal-mark"


def _marking(error: UnicodeError) -> tuple[str, int]:
    if not isinstance(error, UnicodeDecodeError):
        raise error
    return MARK, error.end


codecs.register_error(_ERRORS, _marking)


def marked(content: bytes) -> str:
    r"""Return what should be UTF-8 as a text, with a mark for each piece that is not.

    >>> marked(b"caf\xe9 noir") == f"caf{MARK} noir"
    True
    """
    return content.decode("utf-8", _ERRORS)


@dataclass(frozen=True)
class Uneven:
    """A row with another number of fields than the header, as it stands there.

    `row` counts from 1, all rows that are not empty.
    """

    row: int
    text: str
    reason: str


@dataclass
class Aside:
    """What a reading sets aside in place of an error, and how far it has come.

    Attributes:
        rows: The uneven ones, which are left out of batches. When a batch is there, so are all before
            its last row. Who reads may take them out.
        count: How many there were.
        last: The last of them.
        share: Of the file's bytes, those that were read.
    """

    rows: list[Uneven] = field(default_factory=list)
    count: int = 0
    last: Uneven | None = None
    share: float = 0.0

    def add(self, row: Uneven) -> None:
        """Set one aside."""
        self.rows.append(row)
        self.last = row
        self.count += 1

    @contextmanager
    def stream(self, path: Path, packed: bool, encoding: str) -> Iterator[pa.PythonFile]:
        """Open a file as UTF-8, with marks where it is no text of its encoding."""
        size = max(1, path.stat().st_size)
        with path.open("rb") as plain, gzip.open(plain) if packed else plain as file:

            def read(many: int) -> bytes:
                block = file.read(many)
                self.share = min(1.0, plain.tell() / size) if block else 1.0
                return block

            yield pa.PythonFile(_Marked(read, encoding), mode="r")


class _Marked:
    """A file as Arrow reads it."""

    closed = False

    def __init__(self, read: Callable[[int], bytes], encoding: str) -> None:
        self._read, self._left = read, b""
        self._decoder = codecs.getincrementaldecoder(encoding)(_ERRORS)
        self._holds_ascii = codecs.lookup(encoding).name in ("utf-8", "ascii", "iso8859-1", "cp1252")

    def read(self, size: int) -> bytes:
        """Return at most so many bytes of UTF-8; none at the file's end."""
        while not self._left:
            block = self._read(size)
            # Most files are nothing else, and to look costs nothing.
            if block and self._holds_ascii and not self._decoder.getstate()[0] and block.isascii():
                return block
            self._left = self._decoder.decode(block, final=not block).encode()
            if not block:
                break
        found, self._left = self._left[:size], self._left[size:]
        return found

    def close(self) -> None:
        """Leave the file to who has opened it."""
