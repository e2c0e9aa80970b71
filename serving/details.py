"""What a refusal tells beside its text: the field that is wrong, or when there may be room.

These are messages of google.rpc, of which a few fields are enough. They have a descriptor pool of their
own, so that it does not matter whether a caller has the package googleapis-common-protos.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import cache
from typing import Any

from google.protobuf import text_format
from google.protobuf.descriptor_pb2 import FileDescriptorProto
from google.protobuf.descriptor_pool import DescriptorPool
from google.protobuf.message import DecodeError
from google.protobuf.message_factory import GetMessageClass

KEY = "grpc-status-details-bin"
"""The trailer that has them."""

# As in google/rpc/status.proto and error_details.proto; Detail is google.protobuf.Any, Delay its Duration.
_FILE = """
name: "serving/details.proto" package: "google.rpc" syntax: "proto3"
message_type { name: "Detail"
  field { name: "type_url" number: 1 label: LABEL_OPTIONAL type: TYPE_STRING }
  field { name: "value" number: 2 label: LABEL_OPTIONAL type: TYPE_BYTES } }
message_type { name: "Status"
  field { name: "details" number: 3 label: LABEL_REPEATED
          type: TYPE_MESSAGE type_name: ".google.rpc.Detail" } }
message_type { name: "FieldViolation"
  field { name: "field" number: 1 label: LABEL_OPTIONAL type: TYPE_STRING }
  field { name: "description" number: 2 label: LABEL_OPTIONAL type: TYPE_STRING } }
message_type { name: "BadRequest"
  field { name: "field_violations" number: 1 label: LABEL_REPEATED
          type: TYPE_MESSAGE type_name: ".google.rpc.FieldViolation" } }
message_type { name: "Delay"
  field { name: "seconds" number: 1 label: LABEL_OPTIONAL type: TYPE_INT64 }
  field { name: "nanos" number: 2 label: LABEL_OPTIONAL type: TYPE_INT32 } }
message_type { name: "RetryInfo"
  field { name: "retry_delay" number: 1 label: LABEL_OPTIONAL
          type: TYPE_MESSAGE type_name: ".google.rpc.Delay" } }
"""


def violation(packed: bytes) -> tuple[str, str] | None:
    """Return the field that a request has wrong, and what must hold; None where nothing is said of it."""
    for refused in _found(packed, "BadRequest"):
        for first in refused.field_violations:  # the service stops at the first
            return first.field, first.description
    return None


def retry_after(packed: bytes) -> float | None:
    """Return after how many seconds there may be room; None where nothing is said of it.

    So it is where gRPC itself has refused, such as too large a message.
    """
    for info in _found(packed, "RetryInfo"):
        return max(0.0, float(info.retry_delay.seconds + info.retry_delay.nanos / 1e9))
    return None


def _found(packed: bytes, name: str) -> Iterator[Any]:
    try:
        for detail in _class("Status").FromString(packed).details:
            if detail.type_url.rpartition("/")[2] == f"google.rpc.{name}":
                yield _class(name).FromString(detail.value)
    except DecodeError:  # of a proxy's making; the status and its text are told all the same
        return


@cache
def _pool() -> Any:
    pool: Any = DescriptorPool()
    pool.AddSerializedFile(text_format.Parse(_FILE, FileDescriptorProto()).SerializeToString())
    return pool


def _class(name: str) -> Any:
    return GetMessageClass(_pool().FindMessageTypeByName(f"google.rpc.{name}"))
