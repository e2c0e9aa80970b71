"""What serves, and which tensors a model takes and gives, as messages."""

from __future__ import annotations

import functools
from collections.abc import Sequence
from importlib import metadata

from serving.inference.model import Model
from serving.inference.reply import datatype
from serving.wire import inference_pb2 as wire

_ANY = -1


def server() -> wire.ServerMetadataResponse:
    """Describe the service."""
    return wire.ServerMetadataResponse(name="ordinal-serving", version=_version())


def model(name: str, versions: Sequence[str], described: Model) -> wire.ModelMetadataResponse:
    """Describe a model, of which these versions are served, by one of them."""
    tensor = wire.ModelMetadataResponse.TensorMetadata
    return wire.ModelMetadataResponse(
        name=name,
        versions=versions,
        platform="onnxruntime_onnx",
        inputs=[
            tensor(
                name=spec.name,
                datatype=spec.datatype,
                shape=[_ANY, *(_ANY if size is None else size for size in spec.shape)],
            )
            for spec in described.specs.values()
        ],
        outputs=[
            tensor(name=output, datatype=datatype(output), shape=[_ANY, *shape])
            for output, shape in described.outputs.items()
        ],
    )


@functools.cache
def _version() -> str:
    try:
        return metadata.version("ordinal")
    except metadata.PackageNotFoundError:  # run from its source
        return "unknown"
