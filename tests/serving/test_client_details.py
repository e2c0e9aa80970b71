"""Details of a refusal are read as google.rpc, which the client does without, has written them."""

import pytest
from google.protobuf.any_pb2 import Any
from google.rpc import error_details_pb2 as rpc
from google.rpc import status_pb2

from serving.details import retry_after, violation


def packed(*details):
    """A status with these details."""
    status = status_pb2.Status(code=3, message="no")
    for one in details:
        status.details.add().Pack(one)
    return status.SerializeToString()


DEBUG = rpc.DebugInfo(detail="of somebody else")


@pytest.mark.parametrize(("seconds", "nanos"), [(0, 0), (0, 250_000_000), (5, 1_000_000), (90, 0), (-3, 0)])
def test_a_delay_is_read(seconds, nanos):
    """In seconds, never negative, whatever stands beside it."""
    info = rpc.RetryInfo()
    info.retry_delay.seconds, info.retry_delay.nanos = seconds, nanos
    for status in (packed(info), packed(DEBUG, info)):
        assert retry_after(status) == max(0.0, seconds + nanos / 1e9)
        assert violation(status) is None


def test_a_violation_is_read():
    """The first, for the service stops at it."""
    found = [rpc.BadRequest.FieldViolation(field=f"β[{n}]", description=f"must {n}") for n in (1, 2)]
    status = packed(DEBUG, rpc.BadRequest(field_violations=found))
    assert violation(status) == ("β[1]", "must 1")
    assert retry_after(status) is None


@pytest.mark.parametrize(
    "status",
    [
        b"",
        b"\xff\xff",
        packed(),
        packed(DEBUG),
        packed(rpc.BadRequest()),
        status_pb2.Status(
            details=[
                Any(type_url=f"type.googleapis.com/google.rpc.{name}", value=b"\xff")
                for name in ("BadRequest", "RetryInfo")
            ]
        ).SerializeToString(),
    ],
)
def test_what_says_nothing_is_nothing(status):
    """No details, others, or bytes that are none: the status itself is told all the same."""
    assert violation(status) is None
    assert retry_after(status) is None
