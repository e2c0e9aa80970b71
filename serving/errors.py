"""What can go wrong in serving; each class owns its gRPC status.

OrdinalError
├── InvalidRequest    the request is wrong: which field, what must hold, what came
├── ModelNotFound     no such model or version is served
├── Unavailable       loading, draining, or no server there
├── Unimplemented     a part of the contract that this service does not do
├── ArtifactError     a file may not be served
├── DeviceError       the device asked for cannot be used
├── RegistryError     a `models:/` address cannot be resolved
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


class Unavailable(OrdinalError):
    """Not now: the service is loading or draining, or cannot be reached."""

    status = grpc.StatusCode.UNAVAILABLE


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


class AddressError(OrdinalError):
    """The address to listen on cannot be used: taken, forbidden, or not of this machine."""

    status = grpc.StatusCode.UNAVAILABLE
