"""Fields of protobuf messages as they lie on the wire, made from arrays.

A message object would take each number through Python, which takes as many times longer as there are rows.
See the encoding guide of Protocol Buffers; what a `Field` returns is put one after the other, in any order.
"""

from __future__ import annotations

import struct
from collections.abc import Sequence

import numpy as np
from google.protobuf.message import Message
from numpy.typing import NDArray

# The wire type of a field, in the low three bits of its tag.
_VARINT, _64_BIT, _LENGTH = 0, 1, 2


ONE_BYTE = 0x80
"""Numbers below it take a byte each."""


def varint(number: int) -> bytes:
    """Return a number that is not negative in seven bits a byte, the lowest first."""
    if number < ONE_BYTE:
        return _BYTES[number]
    groups = bytearray()
    while number > 0x7F:
        groups.append(number & 0x7F | 0x80)
        number >>= 7
    groups.append(number)
    return bytes(groups)


_BYTES = [bytes([number]) for number in range(ONE_BYTE)]


class Field:
    """One field of a message, which writes what it holds."""

    def __init__(self, message: type[Message], name: str) -> None:
        self._number = message.DESCRIPTOR.fields_by_name[name].number
        self._tag = varint(self._number << 3 | _LENGTH)

    def integer(self, number: int) -> bytes:
        """Return an integer that is not negative."""
        return varint(self._number << 3 | _VARINT) + varint(number)

    def double(self, number: float) -> bytes:
        """Return a double."""
        return varint(self._number << 3 | _64_BIT) + struct.pack("<d", number)

    def head(self, size: int) -> bytes:
        """Return what comes before so many bytes: of a message, a text in UTF-8, or packed numbers."""
        return self._tag + varint(size)

    def nested(self, content: bytes) -> bytes:
        """Return a message, a text in UTF-8, or packed numbers."""
        return self.head(len(content)) + content


def nested_heads(
    outer: Field, constant: bytes, fields: Sequence[Field], sizes: Sequence[int]
) -> list[bytes]:
    """Return what comes before each of the fields of a message, whose contents are of such sizes.

    The message is in the field `outer` and begins with `constant`.
    """
    heads = [field.head(size) for field, size in zip(fields, sizes, strict=True)]
    heads[0] = constant + heads[0]
    heads[0] = outer.head(sum(map(len, heads)) + sum(sizes)) + heads[0]
    return heads


def packed(numbers: NDArray[np.integer], below: int) -> bytes:
    """Return the content of a `repeated int32` of numbers from 0 to `below` − 1."""
    if below <= ONE_BYTE:
        return numbers.astype(np.uint8).tobytes()
    return b"".join(map(varint, numbers.tolist()))
