"""The served protos, in a descriptor pool of their own.

protobuf's default pool takes each name once: generated code of ours there would clash with tritonclient's
`inference.*`, and with stubs that somebody has generated from our protos.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from google.protobuf.descriptor import Descriptor, FileDescriptor
from google.protobuf.descriptor_pb2 import FileDescriptorSet
from google.protobuf.descriptor_pool import DescriptorPool
from google.protobuf.internal.enum_type_wrapper import EnumTypeWrapper
from google.protobuf.message_factory import GetMessageClass

_DESCRIPTORS = Path(__file__).with_name("descriptors.binpb")


def _filled() -> DescriptorPool:
    pool = DescriptorPool()
    for file in FileDescriptorSet.FromString(_DESCRIPTORS.read_bytes()).file:
        pool.AddSerializedFile(file.SerializeToString())
    return pool


POOL = _filled()
"""What `protos/` describes."""


def contents(file: str, module: str) -> dict[str, Any]:
    """Return what a module of generated code has: `DESCRIPTOR`, messages, enums and their values.

    `file` is the name of the .proto in the pool, `module` the name of the Python module.
    """
    descriptor: FileDescriptor = POOL.FindFileByName(file)
    found: dict[str, Any] = {"DESCRIPTOR": descriptor}
    for name, enum in descriptor.enum_types_by_name.items():
        found[name] = EnumTypeWrapper(enum)
        found.update((value.name, value.number) for value in enum.values)
    for name, message in descriptor.message_types_by_name.items():
        found[name] = _class(message, module, name)
    return found


def _class(descriptor: Descriptor, module: str, path: str) -> Any:
    """Return the class of a message, and let it and those nested in it say where they are found."""
    kind = GetMessageClass(descriptor)
    kind.__module__, kind.__qualname__ = module, path
    for name, nested in descriptor.nested_types_by_name.items():
        setattr(kind, name, _class(nested, module, f"{path}.{name}"))
    return kind
