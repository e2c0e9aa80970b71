"""A call that failed becomes an error of the tree in errors.py."""

from __future__ import annotations

import re
from typing import Any

import grpc

from serving import details, errors

_TOO_LARGE = re.compile(r"larger than max \((\d+) vs\. (\d+)\)")

# What these say is the service's own text, which needs nothing beside it.
_PLAIN: dict[grpc.StatusCode, type[errors.OrdinalError]] = {
    kind.status: kind
    for kind in (errors.ModelNotFound, errors.Unauthenticated, errors.Forbidden, errors.Unimplemented)
}


def failure(error: Any, address: str) -> errors.OrdinalError:
    """Return what a `grpc.RpcError` stands for, be it of a blocking call or an asynchronous one."""
    code, text = error.code(), error.details() or ""
    packed = dict(error.trailing_metadata() or ()).get(details.KEY, b"")
    if code in _PLAIN:
        return _PLAIN[code](text)
    match code:
        case grpc.StatusCode.INVALID_ARGUMENT:
            return errors.InvalidRequest(*(details.violation(packed) or ("", text)))
        case grpc.StatusCode.UNAVAILABLE:
            return errors.Unavailable(f"{address}: {text}")
        case grpc.StatusCode.DEADLINE_EXCEEDED:
            return errors.DeadlineExceeded(f"{code.name}: {text}")
        case grpc.StatusCode.RESOURCE_EXHAUSTED if (after := details.retry_after(packed)) is not None:
            return errors.Exhausted(f"{code.name}: {text}", after)
        case grpc.StatusCode.RESOURCE_EXHAUSTED if (sizes := _TOO_LARGE.search(text)) is not None:
            size, most = map(int, sizes.groups())
            return errors.InvalidRequest(
                "",
                f"a request to {address} may have {most:,} bytes, this one has {size:,}; send fewer rows "
                "at a time, on a stream where they are many",
            )
        case _:
            return errors.OrdinalError(f"{code.name}: {text}")
