"""Good messages made bad: bits that flip, parts that are missing, repeated, or of another message.

Half of the changes know nothing of Protocol Buffers; the others set fields of the message to what a
thoughtless or an evil caller would send, so that checks behind the parser are reached too.
"""

from __future__ import annotations

import random as stdlib
from collections.abc import Callable, Sequence
from typing import Any

from google.protobuf.descriptor import FieldDescriptor
from google.protobuf.message import Message

_LARGEST = 2**20  # bytes of a mutated message
_NUMBERS: tuple[float, ...] = (
    *(0.0, -0.0, 1.0, -1.0, 1e-45, 1e30, -1e30, 3.5e38),
    *(float("nan"), float("inf"), float("-inf")),
)
_INTEGERS = (0, 1, -1, 2, 127, 128, 2**31 - 1, -(2**31))
_TEXTS = ("", "wine", "bench", "\x00", "a" * 5000, "ÿ€😀", "../../etc/passwd", "%s%n", "'; --", "champion")
_SIGNED = frozenset({FieldDescriptor.CPPTYPE_INT32, FieldDescriptor.CPPTYPE_INT64})
_UNSIGNED = frozenset({FieldDescriptor.CPPTYPE_UINT32, FieldDescriptor.CPPTYPE_UINT64})
_REAL = frozenset({FieldDescriptor.CPPTYPE_FLOAT, FieldDescriptor.CPPTYPE_DOUBLE})


class Mutations:
    """Mutations of the messages of one method; the same seed makes the same ones."""

    def __init__(self, kind: type[Message], good: Sequence[bytes], seed: int) -> None:
        self._kind = kind
        self._good = good
        self._random = stdlib.Random(seed)
        self._blind: tuple[Callable[[bytearray], bytearray], ...] = (
            self._flip,
            self._cut,
            self._leave_out,
            self._insert,
            self._repeat,
            self._splice,
            self._overlong,
        )

    def next(self) -> bytes:
        """Return a message that differs from a good one in one to four ways."""
        content = self._random.choice(self._good)
        if self._random.random() < 0.5:
            content = self._with_other_fields(content)
        if self._random.random() < 0.7:
            bytes_ = bytearray(content)
            for _ in range(self._random.randint(1, 3)):
                bytes_ = self._random.choice(self._blind)(bytes_)
            content = bytes(bytes_)
        return content[:_LARGEST]

    def _place(self, content: bytearray) -> int:
        return self._random.randrange(len(content) + 1)

    def _flip(self, content: bytearray) -> bytearray:
        for _ in range(self._random.randint(1, 8)):
            if content:
                content[self._random.randrange(len(content))] ^= 1 << self._random.randrange(8)
        return content

    def _cut(self, content: bytearray) -> bytearray:
        return content[: self._place(content)]

    def _leave_out(self, content: bytearray) -> bytearray:
        start = self._place(content)
        return content[:start] + content[start + self._random.randint(1, 16) :]

    def _insert(self, content: bytearray) -> bytearray:
        start = self._place(content)
        return content[:start] + self._random.randbytes(self._random.randint(1, 16)) + content[start:]

    def _repeat(self, content: bytearray) -> bytearray:
        start = self._place(content)
        part = content[start : start + self._random.randint(1, 64)]
        return content[:start] + part * self._random.choice((2, 3, 100)) + content[start:]

    def _splice(self, content: bytearray) -> bytearray:
        other = self._random.choice(self._good)
        return content[: self._place(content)] + other[self._random.randrange(len(other) + 1) :]

    def _overlong(self, content: bytearray) -> bytearray:
        """Write a number of many bytes somewhere, as a length or a tag may be one."""
        start = self._place(content)
        number = self._random.choice(
            (b"\xff" * 9 + b"\x01", b"\x80" * 10, b"\xff\xff\xff\xff\x07", b"\x00")
        )
        return content[:start] + number + content[start + 1 :]

    def _with_other_fields(self, content: bytes) -> bytes:
        message = self._kind.FromString(content)
        for _ in range(self._random.randint(1, 3)):
            self._change(message)
        return message.SerializeToString()

    def _change(self, message: Any) -> None:
        """Set, clear, or go down into, one of the fields."""
        field = self._random.choice(message.DESCRIPTOR.fields or [None])
        if field is None:
            return
        if self._random.random() < 0.15:
            message.ClearField(field.name)
        elif field.message_type is not None and field.message_type.GetOptions().map_entry:
            self._change_entry(getattr(message, field.name))
        elif field.message_type is not None:
            self._change_message(message, field)
        elif field.is_repeated:
            values = getattr(message, field.name)
            if values and self._random.random() < 0.7:
                values[self._random.randrange(len(values))] = self._value(field)
            else:
                values.extend([self._value(field)] * self._random.choice((1, 2, 1000)))
        else:
            setattr(message, field.name, self._value(field))

    def _change_message(self, message: Any, field: FieldDescriptor) -> None:
        inner = getattr(message, field.name)
        if not field.is_repeated:
            inner.SetInParent()
            self._change(inner)
        elif inner and self._random.random() < 0.8:
            self._change(self._random.choice(inner))
        else:
            self._change(inner.add())

    def _change_entry(self, entries: Any) -> None:
        key = self._random.choice((*_TEXTS, "cost_profile", "coverage"))
        self._change(entries[key])

    def _value(self, field: FieldDescriptor) -> Any:
        match field.cpp_type:
            case kind if kind in _SIGNED:
                return self._random.choice(_INTEGERS)
            case kind if kind in _UNSIGNED:
                return abs(self._random.choice(_INTEGERS[:-1]))
            case kind if kind in _REAL:
                value = self._random.choice(_NUMBERS)
                return value if abs(value) < 3e38 or value != value else value * 2
            case FieldDescriptor.CPPTYPE_BOOL:
                return self._random.random() < 0.5
            case FieldDescriptor.CPPTYPE_ENUM:
                return self._random.choice((0, 1, 2, 99))
            case _ if field.type == FieldDescriptor.TYPE_BYTES:
                return self._random.randbytes(self._random.choice((0, 1, 80, 4096)))
            case _:
                return self._random.choice(_TEXTS)
