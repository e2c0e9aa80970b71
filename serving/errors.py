"""What can go wrong in serving; each class owns its gRPC status.

OrdinalError
├── InvalidRequest    the request is wrong: which field, what must hold, what came
├── ModelNotFound     no such model or version is served
├── Unauthenticated   no token, or none that is known
├── Forbidden         the token does not allow that
├── Unavailable       loading, draining, or no server there
├── Exhausted         more requests than can be answered
├── DeadlineExceeded  the caller's time was over before the work began
├── Unimplemented     a part of the contract that this service does not do
├── ArtifactError     a file may not be served
├── DeviceError       the device asked for cannot be used
├── RegistryError     a `models:/` address cannot be resolved
├── SettingError      settings, or the files that they name, cannot be used
└── AddressError      the address to listen on cannot be used
"""

from __future__ import annotations

from typing import ClassVar

import grpc


class OrdinalError(Exception):
    """Root of the tree; on its own it means a fault of ours."""

    status: ClassVar[grpc.StatusCode] = grpc.StatusCode.INTERNAL


class InvalidRequest(OrdinalError):
    """The request breaks its contract; `field` is the path of the part that does."""

    status = grpc.StatusCode.INVALID_ARGUMENT

    def __init__(self, field: str, message: str) -> None:
        super().__init__(f"{field}: {message}" if field else message)
        self.field = field
        self.message = message


class ModelNotFound(OrdinalError):
    """No such model or version; the message names those that are there."""

    status = grpc.StatusCode.NOT_FOUND


class Unauthenticated(OrdinalError):
    """The service needs a token, and none that it knows was sent."""

    status = grpc.StatusCode.UNAUTHENTICATED


class Forbidden(OrdinalError):
    """The token that was sent does not allow that."""

    status = grpc.StatusCode.PERMISSION_DENIED


class Unavailable(OrdinalError):
    """Not now: the service is loading or draining, or cannot be reached."""

    status = grpc.StatusCode.UNAVAILABLE


class Exhausted(OrdinalError):
    """Too many requests wait already; after `retry_after` seconds there may be room."""

    status = grpc.StatusCode.RESOURCE_EXHAUSTED

    def __init__(self, message: str, retry_after: float = 0.0) -> None:
        super().__init__(message)
        self.retry_after = retry_after


class DeadlineExceeded(OrdinalError):
    """The deadline passed while the request waited; its work was not done."""

    status = grpc.StatusCode.DEADLINE_EXCEEDED


class Unimplemented(OrdinalError):
    """The contract has it, this service does not."""

    status = grpc.StatusCode.UNIMPLEMENTED


class ArtifactError(OrdinalError):
    """The file may not be served; the message says why."""

    status = grpc.StatusCode.FAILED_PRECONDITION


class DeviceError(OrdinalError):
    """onnxruntime cannot use the device that was asked for."""

    status = grpc.StatusCode.FAILED_PRECONDITION


class RegistryError(OrdinalError):
    """A registry address cannot be resolved to a file."""

    status = grpc.StatusCode.UNAVAILABLE


class SettingError(OrdinalError):
    """Settings do not go together, or a file that one of them names cannot be used."""

    status = grpc.StatusCode.FAILED_PRECONDITION


class AddressError(OrdinalError):
    """The address to listen on cannot be used: taken, forbidden, or not of this machine."""

    status = grpc.StatusCode.UNAVAILABLE
